"""By how much pictures are moved, and the views of them that are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from stridewise.analyses.fields import evaluate
from stridewise.errors import DataError, UsageError, by
from stridewise.ir import Graph

Offsets = npt.NDArray[np.int64]
Step = tuple[int, ...]
ALL_UP_TO = 64
DRAWN = 16


def grid_offsets(pictures: int, stride: Sequence[int], *, drawn: int = DRAWN, seed: int = 0) -> Offsets:
    """Offsets of every picture, (pictures, offsets, axes), in pixels from 0 to stride - 1 an axis.

    All of the grid where it has at most 64 points, the same for each picture; else `drawn` of them without replacement,
    drawn anew for each picture. Raises: UsageError for fewer than two offsets.
    """
    points = np.array(list(np.ndindex(*stride)), np.int64)
    if len(points) <= ALL_UP_TO:
        if len(points) < 2:
            raise UsageError("shift: the network never steps, so no offset can change what it says: measure another")
        return np.repeat(points[None], pictures, axis=0)
    if not 2 <= drawn <= len(points):
        raise UsageError(f"shift: {drawn} offsets of {len(points)}: draw 2 to {len(points)}")
    rng = np.random.default_rng(seed)
    return np.stack([points[rng.choice(len(points), drawn, replace=False)] for _ in range(pictures)])


def pair_offsets(pictures: int, reach: Sequence[int], *, seed: int = 0) -> Offsets:
    """Two offsets a picture, each uniform on 0..reach-1 an axis, with replacement: (pictures, 2, axes).

    Source: Zhang 2019, "Making convolutional networks shift-invariant again", section 4.2 (consistency).
    """
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(n, size=(pictures, 2)) for n in reach], axis=-1).astype(np.int64)


def coarsest(graph: Graph) -> Step:
    """Per axis the largest step of any map that still has positions: after it a moved picture gives moved maps.

    Where a decoder goes back to finer maps this is the encoder's last step, not the output's.
    """
    ladder = steps(graph)
    return tuple(max(step[axis] for step in ladder) for axis in range(graph.axes))


def steps(graph: Graph) -> tuple[Step, ...]:
    """The cumulative strides of a network's maps, finest first, each once; those that are no whole number left out."""
    state = evaluate(graph)
    found = {(1,) * graph.axes}
    for grid in graph.grids:
        jumps = [field.jump for field in state.fields.full[grid.index]]
        if len(jumps) == graph.axes and all(grid.local) and all(_whole(jump) for jump in jumps):
            found.add(tuple(int(jump) for jump in jumps))
    return tuple(sorted(found, key=lambda step: (math.prod(step), step)))


def made_by(graph: Graph, before: Step, after: Step) -> tuple[str, ...]:
    """The sites that take the maps from one cumulative stride to another."""
    state = evaluate(graph)
    found = []
    for node in graph.nodes:
        if node.site and node.grid is not None and graph.grids[node.grid].sources:
            source = graph.grids[node.grid].sources[0]
            jumps = [tuple(f.jump for f in state.fields.full[g]) for g in (source, node.grid)]
            if jumps == [before, after]:
                found.append(node.key)
    return tuple(found)


def _whole(jump: Fraction) -> bool:
    return jump.denominator == 1


Mode = Literal["crop", "roll", "pad"]
MODES: tuple[Mode, ...] = ("crop", "roll", "pad")


def check_room(pictures: torch.Tensor, size: Sequence[int], reach: Sequence[int], mode: str) -> None:
    """Refuse what cannot be moved. reach: the largest offset an axis; size: of a view, in pixels.

    Raises: UsageError for an unknown mode, DataError where a crop would leave the picture.
    """
    if mode not in MODES:
        raise UsageError(f"shift: mode '{mode}' is none of {', '.join(MODES)}")
    have = tuple(pictures.shape[2:])
    want = tuple(n + (r if mode == "crop" else 0) for n, r in zip(size, reach, strict=True))
    if mode == "crop" and any(h < w for h, w in zip(have, want, strict=True)):
        raise DataError(
            f"shift: pictures of {by(have)} leave no margin for crops of {by(size)} moved by up to {by(reach)}: "
            f"{by(want)} are needed; give larger pictures, a smaller --input, or --mode roll"
        )
    if mode != "crop" and have != want:
        raise DataError(f"shift: mode {mode} moves pictures of the input's size {by(size)}, these are {by(have)}")


def with_margin(pictures: torch.Tensor, reach: Sequence[int], mode: str) -> torch.Tensor:
    """The pictures (N, channels, *sizes), longer by `reach` an axis, so that a moved view is a crop in every mode.

    crop: as they are, real content lies there; roll: they begin again (circular); pad: zeros.
    """
    for axis, more in enumerate(reach):
        if mode == "crop" or not more:
            continue
        tail = pictures.narrow(axis + 2, 0, min(more, pictures.shape[axis + 2]))
        pictures = torch.cat([pictures, tail if mode == "roll" else torch.zeros_like(tail)], dim=axis + 2)
    return pictures


def views(
    pictures: Iterable[torch.Tensor], offsets: Iterable[Sequence[Sequence[int]]], size: Sequence[int]
) -> torch.Tensor:
    """Every picture at every offset of its row, picture by picture: (pictures * offsets, channels, *size).

    pictures: (N, channels, *sizes) with their margin; offsets: per picture its offsets, one entry an axis.
    """
    cut = [
        picture[(slice(None), *(slice(o, o + n) for o, n in zip(offset, size, strict=True)))]
        for picture, row in zip(pictures, offsets, strict=True)
        for offset in row
    ]
    return torch.stack(cut)
