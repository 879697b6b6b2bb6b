"""What the page asks for: networks, what-ifs, plans, the picture, one convolution, jobs. JSON in, JSON out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from stridewise.errors import StridewiseError, UsageError
from stridewise.web import areas
from stridewise.web.convolutions import convolution
from stridewise.web.jobs import Jobs
from stridewise.web.pictures import Pictures, png
from stridewise.web.plans import Runs, drawn_front, exported, front_changes, reported
from stridewise.web.whatif import Studied
from stridewise.web.work import WORKS
from stridewise.web.workbench import Opened, Workbench, kinds_here, refusals

log = logging.getLogger("stridewise.web")
Json = dict[str, Any]
_PATIENCE = 20.0  # seconds that a request may take to arrive
_DIGITS = 15  # of a whole number: a page's numbers are exact to 2^53


class Compact(JSONResponse):
    """JSON without spaces."""

    def render(self, content: Any) -> bytes:
        """The bytes; a number that is not finite is our own error."""
        return json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


class Api:
    """The routes over one workbench, one picture, one queue of jobs."""

    def __init__(self, bench: Workbench, extras: Json | None = None, runs: Runs | None = None) -> None:
        self.bench, self.pictures, self.jobs = bench, Pictures(), Jobs()
        self.extras, self.runs = extras or {}, runs or Runs()
        self.upload = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Every address of the interface."""
        bench, studied = self.bench, self._studied
        posted: dict[str, Callable[[Json], Any]] = {
            "what-if": lambda asked: studied(asked).what_if(asked),
            "findings": lambda asked: studied(asked).rules(asked),
            "offers": lambda asked: {"offers": studied(asked).offers(asked)},
            "tried": lambda asked: studied(asked).tried(asked),
            "export": lambda asked: exported(self._opened(asked), asked),
            "request": lambda asked: studied(asked).requested(asked),
            "plan": lambda asked: studied(asked).opened(asked),
            "report": lambda asked: reported(studied(asked), asked),
            "convolution": lambda asked: convolution(self.pictures, self._opened(asked), asked),
            "front": lambda asked: drawn_front(studied(asked)),
            "front-plan": lambda asked: front_changes(studied(asked), asked),
            "scale": lambda asked: areas.scale_json(studied(asked), asked),
            "sizes": lambda asked: areas.sizes_that_work(studied(asked), asked),
            "chip": lambda asked: areas.chip_limits(studied(asked), asked),
            "beside": lambda asked: areas.two_networks(bench, asked),
            "elastic": lambda asked: areas.elastic_plans(self._opened(asked)),
        }
        return [
            Route("/api/start", self.start),
            Route("/api/pulse", self.pulse),
            Route("/api/runs", self.runs_route),
            Route("/api/network/{number:int}", self.network),
            *(Route(f"/api/{name}", self._posted(work), methods=["POST"]) for name, work in posted.items()),
            Route("/api/picture", self.picture, methods=["GET", "POST"]),
            Route("/api/jobs", self.jobs_route, methods=["GET", "POST"]),
            Route("/api/jobs/{id}", self.job, methods=["GET", "DELETE"]),
            Route("/api/jobs/{id}/events", self.events),
        ]

    async def start(self, request: Request) -> Response:
        """What there is: networks by number, the picture, jobs that survived a reload, data loaded at the start."""
        kinds = sorted(WORKS)
        return Compact(
            {
                "networks": self.bench.listed(),
                **self._now(),
                "jobs": self.jobs.listed(),
                "kinds": kinds,
                "runs": len(self.runs.folders),
                "chips": areas.chips(),
                **self.extras,
            }
        )

    def _now(self) -> Json:
        return {"picture": {"number": self.pictures.number, "name": self.pictures.name}}

    async def pulse(self, request: Request) -> Response:
        """That the server is there, and what another tab may have changed."""
        return Compact(self._now())

    async def runs_route(self, request: Request) -> Response:
        """What the run folders hold by now."""
        return await _answered(self.runs.read)

    async def network(self, request: Request) -> Response:
        """The page's data for one network, as soon as it is traced."""
        number = int(request.path_params["number"])

        def told() -> Json:
            opened = self.bench.find(number)
            here = {"kinds": kinds_here(opened), "cannot": refusals(opened), "random": opened.random}
            return opened.wait().original | here

        return await _answered(told)

    def _opened(self, asked: Json) -> Opened:
        return self.bench.find(asked.get("network"))

    def _studied(self, asked: Json) -> Studied:
        return self._opened(asked).wait()

    def _posted(self, work: Callable[[Json], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                asked = await _object(request)
            except UsageError as error:
                return _failed(error)
            return await _answered(lambda: work(asked))

        return endpoint

    async def picture(self, request: Request) -> Response:
        """The picture as a network reads it (PNG), or another one to take its place (a file's bytes)."""
        if request.method == "POST":
            return await self._uploaded(request)
        number = request.query_params.get("network", "0")

        def drawn() -> bytes:
            opened = self.bench.find(int(number) if number.isdigit() else number)
            shape = opened.shape()
            return png(self.pictures.fitted(min(shape[0], 3) if shape[0] in (1, 3) else 3, shape[1:]))

        try:
            return Response(await run_in_threadpool(drawn), media_type="image/png")
        except StridewiseError as error:
            return _failed(error)

    async def _uploaded(self, request: Request) -> Response:
        """Another picture; one after the other, so that many at once take the memory of one."""
        name = _shown_name(request.headers.get("x-name", ""))
        async with self.upload:
            try:
                content = await _body(request)
            except UsageError as error:
                return _failed(error)
            return await _answered(lambda: self._replaced(content, name))

    def _replaced(self, content: bytes, name: str) -> Json:
        try:
            self.pictures.replace(content, name)
        except StridewiseError as error:
            log.warning("refused a picture of %d bytes: %s", len(content), error)
            raise
        return self._now()["picture"]  # type: ignore[no-any-return]

    async def jobs_route(self, request: Request) -> Response:
        """Jobs as a list, or a new one."""
        if request.method == "GET":
            return Compact(self.jobs.listed())
        try:
            asked = await _object(request)
            kind = asked.get("kind")
            if not isinstance(kind, str) or kind not in WORKS:
                raise UsageError(f"there is no job '{str(kind)[:20]}'; there are {', '.join(sorted(WORKS))}")
            opened = self.bench.find(asked.get("network"))
            asked |= {"picture": self.pictures.number}
            work = WORKS[kind]
            job = self.jobs.start(kind, lambda report: work(opened, self.pictures, asked, report), asked)
            return Compact(job.to_json())
        except StridewiseError as error:
            return _failed(error)

    async def job(self, request: Request) -> Response:
        """One job with its result; DELETE calls it off."""
        id = request.path_params["id"]
        act = self.jobs.cancel if request.method == "DELETE" else self.jobs.find
        return await _answered(lambda: act(id).to_json())

    async def events(self, request: Request) -> Response:
        """Progress of a job as server-sent events, until it is over."""
        try:
            job = self.jobs.find(request.path_params["id"])
        except StridewiseError as error:
            return _failed(error)

        async def told() -> AsyncIterator[str]:
            seen = -1
            while not await request.is_disconnected():
                version = await asyncio.to_thread(job.wait, seen, 5.0)
                if version == seen:
                    yield ": still there\n\n"
                    continue
                seen = version
                is_last = job.over  # asked before what is told: a job that ends between the two is told once more
                yield f"data: {json.dumps(job.to_json(), allow_nan=False)}\n\n"
                if is_last:
                    return

        return StreamingResponse(told(), media_type="text/event-stream")


def _shown_name(written: str) -> str:
    """A file's name as people read it, from its percent-encoded form; nothing in it that is not seen."""
    name = "".join(c for c in unquote(written, errors="replace") if c.isprintable()).strip()
    return name[:80] or "your picture"


async def _object(request: Request) -> Json:
    """The JSON object of a request: no text that cannot be written again, no number beyond what a page can hold.

    Raises: UsageError.
    """
    content = await _body(request)
    try:
        asked = json.loads(content, parse_constant=_refuse_number, parse_int=_whole)
        json.dumps(asked, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise UsageError("the request is not JSON that can be answered: mend its text and numbers") from error
    if not isinstance(asked, dict):
        raise UsageError("the request is not a JSON object")
    return asked


def _refuse_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("a number of too many digits")
    return int(digits)


async def _body(request: Request) -> bytes:
    """All of a request's bytes. Raises: UsageError where they do not come in time, or stop coming."""
    try:
        return await asyncio.wait_for(request.body(), _PATIENCE)
    except (TimeoutError, ClientDisconnect) as error:
        raise UsageError("the request did not come to its end: send it again") from error


async def _answered(work: Callable[[], Any]) -> Response:
    try:
        return await run_in_threadpool(lambda: Compact(work()))
    except StridewiseError as error:
        return _failed(error)


def _failed(error: StridewiseError) -> Response:
    return Compact({"error": " ".join(str(error).split()), "kind": type(error).__name__}, status_code=422)
