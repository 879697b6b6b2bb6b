"""Names, costs and agreement with the traced model; files that are damaged or do not fit; what is imported."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_nets import Net, onnx

import stridewise as sw
from stridewise.analyses.cost import activations, macs
from stridewise.analyses.fields import fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.errors import LoadError, StridewiseError, TraceError
from stridewise.onnxfile.read import read_onnx


def small(**options: Any) -> Net:
    net = Net(1, 3, options.pop("height", "h"), "w", **options)
    x = net.conv("x", 4, 3, 3, 3, strides=[2, 2], name="stem")
    x = net.add("MaxPool", net.add("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    net.conv(x, 4, 4, 3, 3, strides=[1, 1])
    return net


LAST = "Conv_3_0"


def read(net: Net, *shape: int) -> Any:
    return read_onnx(net.bytes(LAST), shape or None, name="net.onnx")


# -- names --


def test_nodes_without_scopes_take_their_own_names() -> None:
    assert [node.key for node in read(small(), 3, 32, 32).sites] == ["stem", "MaxPool", "Conv"]


def test_scopes_of_both_exporters() -> None:
    model = small().model(LAST)
    for node, name in zip(
        model.graph.node,
        ["/features/features.0/Conv", "/features/features.1/Relu", "/pool/MaxPool", "/layer1/layer1.0/conv1/Conv"],
        strict=True,
    ):
        node.name = name
    keys = ["features.0", "pool", "layer1.0.conv1"]
    graph = read_onnx(model.SerializeToString(), (3, 32, 32))
    assert [node.key for node in graph.sites] == keys
    assert [slot.key for slot in graph.slots] == ["features", "pool"]
    paths = [["", "features", "features.0"], ["", "features", "features.1"], ["", "pool"]]
    paths.append(["", "layer1", "layer1.0", "layer1.0.conv1"])
    for node, path in zip(model.graph.node, paths, strict=True):
        node.name = f"node_{node.op_type}"
        entry = node.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", repr([*path, "conv2d"])
    graph = read_onnx(model.SerializeToString(), (3, 32, 32))
    assert [node.key for node in graph.sites] == keys
    assert [slot.key for slot in graph.slots] == ["features", "pool"]


def test_a_module_called_twice_and_two_ops_in_one_module() -> None:
    net = Net(1, 3, "h", "w")
    x = net.conv("x", 3, 3, 3, 3, name="/shared/Conv")
    x = net.add("Relu", x, name="/act/Relu")
    x = net.conv(x, 3, 3, 3, 3, name="/shared/Conv_1")
    for at in ("", "_1"):
        x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], name=f"/down/MaxPool{at}")
    x = net.add("AveragePool", x, kernel_shape=[2, 2], name="/AveragePool")
    graph = read_onnx(net.bytes(x), (3, 64, 64))
    keys = [node.key for node in graph.sites]
    assert keys == ["shared", "shared#2", "down/max_pool2d", "down/max_pool2d#2", "avg_pool2d"]
    assert [node.call for node in graph.sites[:2]] == [1, 2]


def test_parameters_are_what_training_learns() -> None:
    net = Net(1, 3, "h", "w", opset=17)
    x = net.conv("x", 4, 3, 3, 3)
    x = net.add("BatchNormalization", x, *(net.weight(4) for _ in range(4)))
    x = net.add("Pad", net.add("Clip", x, net.constant(np.float32(0))), net.ints(0, 0, 1, 1, 0, 0, 1, 1))
    graph = read_onnx(net.bytes(x), (3, 16, 16))
    assert graph.params == 4 * 3 * 9 + 4 + 4
    assert [node.params for node in graph.nodes] == [108, 8, 0, 0]


# -- against torch --


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_exported_models_equal_the_traced_ones(name: str) -> None:
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from torch.utils.flop_counter import FlopCounterMode

    from stridewise.models.load import load
    from stridewise.tracing.trace import trace

    model: Any = load(f"torchvision:{name}")
    file, picture = io.BytesIO(), torch.zeros(1, 3, 64, 64)
    with warnings.catch_warnings(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter("ignore")
        model(picture)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (picture,), file, dynamo=False)
    graph, traced = read_onnx(file.getvalue()), trace(model, (3, 64, 64))
    sizes, wanted = grid_sizes(graph), grid_sizes(traced)
    assert macs(graph, sizes) == counter.get_total_flops() / 2 == macs(traced, wanted)
    assert activations(graph, sizes) == activations(traced, wanted)
    assert [node.key for node in graph.nodes if node.key] == [node.key for node in traced.nodes if node.key]
    assert [slot.key for slot in graph.slots] == [slot.key for slot in traced.slots]
    for one, other in ((graph, traced),):
        a, b = (g.tensors[g.last].grid for g in (one, other))
        assert fields(one, sizes).full[a] == fields(other, wanted).full[b]
    larger, again = grid_sizes(graph, (97, 130)), grid_sizes(traced, (97, 130))
    assert macs(graph, larger) == macs(traced, again)


def test_reading_does_not_import_torch(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(small().bytes(LAST))
    code = "import sys; from stridewise.onnxfile.read import read_onnx; g = read_onnx(sys.argv[1], (3, 32, 32));"
    code += "print(len(g.sites), 'torch' in sys.modules, 'onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False", "False"]
    code = "import torch;" + code
    if importlib.util.find_spec("torch"):  # the twin that shows this test can fail
        done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["3", "True", "False"]


# -- files that cannot be read --


def test_files_that_are_no_model(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    with pytest.raises(LoadError, match=r"net\.onnx: no such file"):
        read_onnx(file)
    with pytest.raises(LoadError, match="is a folder"):
        read_onnx(tmp_path)
    for content, said in ((b"", "is empty"), (b"\x89PNG\r\n\x1a\n" * 9, "is damaged"), (b"\x08\x07", "holds no ONNX")):
        file.write_bytes(content)
        with pytest.raises(LoadError, match=said):
            read_onnx(file)
    data = small().bytes(LAST)
    for cut in range(0, len(data) - 1, 7):
        file.write_bytes(data[:cut])
        with pytest.raises(StridewiseError) as caught:
            read_onnx(file, (3, 32, 32))
        assert "\n" not in str(caught.value)


def test_a_file_that_protobuf_cannot_hold(tmp_path: Path) -> None:
    file = tmp_path / "huge.onnx"
    with file.open("wb") as sparse:
        sparse.truncate(3 * 2**30)
    with pytest.raises(LoadError, match=r"3\.0 GiB in one file.*save_as_external_data=True"):
        read_onnx(file)


def test_weights_in_a_file_that_is_not_here(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    net = small()
    wanted = read(net, 3, 32, 32)
    model = net.model(LAST)
    onnx.save(model, str(file), save_as_external_data=True, size_threshold=0, location="weights.bin")
    (tmp_path / "weights.bin").unlink()
    graph = read_onnx(file, (3, 32, 32))
    assert [n.macs for n in graph.nodes] == [n.macs for n in wanted.nodes]
    assert graph.params == wanted.params == 4 * 3 * 9 + 4 * 4 * 9


def test_stale_shapes_of_the_file_are_not_believed() -> None:
    model = small().model(LAST)
    wrong = onnx.helper.make_tensor_value_info("Conv_0_0", onnx.TensorProto.FLOAT, [1, 4, 999, 999])
    model.graph.value_info.append(wrong)
    assert read_onnx(model.SerializeToString(), (3, 32, 32)).tensors[1].shape == (1, 4, 15, 15)


# -- inputs that do not fit --


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 32, 32), "input x takes 3 channels, not 1: --input 3x32x32"),
        ((3, 32), r"input x takes 3x\?x\? after the batch, not 3x32"),
        ((3, 32, 0), "sizes are whole numbers from 1"),
        ((3, 2, 32), r"net\.onnx: stem \(Conv\) .*1x3x2x32"),
        ((3, 6, 6), r"net\.onnx: Conv \(Conv\) .*1x4x1x1"),
        ({"y": (3, 32, 32)}, "has no input 'y'; its inputs are x"),
    ],
)
def test_inputs_that_do_not_fit(shape: Any, said: str) -> None:
    with pytest.raises(TraceError, match=said) as caught:
        read_onnx(small().bytes(LAST), shape, name="net.onnx")
    assert "\n" not in str(caught.value)


def test_sizes_that_the_file_leaves_open() -> None:
    assert read(small()).grids[0].sizes == (224, 224)
    assert read(small(height=40)).grids[0].sizes == (40, 224)
    assert read(small(height=40), 3, 64, 64).grids[0].sizes == (64, 64)
    net = Net(1, "c", "h", "w")
    net.conv("x", 4, 3, 3, 3)
    with pytest.raises(TraceError, match=r"does not say the channels of input x .*give --input"):
        read_onnx(net.bytes("Conv_0_0"))
    with pytest.raises(TraceError, match="takes 3 channels, and 5 come in"):
        read_onnx(net.bytes("Conv_0_0"), (5, 32, 32))


def test_a_baked_shape_names_its_layer() -> None:
    net = Net(1, 3, 12, 12)
    x = net.conv("x", 8, 3, 3, 3, strides=[2, 2], pads=[1] * 4)
    x = net.add("Reshape", x, net.ints(1, 8 * 36), name="head/flatten")
    data = net.bytes(net.add("Gemm", x, net.weight(288, 5)))
    assert {pin.kind for pin in read_onnx(data).pins} == {"size", "flatten"}
    with pytest.raises(TraceError, match=r"head/flatten \(Reshape\) makes 1x288 of 1x8x8x8"):
        read_onnx(data, (3, 16, 16))


def test_a_file_made_for_a_batch() -> None:
    net = Net(8, 3, 12, 12)
    x = net.conv("x", 8, 3, 3, 3, strides=[2, 2], pads=[1] * 4)
    assert read_onnx(net.bytes(x)).tensors[0].shape[0] == 1
    x = net.add("Reshape", x, net.ints(8, 8 * 36))
    graph = read_onnx(net.bytes(x))
    assert graph.tensors[0].shape[0] == 8
    assert graph.notes == ("the file is made for batches of 8: figures are for 8",)


def test_several_inputs() -> None:
    net = Net(1, 3, "h", "w")
    net.inputs.append(onnx.helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, [1, 4]))
    x = net.conv("x", 4, 3, 3, 3, strides=[2, 2])
    t = net.add("Unsqueeze", net.add("Gemm", "t", net.weight(4, 4)), net.ints(2, 3))
    data = net.bytes(net.add("Add", x, t))
    graph = read_onnx(data, {"x": (3, 32, 32), "t": (4,)})
    assert [name for name, _ in graph.inputs] == ["x", "t"]
    assert graph.tensors[graph.outputs[0]].shape == (1, 4, 15, 15)
    assert read_onnx(data, (3, 32, 32)).params == 4 * 3 * 9 + 16


# -- ops without a rule --


def test_an_unknown_op_is_reported_and_never_guessed() -> None:
    net = Net(1, 3, "h", "w")
    x = net.conv("x", 4, 3, 3, 3, strides=[2, 2], name="stem")
    x = net.add("Wobble", x, domain="example.custom", name="wobble")
    x = net.add("Relu", x)
    net.conv(x, 4, 4, 3, 3, name="after")
    graph = read_onnx(net.bytes("Conv_3_0"), (3, 32, 32))
    (unknown,) = graph.unknown
    assert unknown.message.startswith("wobble: no op describes 'Wobble' on ")
    assert [tensor.known for tensor in graph.tensors] == [True, True, False, False, False]
    assert [node.key for node in graph.sites] == ["stem"]


def test_a_rule_of_ones_own_for_a_custom_op() -> None:
    from stridewise.ops import register
    from stridewise.ops.registry import Op, unregister

    net = Net(1, 3, "h", "w")
    x = net.add("Wobble", net.conv("x", 4, 3, 3, 3), domain="example.custom", name="wobble")
    register(
        Op(
            name="wobble",
            about="pointwise",
            onnx=("example.custom::Wobble",),
            read=lambda call: call.same(call.value(0)),
            pointwise=True,
            mixes="nothing",
            dilated=("same",),
            between="bends",
            space=lambda draw, target: None,
        )
    )
    try:
        graph = read_onnx(net.bytes(x), (3, 32, 32))
        assert not graph.unknown
        assert graph.tensors[graph.outputs[0]].shape == (1, 4, 30, 30)
    finally:
        unregister("wobble")
    assert [unknown.op for unknown in read_onnx(net.bytes(x), (3, 32, 32)).unknown] == ["Wobble"]
    graph = read_onnx(net.bytes(x), (3, 32, 32), opaque=["wobble"])
    assert not graph.unknown  # without being reported
    assert not graph.tensors[graph.outputs[0]].known


def test_weights_given_when_the_file_runs_are_drawn_to_verify_it(tmp_path: Path) -> None:
    net = Net(1, 3, 41, 38, opset=17)
    for name, shape in (("w1", [8, 3, 3, 3]), ("w2", [4, 8, 3, 3]), ("b2", [4])):
        net.inputs.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    x = net.add("Relu", net.add("Conv", "x", "w1", strides=[2, 2], name="a"))
    (tmp_path / "m.onnx").write_bytes(net.bytes(net.add("Conv", x, "w2", "b2", strides=[2, 2], pads=[1] * 4, name="b")))
    graph = read_onnx(tmp_path / "m.onnx")
    assert graph.params == 8 * 27 + 4 * 72 + 4
    told = sw.verify(tmp_path / "m.onnx", sw.plan(graph, {"b": 1}, keep_weights=True))
    assert told.holds
    assert max(told.compared.differences.values()) < 1e-5


def test_operators_of_onnxruntime() -> None:
    net = Net(1, 3, "h", "w")
    x = net.add("FusedConv", "x", net.weight(4, 3, 3, 3), domain="com.microsoft", activation="Relu", strides=[2, 2])
    x = net.add("QuickGelu", x, domain="com.microsoft")
    graph = read_onnx(net.bytes(x), (3, 33, 33))
    assert not graph.unknown
    assert graph.tensors[graph.outputs[0]].shape == (1, 4, 16, 16)
    options = {"kernel_shape": [2, 2], "strides": [2, 2], "channels_last": 1, "domain": "com.microsoft"}
    x = net.add("QLinearAveragePool", x, net.constant(np.float32(1)), **options)
    assert read_onnx(net.bytes(x), (3, 33, 33)).unknown


def test_positions_picked_by_data_are_unknown() -> None:
    net = Net(1, 3, "h", "w")
    x = net.conv("x", 4, 3, 3, 3)
    index = net.constant(np.array([0, 3, 1], dtype=np.int64))
    graph = read_onnx(net.bytes(net.add("Gather", x, index, axis=2, name="pick")), (3, 16, 16))
    message = graph.unknown[0].message
    assert message.startswith("pick: 'Gather' on ")
    assert message.endswith(" is not followed: positions picked by a table")
