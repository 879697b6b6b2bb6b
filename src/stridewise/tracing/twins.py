"""Traces of one network at two input sizes, side by side: how far they took the same way.

A forward may branch on sizes, and torch runs other ops where one position is left; what came before is comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from stridewise.ir import Graph, Grid, Node


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
