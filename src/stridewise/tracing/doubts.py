"""What a trace at one size cannot tell from constants, found out by traces at others: the two-size rule.

A forward reads sizes as plain numbers, so `x[..., : n // 2]`, a view by numbers or a pad worked out from a size look
like constants. The geometry read at one size has to give the sizes that are met at another; where it does not, the op
is not followed, and the report says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from stridewise.analyses.sizes import size_of
from stridewise.axis import IDENTITY, Slice, Window
from stridewise.errors import GeometryError
from stridewise.ir import Graph, Sizes
from stridewise.ops.registry import only_pads
from stridewise.tracing.twins import reaching, shared_grids, shared_nodes

NOT_FOLLOWED = "its sizes follow the input's in a way that is not followed"
_ASKING = frozenset(("view", "tile", "fold", "split", "slice", "write"))
NOTHING_CUT = "aten.alias.default"  # what torch makes of a slice that takes everything
_SPLITTING = frozenset(("view", "expand", "unfold", "split"))


def is_asking(graph: Graph, stated: Callable[[str], bool]) -> bool:
    """Whether some op got numbers that the forward may have worked out from sizes.

    stated: whether the module of a path holds the numbers of its paddings itself.
    """
    if any(p.kind == "window" for p in graph.pins) or _splits_one(graph):
        return True
    if any("whole" in node.attrs or node.target == NOTHING_CUT for node in graph.nodes):
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


def _splits_one(graph: Graph) -> bool:
    """Whether positions are moved behind an axis of which one alone is left: where it goes shows at other sizes."""
    small = [g.node for g in graph.grids if g.node is not None and any(map(_is_one, g.sizes, g.local))]
    first = min(small, default=len(graph.nodes))
    return any(node.op in _SPLITTING for node in graph.nodes[first:])


def _is_one(size: int, local: bool) -> bool:
    return local and size == 1


def doubtful(graph: Graph, twins: Sequence[Graph]) -> Mapping[int, str]:
    """By node the reason why its geometry is not believed: it gives other sizes than `twins`, traces at other sizes."""
    found: dict[int, str] = {}
    exempt = _pads_of_windows(graph)
    ours = Counter(grid.node for grid in graph.grids)
    found |= _unproven(graph, twins)
    filling = _fills_windows(graph)
    for twin in twins:
        made: dict[int | None, list[Sizes]] = {}
        for grid in twin.grids:
            made.setdefault(grid.node, []).append(grid.sizes)
        # A map filled up to whole windows takes another way from there on.
        filled = [n for n in made if n is not None and n < len(graph.nodes) and not ours[n]]
        filled = [n for n in filled if n not in exempt and only_pads(graph.nodes[n])]
        nodes = min(shared_nodes(graph, twin), *filled, len(graph.nodes))
        before: Counter[int | None] = Counter()
        sizes: list[Sizes] = []
        given = {grid.index: grid.sizes for grid in twin.grids if grid.kind == "input"}
        for grid in graph.grids:
            if grid.node is not None and grid.node >= nodes:
                break
            there = made.get(grid.node, [])
            at, before[grid.node] = before[grid.node], before[grid.node] + 1
            try:
                said = size_of(graph, grid, sizes, given, {})
            except GeometryError:
                said = ()
            # A split into parts of one size makes more of them on larger maps: the first are the same.
            parts = grid.node is not None and graph.nodes[grid.node].op == "split" and len(there) >= ours[grid.node]
            real = there[at] if len(there) == ours[grid.node] or parts else None
            if grid.node in exempt:
                sizes.append(said or grid.sizes)
                continue
            if grid.alone:
                sizes.append(real or grid.sizes)
                continue
            if grid.node in filling and real != said:
                nodes = min(nodes, grid.node or 0)
                break
            if real is None and not there and len(grid.sources) == 1:  # it moved nothing there
                sizes.append(sizes[grid.sources[0]])
            else:
                sizes.append(real if real is not None else said or grid.sizes)
            if grid.node is not None and real != said:
                found[grid.node] = NOT_FOLLOWED
        # What moves nothing at this size (all that is left taken, one position split) and makes positions at another.
        if nodes < min(len(graph.nodes), len(twin.nodes)) and graph.nodes[nodes].target == NOTHING_CUT:
            found[nodes] = NOT_FOLLOWED
        at = shared_nodes(graph, twin)
        apart = at < min(len(graph.nodes), len(twin.nodes)) and "clone" not in twin.nodes[at].target
        if apart and _holds_one(graph, twin, at):  # a copy in another order changes nothing
            found[at] = NOT_FOLLOWED
        parted = {p.node for p in graph.pins if p.kind == "window"}
        found |= {
            p.node: NOT_FOLLOWED for p in twin.pins if p.kind == "window" and p.node < nodes and p.node not in parted
        }
        found |= {n: NOT_FOLLOWED for n in made if n is not None and n < nodes and not ours[n] and n not in exempt}
    return found


def _holds_one(graph: Graph, twin: Graph, node: int) -> bool:
    """Whether an op from which on the traces differ reads an axis that holds one position here and several there."""
    held = [pair for t in graph.nodes[node].inputs for pair in graph.tensors[t].volume.over]
    count = shared_grids(graph, twin)
    return any(g < count and graph.grids[g].sizes[a] == 1 < twin.grids[g].sizes[a] for g, a in held)


_NEAR = 2  # sizes that differ by no more often leave the same number of positions behind a step


def _unproven(graph: Graph, twins: Sequence[Graph]) -> dict[int, str]:
    """What looks like a constant along an axis on which the network takes hardly another size, and at none of these
    another number of positions comes in."""
    here = graph.grids[0].sizes if graph.grids else ()
    apart = [[abs(t.grids[0].sizes[a] - n) for t in twins] for a, n in enumerate(here)]
    near = [a for a, along in enumerate(apart) if along and max(along) <= _NEAR]
    if len(near) < len(here):  # an axis with one size alone is held to it by something that says so
        near = [a for a in near if any(apart[a])]
    found = {}
    for node in graph.nodes if near else ():
        of = graph.tensors[node.inputs[0]].grid if node.op == "view" and "whole" in node.attrs else None
        if of is not None:  # one part of as many positions as there are
            others = [t.grids[of].sizes for t, count in reaching(graph, twins) if of < count]
            if any(a in node.attrs["whole"] and len({sizes[a] for sizes in others}) < 2 for a in near):
                found[node.index] = NOT_FOLLOWED
    for grid in graph.grids:
        if grid.node is None or not grid.maps or grid.kind == "follow":
            continue
        for axis, (change, size) in enumerate(zip(grid.maps, graph.grids[grid.sources[0]].sizes, strict=True)):
            if axis not in near:
                continue
            is_cut = isinstance(change, Slice) and (change.stop is not None or change.start >= max(size // 2, 1))
            if isinstance(change, Slice) and change.stop is not None and change.stop > 0:
                found[grid.node] = NOT_FOLLOWED
            among = [t.grids[grid.sources[0]].sizes[axis] for t, count in reaching(graph, twins) if grid.index < count]
            if (is_cut or grid.kind == "fixed") and all(n == size for n in among):
                found[grid.node] = NOT_FOLLOWED
    return found


def _fills_windows(graph: Graph) -> set[int]:
    """Paddings at the end that fill a map up to whole parts: their pin says which sizes it is known for."""
    last = max((p.node for p in graph.pins if p.kind == "window"), default=-1)
    return {
        node.index
        for node in graph.nodes[: last + 1]
        if only_pads(node) and node.attrs.get("mode") == "constant" and not any(b for b, _ in node.attrs["pads"])
    }


def _pads_of_windows(graph: Graph) -> set[int]:
    """Paddings of "SAME" that the window behind them stands for: its size says whether they are read rightly."""
    same = [n for n in graph.nodes if any(isinstance(m, Window) and m.same for m in n.attrs.get("maps", ()))]
    if not same:
        return set()
    padding = {t: node.index for node in graph.nodes if only_pads(node) for t in node.outputs}
    return {padding[node.inputs[0]] for node in same if node.inputs and node.inputs[0] in padding}
