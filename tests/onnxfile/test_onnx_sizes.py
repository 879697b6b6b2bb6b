"""Sizes of every tensor of an ONNX file, against onnxruntime."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx_nets import Net, exposed, onnx, run

import stridewise as sw
from stridewise.analyses.fields import fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.errors import PlanError, TraceError
from stridewise.ir import Graph
from stridewise.onnxfile.read import read_onnx

helper, TensorProto = onnx.helper, onnx.TensorProto


def check(data: bytes, *shape: int) -> Graph:
    """Read at `shape` and compare each tensor with what onnxruntime makes of it; the geometry must say the same."""
    data, names = exposed(data)
    outs = run(data, np.zeros((1, *shape), dtype=np.float32))
    graph = read_onnx(data, shape)
    assert not graph.unknown, graph.unknown
    assert len(graph.outputs) == len(names)
    sizes = grid_sizes(graph)
    for name, index, out in zip(names, graph.outputs, outs, strict=True):
        tensor = graph.tensors[index]
        assert tensor.shape == out.shape, name
        assert tensor.volume.at(sizes) == math.prod(out.shape), name
    return graph


def follows(data: bytes, first: tuple[int, ...], *others: tuple[int, ...]) -> Graph:
    """The sizes at `others` follow from the graph read at `first`, as onnxruntime has them."""
    graph = check(data, *first)
    data, names = exposed(data)
    for other in others:
        outs = run(data, np.zeros((1, *other), dtype=np.float32))
        sizes = grid_sizes(graph, other[1:])
        for name, index, out in zip(names, graph.outputs, outs, strict=True):
            assert graph.tensors[index].volume.at(sizes) == math.prod(out.shape), (name, other, out.shape)
    return graph


@st.composite
def windows(draw: Any) -> tuple[str, dict[str, Any], tuple[int, int]]:
    op = draw(st.sampled_from(["Conv", "MaxPool", "AveragePool", "LpPool", "ConvTranspose"]))
    pair = lambda low, high: draw(st.lists(st.integers(low, high), min_size=2, max_size=2))  # noqa: E731
    kernel, strides = pair(1, 4), pair(1, 4)
    facts: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto == "NOTSET":
        facts["pads"] = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
    else:
        facts["auto_pad"] = auto
    if op != "ConvTranspose" and auto in ("NOTSET", "VALID"):
        facts["dilations"] = pair(1, 3)
    if op in ("MaxPool", "AveragePool", "LpPool") and auto == "NOTSET":
        facts["ceil_mode"] = draw(st.integers(0, 1))
    if op == "ConvTranspose" and auto in ("NOTSET", "VALID"):
        facts["dilations"] = pair(1, 2)
        facts["output_padding"] = [draw(st.integers(0, s - 1)) for s in strides]
    return op, facts, tuple(pair(3, 13))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(windows())
def test_windows(drawn: tuple[str, dict[str, Any], tuple[int, int]]) -> None:
    op, facts, size = drawn
    net = Net(1, 2, "h", "w", opset=22)
    operands = [net.weight(2, 2, *facts["kernel_shape"])] if op.startswith("Conv") else []
    data = net.bytes(net.add(op, "x", *operands, **facts))
    pads = facts.get("pads", [0] * 4)
    spans = [(k - 1) * d + 1 for k, d in zip(facts["kernel_shape"], facts.get("dilations", (1, 1)), strict=True)]
    if not op.endswith("Transpose") and "SAME" not in facts.get("auto_pad", ""):
        padded = [n + pads[a] + pads[a + 2] for a, n in enumerate(size)]
        if any(span > room for span, room in zip(spans, padded, strict=True)):
            # onnxruntime rounds towards zero and gives one position, or an empty tensor.
            assume(not facts.get("ceil_mode"))
            with pytest.raises(TraceError, match=f"{op}.*(no window fits|leaves nothing)"):
                read_onnx(data, (2, *size))
            return
    try:
        run(data, np.zeros((1, 2, *size), dtype=np.float32))
    except Exception:  # noqa: BLE001 - onnxruntime refuses some settings
        assume(False)
    check(data, 2, *size)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    scales=st.lists(
        st.sampled_from([0.1, 0.3, 1 / 3, 0.5, 0.7, 0.9, 1.0, 1.1, 1.5, 2.0, 3.0, 1.25]), min_size=2, max_size=2
    ),
    size=st.lists(st.integers(10, 19), min_size=2, max_size=2),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    place=st.sampled_from(["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]),
    sized=st.booleans(),
)
def test_resize(scales: list[float], size: list[int], mode: str, place: str, sized: bool) -> None:
    net = Net(1, 2, "h", "w")
    empty = net.constant(np.zeros(0, dtype=np.float32))
    if sized:
        target = net.ints(1, 2, *(max(1, int(s * n)) for s, n in zip(scales, size, strict=True)))
        out = net.add("Resize", "x", empty, empty, target, mode=mode, coordinate_transformation_mode=place)
    else:
        by = net.constant(np.array([1, 1, *scales], dtype=np.float32))
        out = net.add("Resize", "x", empty, by, mode=mode, coordinate_transformation_mode=place)
    out = net.add("MaxPool", out, kernel_shape=[1, 1])
    graph = check(net.bytes(out), 2, *size)
    assert bool(graph.pins) == sized


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
def test_same_padding_follows_the_size(auto: str) -> None:
    net = Net(1, 3, "h", "w")
    x = net.conv("x", 4, 3, 5, 4, strides=[2, 3], auto_pad=auto)
    x = net.add("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], auto_pad=auto)
    follows(net.bytes(x), (3, 32, 32), (3, 33, 31), (3, 47, 50), (3, 64, 65))


def test_residual_with_ceil_pool() -> None:
    net = Net(1, 3, "h", "w")
    stem = net.add("Relu", net.conv("x", 8, 3, 7, 7, strides=[2, 2], pads=[3] * 4))
    x = net.add("MaxPool", stem, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    y = net.conv(x, 8, 8, 3, 3, pads=[1] * 4, strides=[2, 2])
    y = net.add("Add", y, net.conv(x, 8, 8, 1, 1, strides=[2, 2]))
    y = net.add("Flatten", net.add("GlobalAveragePool", y))
    y = net.add("Gemm", y, net.weight(10, 8), net.weight(10), transB=1)
    graph = follows(net.bytes(y), (3, 64, 64), (3, 65, 66), (3, 71, 90))
    assert not graph.pins


def test_squeeze_excite_and_quantised_ops() -> None:
    net = Net(1, 8, "h", "w")
    gate = net.add("Relu", net.conv(net.add("ReduceMean", "x", net.ints(2, 3)), 4, 8, 1, 1))
    gate = net.add("HardSigmoid", net.conv(gate, 8, 4, 1, 1))
    x = net.add("Mul", "x", gate)
    scale, zero = net.constant(np.float32(0.1)), net.constant(np.uint8(128))
    q = net.add("QuantizeLinear", x, scale, zero)
    weight = net.constant(np.ones((6, 8, 3, 3), dtype=np.uint8))
    q = net.add("QLinearConv", q, scale, zero, weight, scale, zero, scale, zero, strides=[2, 1], pads=[1] * 4)
    x = net.add("DequantizeLinear", q, scale, zero)
    graph = follows(net.bytes(x), (8, 16, 18), (8, 17, 21))
    conv = graph.sites[-1]
    assert conv.attrs["kernel"] == (3, 3)
    assert conv.params == 6 * 8 * 9
    assert conv.macs.at(grid_sizes(graph)) == 6 * 8 * 9 * 8 * 18


def test_reductions_along_one_axis() -> None:
    net = Net(1, 4, "h", "w")
    x = net.conv("x", 4, 4, 3, 3, strides=[2, 2])
    rows = net.add("ReduceMax", x, net.ints(3), keepdims=0)
    columns = net.add("Unsqueeze", net.add("ReduceSum", x, net.ints(2), keepdims=0), net.ints(2))
    x = net.add("Mul", net.add("Mul", x, net.add("Unsqueeze", rows, net.ints(-1))), columns)
    graph = follows(net.bytes(net.add("ReduceMean", x, net.ints(1), keepdims=0)), (4, 16, 24), (4, 20, 31))
    assert fields(graph, grid_sizes(graph)).everything[-1]


def test_rearrangements() -> None:
    net = Net(1, 4, "h", "w")
    x = net.add("SpaceToDepth", "x", blocksize=2)
    x = net.conv(x, 16, 16, 3, 3, pads=[1] * 4)
    x = net.add("DepthToSpace", x, blocksize=4, mode="CRD")
    x = net.add("Transpose", x, perm=[0, 2, 3, 1])
    x = net.add("LayerNormalization", x, net.weight(1))
    x = net.add("Transpose", x, perm=[0, 3, 1, 2])
    x = net.add("Slice", x, net.ints(1, 0), net.ints(2**62, -1), net.ints(2, 3), net.ints(2, 3))
    x = net.add("Pad", x, net.ints(0, 0, 1, 2, 0, 1, 0, -1), mode="constant")
    parts = net.add("Split", net.add("Concat", x, x, axis=1), outs=2, axis=1, num_outputs=2)
    net.add("MaxPool", parts[1], kernel_shape=[2, 2])
    follows(net.bytes(parts[0]), (4, 16, 24), (4, 20, 30))


def test_depth_to_space_needs_whole_blocks() -> None:
    net = Net(1, 4, "h", "w")
    x = net.conv(net.add("SpaceToDepth", "x", blocksize=2, name="to_depth"), 4, 16, 1, 1)
    with pytest.raises(Exception, match="to_depth"):
        read_onnx(net.bytes(x), (4, 15, 16))


def upsampled_to(net: Net, x: str, other: str, times: int = 1) -> str:
    """x resized to the size of `other` (times a whole number), as exporters write it: Shape, Slice, Concat."""
    channels = net.add("Slice", net.add("Shape", x), net.ints(0), net.ints(2))
    sizes = net.add("Slice", net.add("Shape", other), net.ints(2), net.ints(4))
    sizes = net.add("Mul", sizes, net.ints(times)) if times > 1 else sizes
    empty = net.constant(np.zeros(0, dtype=np.float32))
    wanted = net.add("Concat", channels, sizes, axis=0)
    place = "pytorch_half_pixel"
    return str(net.add("Resize", x, empty, empty, wanted, mode="linear", coordinate_transformation_mode=place))


def test_unet_with_computed_sizes() -> None:
    net = Net(1, 3, "h", "w")
    top = net.conv("x", 4, 3, 3, 3, pads=[1] * 4)
    low = net.conv(net.add("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2]), 4, 4, 3, 3, pads=[1] * 4)
    deep = net.conv(net.add("MaxPool", low, kernel_shape=[2, 2], strides=[2, 2]), 4, 4, 3, 3, pads=[1] * 4)
    up = net.add("Concat", upsampled_to(net, deep, low), low, axis=1)
    up = net.conv(up, 4, 8, 3, 3, pads=[1] * 4)
    up = net.add("Concat", upsampled_to(net, up, top), top, axis=1)
    graph = follows(net.bytes(net.conv(up, 2, 8, 1, 1)), (3, 32, 48), (3, 33, 50), (3, 47, 51))
    assert [grid.kind for grid in graph.grids if grid.kind in ("fixed", "follow")] == ["follow", "follow"]
    assert not graph.pins


@pytest.mark.parametrize("times", [2, 3])
def test_sizes_computed_by_a_factor(times: int) -> None:
    net = Net(1, 3, "h", "w")
    x = net.conv("x", 4, 3, 3, 3, strides=[2, 2])
    own = upsampled_to(net, x, x, times)
    other = upsampled_to(net, net.conv(own, 4, 4, 3, 3), x, times)
    graph = follows(net.bytes(net.add("Add", own, other)), (3, 32, 48), (3, 33, 50))
    assert not graph.pins
    assert [grid.kind for grid in graph.grids].count("follow") == 1


def test_crop_to_another_size() -> None:
    net = Net(1, 3, "h", "w")
    small = net.conv("x", 4, 3, 4, 5)
    sizes = [net.add("Gather", net.add("Shape", small), net.ints(axis)) for axis in (2, 3)]
    x = net.conv("x", 4, 3, 1, 1)
    for axis, size in zip((2, 3), sizes, strict=True):
        x = net.add("Slice", x, net.ints(0), size, net.ints(axis))
    graph = follows(net.bytes(net.add("Add", x, small)), (3, 16, 20))
    assert graph.grids[-1].kind == "join"
    assert not graph.pins
    assert grid_sizes(graph, (31, 22))[-1] == (28, 18)


def test_a_reshape_that_follows_and_one_that_does_not() -> None:
    def heads(baked: bool) -> Graph:
        net = Net(1, 3, "h", "w")
        x = net.conv("x", 8, 3, 3, 3, strides=[2, 2], pads=[1] * 4)
        rest = [net.ints(8), net.ints(36)] if baked else [net.ints(8), net.ints(-1)]
        x = net.add("Reshape", x, net.add("Concat", net.ints(1), *rest, axis=0))
        return check(net.bytes(net.add("Transpose", x, perm=[0, 2, 1])), 3, 12, 12)

    assert not heads(baked=False).pins
    (pin,) = heads(baked=True).pins
    assert pin.kind == "size"
    assert pin.message == "reshaped to 1x8x36, a constant of the file"


def test_flattened_head_is_pinned() -> None:
    net = Net(1, 3, 12, 12)
    x = net.conv("x", 8, 3, 3, 3, strides=[2, 2], pads=[1] * 4)
    x = net.add("MatMul", net.add("Flatten", x), net.weight(8 * 36, 10))
    graph = check(net.bytes(x), 3, 12, 12)
    assert [pin.kind for pin in graph.pins] == ["flatten"]


def test_attention_of_tokens() -> None:
    net = Net(1, 3, "h", "w")
    x = net.conv("x", 8, 3, 4, 4, strides=[4, 4])
    x = net.add("Transpose", net.add("Reshape", x, net.ints(0, 8, -1)), perm=[0, 2, 1])
    q, k, v = (net.add("MatMul", x, net.weight(8, 8)) for _ in range(3))
    scores = net.add("Softmax", net.add("Einsum", q, k, equation="bid,bjd->bij"), axis=-1)
    x = net.add("Add", x, net.add("MatMul", scores, v))
    graph = follows(net.bytes(x), (3, 16, 24), (3, 32, 16))
    sizes = grid_sizes(graph)
    assert sum(n.macs.at(sizes) for n in graph.nodes) == 24 * 8 * 48 + 3 * 24 * 64 + 2 * 24 * 24 * 8
    assert graph.grids[graph.tensors[graph.outputs[-1]].grid or 0].mixes or graph.grids[-1].kind == "join"


def test_fused_attention() -> None:
    net = Net(1, 3, "h", "w", opset=23)
    x = net.conv("x", 8, 3, 4, 4, strides=[4, 4])
    x = net.add("Transpose", net.add("Reshape", x, net.ints(0, 8, -1)), perm=[0, 2, 1])
    x = net.add("Attention", x, x, x, q_num_heads=2, kv_num_heads=2)
    graph = follows(net.bytes(x), (3, 16, 24), (3, 32, 16))
    assert graph.nodes[-1].macs.at(grid_sizes(graph)) == 2 * 24 * 24 * 8
    assert graph.grids[-1].mixes


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 13, 17, 18, 22])
def test_every_opset_reads_its_own_forms(opset: int) -> None:
    """Pads, axes, scales and sizes moved from attributes to operands over the years."""
    net = Net(1, 3, "h", "w", opset=opset)
    x = net.conv("x", 4, 3, 3, 3, pads=[1] * 4, strides=[2, 2])
    if opset < 11:
        x = net.add("Pad", x, pads=[0, 0, 1, 0, 0, 0, 0, 1])
    else:
        x = net.add("Pad", x, net.ints(0, 0, 1, 0, 0, 0, 0, 1))
    scales = net.constant(np.array([1, 1, 2, 3], dtype=np.float32))
    region = [net.constant(np.zeros(0, dtype=np.float32))] if opset > 10 else []
    x = net.add("Upsample", x, scales) if opset < 10 else net.add("Resize", x, *region, scales)
    if opset < 10:
        x = net.add("Slice", x, starts=[1], ends=[-1], axes=[3])
    else:
        x = net.add("Slice", x, net.ints(1), net.ints(-1), net.ints(3))
    x = net.add("Clip", x, min=0.0, max=6.0) if opset < 11 else net.add("Clip", x, net.constant(np.float32(0)))
    x = net.add("ReduceMean", x, axes=[2, 3]) if opset < 18 else net.add("ReduceMean", x, net.ints(2, 3))
    x = net.add("Squeeze", x, axes=[2, 3]) if opset < 13 else net.add("Squeeze", x, net.ints(2, 3))
    follows(net.bytes(net.add("Softmax", x)), (3, 16, 17), (3, 19, 22))


def test_one_and_three_axes() -> None:
    net = Net(1, 2, "n")
    x = net.conv("x", 4, 2, 5, strides=[3], auto_pad="SAME_UPPER")
    x = net.add("AveragePool", x, kernel_shape=[3], strides=[2], dilations=[2], ceil_mode=1)
    follows(net.bytes(x), (2, 40), (2, 41), (2, 57))
    net = Net(1, 2, "d", "h", "w")
    x = net.conv("x", 4, 2, 3, 3, 3, strides=[1, 2, 2])
    x = net.add("ConvTranspose", x, net.weight(4, 2, 2, 3, 2), strides=[2, 3, 2], pads=[0, 1, 0, 1, 0, 0])
    follows(net.bytes(x), (2, 8, 9, 10), (2, 9, 14, 13))


@pytest.mark.parametrize("auto", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_transposed_with_a_wanted_output_shape(auto: str) -> None:
    net = Net(1, 2, "h", "w")
    extra = {} if auto == "NOTSET" else {"auto_pad": auto}
    x = net.add("ConvTranspose", "x", net.weight(2, 3, 4, 3), strides=[2, 2], output_shape=[15, 14], **extra)
    graph = check(net.bytes(x), 2, 7, 7)
    assert [pin.message for pin in graph.pins] == ["its output_shape is the constant 15x14"]


def test_channels_last_input() -> None:
    net = Net(1, "h", "w", 3)
    x = net.add("Transpose", "x", perm=[0, 3, 1, 2])
    x = net.conv(x, 8, 3, 3, 3, strides=[2, 2], pads=[1] * 4)
    data = net.bytes(net.add("Transpose", x, perm=[0, 2, 3, 1]))
    graph = read_onnx(data, (3, 20, 30))
    assert graph.tensors[graph.outputs[0]].shape == (1, 10, 15, 8)
    assert grid_sizes(graph, (40, 44))[-1] == (20, 22)
    assert read_onnx(data).grids[0].sizes == (224, 224)


def test_a_known_branch_is_taken() -> None:
    from onnx import TensorProto, helper

    net = Net(1, 3, "h", "w")
    x = net.conv("x", 4, 3, 3, 3, strides=[2, 2])
    kept = helper.make_node("Identity", [x], ["kept"])
    pooled = helper.make_node("MaxPool", [x], ["pooled"], kernel_shape=[2, 2], strides=[2, 2])
    info = helper.make_tensor_value_info
    branches = [
        helper.make_graph([node], name, [], [info(name, TensorProto.FLOAT, None)])
        for node, name in ((kept, "kept"), (pooled, "pooled"))
    ]
    channels = net.add("Gather", net.add("Shape", x), net.ints(1))
    same = net.add("Equal", channels, net.ints(5))
    out = net.add("If", net.add("Squeeze", same), then_branch=branches[0], else_branch=branches[1])
    graph = read_onnx(net.bytes(out), (3, 17, 17))
    assert graph.tensors[graph.outputs[0]].shape == (1, 4, 4, 4)
    assert not graph.unknown


# -- layouts --


def sites_of(net: Net, y: str) -> list[tuple[Any, ...]]:
    """The sites' sizes and steps of a net, all of them known."""
    graph = read_onnx(net.bytes(y))
    assert not graph.unknown
    return [graph.grids[node.grid].sizes for node in graph.sites if node.grid is not None]


def test_a_generator_of_one_position_has_its_channels_first() -> None:
    """1x64x1x1 looks as if its channels were last; the first convolution's weight says that they are not."""
    net = Net(1, 64, 1, 1)
    y = net.add("ConvTranspose", net.add("Relu", "x"), net.weight(64, 8, 4, 4))
    y = net.add("ConvTranspose", y, net.weight(8, 3, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1])
    assert sites_of(net, y) == [(4, 4), (8, 8)]


@pytest.mark.parametrize("shape", [(1, 20, 30, 5), (1, 40, 6)])
def test_channels_that_a_transpose_brings_forward(shape: tuple[int, ...]) -> None:
    net = Net(*shape)
    rank = len(shape)
    y = net.add("Transpose", net.add("Mul", "x", net.weight(1)), perm=[0, rank - 1, *range(1, rank - 1)])
    y = net.conv(y, 4, shape[-1], *[2] * (rank - 2), strides=[2] * (rank - 2))
    assert sites_of(net, y) == [tuple(n // 2 for n in shape[1:-1])]


def test_a_sound_without_channels() -> None:
    net = Net(1, 1600, opset=17)
    y = net.conv(net.add("Unsqueeze", "x", net.ints(1)), 4, 1, 10, strides=[5])
    assert sites_of(net, y) == [(319,)]
    assert [n.shape for n in read_onnx(net.bytes(y), (800,)).tensors][-1] == (1, 4, 159)


def test_weights_given_as_inputs() -> None:
    net = Net(1, 3, 16, 16)
    y = net.conv("x", 4, 3, 3, 3, strides=[2, 2])
    model = net.model(y)
    wanted = read_onnx(model.SerializeToString())
    (weight,) = model.graph.initializer
    model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    del model.graph.initializer[:]
    graph = read_onnx(model.SerializeToString())
    assert [(n.macs, n.params) for n in graph.nodes] == [(n.macs, n.params) for n in wanted.nodes]
    assert graph.params == wanted.params


def looped(trips: int, *, ends: bool = False, inner: int = 0, first: int = 1) -> Net:
    """A step of 2x1 in the body of a Loop; ends: the body says when it is enough; inner: as many Loops around it."""
    net = Net(1, 3, 40, 36, opset=17)
    x = net.conv("x", 4, 3, 3, 3, pads=[1, 1, 1, 1], strides=[first, 1])
    weight, one, yes = net.weight(4, 4, 3, 3), net.constant(np.int64(1)), net.constant(np.array(True))
    infos = [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("in", TensorProto.FLOAT, [1, 4, None, None])]
    given = [helper.make_tensor_value_info(*info) for info in infos]
    made = [helper.make_tensor_value_info("more", TensorProto.BOOL, [])]
    made.append(helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, None, None]))
    nodes = [helper.make_node("Less", ["i", one], ["more"]) if ends else helper.make_node("Identity", ["go"], ["more"])]
    nodes.append(helper.make_node("Conv", ["in", weight], ["t"], name="step", strides=[2, 1], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", ["t"], ["out"]))
    body = helper.make_graph(nodes, "body", given, made)
    for _ in range(inner):
        again = helper.make_node("Loop", [net.constant(np.int64(200)), yes, "in"], ["out"], body=body)
        body = helper.make_graph([helper.make_node("Identity", ["go"], ["more"]), again], "body", given, made)
    net.last = net.conv(net.add("Loop", net.constant(np.int64(trips)), yes, x, body=body), 2, 4, 1, 1)
    return net


def test_a_loop_is_read_run_by_run() -> None:
    net = looped(3)
    data = net.bytes(net.last)
    graph = read_onnx(data)
    assert [node.key for node in graph.sites] == ["Conv", "step", "step#2", "step#3", "Conv#2"]
    assert graph.tensors[graph.outputs[0]].shape == run(data, np.zeros((1, 3, 40, 36), np.float32))[0].shape
    assert sum(node.params for node in graph.nodes) == 108 + 3 * 144 + 8  # the runs share them
    assert graph.params == 108 + 144 + 8


@pytest.mark.parametrize(("trips", "facts"), [(10**12, {}), (3, {"ends": True})])
def test_a_loop_that_may_run_otherwise_is_unknown(trips: int, facts: dict[str, bool]) -> None:
    net = looped(trips, **facts)
    assert [unknown.op for unknown in read_onnx(net.bytes(net.last)).unknown] == ["Loop"]


def test_loops_inside_loops_end() -> None:
    net = looped(200, inner=2)
    with pytest.raises(TraceError, match="run more than 256 times"):
        read_onnx(net.bytes(net.last))


def test_a_loop_is_refused_by_the_plan() -> None:
    net = looped(3)
    graph = read_onnx(net.bytes(net.last))
    with pytest.raises(PlanError, match="step#2: runs several times, in a Loop"):
        sw.plan(graph, {"step#2": 1})
    with pytest.raises(PlanError, match=r"step#3 has a fixed factor of 1/2"):
        sw.plan(graph, output_stride=(4, 1))
    finer = looped(3, first=2)
    with pytest.raises(PlanError, match="step: runs several times, in a Loop"):  # each run would have to read less
        sw.plan(read_onnx(finer.bytes(finer.last)), {"Conv": 1}, keep_weights=True)
    assert not [slot for slot in graph.slots if "step" in slot.key]


def test_a_step_before_a_loop_changes(tmp_path: Path) -> None:
    net = looped(3)
    model = net.model(net.last)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(net.last, TensorProto.FLOAT, [1, 2, None, None]))
    data = model.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data)
    plan = sw.plan(read_onnx(data), {"Conv#1": (2, 1)})
    sw.apply(tmp_path / "m.onnx", plan, out=tmp_path / "n.onnx")
    after = run((tmp_path / "n.onnx").read_bytes(), np.zeros((1, 3, 40, 36), np.float32))[0]
    assert after.shape == sw.preview(read_onnx(data), plan).graph.tensors[-1].shape == (1, 2, 3, 36)
