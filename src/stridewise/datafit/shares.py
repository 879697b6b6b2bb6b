"""Many masks judged by several processes: the totals of consecutive shares, in their order, equal those of one pass.

The processes are plain children that speak through pipes, not those of `multiprocessing`: these would run a person's
script again where it calls `fit` outside `if __name__ == "__main__"`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from stridewise.data.mask import Mask
from stridewise.data.picture import PictureError, Size
from stridewise.datafit.masks import MaskTotals
from stridewise.datafit.strides import Stride

_SHARE = 250  # masks a process judges at a time
_ENOUGH = 1000  # masks below which starting processes takes longer than it saves
_MOST = 8  # processes

Totals = tuple[MaskTotals, tuple[PictureError, ...]]
"""What masks add up to, and why some could not be decoded."""


class _Process(NamedTuple):
    child: subprocess.Popen[bytes]
    pipe: Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Masks by the names of their pictures, and what to judge them against; `resize`: what they are brought to."""

    strides: tuple[Stride, ...]
    classes: tuple[str, ...]
    masks: tuple[tuple[str, Mask], ...]
    resize: Size | None = None

    def totals(self) -> Totals:
        """What its masks add up to, and why some could not be decoded."""
        totals, faults = MaskTotals(self.strides, self.classes), []
        for name, mask in self.masks:
            try:
                totals.add(name, mask.load(self.resize))
            except PictureError as error:
                faults.append(error)
        return totals, tuple(faults)


Judged = tuple[int, MaskTotals, tuple[PictureError, ...]]
"""Masks of a share, their totals, why some could not be decoded."""


def judged(
    masks: Sequence[tuple[str, Mask]], strides: Sequence[Stride], classes: Sequence[str], resize: Size | None
) -> Iterator[Judged]:
    """The totals of share after share, in order, from as many processes as are worth it. Raises: MissingExtraError."""
    processes = min(_cores(), _MOST) if worth_sharing(masks) else 1
    size = _SHARE if processes > 1 else 1
    shares = [
        Share(strides=tuple(strides), classes=tuple(classes), masks=tuple(masks[at : at + size]), resize=resize)
        for at in range(0, len(masks), size)
    ]
    if processes == 1:
        for share in shares:
            yield len(share.masks), *share.totals()
        return
    idle: SimpleQueue[_Process] = SimpleQueue()
    children: list[_Process] = []
    threads = ThreadPoolExecutor(processes)
    try:
        for _ in range(processes):
            children.append(_started())
            idle.put(children[-1])
        for share, found in zip(shares, threads.map(lambda share: _answer(share, idle), shares), strict=True):
            yield len(share.masks), *(found or share.totals())
    finally:
        for process in children:
            process.child.kill()
        threads.shutdown(cancel_futures=True)
        for process in children:
            process.pipe.close()
            process.child.wait()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worth_sharing(masks: Sequence[tuple[str, Mask]]) -> bool:
    """Whether there are so many masks, in files, that processes save time; not on Windows, which hands no pipes on."""
    return (
        os.name == "posix"
        and len(masks) >= _ENOUGH
        and not any(isinstance(mask.source, np.ndarray) for _, mask in masks)
    )


def _started() -> _Process:
    ours, theirs = Pipe()
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", f"from stridewise.datafit.shares import serve; serve({theirs.fileno()})"],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths},
    )
    theirs.close()
    return _Process(child, ours)


def _answer(share: Share, idle: "SimpleQueue[_Process]") -> Totals | None:
    """What a process says of a share; None where it has ended, for then the share is judged here."""
    process = idle.get()
    try:
        process.pipe.send(share)
        found: Totals = process.pipe.recv()
        return found
    except (OSError, EOFError):
        return None
    finally:
        idle.put(process)


def serve(number: int) -> None:
    """Answer the shares that come through the pipe of this number with their totals, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends its children
    pipe = Connection(number)
    with suppress(EOFError, OSError):
        while True:
            share: Share = pipe.recv()
            pipe.send(share.totals())
