"""Changes to an ONNX model: attributes, new constants and nodes, each in its place. Names that are there stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper, version_converter

from stridewise.errors import PlanError, StridewiseError
from stridewise.onnxfile.walk import Walk
from stridewise.rewrites.places import IN_A_LOOP

# From here on Slice, Pad, Unsqueeze and the reductions take what they need as operands.
OPERANDS = 13


class NeedsOpsetError(StridewiseError):
    """What is to be written exists from a later version of the operator set on."""

    def __init__(self, version: int) -> None:
        super().__init__(f"needs opset {version}")
        self.version = version


class Editor:
    """The nodes of a model that was read, to be changed in place; `finish` puts new nodes where they belong."""

    def __init__(self, model: onnx.ModelProto, walk: Walk) -> None:
        self.model, self.walk, self.opset = model, walk, walk.opset
        self.names = {name for part in walk.parts for name in _names(part)}
        self.new: dict[tuple[int, int], tuple[list[onnx.NodeProto], list[onnx.NodeProto]]] = {}

    def at(self, index: int) -> Spot:
        """The place of the node that became node `index` of the graph. Raises: PlanError inside a Loop."""
        part, place = self.walk.made[index]
        if part in self.walk.repeated:
            node = self.walk.parts[part].node[place]
            raise PlanError(f"{node.name or node.op_type}: {IN_A_LOOP}")
        return Spot(self, self.walk.parts[part].node[place], *self.new.setdefault((part, place), ([], [])))

    def needs(self, version: int) -> None:
        """Raises: NeedsOpsetError where the model's operator set is older."""
        if self.opset < version:
            raise NeedsOpsetError(version)

    def name(self, stem: str) -> str:
        """A name that nothing has, beginning with `stem`."""
        number = 0
        while f"{stem}/stridewise{number}" in self.names:
            number += 1
        name = f"{stem}/stridewise{number}"
        self.names.add(name)
        return name

    def constant(self, array: Any) -> str:
        """A new constant; its name."""
        name = self.name("constant")
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def finish(self) -> None:
        """Put the new nodes before and behind those they were made for."""
        for number in reversed(range(len(self.walk.parts))):  # branches come behind the graph they are part of
            part = self.walk.parts[number]
            nodes: list[onnx.NodeProto] = []
            for place, node in enumerate(part.node):
                before, behind = self.new.get((number, place), ((), ()))
                nodes += [*before, node, *behind]
            if len(nodes) > len(part.node):
                copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
                del part.node[:]
                part.node.extend(copies)


@dataclass(slots=True)
class Spot:
    """A node, and the new ones before and behind it."""

    edit: Editor
    node: onnx.NodeProto
    before: list[onnx.NodeProto]
    behind: list[onnx.NodeProto]

    @property
    def name(self) -> str:
        """The node's name, for messages and for what is made around it."""
        return str(self.node.name or self.node.op_type)

    def set(self, name: str, value: Any) -> None:
        """Give the node an attribute; None takes it away."""
        for at, attribute in reversed(list(enumerate(self.node.attribute))):
            if attribute.name == name:
                del self.node.attribute[at]
        if value is not None:
            self.node.attribute.append(helper.make_attribute(name, value))

    def add(self, op: str, *inputs: str, behind: bool = False, since: int = 1, **attributes: Any) -> str:
        """A new node before (or behind) this one; the name of its output."""
        self.edit.needs(since)
        out = self.edit.name(self.name)
        made = helper.make_node(op, list(inputs), [out], name=out, **attributes)
        (self.behind if behind else self.before).append(made)
        return out

    def inner(self) -> str:
        """Give the node's output another name, which is returned, so that a node behind it can take the old one."""
        self.node.output[0] = self.edit.name(self.name)
        return str(self.node.output[0])

    def ends(self, output: str, op: str, *inputs: str, since: int = 1) -> None:
        """A new node behind this one that gives `output`."""
        self.add(op, *inputs, behind=True, since=since)
        self.behind[-1].output[0] = output

    def clone(self, first: str) -> str:
        """The node again, before itself and with another first operand; the name of its first output."""
        twin = onnx.NodeProto.FromString(self.node.SerializeToString())
        out = self.edit.name(self.name)
        twin.name, twin.input[0], twin.output[0] = out, first, out
        del twin.output[1:]
        self.before.append(twin)
        return out

    def becomes(self, op: str, *inputs: str, **attributes: Any) -> None:
        """Make the node another op that gives the same output."""
        output = self.node.output[0]
        metadata = list(self.node.metadata_props)
        self.node.CopyFrom(helper.make_node(op, list(inputs), [output], name=self.node.name, **attributes))
        self.node.metadata_props.extend(metadata)

    def ints(self, *values: int) -> str:
        """A constant of whole numbers."""
        return self.edit.constant(np.array(values, dtype=np.int64))

    def number(self, value: float, elem: int) -> str:
        """A constant number of an element type."""
        return self.edit.constant(np.array(value).astype(helper.tensor_dtype_to_np_dtype(elem)))

    def sizes(self, x: str, dims: Sequence[int]) -> Ints:
        """The sizes of a tensor along some dims, as the file computes them when it runs."""
        shape = self.add("Shape", x)
        return Ints(self, self.add("Gather", shape, self.ints(*dims), axis=0))


@dataclass(frozen=True, slots=True)
class Ints:
    """Whole numbers that the file computes when it runs, one an axis; arithmetic adds nodes before a spot."""

    spot: Spot
    name: str

    def _with(self, op: str, other: Ints | Sequence[int] | int, **more: Any) -> Ints:
        if isinstance(other, Ints):
            operand = other.name
        else:
            operand = self.spot.ints(*([other] if isinstance(other, int) else other))
        return Ints(self.spot, self.spot.add(op, self.name, operand, **more))

    def __add__(self, other: Ints | Sequence[int] | int) -> Ints:
        return self._with("Add", other)

    def __sub__(self, other: Ints | Sequence[int] | int) -> Ints:
        return self._with("Sub", other)

    def __mul__(self, other: Ints | Sequence[int] | int) -> Ints:
        return self._with("Mul", other)

    def __floordiv__(self, other: Ints | Sequence[int] | int) -> Ints:
        """The quotient of numbers from 0, rounded down."""
        return self._with("Div", other)

    def at_least(self, other: Ints | Sequence[int] | int) -> Ints:
        """The larger of both."""
        return self._with("Max", other, since=OPERANDS)

    def at_most(self, other: Ints | Sequence[int] | int) -> Ints:
        """The smaller of both."""
        return self._with("Min", other, since=OPERANDS)

    def reaches(self, other: Ints | Sequence[int] | int) -> Ints:
        """1 where it is at least `other`, else 0."""
        less = self._with("Less", other, since=OPERANDS)
        true = self.spot.add("Cast", self.spot.add("Not", less.name), to=int(onnx.TensorProto.INT64))
        return Ints(self.spot, true)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (tensor.name for tensor in graph.initializer)
    yield from (info.name for info in graph.input)
    for node in graph.node:
        yield node.name
        yield from node.output


# From here on a Resize says its coordinates and its rounding. Source: ONNX operator changelog.
_COORDINATES = 11


def raise_opset(model: onnx.ModelProto, version: int, where: str) -> onnx.ModelProto:
    """The model with its operator set raised to `version`: the number alone where that changes no op it uses.

    Raises: PlanError where onnx's converter cannot.
    """
    own = next(entry for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    used = {node.op_type for node in _every(model.graph) if node.domain in ("", "ai.onnx")}
    try:
        if all(_same(op, own.version, version) for op in used):
            own.version = version
            return model
        converted = version_converter.convert_version(model, version)
    except (RuntimeError, defs.SchemaError, onnx.shape_inference.InferenceError) as error:
        said = str(error).strip().splitlines()[-1]
        raise PlanError(f"{where}: cannot be raised from opset {own.version} to {version}: {said}") from error
    before = {node.output[0]: node for node in _every(model.graph) if node.output}
    if own.version < _COORDINATES:
        # The converter renames what a resize makes, and forgets that resizes knew one kind of coordinates.
        olds = [node for node in _every(model.graph) if node.op_type in ("Resize", "Upsample")]
        news = [node for node in _every(converted.graph) if node.op_type == "Resize"]
        for old, node in zip(olds, news, strict=True):
            before[node.output[0]] = old
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
    names = {node.name for node in _every(converted.graph)}
    for node in _every(converted.graph):
        old = before.get(node.output[0]) if node.output else None
        if old is not None and not node.metadata_props:  # and where nodes came from
            node.metadata_props.extend(old.metadata_props)
            node.name = node.name or ("" if old.name in names else old.name)
    converted.metadata_props.extend(m for m in model.metadata_props if m not in converted.metadata_props)
    return converted


def _same(op: str, old: int, new: int) -> bool:
    """Whether an op means the same in both operator sets: the same version, or only more types and attributes."""
    a, b = defs.get_schema(op, old, ""), defs.get_schema(op, new, "")
    return a.since_version == b.since_version or (old >= OPERANDS and op in _GROWN)


# Ops whose versions from 13 to 19 only took in more types, operands, or attributes whose default is what was before.
# Source: ONNX operator changelog.
_GROWN = frozenset(
    """Add AveragePool BatchNormalization Cast Constant Div Equal GreaterOrEqual Identity If LeakyRelu LessOrEqual Mul
    Pad Pow PRelu Relu Reshape Resize Shape Size Sub Where""".split()
)


def _every(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _every(attribute.g)
