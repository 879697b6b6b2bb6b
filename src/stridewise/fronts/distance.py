"""How far plans lie from each other: by where each layer stands in size, and by what the whole costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np

from stridewise.fronts.space import Move, Space, Step
from stridewise.fronts.what_ifs import what_ifs
from stridewise.ir import Graph, Sizes
from stridewise.plans import Plan

Place: TypeAlias = tuple[float, ...]
_SAME = 1e-9  # plans nearer than this are one


def place_of(graph: Graph, under: Graph, macs: int) -> Place:
    """Where a plan lies: log2 of every counted layer's positions, and of the multiply-adds as much as all of them.

    graph: as it is, which names the layers; under: the same network under the plan.
    """
    return _place(graph, under, [g.sizes for g in under.grids], macs)


def _place(graph: Graph, under: Graph, sizes: Sequence[Sizes], macs: int) -> Place:
    work = {n.key: n.macs.at(sizes) for n in under.nodes if n.counted}
    layers = [math.log2(max(work.get(n.key, 1), 1)) for n in graph.nodes if n.counted and n.macs.over]
    return (*layers, math.sqrt(len(layers)) * math.log2(max(macs, 1)))


def places_of(graph: Graph, space: Space, plans: Sequence[Plan]) -> list[Place]:
    """Where plans of a space lie, all at once: each as `place_of` says of the network under it."""
    if not plans:
        return []
    moves = list(space.moves.values())
    strides = np.array([[_step(plan, move) for move in moves] for plan in plans])
    found = what_ifs(space.graph, [m.key for m in moves], strides, graph.grids[0].sizes)
    assert found.fits.all()  # the front holds what can be carried out
    rows = zip(found.sizes.tolist(), found.macs.tolist(), strict=True)
    return [_place(graph, space.graph, sizes, macs) for sizes, macs in rows]


def _step(plan: Plan, move: Move) -> Step:
    setting = plan.insert.get(move.slot) if move.slot else plan.sites.get(move.key)
    return move.today if setting is None else setting.stride


def farthest(places: Sequence[Place], chosen: Collection[int], count: int) -> list[int]:
    """`count` more of `places` at most, each as far as can be from those chosen before; none twice.

    >>> farthest([(0.0,), (1.0,), (5.0,), (5.0,), (3.0,)], [0], 3)
    [2, 4, 1]
    """
    if not chosen:
        raise ValueError("the first of the chosen is given")
    near = [min(math.dist(p, places[c]) for c in chosen) for p in places]
    found: list[int] = []
    while len(found) < count:
        best = max(range(len(places)), key=near.__getitem__, default=-1)
        if best < 0 or near[best] < _SAME:
            break
        found.append(best)
        near = [min(d, math.dist(p, places[best])) for d, p in zip(near, places, strict=True)]
    return found
