"""Sizes that one trace shows as constants, settled by a second trace at another input size."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction

from stridewise.axis import AxisMap, Resize
from stridewise.ir import Graph, Grid, Pin


def has_constant_sizes(graph: Graph, stated: Collection[int] = ()) -> bool:
    """Whether some size stays a question that only a trace at another input size answers; `stated`: nodes whose module
    holds their size as a number."""
    asked = {p.grid for p in graph.pins if p.kind == "size" and p.node not in stated}
    return any(grid.kind == "fixed" or grid.index in asked for grid in graph.grids)


def with_links(graph: Graph, other: Graph | None) -> Graph:
    """The graph with its constant sizes settled by a second trace at another input size (DESIGN 3.4).

    A size that is another tensor's at both is free and follows it; one that stays is fixed and pinned.
    """
    if not has_constant_sizes(graph):
        return graph
    twin = other if other is not None and len(other.grids) == len(graph.grids) else None
    grids, pins = list(graph.grids), list(graph.pins)
    for grid in graph.grids:
        adaptive = _adaptive_link(grid, graph)
        if grid.kind != "fixed" and not adaptive:
            continue
        again = twin.grids[grid.index].sizes if twin else grid.sizes
        if again != grid.sizes and twin is not None:
            found = _reference(graph, twin, grid)
            if found is not None:
                grids[grid.index] = replace(grid, kind="follow", sources=(*grid.sources, found))
                pins = [p for p in pins if p.grid != grid.index]
                continue
            factors = _factors(graph, twin, grid)
            if factors is not None:
                grids[grid.index] = replace(grid, kind="map", maps=factors)
                pins = [p for p in pins if p.grid != grid.index]
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


def _reference(graph: Graph, twin: Graph, grid: Grid) -> int | None:
    """The latest grid before `grid` that measures the same in both traces."""
    for other in reversed(graph.grids[: grid.index]):
        same = other.sizes == grid.sizes and twin.grids[other.index].sizes == twin.grids[grid.index].sizes
        if same and all(other.local) and other.index not in grid.sources:
            return other.index
    return None


def _factors(graph: Graph, twin: Graph, grid: Grid) -> tuple[AxisMap, ...] | None:
    """Fixed factors that give the grid's sizes from its source in both traces."""
    if not grid.sources or grid.kind != "fixed":
        return None
    before, after = graph.grids[grid.sources[0]].sizes, twin.grids[grid.sources[0]].sizes
    maps: list[AxisMap] = []
    for a, (n, m) in enumerate(zip(grid.sizes, twin.grids[grid.index].sizes, strict=True)):
        factor = Fraction(n, before[a])
        change = grid.maps[a]
        if factor * after[a] != m or not isinstance(change, Resize):
            return None
        maps.append(replace(change, factor=factor, to=None))
    return tuple(maps)
