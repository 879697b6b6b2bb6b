"""An ONNX file as a graph: its nodes walked in order, shapes inferred one node at a time. No torch, no weights read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stridewise.errors import GeometryError, MissingExtraError, TraceError

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper, shape_inference
except ImportError as error:
    raise MissingExtraError("onnx", "onnx", "reading an ONNX file") from error

from stridewise.frontends.build import Builder
from stridewise.frontends.onnx_file import InputSpec, fixed_batch, input_shapes, load
from stridewise.frontends.onnx_names import Owners, step_at
from stridewise.frontends.onnx_nodes import (
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
from stridewise.frontends.onnx_shapes import LIMIT, Array, as_tensor, folded, resized, shape_entries
from stridewise.frontends.slots import with_slots
from stridewise.ir import Graph
from stridewise.ops import find_onnx
from stridewise.ops.call import Value


def read_onnx(
    source: str | Path | bytes, input: InputSpec | None = None, *, name: str = "", opaque: Sequence[str] = ()
) -> Graph:
    """The graph of an ONNX file, or of its bytes, at these input shapes (without the batch; batch 1).

    input: channels and sizes, or a mapping from input name to them; None takes the sizes the file states, and 224 where
    it leaves them open. Weights in files of their own are not read. opaque: node or module names whose geometry is not
    looked into. A size that the file computes from another tensor's follows it; one that is a constant is pinned.
    Raises: LoadError where the file cannot be read, TraceError naming the node that does not take what comes in.
    Source: ONNX operator specification.
    """
    model, folder, called = load(source)
    return read_model(model, folder, input, name or called, opaque)[0]


def read_model(
    model: onnx.ModelProto, folder: Path | None, input: InputSpec | None, name: str, opaque: Sequence[str] = ()
) -> tuple[Graph, Walk]:
    """The graph of a loaded model, and what was known of each of its nodes and values. Raises: as `read_onnx`."""
    try:
        return _read(model, folder, input, name, opaque, None)
    except TraceError:
        batch = fixed_batch(model.graph)
        if batch is None:
            raise
        graph, walk = _read(model, folder, input, name, opaque, batch)
        note = f"the file is made for batches of {batch}: figures are for {batch}"
        return replace(graph, notes=(*graph.notes, note)), walk


def _read(
    model: onnx.ModelProto,
    folder: Path | None,
    spec: InputSpec | None,
    name: str,
    opaque: Sequence[str],
    batch: int | None,
) -> tuple[Graph, Walk]:
    walk = Walk(model, folder, name, opaque)
    for key, (shape, last) in input_shapes(model.graph, spec, name, batch).items():
        walk.input(key, shape, last)
    walk.nodes(model.graph)
    outputs = [walk.values[o.name].index for o in model.graph.output if o.name in walk.values]
    found = [index for index in outputs if index is not None]
    if not found:
        raise TraceError(f"{name}: no output is made from the input")
    graph = walk.builder.graph(name, found, sum(walk.params.values()))
    if not any(node.site for node in graph.nodes):
        raise TraceError(f"{name}: no convolution or pooling was met: it has no strides to show")
    return with_slots(graph, walk.builder, walk.owners.close()), walk


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

    # -- one node ----------------------------------------------------------------------------------------------

    def _node(self, node: onnx.NodeProto, place: tuple[int, int]) -> None:
        where = node.name or node.op_type
        missing = [n for n in node.input if n and n not in self.values]
        if missing:
            raise TraceError(f"{self.name}: {where} reads '{missing[0]}', which nothing makes: the file is damaged")
        node = standard(node)
        operands = [self.values[n] if n else None for n in node.input]
        schema = schema_of(node, self.opset)
        facts = facts_of(node, schema)
        if node.op_type == "Constant" and not node.domain:
            self._constant(node.output[0], constant_of(node))
        elif node.op_type == "If" and operands[0] is not None and operands[0].content is not None:
            self._branch(node, bool(operands[0].content[0]))
        elif node.op_type in ("Shape", "Size") and operands[0] is not None and node.input[0] in self.types:
            self._sizes(node, operands[0], facts)
        elif any(v is not None and v.origin == "data" for v in operands):
            self._data(node, operands, facts, schema, where, place)
        else:
            self._fold(node, operands, facts, schema, where)

    def _branch(self, node: onnx.NodeProto, condition: bool) -> None:
        """The branch of an If whose condition is known."""
        wanted = "then_branch" if condition else "else_branch"
        graph = next(a.g for a in node.attribute if a.name == wanted)
        self.nodes(graph)
        for outer, inner in zip(node.output, graph.output, strict=False):
            self.values[outer] = self.values[inner.name]
            if inner.name in self.types:
                self.types[outer] = self.types[inner.name]

    def _sizes(self, node: onnx.NodeProto, operand: Value, facts: dict[str, Any]) -> None:
        entries = shape_entries(operand, self.builder.draft.grids)
        if node.op_type == "Size":
            entries = list(folded(_PRODUCT, [np.array(entries, dtype=object)], {"keepdims": 0}, self.opset)[0].ravel())  # type: ignore[index]
            shape: tuple[int, ...] = ()
        else:
            entries = entries[facts.get("start", 0) : facts.get("end")]
            shape = (len(entries),)
        self._known(node.output[0], shape, tuple(entries), "made", TensorProto.INT64)

    def _known(
        self,
        name: str,
        shape: tuple[int, ...],
        entries: tuple[Any, ...] | None,
        origin: Any,
        kind: int,
        weights: int = 0,
    ) -> None:
        value = Value(shape, tuple((s,) for s in shape), None, None, origin, False, weights, entries)
        self.values[name] = value
        self.types[name] = helper.make_tensor_type_proto(kind, shape)

    def _fold(
        self, node: onnx.NodeProto, operands: Sequence[Value | None], facts: dict[str, Any], schema: Any, where: str
    ) -> None:
        """A node of constants alone: its entries where they are few and known, its shape otherwise."""
        given = [None if v is None else _array(v) for v in operands]
        known = all(a is not None or v is None for a, v in zip(given, operands, strict=True))
        outs = folded(node, given, facts, self.opset) if known else None
        types = self._types(node, operands, schema, where)
        weights = sum(v.weights for v in self._weighed(node, operands) if v is not None)
        made = any(v is not None and v.origin == "weight" for v in operands)
        for at, name in enumerate(node.output):
            entries = outs[at] if outs and at < len(outs) else None
            kind = types[at]
            shape = entries.shape if entries is not None else shape_of(kind)
            elem = kind.tensor_type.elem_type if kind is not None else TensorProto.FLOAT
            if shape is None:
                self.values[name] = Value((), None, None, None, "made")
            else:
                flat = None if entries is None else tuple(entries.ravel().tolist())
                self._known(name, shape, flat, "weight" if made else "made", elem, weights if at == 0 else 0)

    def _weighed(self, node: onnx.NodeProto, operands: Sequence[Value | None]) -> list[Value | None]:
        """The operands, those that only set the op up without their weights; the others are counted as parameters."""
        settings = SETTINGS.get(node.op_type, ())
        out: list[Value | None] = []
        for at, (name, value) in enumerate(zip(node.input, operands, strict=True)):
            if value is not None and value.weights and at in settings:
                value = replace(value, weights=0)
            elif value is not None and value.weights and name in self.params:
                self.params[name] = value.weights
            out.append(value)
        return out

    def _types(
        self, node: onnx.NodeProto, operands: Sequence[Value | None], schema: Any, where: str
    ) -> list[onnx.TypeProto | None]:
        """The outputs' types by onnx's inference on this node alone; None where it cannot tell."""
        unknown: list[onnx.TypeProto | None] = [None] * len(node.output)
        names = [n for n in node.input if n]
        if schema is None or any(n not in self.types for n in names):
            return unknown
        types = {n: self.types[n] for n in names}
        data = {}
        for n, value in zip(node.input, operands, strict=True):
            if n and value is not None and value.content is not None and len(value.shape) <= 1:
                tensor = as_tensor(_array(value), types[n].tensor_type.elem_type)  # type: ignore[arg-type]
                if tensor is not None:
                    data[n] = tensor
        try:
            found = shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=self.imports, ir_version=self.ir_version
            )
        except Exception as error:
            said = str(error).strip().splitlines()[-1].split("] ")[-1]
            raise TraceError(
                f"{self.name}: {where} ({node.op_type}) does not take {_shapes(operands)}: {said}"
            ) from error
        return [found.get(n) for n in node.output]

    def _data(
        self,
        node: onnx.NodeProto,
        operands: Sequence[Value | None],
        facts: dict[str, Any],
        schema: Any,
        where: str,
        place: tuple[int, int],
    ) -> None:
        owner = self.owners.of(node)
        names = [n for n in node.output if n]
        types = dict(zip(node.output, self._types(node, operands, schema, where), strict=True))
        shapes = {n: shape_of(types[n]) for n in names}
        if node.op_type in ("Resize", "Upsample") and operands[0] is not None and shapes[names[0]]:
            shapes[names[0]] = _scaled(operands, facts) or shapes[names[0]]
        op = find_onnx(f"{node.domain}::{node.op_type}" if node.domain else node.op_type)
        if _under(owner.path, self.opaque):
            op = None
        first = operands[0].shape if operands[0] is not None and node.input[0] in self.types else None
        if not any(shapes.values()) and op is not None and op.pointwise:
            shapes[names[0]] = first
        if any(shape is None for shape in shapes.values()):
            op = None
        if any(n < 1 for shape in shapes.values() for n in shape or ()):
            raise TraceError(
                f"{self.name}: {where} ({node.op_type}) leaves nothing of {_shapes(operands)}: the input is too small"
            )
        if node.op_type in VIEWS and first is not None and math.prod(first) != math.prod(shapes[names[0]] or first):
            raise TraceError(
                f"{self.name}: {where} ({node.op_type}) makes {by(shapes[names[0]] or ())} of {_shapes(operands)}: "
                "a constant of the file, which holds for the input size it was exported at"
            )
        weighed = self._weighed(node, operands)
        alias = operands[0].index if node.op_type in VIEWS and operands[0] is not None else None
        outs = [(shapes[n] or (), itemsize(elem_of(types[n])), alias) for n in names]
        given = [v for v in weighed if v is not None]
        try:
            values = self.builder.add(op, node.op_type, weighed, facts, outs, owner, given, onnx=True)
        except (GeometryError, TraceError) as error:
            raise TraceError(f"{self.name}: {where} ({node.op_type}) on {_shapes(operands)}: {error}") from error
        self.made.append(place)
        if owner.path and step_at(node) == owner.path:
            kind = {"MaxPool": "max", "AveragePool": "mean"}.get(node.op_type, "blur")
            owner.inserted = (kind, tuple(facts["strides"]), len(self.made) - 1)
        for n, value in zip(names, values, strict=True):
            self.values[n] = value if shapes[n] is not None else replace(value, dims=None)
            if shapes[n] is not None:
                self.types[n] = helper.make_tensor_type_proto(elem_of(types[n]), shapes[n])
        self.owners.made([value.index for value in values if value.index is not None])


_PRODUCT = helper.make_node("ReduceProd", ["x"], ["y"], keepdims=0)


def _scaled(operands: Sequence[Value | None], facts: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The sizes of a Resize by scales; None where it is one to sizes."""
    at = 2 if len(operands) > 2 else 1
    given = operands[at] if at < len(operands) else None
    scales = facts.get("scales") if given is None else given.content
    x = operands[0]
    return resized(x.shape, scales, facts.get("axes") or range(len(x.shape))) if scales and x is not None else None


def _weight(shape: tuple[int, ...], weights: int, entries: tuple[Any, ...] | None) -> Value:
    return Value(shape, tuple((s,) for s in shape), None, None, "weight", False, weights, entries)


def _array(value: Value) -> Array | None:
    if value.content is None:
        return None
    out = np.empty(len(value.content), dtype=object)
    out[:] = value.content
    return out.reshape(value.shape)


def _under(path: str, names: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in names)


def _shapes(operands: Sequence[Value | None]) -> str:
    return ", ".join(
        "x".join(map(str, v.shape)) or "a number" for v in operands if v is not None and v.origin == "data"
    )
