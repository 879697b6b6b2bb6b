"""One ONNX node as it is met: its operands, its attributes, and what onnx's inference says of its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from stridewise.errors import TraceError
from stridewise.onnxfile.checks import bad_factors
from stridewise.onnxfile.inference import Kind, infer_node
from stridewise.onnxfile.nodes import by, title
from stridewise.onnxfile.shapes import Array, as_tensor, resized
from stridewise.ops.draft import Value
from stridewise.ops.extent import number


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
