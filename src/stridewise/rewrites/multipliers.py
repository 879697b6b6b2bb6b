"""Cumulative strides from steps, and how much finer each grid becomes where a plan keeps the weights.

m = old / new cumulative stride.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from stridewise.analyses.sizes import where
from stridewise.analyses.strides import Components, Edge, components, roots, site_grids
from stridewise.axis import Adaptive, Window
from stridewise.errors import PlanError
from stridewise.ir import Graph, Grid
from stridewise.plans import Plan


def steps_of(graph: Graph, axis: int) -> Mapping[int, int]:
    """Today's step of every steppable site (node index) along an axis."""
    out = {}
    for node, grid in site_grids(graph).items():
        change = graph.grids[grid].maps[axis]
        out[node] = change.stride if isinstance(change, Window) else 1
    return out


def cumulative(graph: Graph, parts: Components, steps: Mapping[int, int]) -> list[Fraction]:
    """The cumulative stride of every component when site n steps by steps[n]; of what lies behind a map resized to a
    fixed size, counted from that map."""
    reach: list[Fraction | None] = [None] * parts.count
    ratios = [(e.source, e.target, Fraction(steps[e.node]) if e.site else e.ratio) for e in parts.edges]
    for root, grid in roots(graph, parts.axis).items():
        if reach[root] is None:
            reach[root] = _first(graph, graph.grids[grid], parts, reach)
            spread(reach, ratios)
    return [Fraction(1) if c is None else c for c in reach]


def _first(graph: Graph, grid: Grid, parts: Components, reach: Sequence[Fraction | None]) -> Fraction:
    """The cumulative stride of a map that no path ties to an input: 1, or of one resized to a fixed size by the same
    factor on all axes its operand's times that, where it is whole."""
    if grid.kind == "fixed":
        source = graph.grids[grid.sources[0]]
        before = reach[home] if (home := parts.of[source.index]) >= 0 else None
        factors = {Fraction(n, m) for n, m in zip(source.sizes, grid.sizes, strict=True)}
        if before is not None and len(factors) == 1 and (before * (factor := factors.pop())).denominator == 1:
            return before * factor
    return Fraction(1)


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


Multipliers: TypeAlias = tuple[int, ...]
"""m along each axis."""


def multipliers_of(graph: Graph, plan: Plan) -> list[Multipliers]:
    """m of every grid. Raises: PlanError for a site that the graph lacks, or where m would not be whole."""
    per_axis = [_along(graph, plan, axis) for axis in range(graph.axes)]
    found = []
    for grid in graph.grids:
        known = [per_axis[axis][grid.index] if axis < graph.axes else 1 for axis in range(len(grid.sizes))]
        found.append(tuple(m if local else 1 for m, local in zip(known, grid.local, strict=True)))
    return found


def _along(graph: Graph, plan: Plan, axis: int) -> list[int]:
    """m of every grid along one axis."""
    parts = components(graph, axis)
    steps = dict(steps_of(graph, axis))
    before = cumulative(graph, parts, steps)
    for key, setting in plan.sites.items():
        node = graph.node_named(key)
        if node is None or node.index not in steps:
            raise PlanError(f"{key}: {graph.model} has no such site; the plan was made for {plan.model or 'another'}")
        steps[node.index] = setting.stride[axis]
    after = _after(graph, parts, steps, before)
    out = []
    for grid in graph.grids:
        home = parts.of[grid.index] if axis < len(grid.sizes) else -1
        new = after[home] if home >= 0 else None
        out.append(_whole(graph, grid, before[home], new) if new is not None and grid.local[axis] else 1)
    return out


def _after(
    graph: Graph, parts: Components, steps: Mapping[int, int], before: Sequence[Fraction]
) -> list[Fraction | None]:
    """The new cumulative stride of each component; a resize gives way to what sites say of its other side."""
    after: list[Fraction | None] = [None] * parts.count
    first = iter(roots(graph, parts.axis))
    free = [not e.site or takes_all(graph, e, parts.axis) for e in parts.edges]
    alike = zip(parts.edges, free, strict=True)
    sites = [(e.source, e.target, Fraction(steps[e.node])) for e, is_free in alike if not is_free]
    while True:
        spread(after, sites)
        ready = (e for e, is_free in zip(parts.edges, free, strict=True) if is_free and after[e.target] is None)
        found = next(((e, a) for e in ready if (a := after[e.source]) is not None), None)
        if found is None:
            root = next((r for r in first if after[r] is None), None)
            if root is None:
                return after
            after[root] = before[root]
            continue
        edge, source = found
        old = before[edge.target]  # which a mean keeps
        after[edge.target] = old if edge.site else _beyond(graph, edge.grid, parts.axis, source, old, edge.ratio)


def takes_all(graph: Graph, edge: Edge, axis: int) -> bool:
    """Whether a site's step is larger than its map, so that one position is left whatever comes in: a mean in effect,
    whose size no plan changes."""
    grid = graph.grids[edge.grid]
    change, size = grid.maps[axis], graph.grids[grid.sources[0]].sizes[axis]
    return edge.site and isinstance(change, Window) and change.stride > size and grid.sizes[axis] == 1


def _whole(graph: Graph, grid: Grid, old: Fraction, new: Fraction) -> int:
    """old / new as a whole number. Raises: PlanError with the strides that would divide the old one."""
    m = old / new
    if m.denominator == 1:
        return int(m)
    choices = [d for d in range(1, int(old) + 1) if old.denominator == 1 and int(old) % d == 0]
    raise PlanError(
        f"{where(graph, grid)}: its cumulative stride {old} becomes {new}, which does not divide it; with kept "
        f"weights possible are {', '.join(map(str, choices))}"
    )


def _beyond(graph: Graph, grid: int, axis: int, source: Fraction, target: Fraction, ratio: Fraction) -> Fraction:
    """The new cumulative stride behind a map of fixed factor.

    source: the new one before it; target: the old one behind it. A map that enlarges never makes it finer than both.
    """
    change = graph.grids[grid].maps[axis]
    if isinstance(change, Adaptive):
        return target
    return min(target, source) if ratio < 1 else source * ratio
