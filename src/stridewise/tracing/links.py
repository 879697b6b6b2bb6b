"""Sizes that one trace shows as constants, settled by a second trace at another input size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from fractions import Fraction

from stridewise.axis import IDENTITY, AxisMap, Resize
from stridewise.ir import Graph, Grid, Pin
from stridewise.tracing.twins import reaching


def has_constant_sizes(graph: Graph, stated: Collection[int] = ()) -> bool:
    """Whether some size stays a question that only a trace at another input size answers; `stated`: nodes whose module
    holds their size as a number."""
    asked = {p.grid for p in graph.pins if p.kind == "size" and p.node not in stated}
    return any(grid.kind == "fixed" or grid.index in asked for grid in graph.grids)


def with_links(graph: Graph, twins: Sequence[Graph]) -> Graph:
    """The graph with its constant sizes settled by traces at other input sizes.

    A size that is another tensor's in all of them is free and follows it; one that stays is fixed and pinned.
    """
    if not has_constant_sizes(graph):
        return graph
    shared = reaching(graph, twins)
    grids, pins = list(graph.grids), list(graph.pins)
    for grid in graph.grids:
        twins = [twin for twin, count in shared if grid.index < count]
        adaptive = _adaptive_link(grid, graph)
        if grid.kind != "fixed" and not adaptive:
            continue
        if any(twin.grids[grid.index].sizes != grid.sizes for twin in twins):
            found = _reference(graph, twins, grid)
            if found is not None:
                grids[grid.index] = replace(grid, kind="follow", sources=(*grid.sources, found))
                pins = [p for p in pins if p.grid != grid.index]
                continue
            factors = _factors(graph, twins, grid)
            if factors is not None:
                grids[grid.index] = replace(grid, kind="map", maps=factors)
                pins = [p for p in pins if p.grid != grid.index]
                continue
            kept = _as_it_comes(graph, twins, grid)
            if kept is not None:
                grids[grid.index], held = kept
                pins = [replace(p, axes=held) if p.grid == grid.index else p for p in pins]
                continue
        if not adaptive and grid.node is not None:
            by = "x".join(map(str, grid.sizes))
            pins.append(
                Pin(
                    kind="size",
                    grid=grid.index,
                    node=grid.node,
                    sizes=grid.sizes,
                    message=f"resized to {by}, a constant",
                )
            )
    return replace(graph, grids=tuple(grids), pins=tuple(pins))


def _adaptive_link(grid: Grid, graph: Graph) -> bool:
    return any(p.grid == grid.index and p.kind == "size" for p in graph.pins)


def _reference(graph: Graph, twins: Sequence[Graph], grid: Grid) -> int | None:
    """The latest grid before `grid` that measures the same in all traces."""
    for other in reversed(graph.grids[: grid.index]):
        same = other.sizes == grid.sizes and all(t.grids[other.index].sizes == t.grids[grid.index].sizes for t in twins)
        if same and all(other.local) and other.index not in grid.sources:
            return other.index
    return None


def _as_it_comes(graph: Graph, twins: Sequence[Graph], grid: Grid) -> tuple[Grid, tuple[int, ...]] | None:
    """An adaptive pool that leaves some axes as they come in, and the axes that it sets; None for others."""
    traces = (graph, *twins)
    free = [
        all(t.grids[grid.index].sizes[a] == t.grids[grid.sources[0]].sizes[a] for t in traces)
        for a in range(len(grid.sizes))
    ]
    if grid.kind != "map" or not any(free):
        return None
    maps = tuple(IDENTITY if same else change for same, change in zip(free, grid.maps, strict=True))
    return replace(grid, maps=maps), tuple(a for a, same in enumerate(free) if not same)


def _factors(graph: Graph, twins: Sequence[Graph], grid: Grid) -> tuple[AxisMap, ...] | None:
    """Fixed factors that give the grid's sizes from its source in all traces."""
    if not grid.sources or grid.kind != "fixed":
        return None
    before = graph.grids[grid.sources[0]].sizes
    maps: list[AxisMap] = []
    for a, (n, change) in enumerate(zip(grid.sizes, grid.maps, strict=True)):
        factor = Fraction(n, before[a])
        others = [(t.grids[grid.sources[0]].sizes[a], t.grids[grid.index].sizes[a]) for t in twins]
        if any(factor * size != out for size, out in others) or not isinstance(change, Resize):
            return None
        maps.append(replace(change, factor=factor, to=None))
    return tuple(maps)
