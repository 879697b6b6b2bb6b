"""Slices told apart by a second trace: `x[:1]` and `x[:-15]` are the same call at 16 positions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stridewise.axis import AxisMap, Slice
from stridewise.ir import Graph, Grid


def has_open_cuts(graph: Graph) -> bool:
    """Whether a slice ends before the end or begins behind the middle: it may be counted from either side."""
    return any(
        isinstance(m, Slice) and (m.stop is not None or m.start > before // 2)
        for grid in graph.grids
        if grid.kind == "map"
        for m, before in zip(grid.maps, graph.grids[grid.sources[0]].sizes, strict=True)
    )


def with_cuts(graph: Graph, twin: Graph | None) -> Graph:
    """The graph with its slices settled: counted from the front, from the back, or following another tensor's size."""
    if twin is None or len(twin.grids) != len(graph.grids):
        return graph
    grids = list(graph.grids)
    for grid, again in zip(graph.grids, twin.grids, strict=True):
        if grid.kind != "map" or again.kind != "map" or not any(isinstance(m, Slice) for m in grid.maps):
            continue
        before, after = graph.grids[grid.sources[0]].sizes, twin.grids[again.sources[0]].sizes
        maps = [_settled(*facts) for facts in zip(grid.maps, again.maps, before, after, grid.sizes, strict=True)]
        # A crop that is joined with a map of its size was made to fit it; both may look like a fixed crop here.
        partners = [s for g in graph.grids if g.kind == "join" and grid.index in g.sources for s in g.sources]
        following = _following(grid, graph, twin, partners)
        if following is None and any(m is None for m in maps):
            following = _following(grid, graph, twin, range(grid.index))
        grids[grid.index] = following or replace(
            grid, maps=tuple(m or old for m, old in zip(maps, grid.maps, strict=True))
        )
    return replace(graph, grids=tuple(grids))


def _settled(change: AxisMap, again: AxisMap, before: int, after: int, size: int) -> AxisMap | None:
    """The reading of a slice that takes the same positions as both traces, None where neither side does."""
    if not isinstance(change, Slice) or not isinstance(again, Slice):
        return change
    end = change.start + (size - 1) * change.stride + 1
    for reading in (
        change,
        replace(change, stop=end),
        replace(change, start=change.start - before),
        replace(change, start=change.start - before, stop=None),
    ):
        if _taken(reading, before) == _taken(change, before) and _taken(reading, after) == _taken(again, after):
            return reading
    return None


def _taken(change: Slice, size: int) -> range:
    """The positions of a slice of `size` positions."""
    return range(*slice(change.start, change.stop, change.stride).indices(size))


def _following(grid: Grid, graph: Graph, twin: Graph, among: Iterable[int]) -> Grid | None:
    """The grid as a crop to the size of one of `among` (the latest that measures the same in both traces), or None."""
    for index in sorted((i for i in among if i < grid.index), reverse=True):
        other = graph.grids[index]
        same = other.sizes == grid.sizes and twin.grids[index].sizes == twin.grids[grid.index].sizes
        if same and all(other.local) and index not in grid.sources:
            return replace(grid, kind="follow", sources=(*grid.sources, index))
    return None
