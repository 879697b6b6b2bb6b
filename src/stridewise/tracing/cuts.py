"""Slices told apart by a second trace: `x[:1]` and `x[:-15]` are the same call at 16 positions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stridewise.axis import AxisMap, Slice
from stridewise.ir import Graph, Grid
from stridewise.tracing.twins import reaching


def has_open_cuts(graph: Graph) -> bool:
    """Whether a slice ends before the end or begins behind the middle: it may be counted from either side."""
    return any(
        isinstance(m, Slice) and (m.stop is not None or m.start >= max(before // 2, 1))
        for grid in graph.grids
        if grid.kind == "map" and not _is_written(graph, grid)
        for m, before in zip(grid.maps, graph.grids[grid.sources[0]].sizes, strict=True)
    )


def _is_written(graph: Graph, grid: Grid) -> bool:
    """Whether its bounds are known as the forward wrote them."""
    return grid.node is not None and "written" in graph.nodes[grid.node].attrs


def with_cuts(graph: Graph, twins: Sequence[Graph]) -> Graph:
    """The graph with its slices settled: counted from the front, from the back, or following another tensor's size."""
    shared = reaching(graph, twins)
    grids = list(graph.grids)
    for grid in graph.grids:
        twins = [twin for twin, count in shared if grid.index < count]
        if not twins or _is_written(graph, grid):
            continue
        again = [twin.grids[grid.index] for twin in twins]
        if {g.kind for g in (grid, *again)} != {"map"} or not any(isinstance(m, Slice) for m in grid.maps):
            continue
        before = graph.grids[grid.sources[0]].sizes
        after = [twin.grids[g.sources[0]].sizes for twin, g in zip(twins, again, strict=True)]
        maps = [
            _settled(change, before[a], grid.sizes[a], [(g.maps[a], n[a]) for g, n in zip(again, after, strict=True)])
            for a, change in enumerate(grid.maps)
        ]
        # A crop that is joined with a map of its size was made to fit it; both may look like a fixed crop here.
        # What is taken in steps to the end was not.
        whole = all(m.stop is None and m.stride > 1 for m in maps if isinstance(m, Slice)) and None not in maps
        joins = () if whole else [g for g in graph.grids if g.kind == "join" and grid.index in g.sources]
        partners = [s for g in joins for s in g.sources]
        following = _following(grid, graph, twins, partners)
        if following is None and any(m is None for m in maps):
            following = _following(grid, graph, twins, range(grid.index))
        grids[grid.index] = following or replace(
            grid, maps=tuple(m or old for m, old in zip(maps, grid.maps, strict=True))
        )
    return replace(graph, grids=tuple(grids))


def _settled(change: AxisMap, before: int, size: int, others: Sequence[tuple[AxisMap, int]]) -> AxisMap | None:
    """The reading of a slice that takes the same positions in all traces, None where neither side does.

    others: the slice and its operand's size in each further trace.
    """
    if not isinstance(change, Slice):
        return change
    seen = [(again, after) for again, after in others if isinstance(again, Slice)]
    end = change.start + (size - 1) * change.stride + 1
    for reading in (
        change,
        replace(change, stop=end),
        replace(change, start=change.start - before),
        replace(change, start=change.start - before, stop=None),
    ):
        if all(_taken(reading, n) == _taken(c, n) for c, n in ((change, before), *seen)):
            return reading
    return None


def _taken(change: Slice, size: int) -> range:
    """The positions of a slice of `size` positions."""
    return range(*slice(change.start, change.stop, change.stride).indices(size))


def _following(grid: Grid, graph: Graph, twins: Sequence[Graph], among: Iterable[int]) -> Grid | None:
    """The grid as a crop to the size of one of `among` (the latest that measures the same in all traces), or None."""
    for index in sorted((i for i in among if i < grid.index), reverse=True):
        other = graph.grids[index]
        same = other.sizes == grid.sizes and all(t.grids[index].sizes == t.grids[grid.index].sizes for t in twins)
        if same and all(other.local) and index not in grid.sources:
            return replace(grid, kind="follow", sources=(*grid.sources, index))
    return None
