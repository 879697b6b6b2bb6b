"""By how much pictures are moved: offsets on the grid of a network's coarsest step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from stridewise.analyses.fields import evaluate
from stridewise.errors import UsageError
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
