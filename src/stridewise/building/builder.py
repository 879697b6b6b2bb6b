"""Turns a stream of calls into a Graph: what both front ends share. No torch, no onnx."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from stridewise.axis import IDENTITY, Window
from stridewise.building.recorded import ModuleCall, Seen, keys_of, node_of
from stridewise.errors import GeometryError
from stridewise.ir import NOTHING, Graph, Grid, Node, Tensor, Unknown, Volume
from stridewise.ops.call import Call
from stridewise.ops.draft import Draft, Reading, Value
from stridewise.ops.join import LISTED
from stridewise.ops.layout import TURNED, Digit, Dims, Extra, LayoutError, atom_size, is_turned, relabelled
from stridewise.ops.registry import Op, op_named

# Ops that make positions where there was one.
_MAKING = frozenset("conv avg_pool max_pool lp_pool pad tile concat stack resize shuffle".split())
# Of these those whose border, or whose windows, make positions differ that were one and the same.
_BORDERED = frozenset("conv avg_pool max_pool lp_pool pad".split())
# Ops that follow axes wherever they stand, so that a map may be turned for a while (a product along its height).
_TURNING = frozenset("permute transpose view copy matmul einsum softmax layer_norm batch_norm join expand".split())


@dataclass(slots=True)
class Builder:
    """Collects tensors, nodes and grids while calls arrive in executed order."""

    tensors: list[Tensor] = field(default_factory=list)
    nodes: list[Seen] = field(default_factory=list)
    draft: Draft = field(default_factory=Draft)
    unknown: list[tuple[int, str, str]] = field(default_factory=list)
    inputs: list[tuple[str, int]] = field(default_factory=list)
    layouts: list[Any] = field(default_factory=list)
    opaque: tuple[str, ...] = ()
    doubts: Mapping[int, str] = field(default_factory=dict)
    lost: dict[int, tuple[int, tuple[int, str, str]]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def input(self, name: str, shape: Sequence[int], itemsize: int, positions: Sequence[int] | None = None) -> Value:
        """An input tensor. positions: the dimensions that hold positions; None: those behind batch and channels."""
        shape = tuple(shape)
        where = tuple(range(2, len(shape)) if positions is None else positions)
        grid = self.draft.add("input", tuple(shape[w] for w in where), input_=True) if where else None
        dims: list[Any] = [(s,) for s in shape]
        for axis, at in enumerate(where):
            assert grid is not None
            dims[at] = (Digit(grid, axis, 1, shape[at]),)
        value = Value(shape, tuple(dims), grid, len(self.tensors))
        self.inputs.append((name, self._tensor(value, itemsize, None)))
        return value

    def _tensor(self, value: Value, itemsize: int, storage: int | None, like: Value | None = None) -> int:
        """Add the tensor of `value`; its index. `like`: an operand, whose volume it has where it lies as that does."""
        index = len(self.tensors)
        if like is not None and like.index is not None and like.dims is value.dims and like.shape == value.shape:
            volume = self.tensors[like.index].volume
        else:
            volume = self.draft.volume(value.dims, value.shape)
        value.index = index
        self.layouts.append(value.dims)
        self.tensors.append(
            Tensor(
                index=index,
                shape=value.shape,
                itemsize=itemsize,
                storage=index if storage is None else storage,
                grid=value.grid,
                volume=volume,
                known=value.dims is not None,
            )
        )
        return index

    def wraps(self, index: int) -> None:
        """Say of the node that wrote the tensor `index` that its border repeats the map's own positions."""
        for seen in reversed(self.nodes):
            if index in seen.outputs:
                seen.reading.attrs["mode"] = "circular"
                return

    def measure_as(self, index: int, other: int) -> None:
        """Give an empty tensor the volume of what it became when it was written to: it grows alike."""
        self.tensors[index] = replace(self.tensors[index], volume=self.tensors[other].volume)

    def add(
        self,
        op: Op | None,
        target: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        outs: Sequence[tuple[tuple[int, ...], int, int | None]],
        owner: ModuleCall | None,
        operands: Sequence[Value],
        onnx: bool = False,
        name: str = "",
    ) -> list[Value]:
        """The outputs of one call; `outs` are (shape, itemsize, index of the operand whose memory it shares).

        name: the node's own, of an op that is no part of its module's work.
        """
        index = len(self.nodes)
        self.draft.node = index
        reading = self._read(op, target, args, kwargs, [o[0] for o in outs], owner, operands, onnx)
        facts = reading.outs
        if len(facts) < len(outs):
            facts = [*facts, *[(None, None)] * (len(outs) - len(facts))]
        values, made = [], []
        first = operands[0] if operands else None
        loose = reading.loose
        for operand in operands:
            if operand.loose:
                loose = True
        for (shape, itemsize, alias), (dims, grid) in zip(outs, facts, strict=False):
            still = first is not None and first.spread and (dims is first.dims or _is_pointwise(op, operands))
            if onnx and dims is not None:
                shape, dims = self._agreed(shape, dims, reading, target, owner)
            value = Value(shape, dims, grid, None, "data", reading.spread or still, 0, None, reading.lost)
            value.loose = loose
            made.append(self._tensor(value, itemsize, None if alias is None else self.tensors[alias].storage, first))
            if reading.lost is not None:
                self.lost[made[-1]] = reading.lost
            values.append(value)
        if owner is not None and (reading.site or reading.counted) and not name:
            owner.direct += 1
            above = owner.parent
            while above is not None and not above.below:
                above.below = True
                above = above.parent
        inputs, params = [], 0
        for operand in operands:
            if operand.index is None:
                params += operand.weights
            else:
                inputs.append(operand.index)
        seen = Seen(op.name if op else "unknown", target, tuple(inputs), tuple(made), params, reading, owner)
        self.nodes.append(seen)
        if name:
            self.names[index] = name
        return values

    def _agreed(
        self, shape: tuple[int, ...], dims: Dims, reading: Reading, target: str, owner: ModuleCall | None
    ) -> tuple[tuple[int, ...], Dims | None]:
        """Sizes and dims that agree: a window's own arithmetic is what runtimes do, where onnx's inference is not;
        elsewhere a difference means that the positions are not what they were taken for."""
        sizes: list[int] = []
        for dim in dims:
            if dim and isinstance(dim[0], Extra):
                return shape, dims
            sizes.append(atom_size(dim[0]) if len(dim) == 1 else prod(map(atom_size, dim)))
        own = tuple(sizes)
        if own == shape or reading.site:
            return own, dims
        self._report((len(self.nodes), target, "its sizes are not those of its positions"), owner.path if owner else "")
        return shape, None

    def _read(
        self,
        op: Op | None,
        target: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        shapes: list[tuple[int, ...]],
        owner: ModuleCall | None,
        operands: Sequence[Value],
        onnx: bool,
    ) -> Reading:
        path = owner.path if owner else ""
        marks = len(self.draft.grids), len(self.draft.pins)
        try:
            if op is None:
                raise LayoutError(f"no op describes '{target}'")
            doubt = self.doubts.get(len(self.nodes), "")
            if doubt and not self._of_picture(operands):
                raise LayoutError(doubt)
            if self.draft.turned and not (op.pointwise or op.name in _TURNING) and any(map(_is_turned, operands)):
                raise LayoutError(TURNED)
            read = (op.read_onnx or op.read) if onnx else op.read
            reading = read(Call(target, args, kwargs, shapes, self.draft, path))
            if doubt:
                reading = self._known_alone(marks[0], reading, doubt)
            if op.name in _MAKING:
                return self._with_made(op, reading, shapes, operands)
            return reading
        except (LayoutError, GeometryError) as error:
            if onnx and isinstance(error, GeometryError):
                raise  # no framework ran before: a size that does not fit is found here
            del self.draft.grids[marks[0] :], self.draft.pins[marks[1] :]
            return self._unread(op, target, args, shapes, operands, str(error), path)

    def _of_picture(self, operands: Sequence[Value]) -> bool:
        """Whether all that comes in is an input, however cut, padded or resized: no window read it yet."""
        todo = [v.grid for v in operands if v.origin == "data" and _positions(v)]
        while todo:
            index = todo.pop()
            if index is None:
                return False
            grid = self.draft.grids[index]
            site = grid.node is not None and self.nodes[grid.node].reading.site
            if len(grid.sources) > 1 or (site and any(isinstance(m, Window) for m in grid.maps)):
                return False
            todo += grid.sources
        return True

    def _known_alone(self, first: int, reading: Reading, doubt: str) -> Reading:
        """The reading of a call on a picture with its grids, those from `first` on, known at this size alone.

        Raises: LayoutError where it is a window, or puts several together.
        """
        if len(self.draft.grids) == first and len(reading.outs) == 1:  # at this size it moves nothing
            dims, grid = reading.outs[0]
            if dims is not None and grid is not None:
                same = self.draft.mapped(grid, [IDENTITY] * len(self.draft.grids[grid].sizes))
                reading = replace(reading, outs=[(relabelled(dims, {grid: same}), same)], grid=same)
        made = self.draft.grids[first:]
        windows = reading.site and any(isinstance(m, Window) for grid in made for m in grid.maps)
        if not made or windows or any(len(grid.sources) != 1 for grid in made):
            raise LayoutError(doubt)
        self.draft.grids[first:] = [replace(grid, alone=True) for grid in made]
        return reading

    def _with_made(
        self, op: Op, reading: Reading, shapes: Sequence[tuple[int, ...]], operands: Sequence[Value]
    ) -> Reading:
        """The reading with positions made anew where none were left on any axis (a pooled map padded). Raises:
        LayoutError where they are made along some axes (a pooled map resized along one; one that was spread, convolved
        with a border)."""
        dims, grid = reading.outs[0]
        if dims is None or grid is None or all(self.draft.grids[grid].local) or not operands:
            return reading
        local, before = self.draft.grids[grid].local, operands[0].shape
        if not len(shapes[0]) == len(before) == 2 + len(local):
            return reading
        if not any((*local, reading.spread, operands[0].spread)) and {*before[2:], *shapes[0][2:]} != {1}:
            dims, grid = self.draft.positions_of_one(grid, shapes[0])
            return replace(reading, outs=[(dims, grid)] * len(reading.outs), grid=grid, site=False)
        bordered = op.name in _BORDERED and operands[0].spread and not _is_pointwise(op, operands)
        for here, size, was in zip(local, shapes[0][2:], before[2:], strict=True):
            if not here and ((size > 1 and was == 1 and not reading.spread) or (was > 1 and bordered)):
                raise LayoutError("makes positions along an axis on which none are left")
        return reading

    def _unread(
        self,
        op: Op | None,
        target: str,
        args: Sequence[Any],
        shapes: list[tuple[int, ...]],
        operands: Sequence[Value],
        why: str,
        path: str,
    ) -> Reading:
        """The reading of a call that no rule covers: unknown where positions are at stake, plain otherwise."""
        work = op.work if op is not None else None
        touched = [v for v in operands if v.origin == "data" and (v.dims is None or _positions(v))]
        grids = [v.grid for v in operands if v.grid is not None]
        if not touched and op is None:
            return Reading(outs=[(tuple((s,) for s in shape), grids[0] if grids else None) for shape in shapes])
        lost = self._lost(op, target, touched, why, operands)
        if lost is None:
            for report in [v.lost[1] for v in touched if v.lost is not None]:
                self._report(report, path)
            if all(v.dims is not None for v in touched):
                self._report((len(self.nodes), target, why), path)
        macs = NOTHING if work is None else Volume(work(operands, shapes, args))
        return Reading(outs=[(None, None)] * len(shapes), counted=work is not None, macs=macs, lost=lost)

    def _lost(
        self, op: Op | None, target: str, touched: Sequence[Value], why: str, operands: Sequence[Value]
    ) -> tuple[int, tuple[int, str, str]] | None:
        """Where positions came from that were only put in another order, None where it is more than that."""
        if (
            op is None
            or not (op.passes_lost or _is_pointwise(op, operands))
            or not touched
            or any(v.dims is None and v.lost is None for v in touched)
        ):
            return None
        before = next((v.lost for v in touched if v.lost is not None), None)
        grid = next((v.grid for v in touched if v.grid is not None), None)
        if before is not None or grid is None:
            return before
        return grid, (len(self.nodes), target, why)

    def _report(self, report: tuple[int, str, str], path: str) -> None:
        """Remember an unknown op, once, unless it was announced."""
        node, target, _ = report
        owner = self.nodes[node].owner if node < len(self.nodes) else None
        if owner is not None:
            path = owner.path
        if report not in self.unknown and not self._is_opaque(path, target):
            self.unknown.append(report)

    def _is_opaque(self, path: str, target: str) -> bool:
        """Whether unknown ops of this module, or of this name, were announced."""
        return any(
            path == o or path.startswith(f"{o}.") or target == o or target.startswith(f"{o}.") for o in self.opaque
        )

    def withhold_turned(self, tensors: Sequence[int]) -> None:
        """Report those of these tensors as unknown whose axes stand in another order than their grid's."""
        if not self.draft.turned:
            return
        makers = {t: index for index, seen in enumerate(self.nodes) for t in seen.outputs}
        for tensor in dict.fromkeys(tensors):
            dims = self.layouts[tensor]
            if dims is not None and is_turned(dims) and tensor in makers:
                self.tensors[tensor] = replace(self.tensors[tensor], known=False)
                self._report((makers[tensor], self.nodes[makers[tensor]].target, TURNED), "")

    def graph(self, model: str, outputs: Sequence[int], params: int, **more: Any) -> Graph:
        """The finished graph."""
        self.withhold_turned(outputs)
        listed = {index: report for index, (_, report) in self.lost.items() if report[2] == LISTED}
        for index in outputs:
            if index in self.lost and index not in listed:
                self._report(self.lost[index][1], "")
        keys = keys_of(self.nodes, self.names)
        nodes = tuple([node_of(i, seen, key) for i, (seen, key) in enumerate(zip(self.nodes, keys, strict=True))])
        lists = {i for i, _, why in self.unknown if why == LISTED and not _windows_behind(nodes, self.tensors, i)}
        unknown = tuple(
            Unknown(
                key=nodes[i].key or nodes[i].path,
                op=target,
                node=i,
                message=_unknown_message(nodes[i], target, why, self.tensors),
            )
            for i, target, why in self.unknown
            if i not in lists
        )
        listed |= {t: (i, target, why) for i, target, why in self.unknown if i in lists for t in nodes[i].outputs}
        notes = [_listed_note(nodes[listed[t][0]]) for t in listed if t in outputs or listed[t][0] in lists]
        return Graph(
            model=model,
            inputs=tuple(self.inputs),
            outputs=tuple(outputs),
            tensors=tuple(self.tensors),
            nodes=nodes,
            grids=tuple(self.draft.grids),
            pins=tuple(self.draft.pins),
            unknown=unknown,
            params=params,
            last=_last_spatial(self.tensors, nodes, outputs, self.draft.grids, listed),
            notes=tuple(dict.fromkeys(notes)),
            **more,
        )


def _may_be_pointwise(node: Node, tensors: Sequence[Tensor]) -> bool:
    """Whether a window that was not followed has a weight a pair of channels, as one of 1x1 has."""
    before, after = (tensors[t[0]].shape for t in (node.inputs, node.outputs))
    products = before[1] * after[1] if len(before) == len(after) > 2 else -1
    return before[2:] == after[2:] and node.params in (products, products + after[1])


def _windows_behind(nodes: Sequence[Node], tensors: Sequence[Tensor], index: int) -> bool:
    """Whether a window reads something made of what node `index` gave out."""
    reached = set(nodes[index].outputs)
    for node in nodes[index + 1 :]:
        if not reached.isdisjoint(node.inputs):
            if op_named(node.op).site and not _may_be_pointwise(node, tensors):
                return True
            reached.update(node.outputs)
    return False


def _is_pointwise(op: Op | None, operands: Sequence[Value]) -> bool:
    """Whether it is a convolution that leaves every position where it is."""
    if op is None or not op.convolves:
        return False
    weight = next((v for v in operands if v.origin != "data" and len(v.shape) > 2), None)
    return weight is not None and set(weight.shape[2:]) == {1}


def _is_turned(value: Value) -> bool:
    return value.dims is not None and is_turned(value.dims)


def _positions(value: Value) -> bool:
    return value.dims is None or any(isinstance(a, Digit) for dim in value.dims for a in dim)


def _unknown_message(node: Node, target: str, why: str, tensors: Sequence[Tensor]) -> str:
    shapes = tuple(tensors[i].shape for i in node.inputs)
    where = node.key or node.path or "the model itself"
    opaque = node.path or target
    if why.startswith("no op describes"):
        return f"{where}: {why} on {shapes}. Describe it with sw.register, or pass --opaque {opaque}"
    return f"{where}: '{target}' on {shapes} is not followed: {why}"


def _listed_note(node: Node) -> str:
    return f"{node.path or 'output'}: {LISTED}, a list of predictions, which has no stride of its own"


def _maps_before(
    tensors: Sequence[Tensor],
    made_by: Mapping[int, Node],
    grids: Sequence[Grid],
    output: int,
    through: Container[int] | None,
) -> list[int] | None:
    """The last tensors with positions on the ways to an output, before global pooling, in executed order.

    through: unknown tensors that say something of the output all the same (lists of the positions of several maps),
    None for all; None comes back where another lies between: what comes before it says nothing of the output.
    """
    found, seen, todo = [], set(), [output]
    while todo:
        tensor = todo.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if not tensors[tensor].known and through is not None and tensor not in through:
            return None
        grid = tensors[tensor].grid
        spatial = grid is not None and grids[grid].local and all(grids[grid].local)
        if spatial and tensors[tensor].known and tensors[tensor].volume.over:
            found.append(tensor)
            continue
        node = made_by.get(tensor)
        if node is not None:
            todo.extend(node.inputs)
    return sorted(found)


def _last_spatial(
    tensors: Sequence[Tensor],
    nodes: Sequence[Node],
    outputs: Sequence[int],
    grids: Sequence[Grid],
    listed: Container[int],
) -> int | None:
    """The last map on the way to the outputs; of several the coarsest, the latest of that size.

    listed: tensors that list the positions of several maps. None where no output has one that is known.
    """
    made_by = {t: node for node in nodes for t in node.outputs}
    every = [_maps_before(tensors, made_by, grids, output, listed) for output in dict.fromkeys(outputs)]
    last = [maps[-1] for maps in every if maps]
    axes = max((len(grids[tensors[t].grid or 0].sizes) for t in last), default=0)
    maps = [t for t in last if len(grids[tensors[t].grid or 0].sizes) == axes]
    return min(maps, key=lambda t: (math.prod(grids[tensors[t].grid or 0].sizes), -t), default=None)


def frontier(builder: Builder) -> list[int]:
    """The maps that a forward had made when it was left: of each grid the last, where nothing later was made of it."""
    graph = builder.graph("", (), 0)
    made_by = {t: node for node in graph.nodes for t in node.outputs}
    read = {t for node in graph.nodes for t in node.inputs}
    ends = [t for t in made_by if t not in read]
    found = [t for end in ends for t in _maps_before(graph.tensors, made_by, graph.grids, end, None) or ()]
    stepped: list[bool] = []  # grids behind a window: what was only cut or resized is the input still
    for grid in graph.grids:
        is_window = grid.node is not None and graph.nodes[grid.node].site
        stepped.append(is_window or any(stepped[s] for s in grid.sources))
    by_grid = {graph.tensors[t].grid: t for t in sorted(found)}
    return sorted(t for grid, t in by_grid.items() if grid is not None and stepped[grid])
