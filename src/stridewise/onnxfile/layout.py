"""How an input of a file is laid out: read from the first op that knows what a channel is, not from its sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import onnx
from onnx import helper, numpy_helper

Layout: TypeAlias = Literal["first", "last", "flat", ""]

# Ops that leave every element where it is.
_NEUTRAL = frozenset(
    "Identity Cast Relu Neg Abs Clip Add Sub Mul Div QuantizeLinear DequantizeLinear Sigmoid Tanh Dropout".split()
)
# Ops whose operand has its channels in the second dimension.
_FIRST = frozenset(
    """Conv ConvTranspose ConvInteger QLinearConv MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool
    BatchNormalization InstanceNormalization DepthToSpace SpaceToDepth""".split()
)
# How many ops are looked through: an input is scaled and shifted before it is used, not more.
_DEEPEST = 8
# Operands by which a file may be given its weights when it runs.
_WEIGHED: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "BatchNormalization": (1, 2, 3, 4),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
}


def layout_of(graph: onnx.GraphProto, name: str, depth: int = 0) -> Layout:
    """Where the input `name` has its channels: "first" behind the batch, "last", or "flat" (none; all is positions).

    Nothing where no op that is met first says so. A picture with its channels last is turned round before its first
    convolution, a sound without channels gets one.
    """
    for node in _readers(graph, name):
        if node.domain in ("", "ai.onnx") and node.op_type in _FIRST and node.input[0] == name:
            return "first"
        if any(a.name == "channels_last" and a.i for a in node.attribute):
            return "last"
        if node.op_type == "Transpose":
            perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
            if len(perm) > 2 and perm[:2] == [0, len(perm) - 1] and perm[2:] == list(range(1, len(perm) - 1)):
                return "last"
            return ""
        if node.op_type == "Unsqueeze" and _axes(graph, node) == [1]:
            return "flat" if _takes_one(graph, str(node.output[0])) else ""
        if node.op_type in _NEUTRAL and node.output and depth < _DEEPEST:
            found = layout_of(graph, str(node.output[0]), depth + 1)
            if found:
                return found
    return ""


def is_weight(graph: onnx.GraphProto, name: str) -> bool:
    """Whether an input of the file is a weight that is given when it runs: whoever reads it takes it as one."""
    readers = _readers(graph, name)
    places = [(node, at) for node in readers for at, operand in enumerate(node.input) if operand == name]
    return bool(places) and all(at in _WEIGHED.get(node.op_type, ()) for node, at in places)


def _readers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if name in node.input]


def _axes(graph: onnx.GraphProto, node: onnx.NodeProto) -> Sequence[int]:
    for attribute in node.attribute:
        if attribute.name == "axes":
            return list(helper.get_attribute_value(attribute))
    tensor = next((t for t in graph.initializer if len(node.input) > 1 and t.name == node.input[1]), None)
    for maker in graph.node:
        if tensor is None and len(node.input) > 1 and node.input[1] in maker.output and maker.op_type == "Constant":
            tensor = next((a.t for a in maker.attribute if a.name == "value"), None)
    return [] if tensor is None else [int(n) for n in numpy_helper.to_array(tensor).ravel()]


def _takes_one(graph: onnx.GraphProto, name: str, depth: int = 0) -> bool:
    """Whether the first convolution behind `name` takes one channel."""
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    for node in _readers(graph, name):
        if node.op_type == "Conv" and node.input[1] in weights:
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            return bool(weights[node.input[1]][1] * group == 1)
        if node.op_type in _NEUTRAL and node.output and depth < _DEEPEST:
            return _takes_one(graph, str(node.output[0]), depth + 1)
    return False
