"""Traces of one network at two input sizes, side by side: how far they took the same way.

A forward may branch on sizes, and torch runs other ops where one position is left; what came before is comparable.
"""

from __future__ import annotations

from collections.abc import Sequence

from stridewise.ir import Graph


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
