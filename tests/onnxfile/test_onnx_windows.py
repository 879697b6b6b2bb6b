"""Windows where onnx's inference and runtimes differ: runtimes are right. And what a raised operator set forgets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_nets import Net, onnx, run

from stridewise.onnxfile.edit import raise_opset
from stridewise.onnxfile.read import read_onnx

POOLS: list[tuple[str, int, list[int], dict[str, Any]]] = [
    ("MaxPool", 12, [24], {"kernel_shape": [1], "strides": [3], "ceil_mode": 1}),
    ("AveragePool", 17, [7, 8], {"kernel_shape": [2, 1], "strides": [3, 2], "ceil_mode": 0}),
    ("AveragePool", 19, [7, 8], {"kernel_shape": [2, 1], "strides": [3, 2], "ceil_mode": 1}),
    ("LpPool", 19, [9, 9], {"kernel_shape": [3, 2], "strides": [1, 3], "dilations": [2, 2], "auto_pad": "SAME_LOWER"}),
    (
        "MaxPool",
        19,
        [9, 10],
        {"kernel_shape": [3, 3], "strides": [2, 1], "dilations": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    ("AveragePool", 19, [9, 9], {"kernel_shape": [1, 2], "strides": [3, 5], "auto_pad": "SAME_UPPER"}),
]
TRANSPOSED: list[dict[str, Any]] = [
    {"kernel_shape": [4, 1], "strides": [3, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 4], "strides": [2, 3], "auto_pad": "SAME_UPPER", "output_padding": [0, 1]},
    {"kernel_shape": [2, 1], "strides": [4, 3], "auto_pad": "SAME_UPPER", "output_padding": [1, 2]},
    {"kernel_shape": [2, 3], "strides": [4, 3], "output_shape": [36, 35]},
]


def check(net: Net, y: str, size: list[int]) -> None:
    """Tensor and grid are as large as onnxruntime makes them, and so are those of what reads them."""
    y = net.add("Relu", net.add("Neg", y))
    data = net.bytes(y)
    real = run(data, np.zeros((1, 2, *size), dtype=np.float32))[0].shape
    graph = read_onnx(data)
    tensor = graph.tensors[graph.outputs[0]]
    assert tensor.grid is not None
    assert (tensor.shape, graph.grids[tensor.grid].sizes) == (real, real[2:])


@pytest.mark.parametrize(("op", "opset", "size", "facts"), POOLS)
def test_pools(op: str, opset: int, size: list[int], facts: dict[str, Any]) -> None:
    net = Net(1, 2, *size, opset=opset)
    check(net, net.add(op, "x", **facts), size)


@pytest.mark.parametrize("facts", TRANSPOSED)
def test_transposed_convolutions(facts: dict[str, Any]) -> None:
    net = Net(1, 2, 9, 11, opset=13)
    check(net, net.add("ConvTranspose", "x", net.weight(2, 2, *facts["kernel_shape"]), **facts), [9, 11])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9, 10])
def test_a_raised_operator_set_keeps_the_coordinates_of_resizes(opset: int, mode: str) -> None:
    net = Net(1, 2, 6, 5, opset=opset)
    factors = (1.0, 1.0, 3.0, 2.0)
    if opset == 7:
        y = net.add("Upsample", "x", scales=factors, mode=mode)
    else:
        op = "Resize" if opset == 10 else "Upsample"
        y = net.add(op, "x", net.constant(np.array(factors, dtype=np.float32)), mode=mode)
    y = net.add("Relu", y)
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 5)).astype(np.float32)
    model = onnx.load_from_string(net.bytes(y))
    raised = raise_opset(onnx.load_from_string(net.bytes(y)), 13, "net.onnx")
    old, new = (run(m.SerializeToString(), x)[0] for m in (model, raised))
    np.testing.assert_allclose(new, old, atol=1e-6)
