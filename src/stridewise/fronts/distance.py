"""How far plans lie from each other: by where each layer stands in size, and by what the whole costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TypeAlias

from stridewise.ir import Graph

Place: TypeAlias = tuple[float, ...]
_SAME = 1e-9  # plans nearer than this are one


def place_of(graph: Graph, under: Graph, macs: int) -> Place:
    """Where a plan lies: log2 of every counted layer's positions, and of the multiply-adds as much as all of them.

    graph: as it is, which names the layers; under: the same network under the plan.
    """
    sizes = {n.key: n.macs.at([g.sizes for g in under.grids]) for n in under.nodes if n.counted}
    layers = [math.log2(max(sizes.get(n.key, 1), 1)) for n in graph.nodes if n.counted and n.macs.over]
    return (*layers, math.sqrt(len(layers)) * math.log2(max(macs, 1)))


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
