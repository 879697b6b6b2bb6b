"""Work that takes longer than a drag: one job at a time, with progress, a result that survives a reload, and cancel."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from stridewise.errors import StridewiseError, UsageError

log = logging.getLogger("stridewise.web")

State: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]
Report: TypeAlias = Callable[[float, str], None]
"""Called by a job with the share done (0 to 1) and what it does; raises CancelledError once the job is called off."""

Work: TypeAlias = Callable[[Report], Any]
_KEPT, _WAITING = 24, 8


class CancelledError(Exception):
    """The job was called off."""


@dataclass(slots=True, eq=False)
class Job:
    """One job; `changed` is notified whenever its state or progress changes."""

    id: str
    kind: str
    work: Work
    asked: dict[str, Any] = field(default_factory=dict)
    state: State = "waiting"
    share: float = 0.0
    doing: str = ""
    result: Any = None
    error: str = ""
    called_off: bool = False
    version: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")

    def to_json(self) -> dict[str, Any]:
        """Plain values; the result only when there is one."""
        with self.changed:
            plain = {"id": self.id, "kind": self.kind, "state": self.state, "share": self.share, "doing": self.doing}
            more = {"asked": self.asked, "error": self.error, "result": self.result}
        return plain | {name: value for name, value in more.items() if value}

    def tell(self, **facts: Any) -> None:
        """Set facts and wake whoever waits."""
        with self.changed:
            for name, value in facts.items():
                setattr(self, name, value)
            self.version += 1
            self.changed.notify_all()

    def wait(self, seen: int, timeout: float) -> int:
        """The version after the one already seen, or the same one when nothing happened in time."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != seen, timeout)
            return self.version


class Jobs:
    """A queue that one thread works off."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="job")

    def start(self, kind: str, work: Work, asked: dict[str, Any] | None = None) -> Job:
        """A job that runs when those before it are over. asked: what it answers, kept so that a page that is loaded
        again knows its results. Raises: UsageError when too many wait."""
        with self._lock:
            if sum(not job.over for job in self._jobs.values()) >= _WAITING:
                raise UsageError(f"{_WAITING} jobs wait already: cancel one or let them end")
            job = Job(f"j{next(self._numbers)}", kind, work, asked or {})
            self._jobs[job.id] = job
            for old in [key for key, j in self._jobs.items() if j.over][: max(0, len(self._jobs) - _KEPT)]:
                del self._jobs[old]
        self._worker.submit(self._run, job)
        return job

    def find(self, id: str) -> Job:
        """The job called `id`. Raises: UsageError."""
        job = self._jobs.get(id)
        if job is None:
            raise UsageError(f"there is no job '{id[:20]}' any more: start it again")
        return job

    def cancel(self, id: str) -> Job:
        """Call a job off; it stops at its next step."""
        job = self.find(id)
        job.called_off = True
        if job.state == "waiting":
            job.tell(state="cancelled")
        return job

    def listed(self) -> list[dict[str, Any]]:
        """Every job still remembered, oldest first, without results."""
        return [{k: v for k, v in job.to_json().items() if k != "result"} for job in list(self._jobs.values())]

    def _run(self, job: Job) -> None:
        def report(share: float, doing: str) -> None:
            if job.called_off:
                raise CancelledError
            job.tell(share=share, doing=doing)

        if job.over:
            return
        job.tell(state="running")
        try:
            result = job.work(report)
            job.tell(state="done", result=result, share=1.0)
        except CancelledError:
            job.tell(state="cancelled")
        except StridewiseError as error:
            job.tell(state="failed", error=" ".join(str(error).split()))
        except MemoryError:
            job.tell(state="failed", error="not enough memory here: choose a smaller network or picture")
        except (Exception, SystemExit) as error:  # noqa: BLE001  a network's own forward may raise anything
            log.warning("job %s (%s) failed: %r", job.id, job.kind, error)
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            job.tell(state="failed", error=f"the network's forward failed: {first[:300]}")
