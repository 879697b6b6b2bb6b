"""The server: the page's files, the interface, the guard before both; bound to this machine alone."""

from __future__ import annotations

import mimetypes
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from stridewise.errors import UsageError
from stridewise.report.assets import asset_texts, script_hash, served_page
from stridewise.web.api import Api, Compact
from stridewise.web.plans import Runs
from stridewise.web.safety import Guard
from stridewise.web.workbench import Workbench

ADDRESS = "127.0.0.1"
_PATIENCE = 20.0  # seconds that a connection may take to begin a request
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def make_app(
    bench: Workbench, *, token: str, port: int, extras: dict[str, Any] | None = None, runs: Runs | None = None
) -> ASGIApp:
    """The whole application over a workbench; extras: data loaded at the start, given to the page as they are; runs:
    folders of `search`, read whenever the page asks."""
    page, imports = served_page()

    async def home(request: Request) -> Response:
        return HTMLResponse(page)

    async def static(request: Request) -> Response:
        # A closed list of names: what a browser asks for is never taken as a path.
        text = asset_texts().get(request.path_params["name"])
        if text is None:
            return Compact({"error": "there is no such file"}, status_code=404)
        name = request.path_params["name"]
        kind = _TYPES.get(name[name.rfind(".") :]) or mimetypes.types_map.get(".txt", "text/plain")
        return Response(text, media_type=kind)

    routes = [Route("/", home), Route("/static/{name:path}", static), *Api(bench, extras, runs).routes()]
    return Guard(Starlette(routes=routes), token=token, port=port, imports=script_hash(imports))


def bound(port: int) -> socket.socket:
    """A socket on this machine alone; port 0 takes a free one. Raises: UsageError when it is taken."""
    # Named as TCP, so that asyncio turns its delay of small packets off: 40 ms an answer otherwise.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
    except OSError as error:
        listener.close()
        raise UsageError(f"port {port} cannot be used ({error.strerror}): name another with --port") from error
    return listener


class _Impatient(H11Protocol):
    """Closes a connection on which no whole request has begun in time, and tells nobody to install websockets."""

    def connection_made(self, transport: Any) -> None:
        """Start to wait for a request."""
        super().connection_made(transport)
        self.loop.call_later(_PATIENCE, self._close_idle)

    def _close_idle(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """The page uses none."""


class _Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        self._ready()


def settings(app: ASGIApp) -> uvicorn.Config:
    """How the page is served."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        http=_Impatient,
        timeout_graceful_shutdown=1,
        server_header=False,
    )


def run(app: ASGIApp, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until interrupted."""
    _Server(settings(app), ready).run(sockets=[listener])
