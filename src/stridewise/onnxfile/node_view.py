"""One ONNX node as it is met: its operands and attributes, what is wrong with them, what onnx infers of its outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import defs

from stridewise.errors import TraceError
from stridewise.onnxfile.inference import Kind, infer_node
from stridewise.onnxfile.nodes import by, title
from stridewise.onnxfile.shapes import Array, as_tensor, resized
from stridewise.ops.draft import Value
from stridewise.ops.extent import number

# Kernels, steps and paddings beyond this are damage, not design: no picture has as many positions along an axis.
WIDEST = 1 << 20
# Positions of an input along an axis: of a sound or a text, of a picture or a volume.
LONGEST, LARGEST = 1 << 22, 1 << 18
# A map or weight with more elements than this fits into no machine.
MOST = 1 << 50
# Enlargements beyond this.
_LARGEST_FACTOR = 1 << 12
_FROM_ONE = ("kernel_shape", "strides", "dilations", "group")
# Which operand of a convolution is its weight.
_WEIGHTS = {"Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3}
_FROM_ZERO = ("output_padding", "output_shape")


def is_text(node: onnx.NodeProto) -> bool:
    """Whether the names of a node and of its operands can stand in a line."""
    try:
        return "".join((node.name, node.op_type, node.domain, *node.input, *node.output)).isprintable()
    except TypeError:  # bytes: no UTF-8
        return False


def complaint(node: onnx.NodeProto, schema: Any, facts: Mapping[str, Any]) -> str:
    """What is wrong with a node, whatever it reads; nothing where it can be read. facts: its attributes as values."""
    if schema is not None:
        said = _unlike(node, schema)
        if said:
            return said
    for name in (*_FROM_ONE, *_FROM_ZERO, "pads"):
        given = facts.get(name)
        if given is None or isinstance(given, str):
            continue
        entries = given if isinstance(given, list) else [given]
        least = 1 if name in _FROM_ONE else 0 if name in _FROM_ZERO else -WIDEST
        if any(not isinstance(n, int) or not least <= n <= WIDEST for n in entries):
            return f"has {name} {by(entries)}, which is not from {least} to {WIDEST}"
    return ""


def heavy(op_type: str, operands: Sequence[Value | None]) -> str:
    """What is wrong with the weight of a convolution; nothing for other ops."""
    weight = operands[_WEIGHTS[op_type]] if op_type in _WEIGHTS else None
    if weight is not None and any(not 1 <= n <= WIDEST for n in weight.shape):
        return f"has a weight of {by(weight.shape)}"
    return ""


def _unlike(node: onnx.NodeProto, schema: Any) -> str:
    """Where a node differs from its operator's schema, in words; nothing where it does not."""
    required, types = _attributes(schema.name, schema.since_version)
    present = {a.name: a.type for a in node.attribute}
    missing = [name for name in required if name not in present]
    if missing:
        return f"lacks its attribute {missing[0]}"
    for name, kind in present.items():
        if types.get(name, kind) != kind:
            return f"has an attribute {name} of another type than the operator takes"
    if len(node.input) < schema.min_input:
        return f"has {len(node.input)} of the {schema.min_input} operands that it needs"
    if len(node.output) < schema.min_output or not any(node.output):
        return "gives no output"
    return ""


@lru_cache(maxsize=1024)
def _attributes(op_type: str, version: int) -> tuple[tuple[str, ...], dict[str, int]]:
    """The attributes that an operator needs, and the type of each it takes."""
    known = defs.get_schema(op_type, version, "").attributes
    required = tuple(name for name, attribute in known.items() if attribute.required)
    return required, {name: int(attribute.type.value) for name, attribute in known.items()}


def oversized(shape: Sequence[int]) -> bool:
    """Whether no machine holds a value of these sizes."""
    return math.prod(shape) > MOST


def bad_factors(scales: Sequence[Any]) -> bool:
    """Whether a resize by these cannot be meant: not finite, not above 0, or enormous."""
    return any(not math.isfinite(s) or not 1 / _LARGEST_FACTOR <= s <= _LARGEST_FACTOR for s in scales)


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """A node where the walk has come to it.

    operands: what is known of each input, None where it is left out; facts: its attributes in plain values; schema:
    onnx's own, None for an op of another domain; network: the file's name, for messages.
    """

    node: onnx.NodeProto
    operands: tuple[Value | None, ...]
    facts: dict[str, Any]
    schema: Any
    network: str

    @property
    def first(self) -> Value | None:
        """The first operand; None where there is none."""
        return self.operands[0] if self.operands else None

    def refuse(self, why: str) -> TraceError:
        """The error that names this node."""
        return TraceError(f"{self.network}: {title(self.node)} ({self.node.op_type}) {why}")

    def given(self) -> str:
        """The sizes of the operands that come from the input, for messages."""
        shapes = [by(v.shape) or "a number" for v in self.operands if v is not None and v.origin == "data"]
        return ", ".join(shapes) or "its constants"

    def scaled(self) -> tuple[int, ...] | None:
        """The sizes that a Resize by scales gives; None for any other op, and where it is one to sizes."""
        x = self.first
        if self.node.op_type not in ("Resize", "Upsample") or x is None:
            return None
        at = 2 if len(self.operands) > 2 else 1
        given = self.operands[at] if at < len(self.operands) else None
        scales = self.facts.get("scales") if given is None else given.content
        if not scales:
            return None
        if bad_factors([number(scale) for scale in scales]):
            raise self.refuse(f"resizes by {by([number(scale) for scale in scales])}")
        return resized(x.shape, scales, self.facts.get("axes") or range(len(x.shape)))


def array_of(value: Value) -> Array | None:
    """The entries of a value that are known, in its shape."""
    if value.content is None:
        return None
    out = np.empty(len(value.content), dtype=object)
    out[:] = value.content
    return out.reshape(value.shape)


def output_kinds(
    met: Met, known: Mapping[str, Kind], imports: Sequence[onnx.OperatorSetIdProto], ir_version: int
) -> list[Kind | None]:
    """The kinds of a node's outputs by onnx's inference on this node alone; None where it cannot tell.

    known: kinds by name. Raises: TraceError where the node does not take what comes in.
    """
    node = met.node
    names = [n for n in node.input if n]
    if met.schema is None or any(n not in known for n in names):
        return [None] * len(node.output)
    kinds = {n: known[n] for n in names}
    data = {}
    for n, value in zip(node.input, met.operands, strict=True):
        if n and value is not None and value.content is not None and len(value.shape) <= 1:
            tensor = as_tensor(array_of(value), kinds[n].elem)  # type: ignore[arg-type]
            if tensor is not None:
                data[n] = tensor
    try:
        return infer_node(node, met.schema, kinds, data, imports, ir_version)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[-1].split("] ")[-1]
        raise met.refuse(f"does not take {met.given()}: {said}") from error
