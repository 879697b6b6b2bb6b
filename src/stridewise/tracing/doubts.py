"""What a trace at one size cannot tell from constants, found out by traces at others: the two-size rule.

A forward reads sizes as plain numbers, so `x[..., : n // 2]`, a view by numbers or a pad worked out from a size look
like constants. The geometry read at one size has to give the sizes that are met at another; where it does not, the op
is not followed, and the report says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from stridewise.analyses.sizes import size_of
from stridewise.axis import IDENTITY, Window
from stridewise.errors import GeometryError
from stridewise.ir import Graph, Sizes

NOT_FOLLOWED = "its sizes follow the input's in a way that is not followed"
_ASKING = frozenset(("view", "tile", "fold", "split", "slice", "write"))


def is_asking(graph: Graph, stated: Callable[[str], bool]) -> bool:
    """Whether some op got numbers that the forward may have worked out from sizes.

    stated: whether the module of a path holds the numbers of its paddings itself.
    """
    if any(p.kind == "window" for p in graph.pins):
        return True
    for grid in graph.grids:
        node = None if grid.node is None else graph.nodes[grid.node]
        if node is None or grid.kind not in ("map", "concat"):
            continue
        if node.op in _ASKING:
            return True
        if node.op == "pad" and any(m != IDENTITY for m in grid.maps) and not stated(node.path):
            return True
    return False


def doubtful(graph: Graph, twins: Sequence[Graph]) -> Mapping[int, str]:
    """By node the reason why its geometry is not believed: it gives other sizes than `twins`, traces at other sizes."""
    found: dict[int, str] = {}
    known = _pads_of_windows(graph)
    for twin in twins:
        if len(twin.nodes) != len(graph.nodes):
            continue
        made: dict[int | None, list[Sizes]] = {}
        for grid in twin.grids:
            made.setdefault(grid.node, []).append(grid.sizes)
        counts = Counter(grid.node for grid in graph.grids)
        before: Counter[int | None] = Counter()
        sizes: list[Sizes] = []
        given = {grid.index: grid.sizes for grid in twin.grids if grid.kind == "input"}
        for grid in graph.grids:
            there = made.get(grid.node, [])
            at, before[grid.node] = before[grid.node], before[grid.node] + 1
            try:
                said = size_of(graph, grid, sizes, given, {})
            except GeometryError:
                said = ()
            real = there[at] if len(there) == counts[grid.node] else None
            if grid.node in known:
                sizes.append(said or grid.sizes)
                continue
            sizes.append(real if real is not None else said or grid.sizes)
            if grid.node is not None and real != said:
                found[grid.node] = NOT_FOLLOWED
    return found


def _pads_of_windows(graph: Graph) -> set[int]:
    """Paddings of "SAME" that the window behind them stands for: its size says whether they are read rightly."""
    same = {
        grid.sources[0]
        for grid in graph.grids
        if grid.kind == "map" and any(isinstance(m, Window) and m.same for m in grid.maps)
    }
    return {g.node for g in graph.grids if g.index in same and g.node is not None and graph.nodes[g.node].op == "pad"}
