"""The nodes of an ONNX file walked in order: what is known of each value, shapes inferred one node at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stridewise.building.builder import Builder
from stridewise.building.recorded import ModuleCall
from stridewise.errors import GeometryError, StridewiseError, TraceError
from stridewise.onnxfile.file import is_beside
from stridewise.onnxfile.inference import Kind, inferred, kind_of
from stridewise.onnxfile.layout import Layout
from stridewise.onnxfile.names import Owners, step_at
from stridewise.onnxfile.node_view import Met, array_of, complaint, heavy, is_text, output_kinds, oversized
from stridewise.onnxfile.nodes import (
    LIMIT,
    SETTINGS,
    VIEWS,
    by,
    constant_of,
    facts_of,
    itemsize,
    schema_of,
    standard,
    title,
)
from stridewise.onnxfile.shapes import folded, shape_entries
from stridewise.ops import find_onnx
from stridewise.ops.draft import Value

_PRODUCT = helper.make_node("ReduceProd", ["x"], ["y"], keepdims=0)
# Element types whose entries are sizes, places or choices; of any other a few, which may be factors, are looked at.
_SIZES = (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
_FEW = 16
# A Loop is read run by run; one of more runs stays unknown.
_MOST_RUNS = 256
# Ops whose attributes may be as large as weights or graphs.
_HOLDING = frozenset({"Constant", "ConstantOfShape", "If", "Loop", "Scan"})
# What an op's rule, NumPy or protobuf raise where a node holds what its operator never does.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError)


class Walk:
    """What is known while the nodes are read in order: values, types, parameters counted.

    computes_pads: whether the padding of some Pad is no constant of the file.
    repeated: the parts that are runs of a Loop's body, whose nodes cannot change one by one.
    made: for each node of the graph, the part of the file it stands in (an index into `parts`: the model's graph, then
    branches) and its place there.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path | None, name: str, opaque: Sequence[str]) -> None:
        self.builder, self.owners = Builder(opaque=tuple(opaque)), Owners()
        self.name, self.folder = name, folder
        self.opsets = {entry.domain or "": entry.version for entry in model.opset_import}
        self.opset = self.opsets.get("", self.opsets.get("ai.onnx", 1))
        self.imports = [helper.make_opsetid("", self.opset)]
        self.ir_version = model.ir_version
        self.values: dict[str, Value] = {}
        self.kinds: dict[str, Kind] = {}
        self.params: dict[str, int] = {}
        self.parts: list[onnx.GraphProto] = []
        self.made: list[tuple[int, int]] = []
        self.inputs = {info.name: info.type.tensor_type.elem_type for info in model.graph.input}
        self.model, self.static, self.other = model, dict[str, Kind](), set[str]()
        self.constants: set[str] = set()
        self.records: dict[tuple[Any, ...], tuple[dict[str, Any], str]] = {}
        self.computes_pads = False
        self.repeated: set[int] = set()

    def input(self, name: str, shape: tuple[int, ...], layout: Layout) -> None:
        """Follow an input; one with its channels last is the channel-first one, permuted, one without any has one."""
        kind = self.inputs[name] or TensorProto.FLOAT
        first = shape
        if layout == "last":
            first = (shape[0], shape[-1], *shape[1:-1])
        elif layout == "flat":
            first = (shape[0], 1, *shape[1:])
        value = self.builder.input(name, first, itemsize(kind))
        dims = value.known
        if layout == "last":
            value = Value(shape, (dims[0], *dims[2:], dims[1]), value.grid, value.index)
        elif layout == "flat":
            value = Value(shape, (dims[0], *dims[2:]), value.grid, value.index)
        self.values[name] = value
        self.kinds[name] = Kind(kind, shape)

    def given_weights(self, graph: onnx.GraphProto) -> None:
        """Take inputs that are weights as weights of which only the sizes are known."""
        for info in graph.input:
            kind = kind_of(info.type)
            if info.name in self.values or kind is None or kind.shape is None:
                continue
            self.values[info.name] = _weight(kind.shape, math.prod(kind.shape), None)
            self.params.setdefault(info.name, 0)
            self.kinds[info.name] = kind

    def run(self) -> None:
        """Read the whole graph, once its inputs are known."""
        self.given_weights(self.model.graph)
        self.static = inferred(self.model, self.kinds)
        self.nodes(self.model.graph)

    def nodes(self, graph: onnx.GraphProto) -> None:
        """Read the constants of a graph, then its nodes."""
        for tensor in graph.initializer:
            self._constant(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            shape = tuple(sparse.dims)
            self.values[sparse.values.name] = _weight(shape, math.prod(shape), None)
            self.kinds[sparse.values.name] = Kind(sparse.values.data_type, shape)
        part = len(self.parts)
        self.parts.append(graph)
        for at, node in enumerate(graph.node):
            self._node(node, (part, at))

    def _constant(self, name: str, tensor: TensorProto) -> None:
        shape = tuple(tensor.dims)
        count = math.prod(shape)
        learned = tensor.data_type not in (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)
        few = LIMIT if tensor.data_type in _SIZES else _FEW
        entries = self._entries(tensor) if count <= few else None
        self.values[name] = _weight(shape, count if learned and count > 1 else 0, entries)
        self.kinds[name] = Kind(tensor.data_type, shape)
        self.constants.add(name)
        if self.values[name].weights:
            self.params.setdefault(name, 0)

    def _entries(self, tensor: TensorProto) -> tuple[Any, ...] | None:
        if tensor.data_type == TensorProto.STRING:
            return None
        if tensor.data_location == TensorProto.EXTERNAL and not is_beside(self.folder, tensor):
            return None  # kept in a file that is not here: its shape is all that is known
        try:
            base = str(self.folder) if self.folder is not None else ""
            return tuple(numpy_helper.to_array(tensor, base).ravel().tolist())
        except (OSError, ValueError, TypeError, KeyError, onnx.checker.ValidationError):
            return None

    def _node(self, node: onnx.NodeProto, place: tuple[int, int]) -> None:
        where = title(node)
        if not is_text(node):
            raise TraceError(f"{self.name}: holds names that are no text, such as {where[:40]!r}: the file is damaged")
        missing = [n for n in node.input if n and n not in self.values]
        if missing:
            raise TraceError(f"{self.name}: {where} reads '{missing[0]}', which nothing makes: the file is damaged")
        try:
            self._read(standard(node), place)
        except StridewiseError:
            raise
        except _DAMAGE as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            raise TraceError(
                f"{self.name}: {where} ({node.op_type}) holds what its operator never does: {said}"
            ) from error

    def _read(self, node: onnx.NodeProto, place: tuple[int, int]) -> None:
        operands = tuple([self.values[n] if n else None for n in node.input])
        schema = schema_of(node, self.opset)
        facts, wrong = self._record(node, schema)
        met = Met(node=node, operands=operands, facts=dict(facts), schema=schema, network=self.name)
        wrong = wrong or heavy(node.op_type, operands)
        if wrong:
            raise met.refuse(f"{wrong}: the file is damaged")
        first = met.first
        if node.op_type == "Constant" and not node.domain:
            self._constant(node.output[0], constant_of(node))
        elif node.op_type == "If" and first is not None and first.content is not None:
            self._branch(node, bool(first.content[0]))
        elif node.op_type == "Loop" and not node.domain and self._loop(node, operands):
            pass
        elif node.op_type in ("Shape", "Size") and first is not None and node.input[0] in self.kinds:
            self._sizes(met, first)
        elif any(v is not None and v.origin == "data" for v in operands):
            self._data(met, place)
        elif node.op_type == "Identity" and first is not None and node.input[0] in self.kinds and node.output[0]:
            self._weighed(met)  # exporters write one for each layer that shares a bias
            self.values[node.output[0]], self.kinds[node.output[0]] = first, self.kinds[node.input[0]]
        else:
            self._fold(met)

    def _record(self, node: onnx.NodeProto, schema: Any) -> tuple[dict[str, Any], str]:
        """A node's attributes in plain values and what is wrong with them: worked out once for nodes that are alike."""
        if node.op_type in _HOLDING:
            facts = facts_of(node, schema)
            return facts, complaint(node, schema, facts)
        attributes = [attribute.SerializeToString() for attribute in node.attribute]
        key = (node.op_type, node.domain, len(node.input), len(node.output), any(node.output), *attributes)
        if key not in self.records:
            facts = facts_of(node, schema)
            self.records[key] = facts, complaint(node, schema, facts)
        return self.records[key]

    def _branch(self, node: onnx.NodeProto, condition: bool) -> None:
        """The branch of an If whose condition is known."""
        wanted = "then_branch" if condition else "else_branch"
        graph = next(a.g for a in node.attribute if a.name == wanted)
        self.nodes(graph)
        for outer, inner in zip(node.output, graph.output, strict=False):
            self.values[outer] = self.values[inner.name]
            if inner.name in self.kinds:
                self.kinds[outer] = self.kinds[inner.name]

    def _loop(self, node: onnx.NodeProto, operands: Sequence[Value | None]) -> bool:
        """Read the body of a Loop as often as it runs; False where that is not known, or it gathers what they give.

        Source: ONNX operator specification, Loop.
        """
        body = next(a.g for a in node.attribute if a.name == "body")
        trips, goes = (v.content[0] if v is not None and v.content else None for v in operands[:2])
        endless = len(node.input) > 1 and not node.input[0]
        if endless or not isinstance(trips, int) or not 0 < trips <= _MOST_RUNS or goes is False:
            return False
        if (node.input[1] and goes is None) or len(body.output) != len(operands) - 1 or self._ends_early(body):
            return False
        carried = list(node.input[2:])
        for number in range(trips):
            self._known(body.input[0].name, Value((), (), None, None, "made", False, 0, (number,)))
            self._known(body.input[1].name, Value((), (), None, None, "made", False, 0, (True,)), TensorProto.BOOL)
            self._alias([info.name for info in body.input[2:]], carried)
            self.repeated.add(len(self.parts))
            if len(self.repeated) > _MOST_RUNS:
                raise TraceError(f"{self.name}: {title(node)}: the Loops of the file run more than {_MOST_RUNS} times")
            self.nodes(body)
            carried = [info.name for info in body.output[1:]]
        self._alias(node.output, carried)
        return True

    def _ends_early(self, body: onnx.GraphProto) -> bool:
        """Whether a Loop's body may say that it is enough: it gives another condition than the one it was given."""
        given, makers = body.output[0].name, {str(n.output[0]): n for n in body.node if n.output}
        while given in makers and makers[given].op_type == "Identity":
            given = makers[given].input[0]
        if given in makers and makers[given].op_type == "Constant":
            return not numpy_helper.to_array(constant_of(makers[given])).all()
        return bool(given != body.input[1].name and given not in {t.name for t in body.initializer})

    def _alias(self, names: Iterable[str], others: Sequence[str]) -> None:
        """Let names stand for what others stand for; all at once, since they may be the same ones in another order."""
        values = [(self.values[other], self.kinds.get(other)) for other in others]
        for name, (value, kind) in zip(names, values, strict=True):
            self.values[name] = value
            self.other.add(name)
            if kind is not None:
                self.kinds[name] = kind

    def _sizes(self, met: Met, operand: Value) -> None:
        """A Shape or Size: its entries are known, or follow those of another tensor."""
        entries = shape_entries(operand, self.builder.draft.grids)
        if met.node.op_type == "Size":
            kinds = [Kind(TensorProto.INT64, ())]
            outs = folded(_PRODUCT, [np.array(entries, dtype=object)], {"keepdims": 0}, self.opset, kinds) or []
            entries = [entry for out in outs for entry in out.ravel()]
            shape: tuple[int, ...] = ()
        else:
            entries = entries[met.facts.get("start", 0) : met.facts.get("end")]
            shape = (len(entries),)
        self._known(met.node.output[0], Value(shape, _apart(shape), None, None, "made", False, 0, tuple(entries)))

    def _known(self, name: str, value: Value, elem: int = TensorProto.INT64) -> None:
        self.values[name] = value
        self.kinds[name] = Kind(elem, value.shape)

    def _fold(self, met: Met) -> None:
        """A node of constants alone: its entries where they are few and known, its shape otherwise."""
        given = [None if v is None else array_of(v) for v in met.operands]
        kinds = self._output_kinds(met)
        known = all(a is not None or v is None for a, v in zip(given, met.operands, strict=True))
        known = known and not any(map(_is_weight, kinds))
        outs = folded(met.node, given, met.facts, self.opset, kinds) if known else None
        weights = sum(v.weights for v in self._weighed(met) if v is not None)
        origin: Any = "weight" if any(v is not None and v.origin == "weight" for v in met.operands) else "made"
        for at, (name, kind) in enumerate(zip(met.node.output, kinds, strict=True)):
            if not name:
                continue
            entries = outs[at] if outs is not None and at < len(outs) else None
            shape = entries.shape if entries is not None else kind.shape if kind is not None else None
            content = None if entries is None else tuple(entries.ravel().tolist())
            value = _weight(shape or (), weights, content)
            self._known(name, replace(value, origin=origin), kind.elem if kind is not None else TensorProto.FLOAT)
            if shape is None:
                self.kinds.pop(name)

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

    def _output_kinds(self, met: Met) -> list[Kind | None]:
        """The kinds of a node's outputs: as inferred for the whole graph where all that it reads is as it was there."""
        if self.other.isdisjoint(met.node.input):
            kinds = [self.static.get(n) for n in met.node.output]
            if all(kind is not None or not n for kind, n in zip(kinds, met.node.output, strict=True)):
                return kinds
        return output_kinds(met, self.kinds, self.imports, self.ir_version)

    def _data(self, met: Met, place: tuple[int, int]) -> None:
        """A node that reads what comes from the input: it becomes a node of the graph."""
        node, owner = met.node, self.owners.of(met.node)
        if node.op_type == "Pad" and len(node.input) > 1 and node.input[1] not in self.constants:
            self.computes_pads = True
        names = [n for n in node.output if n]
        kinds = {n: kind for n, kind in zip(node.output, self._output_kinds(met), strict=True) if n}
        elems = [(kind.elem if kind is not None else 0) or int(TensorProto.FLOAT) for kind in kinds.values()]
        op = find_onnx(f"{node.domain}::{node.op_type}" if node.domain else node.op_type)
        shapes = self._shapes(met, kinds, names, op is not None and op.pointwise)
        if None in shapes.values():
            op = None
        self._check_sizes(met, list(shapes.values()))
        weighed = self._weighed(met)
        alias = met.first.index if node.op_type in VIEWS and met.first is not None else None
        outs = [(shapes[n] or (), itemsize(elem), alias) for n, elem in zip(names, elems, strict=True)]
        given = [v for v in (*weighed, *self._captured(node)) if v is not None]
        try:
            values = self.builder.add(op, node.op_type, weighed, met.facts, outs, owner, given, onnx=True)
        except (GeometryError, TraceError) as error:
            raise met.refuse(f"on {met.given()}: {error}") from error
        self._made(met, owner, place)
        for n, elem, value in zip(names, elems, values, strict=True):
            if shapes[n] is None:
                self.values[n] = replace(value, dims=None)
                continue
            self.values[n], self.kinds[n] = value, Kind(elem, value.shape)
            if n in self.static and self.static[n].shape != value.shape:
                self.other.add(n)
        self.owners.made([value.index for value in values if value.index is not None])

    def _captured(self, node: onnx.NodeProto) -> list[Value]:
        """What the graphs in a node's attributes read from outside."""
        inner = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
        names = dict.fromkeys(name for graph in inner for n in graph.node for name in n.input)
        made = {name for graph in inner for n in graph.node for name in n.output}
        found = [self.values[name] for name in names if name in self.values and name not in made]
        return found + [value for graph in inner for n in graph.node for value in self._captured(n)]

    def _shapes(
        self, met: Met, kinds: dict[str, Kind | None], names: Sequence[str], pointwise: bool
    ) -> dict[str, tuple[int, ...] | None]:
        """The sizes of each output, None where they are not known."""
        shapes = {n: None if kind is None else kind.shape for n, kind in kinds.items()}
        if shapes[names[0]]:
            shapes[names[0]] = met.scaled() or shapes[names[0]]
        if pointwise and not any(shapes.values()):
            shapes[names[0]] = self._first_shape(met)
        return shapes

    def _first_shape(self, met: Met) -> tuple[int, ...] | None:
        return met.first.shape if met.first is not None and met.node.input[0] in self.kinds else None

    def _check_sizes(self, met: Met, shapes: Sequence[tuple[int, ...] | None]) -> None:
        """Refuse outputs without positions, and views to a constant that holds for another input size."""
        for shape in shapes:
            if shape and min(shape) < 1:
                raise met.refuse(f"leaves nothing of {met.given()}: the input is too small")
            if shape and oversized(shape):
                raise met.refuse(f"makes {by(shape)} of {met.given()}, which fits into no machine")
        first = self._first_shape(met) if met.node.op_type in VIEWS else None
        if first is not None and math.prod(first) != math.prod(shapes[0] or first):
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


def _is_weight(kind: Kind | None) -> bool:
    """Whether a constant holds no sizes, places or choices: its entries are not worked out."""
    return kind is not None and kind.elem not in _SIZES and kind.shape is not None and math.prod(kind.shape) > _FEW


def _apart(shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Dims that hold no positions."""
    return tuple((size,) for size in shape)


def _weight(shape: tuple[int, ...], weights: int, entries: tuple[Any, ...] | None) -> Value:
    return Value(shape, _apart(shape), None, None, "weight", False, weights, entries)
