"""The nodes of an ONNX file walked in order: what is known of each value, shapes inferred one node at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stridewise.building.builder import Builder
from stridewise.building.recorded import ModuleCall
from stridewise.errors import GeometryError, TraceError
from stridewise.onnxfile.names import Owners, step_at
from stridewise.onnxfile.node_view import Met, array_of, output_types
from stridewise.onnxfile.nodes import (
    SETTINGS,
    VIEWS,
    by,
    constant_of,
    elem_of,
    facts_of,
    itemsize,
    schema_of,
    shape_of,
    standard,
)
from stridewise.onnxfile.shapes import LIMIT, folded, shape_entries
from stridewise.ops import find_onnx
from stridewise.ops.draft import Value
from stridewise.rewrites.places import is_within

_PRODUCT = helper.make_node("ReduceProd", ["x"], ["y"], keepdims=0)


class Walk:
    """What is known while the nodes are read in order: values, types, parameters counted.

    made: for each node of the graph, the part of the file it stands in (an index into `parts`: the model's graph, then
    branches) and its place there.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path | None, name: str, opaque: Sequence[str]) -> None:
        self.builder, self.owners = Builder(), Owners()
        self.name, self.folder, self.opaque = name, folder, opaque
        self.opsets = {entry.domain or "": entry.version for entry in model.opset_import}
        self.opset = self.opsets.get("", self.opsets.get("ai.onnx", 1))
        self.imports = [helper.make_opsetid("", self.opset)]
        self.ir_version = model.ir_version
        self.values: dict[str, Value] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.params: dict[str, int] = {}
        self.parts: list[onnx.GraphProto] = []
        self.made: list[tuple[int, int]] = []
        self.inputs = {info.name: info.type.tensor_type.elem_type for info in model.graph.input}

    def input(self, name: str, shape: tuple[int, ...], last: bool) -> None:
        """Follow an input; one with its channels last is the channel-first one, permuted."""
        kind = self.inputs[name] or TensorProto.FLOAT
        first = (shape[0], shape[-1], *shape[1:-1]) if last else shape
        value = self.builder.input(name, first, itemsize(kind))
        if last:
            dims = value.known
            value = Value(shape, (dims[0], *dims[2:], dims[1]), value.grid, value.index)
        self.values[name] = value
        self.types[name] = helper.make_tensor_type_proto(kind, shape)

    def nodes(self, graph: onnx.GraphProto) -> None:
        """Read the constants of a graph, then its nodes."""
        for tensor in graph.initializer:
            self._constant(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            shape = tuple(sparse.dims)
            self.values[sparse.values.name] = _weight(shape, math.prod(shape), None)
            self.types[sparse.values.name] = helper.make_tensor_type_proto(sparse.values.data_type, shape)
        part = len(self.parts)
        self.parts.append(graph)
        for at, node in enumerate(graph.node):
            self._node(node, (part, at))

    def _constant(self, name: str, tensor: TensorProto) -> None:
        shape = tuple(tensor.dims)
        count = math.prod(shape)
        learned = tensor.data_type not in (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)
        entries = self._entries(tensor) if count <= LIMIT else None
        self.values[name] = _weight(shape, count if learned and count > 1 else 0, entries)
        self.types[name] = helper.make_tensor_type_proto(tensor.data_type, shape)
        if self.values[name].weights:
            self.params.setdefault(name, 0)

    def _entries(self, tensor: TensorProto) -> tuple[Any, ...] | None:
        if tensor.data_type == TensorProto.STRING:
            return None
        try:
            base = str(self.folder) if self.folder is not None else ""
            return tuple(numpy_helper.to_array(tensor, base).ravel().tolist())
        except (OSError, ValueError, TypeError, onnx.checker.ValidationError):
            return None  # kept in a file that is not here: its shape is all that is known

    def _node(self, node: onnx.NodeProto, place: tuple[int, int]) -> None:
        missing = [n for n in node.input if n and n not in self.values]
        if missing:
            where = node.name or node.op_type
            raise TraceError(f"{self.name}: {where} reads '{missing[0]}', which nothing makes: the file is damaged")
        node = standard(node)
        operands = tuple(self.values[n] if n else None for n in node.input)
        schema = schema_of(node, self.opset)
        met = Met(node=node, operands=operands, facts=facts_of(node, schema), schema=schema, network=self.name)
        first = met.first
        if node.op_type == "Constant" and not node.domain:
            self._constant(node.output[0], constant_of(node))
        elif node.op_type == "If" and first is not None and first.content is not None:
            self._branch(node, bool(first.content[0]))
        elif node.op_type in ("Shape", "Size") and first is not None and node.input[0] in self.types:
            self._sizes(met, first)
        elif any(v is not None and v.origin == "data" for v in operands):
            self._data(met, place)
        else:
            self._fold(met)

    def _branch(self, node: onnx.NodeProto, condition: bool) -> None:
        """The branch of an If whose condition is known."""
        wanted = "then_branch" if condition else "else_branch"
        graph = next(a.g for a in node.attribute if a.name == wanted)
        self.nodes(graph)
        for outer, inner in zip(node.output, graph.output, strict=False):
            self.values[outer] = self.values[inner.name]
            if inner.name in self.types:
                self.types[outer] = self.types[inner.name]

    def _sizes(self, met: Met, operand: Value) -> None:
        """A Shape or Size: its entries are known, or follow those of another tensor."""
        entries = shape_entries(operand, self.builder.draft.grids)
        if met.node.op_type == "Size":
            entries = list(folded(_PRODUCT, [np.array(entries, dtype=object)], {"keepdims": 0}, self.opset)[0].ravel())  # type: ignore[index]
            shape: tuple[int, ...] = ()
        else:
            entries = entries[met.facts.get("start", 0) : met.facts.get("end")]
            shape = (len(entries),)
        self._known(met.node.output[0], Value(shape, _apart(shape), None, None, "made", False, 0, tuple(entries)))

    def _known(self, name: str, value: Value, kind: int = TensorProto.INT64) -> None:
        self.values[name] = value
        self.types[name] = helper.make_tensor_type_proto(kind, value.shape)

    def _fold(self, met: Met) -> None:
        """A node of constants alone: its entries where they are few and known, its shape otherwise."""
        given = [None if v is None else array_of(v) for v in met.operands]
        known = all(a is not None or v is None for a, v in zip(given, met.operands, strict=True))
        outs = folded(met.node, given, met.facts, self.opset) if known else None
        types = self._types(met)
        weights = sum(v.weights for v in self._weighed(met) if v is not None)
        origin: Any = "weight" if any(v is not None and v.origin == "weight" for v in met.operands) else "made"
        for at, (name, kind) in enumerate(zip(met.node.output, types, strict=True)):
            entries = outs[at] if outs and at < len(outs) else None
            shape = entries.shape if entries is not None else shape_of(kind)
            if shape is None:
                self.values[name] = Value((), None, None, None, "made")
                continue
            flat = None if entries is None else tuple(entries.ravel().tolist())
            value = Value(shape, _apart(shape), None, None, origin, False, weights if at == 0 else 0, flat)
            self._known(name, value, kind.tensor_type.elem_type if kind is not None else TensorProto.FLOAT)

    def _weighed(self, met: Met) -> list[Value | None]:
        """The operands, those that only set the op up without their weights; the others are counted as parameters."""
        settings = SETTINGS.get(met.node.op_type, ())
        out: list[Value | None] = []
        for at, (name, value) in enumerate(zip(met.node.input, met.operands, strict=True)):
            if value is not None and value.weights and at in settings:
                value = replace(value, weights=0)
            elif value is not None and value.weights and name in self.params:
                self.params[name] = value.weights
            out.append(value)
        return out

    def _types(self, met: Met) -> list[onnx.TypeProto | None]:
        return output_types(met, self.types, self.imports, self.ir_version)

    def _data(self, met: Met, place: tuple[int, int]) -> None:
        """A node that reads what comes from the input: it becomes a node of the graph."""
        node, owner = met.node, self.owners.of(met.node)
        names = [n for n in node.output if n]
        types = dict(zip(node.output, self._types(met), strict=True))
        op = find_onnx(f"{node.domain}::{node.op_type}" if node.domain else node.op_type)
        if any(is_within(owner.path, name) for name in self.opaque if name):
            op = None
        shapes = self._shapes(met, types, names, op is not None and op.pointwise)
        if any(shape is None for shape in shapes.values()):
            op = None
        self._check_sizes(met, list(shapes.values()))
        weighed = self._weighed(met)
        alias = met.first.index if node.op_type in VIEWS and met.first is not None else None
        outs = [(shapes[n] or (), itemsize(elem_of(types[n])), alias) for n in names]
        given = [v for v in weighed if v is not None]
        try:
            values = self.builder.add(op, node.op_type, weighed, met.facts, outs, owner, given, onnx=True)
        except (GeometryError, TraceError) as error:
            raise met.refuse(f"on {met.given()}: {error}") from error
        self._made(met, owner, place)
        for n, value in zip(names, values, strict=True):
            self.values[n] = value if shapes[n] is not None else replace(value, dims=None)
            if shapes[n] is not None:
                self.types[n] = helper.make_tensor_type_proto(elem_of(types[n]), shapes[n])
        self.owners.made([value.index for value in values if value.index is not None])

    def _shapes(
        self, met: Met, types: dict[str, onnx.TypeProto | None], names: Sequence[str], pointwise: bool
    ) -> dict[str, tuple[int, ...] | None]:
        """The sizes of each output, None where they are not known."""
        shapes = {n: shape_of(types[n]) for n in names}
        if shapes[names[0]]:
            shapes[names[0]] = met.scaled() or shapes[names[0]]
        if not any(shapes.values()) and pointwise:
            shapes[names[0]] = self._first_shape(met)
        return shapes

    def _first_shape(self, met: Met) -> tuple[int, ...] | None:
        return met.first.shape if met.first is not None and met.node.input[0] in self.types else None

    def _check_sizes(self, met: Met, shapes: Sequence[tuple[int, ...] | None]) -> None:
        """Refuse outputs without positions, and views to a constant that holds for another input size."""
        if any(n < 1 for shape in shapes for n in shape or ()):
            raise met.refuse(f"leaves nothing of {met.given()}: the input is too small")
        first = self._first_shape(met)
        if met.node.op_type in VIEWS and first is not None and math.prod(first) != math.prod(shapes[0] or first):
            raise met.refuse(
                f"makes {by(shapes[0] or ())} of {met.given()}: "
                "a constant of the file, which holds for the input size it was exported at"
            )

    def _made(self, met: Met, owner: ModuleCall, place: tuple[int, int]) -> None:
        """Note where the graph's new node stands in the file, and whether it is a step that a plan inserted."""
        self.made.append(place)
        if owner.path and step_at(met.node) == owner.path:
            kind = {"MaxPool": "max", "AveragePool": "mean"}.get(met.node.op_type, "blur")
            owner.inserted = (kind, tuple(met.facts["strides"]), len(self.made) - 1)


def _apart(shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Dims that hold no positions."""
    return tuple((size,) for size in shape)


def _weight(shape: tuple[int, ...], weights: int, entries: tuple[Any, ...] | None) -> Value:
    return Value(shape, _apart(shape), None, None, "weight", False, weights, entries)
