"""One ONNX node in plain values: the op it stands for, its attributes with their defaults, types and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, defs, helper, numpy_helper

# Constants with more entries are weights: their entries are not looked at.
LIMIT = 4096
_LONGEST_NAME = 120
# Runtimes give these no memory of their own.
VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
# Operands that set an op up and are learned by nobody, by position.
SETTINGS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4),
    "Clip": (1, 2),
    "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
}
# Ops that onnxruntime writes, as the standard op they stand for and which of their operands that takes.
_STANDARD: dict[str, tuple[str, slice]] = {
    "FusedConv": ("Conv", slice(0, 3)),
    "FusedGemm": ("Gemm", slice(0, 3)),
    "FastGelu": ("Gelu", slice(0, 1)),
    "QuickGelu": ("Gelu", slice(0, 1)),
    "Gelu": ("Gelu", slice(0, 1)),
    "BiasGelu": ("Add", slice(0, 2)),
    "QLinearAdd": ("Add", slice(0, 4, 3)),
    "QLinearMul": ("Mul", slice(0, 4, 3)),
    "QLinearSigmoid": ("Sigmoid", slice(0, 1)),
    "QLinearLeakyRelu": ("LeakyRelu", slice(0, 1)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", slice(0, 1)),
    "QLinearAveragePool": ("AveragePool", slice(0, 1)),
    "QLinearConcat": ("Concat", slice(2, None, 3)),
    "QLinearSoftmax": ("Softmax", slice(0, 1)),
}


# What those keep of the standard op's attributes.
_KEPT = {"strides", "pads", "dilations", "group", "kernel_shape", "auto_pad", "axis", "transA", "transB", "ceil_mode"}


def standard(node: onnx.NodeProto) -> onnx.NodeProto:
    """An op of onnxruntime's own as the standard one it stands for; others, channels-last ones too, as they are."""
    if not node.domain:
        return node
    if node.domain == "ai.onnx":
        node.domain = ""
    last = any(a.name == "channels_last" and a.i for a in node.attribute)
    if node.domain != "com.microsoft" or node.op_type not in _STANDARD or last:
        return node
    op_type, operands = _STANDARD[node.op_type]
    twin = helper.make_node(op_type, list(node.input)[operands], list(node.output)[:1], name=node.name)
    twin.attribute.extend(a for a in node.attribute if a.name in _KEPT)
    twin.metadata_props.extend(node.metadata_props)
    return twin


def title(node: onnx.NodeProto) -> str:
    """What messages call a node: its name, the middle of a very long one left out, or else its operator."""
    name = str(node.name or node.op_type)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 :]}"


def schema_of(node: onnx.NodeProto, opset: int) -> Any:
    if node.domain:
        return None
    return _standard_schema(node.op_type, opset)


@lru_cache(maxsize=1024)
def _standard_schema(op_type: str, opset: int) -> Any:
    try:
        return defs.get_schema(op_type, opset, "")
    except defs.SchemaError:
        return None


@lru_cache(maxsize=1024)
def _defaults(op_type: str, opset: int) -> Mapping[str, Any]:
    schema = _standard_schema(op_type, opset)
    found: dict[str, Any] = {"since": schema.since_version}
    for name, attribute in schema.attributes.items():
        if attribute.default_value.name:
            found[name] = _PLAIN[attribute.default_value.type](attribute.default_value)
    return found


def facts_of(node: onnx.NodeProto, schema: Any) -> dict[str, Any]:
    """A node's attributes in plain values, those it leaves out at the default of its opset."""
    facts = {} if schema is None else dict(_defaults(node.op_type, schema.since_version))
    for attribute in node.attribute:
        plain = _PLAIN.get(attribute.type)
        if plain is not None:
            facts[attribute.name] = plain(attribute)
    return facts


# Graphs and types are no plain values; the walk looks at them itself.
_PLAIN: dict[int, Callable[[onnx.AttributeProto], Any]] = {
    AttributeProto.INT: lambda a: a.i,
    AttributeProto.INTS: lambda a: list(a.ints),
    AttributeProto.FLOAT: lambda a: a.f,
    AttributeProto.FLOATS: lambda a: list(a.floats),
    AttributeProto.STRING: lambda a: a.s.decode(errors="replace"),
    AttributeProto.STRINGS: lambda a: [s.decode(errors="replace") for s in a.strings],
    AttributeProto.TENSOR: lambda a: a.t,
    AttributeProto.TENSORS: lambda a: list(a.tensors),
}


def constant_of(node: onnx.NodeProto) -> TensorProto:
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return value
    if attribute.name.startswith("value_float"):
        return numpy_helper.from_array(np.array(value, dtype=np.float32))
    if attribute.name.startswith("value_int"):
        return numpy_helper.from_array(np.array(value, dtype=np.int64))
    return TensorProto(data_type=TensorProto.STRING)


@lru_cache(maxsize=64)
def itemsize(elem_type: int) -> int:
    """Bytes of one element (4-bit types and strings: 1)."""
    try:
        return int(helper.tensor_dtype_to_np_dtype(elem_type).itemsize) if elem_type != TensorProto.STRING else 1
    except (KeyError, TypeError):
        return 4


def by(shape: Sequence[float]) -> str:
    """Sizes as text: 1x3x224x224."""
    return "x".join(map(str, shape))
