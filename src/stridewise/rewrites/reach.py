"""How far apart positions lie when sites have given steps: cumulative strides from steps (DESIGN 3.4)."""

from __future__ import annotations

from collections.abc import Mapping
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
    reach: list[Fraction | None] = [None] * parts.count
    if parts.count:
        reach[0] = Fraction(1)
    changed = True
    while changed:
        changed = False
        for edge in parts.edges:
            ratio = Fraction(steps[edge.node]) if edge.site else edge.ratio
            a, b = reach[edge.source], reach[edge.target]
            if a is not None and b is None:
                reach[edge.target] = a * ratio
                changed = True
            elif b is not None and a is None:
                reach[edge.source] = b / ratio
                changed = True
    return [Fraction(1) if c is None else c for c in reach]
