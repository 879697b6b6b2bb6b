"""Traces of one network at several input sizes, side by side: what one shows as constants, another settles.

A forward may branch on sizes, and torch runs other ops where one position is left; what came before is comparable. A
size that is another tensor's in all of them follows it; `x[:1]` and `x[:-15]` are the same call at 16 positions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import groupby

from stridewise.axis import IDENTITY, AxisMap, Resize, Slice
from stridewise.ir import Graph, Grid, Node, Pin


def shared_nodes(graph: Graph, twin: Graph) -> int:
    """The number of leading nodes that are calls of the same op in both."""
    for at, (one, other) in enumerate(zip(graph.nodes, twin.nodes, strict=False)):
        if one.target != other.target:
            return at
    return min(len(graph.nodes), len(twin.nodes))


def shared_grids(graph: Graph, twin: Graph) -> int:
    """The number of leading grids that the same nodes made in both: they have the same indices."""
    nodes = shared_nodes(graph, twin)
    for at, (one, other) in enumerate(zip(graph.grids, twin.grids, strict=False)):
        if one.node != other.node or (one.node is not None and one.node >= nodes):
            return at
    return min(len(graph.grids), len(twin.grids))


def reaching(graph: Graph, twins: Sequence[Graph]) -> list[tuple[Graph, int]]:
    """Each twin with the number of leading grids it shares with the graph."""
    return [(twin, shared_grids(graph, twin)) for twin in twins]


def aligned(graph: Graph, twin: Graph) -> Graph:
    """The twin with its nodes numbered as the graph's. A call with several slices becomes an op for each of them that
    cuts something, at one size these and at another those: here it is what it is in the graph."""
    places: list[int] = []  # of each of the twin's nodes
    nodes: list[Node] = []
    for serial, group in groupby(twin.nodes, key=_slicing):
        run = list(group)
        if serial is not None:
            here = [node for node in graph.nodes[len(nodes) : len(nodes) + _MOST_SLICES] if _slicing(node) == serial]
            if here and here[0].index == len(nodes) and len(here) != len(run):
                places += [len(nodes) + min(at, len(here) - 1) for at in range(len(run))]
                nodes += here
                continue
        places += range(len(nodes), len(nodes) + len(run))
        nodes += run
    if len(nodes) == len(twin.nodes):
        return twin
    last: dict[int, int] = {}  # the graph's grids say which of its slices made each
    for grid in graph.grids:
        if grid.node is not None and _slicing(graph.nodes[grid.node]) is not None:
            last[grid.index] = grid.node

    def moved(grid: Grid) -> Grid:
        if grid.node is None:
            return grid
        sliced = _slicing(twin.nodes[grid.node]) is not None and grid.index in last
        return replace(grid, node=last[grid.index] if sliced else places[grid.node])

    return replace(
        twin,
        nodes=tuple(replace(node, index=at) for at, node in enumerate(nodes)),
        grids=tuple(moved(grid) for grid in twin.grids),
        pins=tuple(replace(pin, node=places[pin.node]) for pin in twin.pins),
    )


_MOST_SLICES = 8


def _slicing(node: Node) -> int | None:
    """Which call with slices a node is of."""
    return node.attrs.get("serial")


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
                    message=f"resized to {by}, {'known at this input size alone' if grid.alone else 'a constant'}",
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
