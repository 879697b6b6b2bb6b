"""Trainings placed by Ray: each a core task with its processors and accelerators, on whatever node is free.

A task that ends with its node or its worker is told as lost; the coordinator puts it into the queue again. It then goes
on from its checkpoint where the node sees the coordinator's folder of checkpoints, else it begins anew.
"""

from __future__ import annotations

import math
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stridewise.errors import MissingExtraError, StudyError
from stridewise.study.jobs import Job, Outcome, Score, Target, Watcher, carry_out, checkpoint_of
from stridewise.study.runners import Done, Run, too_long

_ANSWERS_WITHIN = 10.0  # seconds
_LOOK_EVERY = 1.0  # seconds the coordinator waits before it lets the screen be drawn again


_MARK = ".shared"


@dataclass(frozen=True, slots=True)
class Shared:
    """The coordinator's folder of checkpoints, and a mark by which a node knows whether it sees that very folder: one
    of the same name on a disk of its own would keep what nobody takes up or deletes."""

    folder: Path
    mark: str

    @staticmethod
    def marked(folder: Path) -> Shared:
        """The folder, marked anew. Raises: StudyError where it cannot be written."""
        mark = uuid.uuid4().hex
        try:
            (folder / _MARK).write_text(mark, encoding="utf-8")
        except OSError as error:
            raise StudyError(f"{folder}: cannot be written ({error.strerror}): choose another --run") from error
        return Shared(folder.resolve(), mark)

    def checkpoint(self, job: Job) -> str | None:
        """The job's file where this machine sees the folder, else None."""
        try:
            seen = (self.folder / _MARK).read_text(encoding="utf-8") == self.mark
        except (OSError, UnicodeDecodeError):
            seen = False
        return checkpoint_of(self.folder, job) if seen else None


class Cluster:
    """A Ray cluster at `address` ("auto", "host:port", "local" for one on this machine); a context, which leaves it.

    cpus, gpus: what a training takes; checkpoints: a folder for them, used by nodes that see it too.
    Raises: StudyError where there is no cluster or no node can hold a training.
    """

    def __init__(
        self,
        score: Score,
        targets: Mapping[int, Target],
        *,
        address: str,
        cpus: float = 1,
        gpus: float = 0,
        checkpoints: Path | None = None,
        timeout: float = 0.0,
    ) -> None:
        self._timeout = timeout
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MissingExtraError("ray", "cluster", "search --ray") from error
        self._ray, self._targets, self.cpus, self.gpus = ray, targets, cpus, gpus
        self._shared = None if checkpoints is None else Shared.marked(checkpoints)
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False, namespace="stridewise")
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StudyError(f"--ray {address}: no cluster answers there ({first}): see `ray start`") from error
        if not self._room():
            self.__exit__()
            raise StudyError(
                f"--ray {address}: no node has {cpus:g} processors and {gpus:g} accelerators for a training"
            )
        self._score = ray.put(score)
        self._task = ray.remote(_train).options(num_cpus=cpus, num_gpus=gpus, max_retries=0)

    def __enter__(self) -> Run:
        return self.run

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def _room(self) -> int:
        """How many trainings the nodes alive hold at once."""
        count = 0
        for node in self._ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            each = [has.get("CPU", 0) / self.cpus if self.cpus else math.inf]
            each += [has.get("GPU", 0) / self.gpus] if self.gpus else []
            count += int(min(each))
        return count

    def run(self, jobs: Iterable[Job], watch: Watcher) -> Iterator[Done]:
        """As many jobs as the nodes hold, and the outcomes as they come."""
        todo, running, since = iter(jobs), dict[Any, Job](), dict[Any, float]()
        while True:
            while len(running) < max(1, self._room()) and (job := next(todo, None)) is not None:
                reference = self._task.remote(self._score, self._targets[job.plan], job, self._shared)
                running[reference], since[reference] = job, time.monotonic()
                watch(job, 0, 1)
            if not running:
                return
            ready, _ = self._ray.wait(list(running), timeout=_LOOK_EVERY)
            for reference in ready:
                job = running.pop(reference)
                try:
                    yield job, self._ray.get(reference)
                except self._ray.exceptions.RayTaskError as error:  # the node could not even begin it
                    cause = error.cause if error.cause is not None else error
                    last = (str(cause).strip() or type(cause).__name__).splitlines()[-1]
                    yield job, Outcome(error=f"on its node: {last}")
                except self._ray.exceptions.RayError:  # its node or worker is gone
                    yield job, None
            for reference in [r for r in running if self._timeout and time.monotonic() - since[r] > self._timeout]:
                self._ray.cancel(reference, force=True)
                yield running.pop(reference), Outcome(error=too_long(self._timeout), seconds=self._timeout)


def _train(score: Score, target: Target, job: Job, shared: Shared | None) -> Any:
    """One training on a node."""
    return carry_out(score, target, job, checkpoint=None if shared is None else shared.checkpoint(job))


def _knock(address: str) -> None:
    """Raises OSError where nothing listens at host:port: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_ANSWERS_WITHIN).close()
