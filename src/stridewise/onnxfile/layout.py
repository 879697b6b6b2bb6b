"""The inputs of a file: their layout, read from the first op that knows what a channel is, and their shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import onnx
from onnx import helper, numpy_helper

from stridewise.errors import TraceError
from stridewise.onnxfile.node_view import LARGEST, LONGEST

Layout: TypeAlias = Literal["first", "last", "flat", ""]
InputSpec: TypeAlias = Sequence[int] | Mapping[str, Sequence[int]]
_DEFAULT = 224

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


def input_shapes(
    graph: onnx.GraphProto, spec: InputSpec | None, name: str, batch: int | None = None
) -> dict[str, tuple[tuple[int, ...], Layout]]:
    """Per input its full shape as the file lays it out, and how that is. Weights given as inputs are none of them.

    spec: channels and sizes, without the batch (1, or `batch`); None takes the file's own sizes.
    Raises: TraceError where an input is named that is not there, has another rank or other channels than the file says.
    """
    infos = data_inputs(graph)
    if not infos:
        raise TraceError(f"{name}: the file has no input")
    given = _named(spec, infos, name)
    layouts = {key: layout_of(graph, key) for key in infos}
    return {key: _shape(info, given.get(key), name, batch or 1, layouts[key]) for key, info in infos.items()}


def data_inputs(graph: onnx.GraphProto) -> dict[str, onnx.ValueInfoProto]:
    """The inputs that are no constants of the file and no weights given to it, by name."""
    constants = {tensor.name for tensor in graph.initializer}
    infos = {info.name: info for info in graph.input if info.name not in constants}
    data = {key: info for key, info in infos.items() if len(infos) == 1 or not is_weight(graph, key)}
    return data or infos


def _named(spec: InputSpec | None, infos: Mapping[str, onnx.ValueInfoProto], name: str) -> dict[str, tuple[int, ...]]:
    if spec is None:
        return {}
    named = dict(spec) if isinstance(spec, Mapping) else {next(iter(infos)): spec}
    if "" in named:
        named[next(iter(infos))] = named.pop("")
    for key, shape in named.items():
        if key not in infos:
            raise TraceError(f"{name}: has no input '{key}'; its inputs are {', '.join(infos)}")
        if any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in shape):
            raise TraceError(f"{name}: input {key}: sizes are whole numbers from 1, not {tuple(shape)}")
    return {key: tuple(shape) for key, shape in named.items()}


def _shape(
    info: onnx.ValueInfoProto, given: tuple[int, ...] | None, name: str, batch: int, layout: Layout
) -> tuple[tuple[int, ...], Layout]:
    if not info.type.HasField("tensor_type"):
        raise TraceError(f"{name}: input {info.name} is no tensor")
    kind = info.type.tensor_type
    own = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim]
    if not kind.HasField("shape"):
        own = [None] * ((len(given) if given else 3) + 1)
    rank = len(own)
    if layout == "flat" and rank == 2:
        return (batch, given[-1] if given else own[1] or _DEFAULT), layout
    if given is not None and len(given) == rank and rank < 3:
        return given, "first"
    if given is not None and len(given) != rank - 1:
        wanted = "x".join(str(d or "?") for d in own[1:])
        raise TraceError(f"{name}: input {info.name} takes {wanted} after the batch, not {_by(given)}: --input")
    # Where no op says so: channels that come last, as TensorFlow lays pictures out, are few.
    last = layout == "last" and rank > 2
    if not layout:
        last = rank >= 4 and own[-1] in (1, 2, 3, 4) and own[1] not in (1, 2, 3, 4)
    channels, sizes = (own[-1], own[1:-1]) if last else (own[1] if rank > 1 else None, own[2:])
    if given is not None:
        if channels is not None and given and given[0] != channels:
            raise TraceError(
                f"{name}: input {info.name} takes {channels} channels, not {given[0]}: --input {channels}{_rest(given)}"
            )
        channels, sizes = given[0] if given else None, list(given[1:])
    elif rank > 1 and channels is None:
        raise TraceError(
            f"{name}: the file does not say the channels of input {info.name} ({_by(own)}): give --input CHANNELSxSIZES"
        )
    filled = [size if size is not None else _DEFAULT for size in sizes]
    most = LONGEST if len(filled) == 1 else LARGEST
    if any(size > most for size in filled):
        raise TraceError(
            f"{name}: input {info.name} has {_by(filled)} positions; at most {most} along an axis: --input"
        )
    if rank < 2:
        return tuple(d or 1 for d in own), "first"
    return ((batch, *filled, channels or 1), "last") if last else ((batch, channels or 1, *filled), "first")


def fixed_batch(graph: onnx.GraphProto) -> int | None:
    """The batch the file was made for, where it fixes one above 1."""
    for info in data_inputs(graph).values():
        dims = info.type.tensor_type.shape.dim
        if len(dims) > 2:
            return dims[0].dim_value if dims[0].dim_value > 1 else None
    return None


def _rest(given: tuple[int, ...]) -> str:
    return "".join(f"x{n}" for n in given[1:])


def _by(shape: Sequence[int | None]) -> str:
    return "x".join(str(n or "?") for n in shape)
