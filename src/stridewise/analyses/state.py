"""One graph under one plan, evaluated: what every finding and report reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stridewise.analyses.fields import Fields, fields
from stridewise.analyses.sizes import Maps, grid_sizes
from stridewise.axis import AxisMap
from stridewise.ir import Graph, Node, Sizes


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
