"""Where jobs run: in this process one after the other, or in worker processes that the coordinator feeds and outlives.

A worker is fed through a pipe, one job at a time. When its coordinator dies, however that be, the worker ends too,
whatever it is doing; when it dies itself the coordinator reads the end of the pipe and the job is told as lost, or as
failed where the training ended its process itself.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeAlias

from stridewise.errors import StudyError
from stridewise.study.jobs import Job, Outcome, Score, Target, Watcher, carry_out, checkpoint_of

_TELL_EVERY = 0.25  # seconds between a worker's messages about its progress
_THREADS = "OMP_NUM_THREADS"
_LOOK_EVERY = 0.5  # seconds the coordinator waits before it lets the screen be drawn again

Done = tuple[Job, Outcome | None]
"""A job and what it gave; None where its worker died."""
Run: TypeAlias = Callable[[Iterable[Job], Watcher], Iterator[Done]]


def here(
    score: Score,
    targets: Mapping[int, Target],
    checkpoints: Path,
    timeout: float,
    jobs: Iterable[Job],
    watch: Watcher,
) -> Iterator[Done]:
    """Run the jobs in this process, in order. targets: by plan; it may grow. timeout: seconds a job may take, 0 for
    any; kept by an alarm, which only Unix and the main thread have."""
    for job in jobs:
        with _alarm(timeout):
            outcome = carry_out(
                score,
                targets[job.plan],
                job,
                progress=lambda done, total, job=job: watch(job, done, total),  # type: ignore[misc]
                checkpoint=checkpoint_of(checkpoints, job),
            )
        yield job, outcome


def too_long(timeout: float) -> str:
    """What is said of a training that was stopped."""
    return f"took longer than {timeout:g} seconds (--timeout)"


@contextlib.contextmanager
def _alarm(timeout: float) -> Iterator[None]:
    """Raises StudyError in what runs within after so many seconds."""
    if not timeout or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise StudyError(too_long(timeout))

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(slots=True, eq=False)
class _Worker:
    process: Any
    pipe: Connection
    job: Job | None = None
    since: float = 0.0


class Pool:
    """`count` processes with `threads` threads each, ready for jobs; a context, which ends them. timeout: seconds a job
    may take, 0 for any; the process of one that takes longer is killed."""

    def __init__(
        self,
        score: Score,
        targets: Mapping[int, Target],
        *,
        count: int,
        threads: int,
        checkpoints: Path,
        timeout: float = 0.0,
    ) -> None:
        self._timeout = timeout
        self._context = multiprocessing.get_context("spawn")
        self._targets = targets
        self._make: Callable[[], _Worker] = lambda: self._started(score, threads, checkpoints)
        self._workers = [self._make() for _ in range(count)]

    def _started(self, score: Score, threads: int, checkpoints: Path) -> _Worker:
        ours, theirs = self._context.Pipe()
        # Not a daemon, for those may have no processes of their own to read data with; __exit__ ends it.
        process = self._context.Process(target=_work, args=(theirs, score, checkpoints))
        with _interrupts_held(), _threads(threads):
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def run(self, jobs: Iterable[Job], watch: Watcher) -> Iterator[Done]:
        """Give each idle worker the next job and yield the outcomes as they come. A dead worker is replaced."""
        todo = iter(jobs)
        while True:
            for worker in self._workers:
                if worker.job is None and (job := next(todo, None)) is not None:
                    worker.job, worker.since = job, math.inf  # a process takes a while to begin
                    with contextlib.suppress(OSError):  # dead already: the wait below sees the end of its pipe
                        worker.pipe.send((job, self._targets[job.plan]))
            busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
            if not busy:
                return
            for pipe in wait(list(busy), timeout=_LOOK_EVERY):
                worker = busy[pipe]  # type: ignore[index]
                job = worker.job
                assert job is not None
                try:
                    kind, *rest = worker.pipe.recv()
                except (EOFError, OSError):
                    yield job, _death(self._replace(worker), begun=worker.since < math.inf)
                    continue
                if kind == "begun":
                    worker.since = time.monotonic()
                elif kind == "steps":
                    watch(job, *rest)
                else:
                    worker.job = None
                    yield job, rest[0]
            for worker in list(self._workers):
                if self._timeout and worker.job is not None and time.monotonic() - worker.since > self._timeout:
                    job, late = worker.job, time.monotonic() - worker.since
                    worker.process.kill()
                    self._replace(worker)
                    yield job, Outcome(error=too_long(self._timeout), seconds=late)

    def _replace(self, worker: _Worker) -> int | None:
        """Another worker in its place; what the process ended with: an exit code, or a signal's number below zero."""
        worker.pipe.close()
        worker.process.join(5)
        self._workers[self._workers.index(worker)] = self._make()
        code: int | None = worker.process.exitcode
        return code


def _death(code: int | None, *, begun: bool) -> Outcome | None:
    """What is said of a training whose process ended with this code. None where a signal ended it (out of memory, a
    fault, a person): it is tried again."""
    if code is None or code < 0:
        return None
    how = "its code ended its process" if begun else "its process could not begin"
    return Outcome(error=f"{how} (exit code {code})")


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits while it lasts, and does not reach a process begun meanwhile, also while that still imports."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # begun with the first process otherwise, and then it lets signals in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _threads(most: int) -> Iterator[None]:
    """A process begun meanwhile computes with so many threads, or fewer where the environment says so. Libraries read
    it when they are loaded, so that a worker loads none for it."""
    before = os.environ.get(_THREADS)
    fewer = before is not None and (not before.isdigit() or int(before) <= most)
    os.environ[_THREADS] = before if before is not None and fewer else str(most)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before


def _follow(ending: threading.Lock) -> None:
    """End this process when its coordinator does, but not between a training's end and its outcome."""
    coordinator, leave = multiprocessing.parent_process(), os._exit
    assert coordinator is not None

    def watch() -> None:
        wait([coordinator.sentinel])
        with ending:
            leave(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(pipe: Connection, score: Score, checkpoints: Path) -> None:
    """A worker's life: a job in, its steps and its outcome out, until the pipe breaks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the coordinator decides
    ending = threading.Lock()
    _follow(ending)
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL_EVERY:
            last = time.monotonic()
            with contextlib.suppress(OSError):  # the coordinator is gone, and this process soon
                pipe.send(("steps", done, total))

    with contextlib.suppress(EOFError, OSError):
        while True:
            job, target = pipe.recv()
            pipe.send(("begun",))
            checkpoint = checkpoint_of(checkpoints, job)
            outcome = carry_out(score, target, job, progress=progress, checkpoint=checkpoint, ending=ending)
            pipe.send(("done", outcome))
