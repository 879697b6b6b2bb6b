"""A step inserted into a graph: one more op, and whatever reads its operand later reads what it made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stridewise.axis import AxisMap
from stridewise.ir import Graph, Grid, Node, Slot, Tensor, Volume
from stridewise.ops.step import Inserted
from stridewise.rewrites.places import Place


def inserted(graph: Graph, place: Place, made: Inserted, key: str, path: str) -> Graph:
    """The graph with a step called `key` of the site or slot at `path`. Sizes are still the old ones.

    Where the place has no reader of its own, its tensor is all that later ops read of its grid.
    """
    tensor, reader = place.tensor, place.reader
    shift = _Shift(graph, place, made)
    source = graph.tensors[tensor]
    assert source.grid is not None
    maps: tuple[AxisMap, ...] = made.windows
    new_grid = replace(
        graph.grids[source.grid],
        index=shift.at_grid,
        kind="map",
        sources=(source.grid,),
        maps=maps,
        node=shift.at_node,
        mixes=made.kind == "polyphase",
    )
    over = tuple((shift.at_grid, a) for _, a in source.volume.over)
    out = replace(
        source,
        index=shift.at_tensor,
        storage=shift.at_tensor,
        grid=shift.at_grid,
        volume=Volume(source.volume.scale, over),
    )
    outs = [out]
    if made.beside:
        like = out if made.beside == "output" else source
        size = 8 if made.kind == "max" else source.itemsize
        outs.append(replace(like, index=shift.at_tensor + 1, storage=shift.at_tensor + 1, itemsize=size))
    new_node = Node(
        index=shift.at_node,
        op=made.op,
        target=f"stridewise.{made.kind}",
        path=path,
        key=key,
        inputs=(tensor,),
        outputs=tuple(t.index for t in outs),
        grid=shift.at_grid,
        site=True,
        counted=made.kind == "blur",
        macs=made.macs(out.volume),
        attrs=made.attrs(source.shape[1]),
        keeps=made.keeps,
    )
    nodes, tensors, grids = graph.nodes, graph.tensors, graph.grids
    return replace(
        graph,
        nodes=(
            *map(shift.node, nodes[: shift.at_node]),
            new_node,
            *map(shift.node, nodes[shift.at_node :]),
        ),
        tensors=(*map(shift.tensor, tensors[: shift.at_tensor]), *outs, *map(shift.tensor, tensors[shift.at_tensor :])),
        grids=(*map(shift.grid, grids[: shift.at_grid]), new_grid, *map(shift.grid, grids[shift.at_grid :])),
        inputs=tuple((n, shift.tensor_at(t, False)) for n, t in graph.inputs),
        outputs=tuple(shift.tensor_at(t, reader is None) for t in graph.outputs),
        pins=tuple(
            replace(p, node=shift.node_at(p.node), grid=shift.grid_at(p.grid, shift.redirects(p.node)))
            for p in graph.pins
        ),
        unknown=tuple(replace(u, node=shift.node_at(u.node)) for u in graph.unknown),
        slots=tuple(shift.slot(s, s.key == path and made.slot) for s in graph.slots),
        modules=shift.modules(graph.modules),
        last=None if graph.last is None else shift.tensor_at(graph.last, reader is None),
    )


class _Shift:
    """Where indices go when a step comes in, and who reads its output instead of its operand."""

    def __init__(self, graph: Graph, place: Place, made: Inserted) -> None:
        tensor, reader = place.tensor, place.reader
        self.behind = place.behind
        self.old = tensor
        self.source = graph.tensors[tensor]
        self.storages = graph.tensors
        self.reader = reader
        made_by = max((n.index for n in graph.nodes if tensor in n.outputs), default=-1)
        self.at_node = made_by + 1 if reader is None else reader
        before = graph.nodes[: self.at_node]
        self.at_tensor = max([tensor, *(t for n in before for t in n.outputs), *(t for _, t in graph.inputs)]) + 1
        self.at_grid = max((g.index for g in graph.grids if g.node is None or g.node < self.at_node), default=-1) + 1
        self.count = 2 if made.beside else 1

    def redirects(self, node: int | None) -> bool:
        """Whether the node reads the step's output where it read its operand."""
        return node is not None and (node >= self.at_node if self.reader is None else node == self.reader)

    def node_at(self, i: int) -> int:
        return i if i < self.at_node else i + 1

    def grid_at(self, i: int, redirected: bool) -> int:
        if i == self.source.grid and redirected:
            return self.at_grid
        return i if i < self.at_grid else i + 1

    def tensor_at(self, i: int, redirected: bool) -> int:
        if i == self.old and redirected:
            return self.at_tensor
        return i if i < self.at_tensor else i + self.count

    def volume(self, v: Volume, redirected: bool) -> Volume:
        terms = tuple(self.volume(term, redirected) for term in v.plus)
        return Volume(v.scale, tuple((self.grid_at(g, redirected), a) for g, a in v.over), terms)

    def grid(self, g: Grid) -> Grid:
        sources = tuple(self.grid_at(s, self.redirects(g.node)) for s in g.sources)
        node = None if g.node is None else self.node_at(g.node)
        return replace(g, index=self.grid_at(g.index, False), node=node, sources=sources)

    def tensor(self, t: Tensor) -> Tensor:
        later = t.index >= self.at_tensor and self.reader is None
        storage = self.tensor_at(t.storage, False)
        if later and self.storages[t.storage].storage == self.source.storage:
            storage = self.at_tensor
        return replace(
            t,
            index=self.tensor_at(t.index, False),
            storage=storage,
            grid=None if t.grid is None else self.grid_at(t.grid, later),
            volume=self.volume(t.volume, later),
        )

    def node(self, n: Node) -> Node:
        later = self.redirects(n.index)
        return replace(
            n,
            index=self.node_at(n.index),
            inputs=tuple(self.tensor_at(t, later) for t in n.inputs),
            outputs=tuple(self.tensor_at(t, False) for t in n.outputs),
            grid=None if n.grid is None else self.grid_at(n.grid, later and self.reader is None),
            macs=self.volume(n.macs, later),
        )

    def slot(self, s: Slot, here: bool) -> Slot:
        shared = s.tensor == self.old and self.behind is not None and not here
        later = self.reader is None and (s.tensor > self.old or shared)
        node = self.at_node if here else None if s.node is None else self.node_at(s.node)
        return replace(s, grid=self.grid_at(s.grid, later), tensor=self.tensor_at(s.tensor, later), node=node)

    def modules(self, rows: Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
        """The module behind which it runs gives out what it made, and so do those around it."""
        out, reached = [], False
        for path, tensor in rows:
            reached = reached or path == self.behind
            out.append((path, self.tensor_at(tensor, reached)))
        return tuple(out)


def opened(graph: Graph, keys: Sequence[str]) -> Graph:
    """The graph with a step of 1 inserted at each of these slots, so that every plan is a change of windows alone."""
    one = Inserted(kind="max", stride=(1,) * graph.axes, slot=True)
    for key in keys:
        slot = next(s for s in graph.slots if s.key == key)
        graph = inserted(graph, Place(tensor=slot.tensor, behind=key), one, f"+{key}", key)
    return graph
