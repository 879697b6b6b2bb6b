"""How far apart positions lie when sites have given steps: cumulative strides from steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from stridewise.analyses.strides import Components, site_grids
from stridewise.axis import Window
from stridewise.ir import Graph


def steps_of(graph: Graph, axis: int) -> Mapping[int, int]:
    """Today's step of every steppable site (node index) along an axis."""
    out = {}
    for node, grid in site_grids(graph).items():
        change = graph.grids[grid].maps[axis]
        out[node] = change.stride if isinstance(change, Window) else 1
    return out


def cumulative(graph: Graph, parts: Components, steps: Mapping[int, int]) -> list[Fraction]:
    """The cumulative stride of every component when site n steps by steps[n]."""
    reach: list[Fraction | None] = [Fraction(1), *[None] * (parts.count - 1)] if parts.count else []
    ratios = [(e.source, e.target, Fraction(steps[e.node]) if e.site else e.ratio) for e in parts.edges]
    spread(reach, ratios)
    return [Fraction(1) if c is None else c for c in reach]


def spread(reach: list[Fraction | None], edges: Sequence[tuple[int, int, Fraction]]) -> None:
    """Fill in what follows from the known cumulative strides, both ways along each edge (source, target, ratio)."""
    changed = True
    while changed:
        changed = False
        for source, target, ratio in edges:
            a, b = reach[source], reach[target]
            if a is not None and b is None:
                reach[target] = a * ratio
                changed = True
            elif b is not None and a is None:
                reach[source] = b / ratio
                changed = True
