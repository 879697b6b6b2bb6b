"""The place where the jobs of a study run: this process, worker processes, or a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from stridewise.study.jobs import Score, Target
from stridewise.study.runners import Run, Workers, here
from stridewise.study.training import TrainScore


@contextmanager
def local(score: Score, targets: Sequence[Target], workers: int, checkpoints: Path) -> Iterator[Run]:
    """Worker processes that share the cores, or this process where `workers` is 0."""
    if workers < 1:
        yield partial(here, score, targets, checkpoints)
        return
    if isinstance(score, TrainScore):
        _ = score.splits  # made and cached once, not by every worker
    threads = max(1, cores() // workers)
    with Workers(score, targets, count=workers, threads=threads, checkpoints=checkpoints) as pool:
        yield pool.run


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
