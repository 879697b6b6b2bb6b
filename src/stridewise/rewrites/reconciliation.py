"""Where parallel paths meet, and the end padding that lets a changed window that falls short meet the others.

A window of step s *falls short* where it gives fewer positions than ceil(size / s), as a 2x2 average at step 1 does.
At a join whose parts differ in size, each shorter part's nearest changed window, with only steps of 1 behind it, gets
the missing rows at its end, if it falls short by as many. It must lie on that part's path alone, and no earlier join
may have settled its size already; else the plan is refused. So every window's padding follows from one join, and there
is exactly one answer whatever is read first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from stridewise.analyses.sizes import grid_sizes, size_of, where
from stridewise.analyses.strides import components, is_site_window
from stridewise.axis import AxisMap, Slice, Window
from stridewise.errors import GeometryError
from stridewise.ir import Graph, Grid, Sizes, remembered

# join -> per source (that has positions on the axis) the windows that may be padded for it, the nearest first.
Paddable: TypeAlias = Mapping[int, tuple[tuple[int, ...], ...]]
Pads: TypeAlias = tuple[tuple[str, int, int], ...]


def reconciled(
    graph: Graph, maps: Mapping[int, tuple[AxisMap, ...]], inputs: Sizes | None = None
) -> tuple[list[Sizes], Pads, dict[int, tuple[AxisMap, ...]]]:
    """(sizes, pads, maps) where changed windows that fall short of a parallel path got the missing end padding.

    pads: (site, axis, rows) each. Raises: GeometryError where sizes do not meet all the same.
    """
    maps = dict(maps)
    try:
        return grid_sizes(graph, inputs, maps), (), maps
    except GeometryError:
        pass
    given = {} if inputs is None else {0: tuple(inputs)}
    sizes: list[Sizes] = []
    pads: dict[tuple[int, int], int] = {}
    while len(sizes) < len(graph.grids):
        grid = graph.grids[len(sizes)]
        try:
            sizes.append(size_of(graph, grid, sizes, given, maps))
        except GeometryError:
            found = _missing(graph, grid, sizes, maps)
            if not found or any((at, axis) in pads for at, axis, _ in found):
                raise
            for at, axis, rows in found:
                change = maps[at][axis]
                assert isinstance(change, Window)
                pads[at, axis] = rows * change.stride
                padded = replace(change, pad_end=change.pad_end + rows * change.stride)
                maps[at] = (*maps[at][:axis], padded, *maps[at][axis + 1 :])
            del sizes[min(at for at, _, _ in found) :]
    names = tuple((where(graph, graph.grids[g]), axis, rows) for (g, axis), rows in sorted(pads.items()))
    return sizes, names, maps


def _missing(
    graph: Graph, grid: Grid, sizes: list[Sizes], maps: Mapping[int, tuple[AxisMap, ...]]
) -> list[tuple[int, int, int]]:
    """(window, axis, rows its output lacks) for the shorter parts of a join, none where one of them cannot be met."""
    out = []
    for axis in range(len(grid.sizes)):
        chains = paddable_windows(graph, axis).get(grid.index, ())
        found = [sizes[s][axis] for s in local_sources(graph, grid, axis)]
        for chain, size in zip(chains, found, strict=bool(chains)):
            if size < max(found):
                at = _nearest(graph, chain, maps, axis)
                if at is None or shortfall(maps[at][axis], sizes[graph.grids[at].sources[0]][axis]) < max(found) - size:
                    return []
                out.append((at, axis, max(found) - size))
    return out


def _nearest(graph: Graph, chain: tuple[int, ...], maps: Mapping[int, tuple[AxisMap, ...]], axis: int) -> int | None:
    """The first changed window of a chain with only steps of 1 before it."""
    for at in chain:
        if at in maps:
            return at
        if getattr(graph.grids[at].maps[axis], "stride", 0) != 1:
            return None
    return None


def shortfall(change: AxisMap, size: int) -> int:
    """Positions by which a window falls short of ceil(size / step); 0 where it does not."""
    if not isinstance(change, Window) or change.same:
        return 0
    return max(-(-size // change.stride) - change.out_size(size), 0)


def keeps_size(change: AxisMap) -> bool:
    """Whether a map's output is as long as its input, whatever that is."""
    if isinstance(change, Window):
        return change.stride == 1 and (bool(change.same) or change.pad_begin + change.pad_end == change.span - 1)
    return change == Slice()


def local_sources(graph: Graph, grid: Grid, axis: int) -> list[int]:
    """The sources of a join that have positions on an axis."""
    return [s for s in grid.sources if graph.grids[s].local[axis]] if grid.local[axis] else []


@remembered
def paddable_windows(graph: Graph, axis: int) -> Paddable:
    """The joins whose parts may differ in size under some plan, and what may be padded for each."""
    inner = components(graph, axis).inner
    free = {g.index for g in graph.grids if is_site_window(graph, g) and g.local[axis] and g.node not in inner}
    alike: list[int] = []  # the first grid that always measures the same
    hangs: list[int] = []  # bit w: its size hangs on window w
    settles: dict[int, int] = {}
    out: dict[int, tuple[tuple[int, ...], ...]] = {}
    for grid in graph.grids:
        sources = local_sources(graph, grid, axis) if grid.kind == "join" and not grid.mixes else grid.sources
        if grid.kind == "follow":
            sources = (grid.followed(axis),)
        elif grid.kind == "map" or grid.mixes:
            sources = sources[:1]
        same = {alike[s] for s in sources}
        on = 0
        for source in sources:
            on |= hangs[source]
        if grid.index in free:
            on |= 1 << grid.index
        elif (grid.kind == "map" and not keeps_size(grid.maps[axis])) or grid.kind in ("concat", "fixed", "unknown"):
            same = set()
        alike.append(same.pop() if len(same) == 1 and grid.index not in free else grid.index)
        hangs.append(on)
        if len(same) > 1 and grid.kind == "join":
            for window in free:
                if on >> window & 1:
                    settles.setdefault(window, grid.index)
            out[grid.index] = tuple(
                _chain(graph, axis, s, free, alike, _others(hangs, sources, i), settles, grid.index)
                for i, s in enumerate(sources)
            )
    return out


def _others(hangs: list[int], sources: list[int] | tuple[int, ...], but: int) -> int:
    """The windows that the sizes of all sources but one hang on."""
    out = 0
    for i, source in enumerate(sources):
        out |= hangs[source] if i != but else 0
    return out


def _chain(
    graph: Graph,
    axis: int,
    at: int,
    free: set[int],
    alike: list[int],
    others: int,
    settles: Mapping[int, int],
    join: int,
) -> tuple[int, ...]:
    """The windows before a join's source, while only steps of 1 and no other part of the join lie behind them."""
    out: list[int] = []
    while True:
        grid = graph.grids[at]
        if at in free:
            if others >> at & 1 or settles[at] != join:
                return tuple(out)
            out.append(at)
        elif grid.kind == "join":
            if not grid.mixes and alike[at] == at:
                return tuple(out)
        elif (
            grid.kind != "map" or getattr(grid.maps[axis], "stride", 0) != 1 or not isinstance(grid.maps[axis], Window)
        ):
            return tuple(out)
        sources = local_sources(graph, grid, axis) if grid.kind == "join" and not grid.mixes else grid.sources
        at = sources[0]
