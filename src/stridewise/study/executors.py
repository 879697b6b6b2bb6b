"""Where the trainings of a study run: this process, worker processes, or a Ray cluster. One protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from stridewise.study.cluster import Cluster
from stridewise.study.jobs import Score, Target
from stridewise.study.runners import Pool, Run, here
from stridewise.study.training import TrainScore


class Executor(Protocol):
    """A place for trainings."""

    def open(
        self, score: Score, targets: Mapping[int, Target], *, checkpoints: Path, timeout: float
    ) -> AbstractContextManager[Run]:
        """A context that gives a function to run jobs with. targets: by plan, and may grow; timeout: seconds a training
        may take, 0 for any."""


@dataclass(frozen=True, slots=True)
class Here:
    """This process, one training after the other.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> found = sw.search(graph, score=lambda plan, epochs, seed: 1.0, trials=2, epochs=1, seeds=1, on=sw.Here())
    """

    @contextmanager
    def open(self, score: Score, targets: Mapping[int, Target], *, checkpoints: Path, timeout: float) -> Iterator[Run]:
        """A context that gives a function to run jobs with."""
        yield partial(here, score, targets, checkpoints, timeout)


@dataclass(frozen=True, slots=True)
class Workers:
    """So many processes on this machine, which share its cores; 0: as many as `Here`.

    >>> sw.Workers(4)  # sw.search(..., on=sw.Workers(4))
    Workers(count=4)
    """

    count: int

    @contextmanager
    def open(self, score: Score, targets: Mapping[int, Target], *, checkpoints: Path, timeout: float) -> Iterator[Run]:
        """A context that gives a function to run jobs with."""
        if self.count < 1:
            yield partial(here, score, targets, checkpoints, timeout)
            return
        if isinstance(score, TrainScore):
            _ = score.splits  # made and cached once, not by every worker
        threads = max(1, cores() // self.count)
        with Pool(score, targets, count=self.count, threads=threads, checkpoints=checkpoints, timeout=timeout) as pool:
            yield pool.run


@dataclass(frozen=True, slots=True)
class Ray:
    """A Ray cluster at an address ("auto", "host:port", "local"); cpus, gpus: what one training takes there.

    >>> sw.Ray("auto", cpus=4, gpus=1)  # sw.search(..., on=sw.Ray("auto"))
    Ray(address='auto', cpus=4, gpus=1)
    """

    address: str
    cpus: float = 1
    gpus: float = 0

    def open(
        self, score: Score, targets: Mapping[int, Target], *, checkpoints: Path, timeout: float
    ) -> AbstractContextManager[Run]:
        """A context that gives a function to run jobs with."""
        return Cluster(
            score,
            targets,
            address=self.address,
            cpus=self.cpus,
            gpus=self.gpus,
            checkpoints=checkpoints,
            timeout=timeout,
        )


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
