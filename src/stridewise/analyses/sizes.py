"""Sizes of every grid at any input size and under any plan, from the geometry alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from stridewise.axis import AxisMap
from stridewise.errors import GeometryError, by
from stridewise.ir import Graph, Grid, Node, Sizes, remembered

# Grids whose maps a plan replaces.
Maps: TypeAlias = Mapping[int, tuple[AxisMap, ...]]


def where(graph: Graph, grid: Grid) -> str:
    """The name of the op that made a grid, for messages."""
    if grid.node is None:
        return "input"
    return name_of(graph, graph.nodes[grid.node])


def name_of(graph: Graph, node: Node) -> str:
    """A node's key, else its module and op; of several in one module the second is "#2"."""
    if node.key:
        return node.key
    name, at = _unnamed(node), _calls_before(graph)[node.index]
    return f"{name}#{at + 1}" if at else name


def _unnamed(node: Node) -> str:
    return f"{node.path}/{node.op}" if node.path else node.op


@remembered
def _calls_before(graph: Graph) -> Mapping[int, int]:
    """By node without a key, how many of its name stand before it."""
    count: Counter[str] = Counter()
    out: dict[int, int] = {}
    for node in graph.nodes:
        if not node.key:
            name = _unnamed(node)
            out[node.index] = count[name]
            count[name] += 1
    return out


def grid_sizes(
    graph: Graph,
    inputs: Mapping[int, Sizes] | Sizes | None = None,
    maps: Maps | None = None,
    extra: Sequence[Grid] = (),
) -> list[Sizes]:
    """Positions of every grid, one size an axis.

    inputs: sizes of the main input, or of each input grid; None keeps the traced ones. maps: replaced maps by grid.
    Raises: GeometryError naming the op where no window fits or joined sizes differ, or where an axis is missing.
    """
    given = inputs if isinstance(inputs, Mapping) else {} if inputs is None else {0: tuple(inputs)}
    maps = maps or {}
    for grid in graph.grids:
        wanted = given.get(grid.index, grid.sizes)
        if grid.kind == "input" and len(wanted) != len(grid.sizes):
            raise GeometryError(
                f"{graph.model}: an input has {len(grid.sizes)} axes of positions as it was traced, not {len(wanted)}"
            )
    sizes: list[Sizes] = []
    for grid in graph.grids:
        sizes.append(size_of(graph, grid, sizes, given, maps))
    return sizes


def size_of(graph: Graph, grid: Grid, sizes: Sequence[Sizes], given: Mapping[int, Sizes], maps: Maps) -> Sizes:
    """One grid's sizes, those before it known. Raises: GeometryError naming the op."""
    kind = grid.kind
    if grid.alone and sizes[grid.sources[0]] != graph.grids[grid.sources[0]].sizes:
        raise GeometryError(f"{where(graph, grid)}: {known_alone(graph, grid)}")
    if kind == "map":
        source = sizes[grid.sources[0]]
        used = maps.get(grid.index, grid.maps)
        try:
            return tuple([m.out_size(n) for m, n in zip(used, source, strict=True)])
        except GeometryError as error:
            raise GeometryError(f"{where(graph, grid)}: {error}") from error
    if kind == "join":
        return _joined(graph, grid, sizes, not maps)
    if kind == "input":
        return tuple(given.get(grid.index, grid.sizes))
    if kind == "follow":
        return tuple([sizes[grid.followed(axis)][axis] for axis in range(len(grid.sizes))])
    if kind == "concat":
        first = list(sizes[grid.sources[0]])
        first[grid.axis] = sum(sizes[s][grid.axis] for s in grid.sources)
        return tuple(first)
    return grid.sizes


def known_alone(graph: Graph, grid: Grid) -> str:
    """Why no size follows from another input's, in words."""
    before = graph.grids[grid.sources[0]].sizes
    return f"makes {by(grid.sizes)} of {by(before)} by numbers that are not followed: other sizes need another trace"


def spreads_one(graph: Graph, grid: Grid) -> bool:
    """Whether operands that meet on a grid may measure 1 where others measure more (broadcasting, not in place)."""
    node = None if grid.node is None else graph.nodes[grid.node]
    return node is not None and node.op == "join" and not f"{node.target}.".split(".")[1].endswith("_")


def _joined(graph: Graph, grid: Grid, sizes: Sequence[Sizes], spread: bool) -> Sizes:
    """The size all sources share, per axis, leaving out those that have no positions there any more; spread: one
    position may be spread over many, which a plan is not to rely on."""
    first = sizes[grid.sources[0]]
    if grid.mixes:  # attention and statistics: the first source says where, the others are let in
        return first
    if all(grid.local) and all(sizes[s] == first and graph.grids[s].local == grid.local for s in grid.sources):
        return first
    out = []
    for axis, local in enumerate(grid.local):
        found = [(s, sizes[s][axis]) for s in grid.sources if graph.grids[s].local[axis]]
        if spread and {size for _, size in found} - {1} and spreads_one(graph, grid):
            found = [(s, size) for s, size in found if size > 1]
        if len({size for _, size in found}) > 1:
            parts = ", ".join(f"{size} from {where(graph, graph.grids[s])}" for s, size in dict(found).items())
            raise GeometryError(f"{where(graph, grid)}: sizes on axis {axis} differ: {parts}")
        out.append(found[0][1] if local and found else 1)
    return tuple(out)
