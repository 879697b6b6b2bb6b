"""Peak memory of onnxruntime, against sizes known by construction."""

from pathlib import Path

import numpy as np
import pytest

import stridewise as sw
from stridewise.measuring.onnx_memory import onnx_peak

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CLEAR = Path("/proc/self/clear_refs")


def chain(path: Path, channels: int) -> str:
    """Two convolutions 3x3 on (n, 3, 64, 64): `channels` maps, then as many again at step 2."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(channels, c, 3, 3)).astype(np.float32) for c in (3, channels)]
    window = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w0"], ["a"], strides=[1, 1], **window),
            helper.make_node("Conv", ["a", "w1"], ["y"], strides=[2, 2], **window),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", channels, 32, 32])],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return str(path)


@pytest.mark.skipif(not CLEAR.exists(), reason="the system does not tell a process's peak")
@pytest.mark.parametrize("batch", [2, 8])
def test_both_maps_of_a_chain_are_held_at_once(tmp_path: Path, batch: int) -> None:
    file = chain(tmp_path / "net.onnx", 64)
    maps = batch * 64 * (64 * 64 + 32 * 32) * 4
    peak = onnx_peak(file, (batch, 3, 64, 64))
    assert peak is not None
    assert 0.9 * maps < peak < 2 * maps  # the layout of blocks of channels it computes in may cost a copy


def test_a_file_that_does_not_run_has_no_figure(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"nothing")
    assert onnx_peak(tmp_path / "net.onnx", (1, 3, 8, 8)) is None


@pytest.mark.skipif(not CLEAR.exists(), reason="the system does not tell a process's peak")
def test_measure_gives_the_memory_of_a_file(tmp_path: Path) -> None:
    found = sw.measure(chain(tmp_path / "net.onnx", 32), what=["memory"], input=(3, 64, 64), rounds=10)
    latency = found.rows[0].latency
    assert latency is not None
    assert latency.peak_bytes is not None
    assert latency.peak_bytes > 32 * 64 * 64 * 4


def test_an_onnx_file_is_measured_under_plans(tmp_path: Path) -> None:
    file = chain(tmp_path / "net.onnx", 16)
    graph = sw.read_onnx(file, input=(3, 64, 64))
    plan = sw.plan(graph, {graph.sites[1].key: 1})
    found = sw.measure(file, {"fine": plan}, what=["memory", "latency"], input=(3, 64, 64), rounds=10)
    assert [row.name for row in found.rows] == ["net.onnx", "fine"]
    assert [row.exact.output_stride for row in found.rows] == [("2", "2"), ("1", "1")]
    if CLEAR.exists():
        peaks = [row.latency.peak_bytes for row in found.rows if row.latency]
        assert peaks[1] - peaks[0] > 0.5 * 16 * (64 * 64 - 32 * 32) * 4
    with pytest.raises(sw.PlanError, match=r"plan other: layers\.\S+: \S+ has no such site"):
        sw.measure(file, {"other": sw.plan(sw.trace(sw.load("builtin:resnet20"), (3, 32, 32)), {"layers.4.conv1": 2})})
