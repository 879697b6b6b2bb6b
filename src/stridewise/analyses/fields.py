"""Receptive fields, cumulative strides and alignment of every grid, and a graph under one plan with all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias

from stridewise.analyses.sizes import Maps, grid_sizes
from stridewise.axis import (
    SELF,
    AxisMap,
    Computed,
    Field,
    Resize,
    Slice,
    Transposed,
    Window,
    join_fields,
    smallest_field,
)
from stridewise.ir import Graph, Grid, Node, Sizes

_NO_MAPS: Maps = {}
Known: TypeAlias = Sequence[tuple[Field, ...]] | Mapping[int, tuple[Field, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Per grid: its field an axis, the smallest field over paths, and whether everything is let in.

    Units: input positions. `misaligned` lists joins whose branches have different centres: (grid, axis, centres).
    """

    full: tuple[tuple[Field, ...], ...]
    least: tuple[tuple[Field, ...], ...]
    everything: tuple[bool, ...]
    misaligned: tuple[tuple[int, int, tuple[Fraction, ...]], ...]


def fields(graph: Graph, sizes: Sequence[Sizes], maps: Maps = _NO_MAPS, smallest: bool = True) -> Fields:
    """The fields of every grid when grid g measures `sizes[g]`; smallest: also the least, else `least` is empty."""
    full: list[tuple[Field, ...]] = []
    least: list[tuple[Field, ...]] = []
    everything: list[bool] = []
    misaligned: list[tuple[int, int, tuple[Fraction, ...]]] = []
    cropped: list[bool] = []
    repeats = any(_repeats(graph, grid) for grid in graph.grids)  # in few networks; else no crop matters
    for grid in graph.grids:
        sources = grid.sources
        full.append(field_of(graph, grid, full, sizes, maps))
        mixed = grid.mixes or not all(grid.local) or any(everything[s] for s in sources)
        if repeats:
            cut = any(map(_crops, grid.maps, sizes[sources[0]], sizes[grid.index])) if grid.maps else False
            cropped.append(cut or any(cropped[s] for s in sources))
            mixed = mixed or (_repeats(graph, grid) and (cropped[-1] or _has_gaps(full[-1])))
        if len(sources) > 1 and not mixed:  # one position spread over many is not where its field says
            spread = grid.kind == "join" and any(sizes[s] != sizes[grid.index] for s in sources)
            mixed = spread or _drifts(graph, grid, full)
        everything.append(mixed)
        if smallest and grid.kind == "map" and least[sources[0]] == full[sources[0]]:
            least.append(full[-1])
        elif smallest:
            least.append(field_of(graph, grid, least, sizes, maps, smallest_field))
        if len(sources) > 1 and grid.kind == "join" and any(full[s] != full[sources[0]] for s in sources[1:]):
            before: dict[int, Field] = {}
            for axis, those in enumerate(_sources_by_axis(graph, grid)):
                parts = {id(full[s][axis]): full[s][axis] for s in those}  # mostly one and the same object
                if parts.keys() != before.keys():  # axes are mostly alike
                    before, centres = parts, [part.centre for part in parts.values()]
                if any(c is not centres[0] and c != centres[0] for c in centres):
                    misaligned.append((grid.index, axis, tuple(sorted(set(centres)))))
    return Fields(full=tuple(full), least=tuple(least), everything=tuple(everything), misaligned=tuple(misaligned))


def _has_gaps(found: Sequence[Field]) -> bool:
    """Whether some positions read nothing (between what a transposed convolution paints): those of a border may."""
    return any(span is None for field in found for span in field.spans)


def _crops(change: AxisMap, size: int, out: int) -> bool:
    """Whether some positions at an end are not read, so that beyond the map's border the picture goes on."""
    if isinstance(change, Resize) and change.factor is not None and not change.align_corners:
        return math.ceil(out / change.factor) < size
    change = change.inner if isinstance(change, Computed) else change
    if isinstance(change, Transposed):  # the first position left away reads no input beyond the map's end
        begin, end = change.pad_begin, change.pad_end - change.output_padding
        return max(begin, end) > 0 and (change.kernel - 1) * change.dilation < max(begin, end) + change.stride - 1
    return isinstance(change, Slice) or (isinstance(change, Window) and min(change.pad_begin, change.pad_end) < 0)


def _repeats(graph: Graph, grid: Grid) -> bool:
    """Whether a map is bordered with its own positions: inside of a picture (a crop's border) they are others than the
    field says, which goes on beyond the border."""
    node = None if grid.node is None else graph.nodes[grid.node]
    if node is None or node.op not in ("pad", "write", "roll"):
        return False
    return node.op == "roll" or node.attrs.get("mode", "constant") != "constant"


def _drifts(graph: Graph, grid: Grid, full: Sequence[tuple[Field, ...]]) -> bool:
    """Whether maps of different cumulative strides meet: no one step says where a position then looks."""
    if grid.kind not in ("join", "concat"):
        return False
    first = full[grid.sources[0]]
    if all(full[s] is first for s in grid.sources[1:]):
        return False
    for axis, those in enumerate(_sources_by_axis(graph, grid)):
        jump = full[those[0]][axis].jump
        if any((j := full[s][axis].jump) is not jump and j != jump for s in those[1:]):
            return True
    return False


def field_of(
    graph: Graph,
    grid: Grid,
    known: Known,
    sizes: Sequence[Sizes] | Mapping[int, Sizes],
    maps: Maps = _NO_MAPS,
    join: Callable[[tuple[Field, ...]], Field] = join_fields,
) -> tuple[Field, ...]:
    """One grid's field an axis, those of its sources known."""
    sources = grid.sources
    if grid.kind == "input":
        return (SELF,) * len(grid.sizes)
    if grid.kind == "map" or (grid.kind == "fixed" and sources):
        used = maps.get(grid.index, grid.maps)
        return _mapped(used, known[sources[0]], sizes[sources[0]])
    if grid.kind == "follow":
        return _followed(grid, known, sizes)
    if grid.kind == "concat":
        return _end_to_end(grid, known, sizes, join)
    return _joined(_sources_by_axis(graph, grid), known, join)


def _end_to_end(
    grid: Grid,
    known: Known,
    sizes: Sequence[Sizes] | Mapping[int, Sizes],
    join: Callable[[tuple[Field, ...]], Field],
) -> tuple[Field, ...]:
    """The fields of a concatenation. Each part's positions are counted from the first part on: parts that continue one
    another (halves put together again) are alike then, others give a hull."""
    out = []
    for axis in range(len(grid.sizes)):
        parts, begin = [], 0
        for source in grid.sources:
            parts.append(known[source][axis].moved(begin) if axis == grid.axis else known[source][axis])
            begin += sizes[source][axis]
        out.append(join(tuple(parts)) if axis != grid.axis else join_fields(tuple(parts)))
    return tuple(out)


def _mapped(used: Sequence[AxisMap], inner: Sequence[Field], before: Sizes) -> tuple[Field, ...]:
    """The fields behind the maps; axes that are alike, as they mostly are, are computed once."""
    out: list[Field] = []
    seen: tuple[Any, ...] = ()
    for facts in zip(used, inner, before, strict=True):
        if facts != seen:  # tuples ask first whether their parts are one and the same, as they mostly are
            change, field, size = seen = facts
            out.append(change.field(field, size))
        else:
            out.append(out[-1])
    return tuple(out)


def _joined(
    by_axis: Sequence[Sequence[int]], known: Known, join: Callable[[tuple[Field, ...]], Field]
) -> tuple[Field, ...]:
    """The joined field an axis; axes that are alike, as they mostly are, are joined once."""
    out: list[Field] = []
    before: tuple[Field, ...] = ()
    for axis, used in enumerate(by_axis):
        parts = tuple([known[s][axis] for s in used])
        out.append(out[-1] if axis and parts == before else join(parts))
        before = parts
    return tuple(out)


def _sources_by_axis(graph: Graph, grid: Grid) -> list[tuple[int, ...]]:
    """Per axis the sources that have positions there (the first where none has)."""
    sources, local = grid.sources, grid.local
    if grid.mixes:
        return [sources[:1]] * len(grid.sizes)
    if all(local) and all(graph.grids[s].local == local for s in sources):
        return [sources] * len(grid.sizes)
    out = []
    for axis in range(len(grid.sizes)):
        there = tuple([s for s in sources if graph.grids[s].local[axis]])
        out.append(there or sources[:1])
    return out


def _followed(grid: Grid, known: Known, sizes: Sequence[Sizes] | Mapping[int, Sizes]) -> tuple[Field, ...]:
    """A resize to another tensor's size: the reference's jump gives the factor, the sizes where that is no help."""
    source, reference = grid.sources[0], grid.sources[-1]
    out = []
    for axis, change in enumerate(grid.maps):
        if isinstance(change, Computed):
            change = change.at(sizes[source][axis], sizes[reference][axis])
        inner, target = known[source][axis], known[reference][axis]
        factor = inner.jump / target.jump
        if isinstance(change, Resize):
            to = sizes[reference][axis]
            if Fraction(to, sizes[source][axis]) == factor:
                out.append(replace(change, factor=factor, to=None).field(inner, sizes[source][axis]))
            else:
                out.append(replace(change, to=to).drifting(inner, sizes[source][axis], 1 / factor))
        else:
            out.append(change.field(inner, sizes[source][axis]))
    return tuple(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A graph, the maps a plan replaces (by grid), and the sizes and fields that follow."""

    graph: Graph
    maps: Maps
    sizes: tuple[Sizes, ...]
    fields: Fields

    def windows(self, node: Node) -> tuple[AxisMap, ...]:
        """The maps of a site, one an axis of its grid, under the plan."""
        assert node.grid is not None
        return self.maps.get(node.grid) or self.graph.grids[node.grid].maps

    def incoming(self, node: Node) -> int:
        """The grid whose positions a site's windows read."""
        assert node.grid is not None
        return self.graph.grids[node.grid].sources[0]


def evaluate(
    graph: Graph,
    maps: Maps | None = None,
    inputs: Mapping[int, Sizes] | Sizes | None = None,
    smallest: bool = True,
    sizes: Sequence[Sizes] | None = None,
) -> State:
    """Sizes and fields of a graph under replaced maps; smallest: also the least fields, which the findings need; sizes:
    those of every grid, where they are known already.

    Raises: GeometryError naming the op where nothing fits.
    """
    maps = maps or {}
    found = tuple(grid_sizes(graph, inputs, maps) if sizes is None else sizes)
    return State(graph=graph, maps=maps, sizes=found, fields=fields(graph, found, maps, smallest))
