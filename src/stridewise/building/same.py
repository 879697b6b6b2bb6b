"""Padding that a forward or a file works out from the incoming size (TensorFlow's "SAME"), told from constant padding.

A traced pad is only numbers. Where they are what "SAME" asks for before a strided window, a second trace at a size of
another remainder says which it is: constant pads stay, pads of "SAME" follow the rule at that size as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from stridewise.axis import IDENTITY, Window, same_padding
from stridewise.ir import Graph, Grid, Node
from stridewise.ops.registry import only_pads


@dataclass(frozen=True, slots=True)
class _Padded:
    """A window site with what is padded before it: per axis the window, the incoming size and the pads.

    asked: a padding op runs before it, be it of no rows at this size.
    """

    site: Node
    windows: tuple[Window, ...]
    pads: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]
    pad_grid: int | None
    asked: bool

    def rule(self) -> str:
        """ "end" or "begin" where the pads are those of "SAME" with the odd one there, else nothing."""
        both = {"end", "begin"}
        for window, pads, size in zip(self.windows, self.pads, self.sizes, strict=True):
            wanted = same_padding(size, window.kernel, window.stride, window.dilation)
            both -= {"end"} if pads != wanted else set()
            both -= {"begin"} if pads != wanted[::-1] else set()
        return max(both, default="")


def _padded(graph: Graph) -> dict[str, _Padded]:
    """Every window site without padding of its own, by its key."""
    found = {}
    padding = {t for node in graph.nodes if only_pads(node) for t in node.outputs}
    for site in graph.sites:
        grid = graph.grids[site.grid] if site.grid is not None else None
        if grid is None or len(grid.sources) != 1:
            continue
        windows = tuple(m for m in grid.maps if isinstance(m, Window) and not m.ceil_mode)
        if len(windows) != len(grid.maps) or any(w.pad_begin or w.pad_end or w.same for w in windows):
            continue
        source = graph.grids[grid.sources[0]]
        pads: tuple[tuple[int, int], ...] = ((0, 0),) * len(windows)
        pad_grid = None
        if _is_pad(graph, source):
            pads = tuple((m.pad_begin, m.pad_end) for m in source.maps if isinstance(m, Window))
            pad_grid, source = source.index, graph.grids[source.sources[0]]
        found[site.key] = _Padded(site, windows, pads, source.sizes, pad_grid, site.inputs[0] in padding)
    return found


def _is_pad(graph: Graph, grid: Grid) -> bool:
    if grid.kind != "map" or grid.node is None or not only_pads(graph.nodes[grid.node]):
        return False
    return graph.nodes[grid.node].attrs.get("mode") == "constant" and all(
        isinstance(m, Window) and m.pad_begin >= 0 and m.pad_end >= 0 for m in grid.maps
    )


def may_pad_same(graph: Graph) -> bool:
    """Whether some pad before a strided window is what "SAME" would ask for at this size."""
    if not any(only_pads(node) for node in graph.nodes):
        return False
    return any(p.asked and any(w.stride > 1 for w in p.windows) and p.rule() for p in _padded(graph).values())


def settled_padding(graph: Graph, larger: Callable[[int], Graph | None]) -> Graph:
    """The graph with its padding of "SAME" told from constant padding; larger: the graph with so many more positions
    along each axis of its inputs, None where it takes none such."""
    is_open = may_pad_same(graph)
    for step in (1, 2, 4, 8, 16):  # each turns the remainder at one more level of strides of 2
        twin = larger(step) if is_open else None
        if twin is not None:
            graph, is_open = with_same_padding(graph, twin)
    return graph


def with_same_padding(graph: Graph, twin: Graph) -> tuple[Graph, bool]:
    """The graph with windows that pad by the rule of "SAME", as `twin`, the trace at another size, proves them to.

    The rule becomes the window's own, and the pad before it, if there was one at this size, an identity. The second
    answer says whether a question stays open: a site that pads alike in both traces, as "SAME" would in both.
    """
    grids, nodes, is_open = list(graph.grids), list(graph.nodes), False
    others = _padded(twin)
    for key, here in _padded(graph).items():
        there = others.get(key)
        rule = here.rule()
        if there is None or not rule:
            continue
        if here.pads == there.pads or rule != there.rule():
            steps = here.asked and any(w.stride > 1 for w in here.windows)
            is_open |= steps and here.pads == there.pads and bool(there.rule())
            continue
        maps = tuple(replace(w, same=rule) for w in here.windows)
        assert here.site.grid is not None
        if here.pad_grid is not None:
            grids[here.pad_grid] = replace(grids[here.pad_grid], sizes=here.sizes, maps=(IDENTITY,) * len(here.windows))
        grids[here.site.grid] = replace(grids[here.site.grid], maps=maps)
        nodes[here.site.index] = replace(here.site, attrs={**here.site.attrs, "maps": maps})
    return replace(graph, grids=tuple(grids), nodes=tuple(nodes)), is_open
