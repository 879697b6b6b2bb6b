"""Maps inside a network, met by node: against hooks and torch's own functions; the same of an ONNX file."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import stridewise as sw
from stridewise.errors import UsageError
from stridewise.measuring.field import field_energy
from stridewise.measuring.inside import node_maps
from stridewise.measuring.onnx_run import file_call, file_filter, file_maps


class Plain(nn.Module):
    """A module that runs twice, a pool without a module, an op in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.twice = nn.Conv2d(4, 4, 3, 1, 1)
        self.head = nn.Conv2d(4, 5, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu_()
        x = functional.max_pool2d(self.twice(x), 2)
        return self.head(self.twice(x)).mean((2, 3))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Plain().eval()


def by_hand(net: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.set_grad_enabled(x.requires_grad):
        stem = net.stem(x)
        first = net.twice(stem.relu())
        pooled = functional.max_pool2d(first, 2)
        second = net.twice(pooled)
        return {"stem": stem, "twice": first, "max_pool2d": pooled, "twice#2": second, "head": net.head(second)}


def test_every_call_of_an_op_is_met_with_or_without_a_module(net: nn.Module) -> None:
    x = torch.rand(1, 3, 32, 32)
    graph = sw.trace(net, (3, 32, 32))
    expected = by_hand(net, x)
    keys = [node.key for node in graph.sites]
    found = node_maps(net, graph, keys, x)
    assert list(found) == keys
    for key, made in zip(keys, expected.values(), strict=True):
        assert torch.equal(found[key], made), key
    assert node_maps(net, graph, ["nowhere"], x) == {}


def test_gradients_are_taken_at_every_call_with_or_without_a_module(net: nn.Module) -> None:
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    graph = sw.trace(net, (3, 32, 32))
    signs = torch.Generator()
    for key, made in by_hand(net, x).items():
        sign = torch.randint(0, 2, (made.shape[1],), generator=signs.manual_seed(0)) * 2 - 1
        (gradient,) = torch.autograd.grad((made[0, :, 2, 1] * sign).sum(), x, retain_graph=True)
        expected = gradient[0].double().square().sum(0).numpy()
        assert np.allclose(field_energy(net, graph, key, x, (2, 1)), expected, rtol=1e-4, atol=1e-12), key
        assert expected.max() > 0


def test_a_field_that_no_gradient_leads_to_is_one_line(net: nn.Module) -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.last = net, nn.Linear(5, 2)

        @torch.no_grad()
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.net(x))  # type: ignore[no-any-return]

    x = torch.rand(1, 3, 32, 32)
    graph = sw.trace(Cut().eval(), (3, 32, 32))
    with pytest.raises(UsageError, match=r"net\.stem: no gradient leads from there to the picture in this run; choose"):
        field_energy(Cut().eval(), graph, "net.stem", x, (2, 1))
    graph = sw.trace(net, (3, 32, 32))
    with pytest.raises(UsageError, match="head: there is no position 2, 4 on 4x4"):
        field_energy(net, graph, "head", x, (2, 4))


@pytest.mark.parametrize("kind", ["blur:5:zero", "polyphase", "mean", "max"])
def test_a_step_made_otherwise_is_met_whole(net: nn.Module, kind: str) -> None:
    x = torch.rand(1, 3, 32, 32)
    graph = sw.trace(net, (3, 32, 32))
    before = node_maps(net, graph, ["stem"], x)["stem"]
    sw.apply(net, sw.plan(graph, {"stem": f"2:{kind}", "head": 1}))
    changed = sw.trace(net, (3, 32, 32))
    key = f"stem/{kind.split(':')[0]}"
    found = node_maps(net, changed, ["stem", key, "head"], x)
    assert found["stem"].shape[2:] == (32, 32)
    assert torch.allclose(found["stem"][..., ::2, ::2], before, atol=1e-6)
    assert found[key].shape[2:] == (16, 16)
    if kind == "max":
        assert torch.equal(found[key], functional.max_pool2d(found["stem"], 2))
    assert found["head"].shape[2:] == (8, 8)


def test_what_a_run_does_otherwise_than_the_trace_is_left_out(net: nn.Module) -> None:
    graph = sw.trace(net, (3, 32, 32))

    class More(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return net(x) + net(x)  # type: ignore[no-any-return]

    assert node_maps(More(), graph, ["stem"], torch.rand(1, 3, 32, 32)) == {}


def exported(net: nn.Module, path: Path, batch: bool = True) -> str:
    pytest.importorskip("onnxruntime")
    axes = {"x": {0: "n", 2: "h", 3: "w"}} if batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, torch.rand(1, 3, 32, 32), str(path), dynamo=False, input_names=["x"], dynamic_axes=axes)
    return str(path)


def test_a_file_s_maps_and_filters_are_the_model_s(net: nn.Module, tmp_path: Path) -> None:
    file = exported(net, tmp_path / "net.onnx")
    x = torch.rand(2, 3, 32, 32)
    graph = sw.read_onnx(file, input=(3, 32, 32))
    keys = [node.key for node in graph.sites]
    found = file_maps(file, [*keys, "nowhere"], x)
    assert list(found) == keys
    for key, made in zip(keys, by_hand(net, x).values(), strict=True):
        assert torch.allclose(found[key], made, atol=1e-5), key
    assert np.allclose(file_filter(file, "head"), net.head.weight.detach().numpy())
    with pytest.raises(UsageError, match="has no filter of its own in the file"):
        file_filter(file, "nowhere")


def test_weights_beside_the_file_are_found(net: nn.Module, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported(net, tmp_path / "net.onnx"))
    beside = tmp_path / "beside"
    beside.mkdir()
    onnx.save(model, beside / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0)
    x = torch.rand(1, 3, 32, 32)
    file = str(beside / "net.onnx")
    assert torch.allclose(file_maps(file, ["head"], x)["head"], by_hand(net, x)["head"], atol=1e-5)
    assert np.allclose(file_filter(file, "stem"), net.stem.weight.detach().numpy())


def test_a_file_of_a_fixed_batch_and_one_with_channels_last_are_called(net: nn.Module, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    pytest.importorskip("onnxruntime")
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["a"], name="conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["a"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 32, 32, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4, 1, 1])],
        [numpy_helper.from_array(net.stem.weight.detach().numpy(), "w")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "last.onnx")
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = functional.conv2d(x, net.stem.weight, None, 2, 1)
    found = file_call(str(tmp_path / "last.onnx"), (3, 32, 32))(x)
    assert torch.allclose(found[..., 0, 0], expected.mean((2, 3)), atol=1e-5)
    assert torch.allclose(file_maps(str(tmp_path / "last.onnx"), ["conv"], x)["conv"], expected, atol=1e-5)


def test_a_file_that_takes_whole_numbers_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    pytest.importorskip("onnxruntime")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("MaxPool", ["f"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 4])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "whole.onnx")
    with pytest.raises(UsageError, match=r"x: takes tensor\(uint8\)"):
        file_call(str(tmp_path / "whole.onnx"), (3, 8, 8))
