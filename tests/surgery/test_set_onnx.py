"""The same plan on an ONNX file: valid, of the promised sizes, and with kept weights equal in onnxruntime."""

import copy
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional as F  # noqa: N812

import stridewise as sw
from stridewise.analyses.sizes import grid_sizes
from stridewise.cli.set import command
from stridewise.errors import PlanError
from stridewise.surgery.verify import randomise

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from stridewise.onnxfile.verify import compare_files  # noqa: E402

from .networks import Blur, Branches, Functional, Gated, Line, Pyramid, Straight  # noqa: E402

CLOSE = 2e-5  # float32
NETWORKS = {
    "average, ceil, inside only": lambda: Branches(),
    "average, padded": lambda: Branches(nn.AvgPool2d(3, 2, 1)),
    "average, ceil, padded": lambda: Branches(nn.AvgPool2d(2, 2, 0, ceil_mode=True)),
    "maximum": lambda: Branches(nn.MaxPool2d(3, 2, 1)),
    "maximum, ceil": lambda: Branches(nn.MaxPool2d(2, 2, ceil_mode=True)),
    "maximum, wide": lambda: Straight(
        nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1), nn.MaxPool2d(5, 1, 2), nn.MaxPool2d(3, 2, 1)
    ),
    "averages at step 1": lambda: Straight(
        nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1), nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(2, 1, 1, False, False)
    ),
    "blur, reflect": lambda: Branches(Blur()),
    "blur, replicate": lambda: Branches(Blur("replicate")),
    "functional": Functional,
    "gated": lambda: ungrouped(Gated()),
    "stride 4, dilated": lambda: Straight(nn.Conv2d(3, 6, 5, 4, 2), nn.Conv2d(6, 6, 3, 2, 2, dilation=2)),
    "even kernels": lambda: Straight(nn.Conv2d(3, 6, 2, 2), nn.Conv2d(6, 6, 4, 2, 1), nn.Conv2d(6, 6, 2, 1)),
    "one axis": Line,
    "three axes": lambda: Straight(nn.Conv3d(3, 4, 3, 2, 1), nn.MaxPool3d(2), nn.Conv3d(4, 4, 3, 1, 1)),
}
SHAPES = {"one axis": (3, 33), "three axes": (3, 9, 12, 16)}
# What the exporter itself writes for one size only.
FIXED = {"gated", "blur, reflect", "blur, replicate", "functional"}


def ungrouped(model: nn.Module) -> nn.Module:
    """Without the group norm, which the exporter writes with all positions in one dimension."""
    model.norm = nn.Identity()
    return model


def export(model: nn.Module, shape: tuple[int, ...], path: Path, is_open: bool = False, opset: int = 17) -> Path:
    axes = {"x": {0: "n", **{2 + a: f"size{a}" for a in range(len(shape) - 1)}}} if is_open else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.zeros(1, *shape),), str(path), dynamo=False, opset_version=opset, dynamic_axes=axes,
            input_names=["x"], output_names=["y"],
        )  # fmt: skip
    return path


def run(path: Path, x: np.ndarray) -> np.ndarray:
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def ready(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    randomise(model)
    return model


@pytest.mark.parametrize("cap", [1, 2, (1, 2), (4, 1)])
@pytest.mark.parametrize("name", NETWORKS)
def test_keeps_weights_and_equals_the_changed_model(name, cap, tmp_path):
    model, shape = ready(name), SHAPES.get(name, (3, 33, 46))
    before, after = export(model, shape, tmp_path / "m.onnx"), tmp_path / "n.onnx"
    written = before.read_bytes()
    cap = cap[0] if name == "one axis" and isinstance(cap, tuple) else cap
    cap = (*cap, 1) if name == "three axes" and isinstance(cap, tuple) else cap
    plan = sw.plan(sw.read_onnx(before), output_stride=cap, keep_weights=True, means="grid")
    done = sw.apply(before, plan, out=after)
    assert done.certificate.exact
    assert done.certificate.means == ()
    found = compare_files(before, after)
    assert max(found.differences.values()) <= CLOSE, found
    assert before.read_bytes() == written
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "n.onnx"]
    onnx.checker.check_model(str(after), full_check=True)
    twin = copy.deepcopy(model)
    sw.apply(twin, sw.plan(sw.trace(twin, shape), output_stride=cap, keep_weights=True, means="grid"), input=shape)
    x = torch.randn(1, *shape)
    assert torch.allclose(twin(x), torch.from_numpy(run(after, x.numpy())), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in FIXED])
def test_open_sizes_are_exact_at_every_size(name, tmp_path):
    model, shape = ready(name), SHAPES.get(name, (3, 32, 32))
    before, after = export(model, shape, tmp_path / "m.onnx", is_open=True), tmp_path / "n.onnx"
    plan = sw.plan(sw.read_onnx(before, shape), output_stride=1, keep_weights=True, means="grid")
    sw.apply(before, plan, out=after, input=shape)
    for more in (0, 1, 2, 3, 6):
        size = tuple(n + more * (2 * a + 1) for a, n in enumerate(shape[1:]))
        found = compare_files(before, after, input=(3, *size))
        assert max(found.differences.values()) <= CLOSE, (size, found)
    assert run(after, np.zeros((2, *shape), np.float32)).shape[0] == 2, "the batch stays open"


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("cap", [2, (2, 4)])
def test_a_resize_of_fixed_factor_reads_the_coarse_grid(mode, cap, tmp_path):
    model = Pyramid(mode).eval()
    before = export(model, (3, 64, 32), tmp_path / "m.onnx")
    plan = sw.plan(sw.read_onnx(before), output_stride=cap, keep_weights=True)
    sw.apply(before, plan, out=tmp_path / "n.onnx")
    assert max(compare_files(before, tmp_path / "n.onnx").differences.values()) <= CLOSE


class Decoder(nn.Module):
    """Two steps down, up by a transposed convolution and to the size of the skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.down = nn.Conv2d(6, 6, 3, 2, 1)
        self.deep = nn.Conv2d(6, 6, 3, 2, 1)
        self.up = nn.ConvTranspose2d(6, 6, 4, 2, 1)
        self.last = nn.Conv2d(12, 6, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.down(x)
        z = y + self.up(self.deep(y))
        return self.last(torch.cat([x, F.interpolate(z, size=x.shape[-2:], mode="nearest")], 1))


@pytest.mark.parametrize("cap", [4, 2, 1])
def test_a_decoder_keeps_its_values(cap, tmp_path):
    torch.manual_seed(0)
    model = Decoder().eval()
    before = export(model, (3, 64, 64), tmp_path / "m.onnx", is_open=True)
    plan = sw.plan(sw.read_onnx(before, (3, 64, 64)), output_stride=cap, keep_weights=True)
    sw.apply(before, plan, out=tmp_path / "n.onnx", input=(3, 64, 64))
    sw.apply(model, sw.plan(sw.trace(model, (3, 64, 64)), output_stride=cap, keep_weights=True), input=(3, 64, 64))
    for size in ((64, 64), (48, 80)):
        assert max(compare_files(before, tmp_path / "n.onnx", input=(3, *size)).differences.values()) <= CLOSE
        x = torch.randn(1, 3, *size)
        wanted, found = model(x), torch.from_numpy(run(tmp_path / "n.onnx", x.numpy()))
        assert torch.allclose(wanted, found, atol=1e-4), "between the old positions they agree too"


# -- files made by hand ---------------------------------------------------------------------------------------


def by_hand(path: Path, nodes: list, shape: list, opset: int = 21, kind: int = TensorProto.FLOAT, **weights) -> Path:
    """A file of these nodes from `x` to `y`, with stale sizes beside them."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    random = np.random.default_rng(0)
    made = [
        numpy_helper.from_array(random.standard_normal(w).astype(dtype) if isinstance(w, tuple) else w, name)
        for name, w in weights.items()
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        made,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model)
    path.write_bytes(model.SerializeToString())
    return path


def same_pads(kind: str, op: str, opset: int = 21) -> list:
    pool = {} if op == "Conv" else {"kernel_shape": [3, 3]}
    second = ["a", "w2"] if op == "Conv" else ["a"]
    return [
        helper.make_node("Conv", ["x", "w1"], ["c"], strides=[2, 2], auto_pad=kind),
        helper.make_node("Relu", ["c"], ["a"]),  # stays what it is, though it stands where other files pad
        helper.make_node(op, second, ["b"], strides=[2, 2], auto_pad=kind, **pool),
        helper.make_node("Conv", ["b", "w3"], ["y"], strides=[1, 1], auto_pad=kind),
    ]


@pytest.mark.parametrize("shape", [[1, 3, 32, 37], [1, 3, "h", "w"]])
@pytest.mark.parametrize("kind", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_same_padding_becomes_explicit(op, kind, shape, tmp_path):
    weights = {"w1": (4, 3, 3, 3), "w2": (4, 4, 4, 4), "w3": (4, 4, 2, 2)}
    before = by_hand(tmp_path / "m.onnx", same_pads(kind, op), shape, **weights)
    given = (3, 32, 37)
    plan = sw.plan(sw.read_onnx(before, given), output_stride=1, keep_weights=True)
    done = sw.apply(before, plan, out=tmp_path / "n.onnx", input=given)
    sizes = [given] if shape[2] == 32 else [given, (3, 35, 40), (3, 33, 34)]
    for size in sizes:
        assert max(compare_files(before, tmp_path / "n.onnx", input=size).differences.values()) <= CLOSE
    nodes = [n for n in onnx.load(tmp_path / "n.onnx").graph.node if n.op_type in ("Conv", op)]
    assert not any(a.name == "auto_pad" for n in nodes for a in n.attribute)
    assert done.graph.nodes


def test_is_exact_in_float64(tmp_path):
    """onnx's own evaluator computes in float64, where onnxruntime has no convolution."""
    weights = {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("AveragePool", ["a"], ["b"], strides=[2, 2], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["b", "w2"], ["y"], pads=[1, 1, 1, 1]),
    ]
    before = by_hand(tmp_path / "m.onnx", nodes, [1, 3, 15, 18], kind=TensorProto.DOUBLE, **weights)
    plan = sw.plan(sw.read_onnx(before), output_stride=1, keep_weights=True)
    sw.apply(before, plan, out=tmp_path / "n.onnx")
    from onnx.reference import ReferenceEvaluator

    x = np.random.default_rng(1).standard_normal((1, 3, 15, 18))
    old, new = (ReferenceEvaluator(str(tmp_path / f)).run(None, {"x": x})[0] for f in ("m.onnx", "n.onnx"))
    assert old.dtype == np.float64
    assert np.abs(new[..., ::4, ::4] - old).max() <= 1e-12 * np.abs(old).max()


@pytest.mark.parametrize("opset", [11, 13, 17, 19])
def test_the_opset_is_raised_where_an_average_spreads(opset, tmp_path):
    weights = {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("AveragePool", ["r"], ["b"], strides=[2, 2], kernel_shape=[2, 2]),
        helper.make_node("Conv", ["b", "w2"], ["y"], pads=[1, 1, 1, 1]),
    ]
    before = by_hand(tmp_path / "m.onnx", nodes, [1, 3, 32, 32], opset, **weights)
    graph = sw.read_onnx(before)
    whole = sw.apply(before, sw.plan(graph, output_stride=1, keep_weights=True), out=tmp_path / "n.onnx")
    assert onnx.load(tmp_path / "n.onnx").opset_import[0].version == 19
    assert any("opset raised to 19" in line for line in whole.changes) is (opset < 19)
    assert max(compare_files(before, tmp_path / "n.onnx").differences.values()) <= CLOSE
    sw.apply(before, sw.plan(graph, output_stride=2, keep_weights=True), out=tmp_path / "n.onnx")
    assert onnx.load(tmp_path / "n.onnx").opset_import[0].version == opset, "attributes alone need no other"


def test_weights_beside_the_file_are_copied(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    model = onnx.load(export(ready("maximum"), (3, 32, 32), tmp_path / "m.onnx"))
    onnx.save(model, source / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=16)
    before = {p.name: p.read_bytes() for p in source.iterdir()}
    plan = sw.plan(sw.read_onnx(source / "m.onnx"), output_stride=1, keep_weights=True)
    sw.apply(source / "m.onnx", plan, out=target / "n.onnx")
    sw.apply(source / "m.onnx", plan, out=source / "n.onnx")
    assert {name: (source / name).read_bytes() for name in before} == before
    assert sorted(p.name for p in target.iterdir()) == ["n.onnx", "n.onnx.data"]
    found = compare_files(source / "m.onnx", target / "n.onnx")
    assert max(found.differences.values()) <= CLOSE
    (source / "w.bin").unlink()
    assert run(source / "n.onnx", np.zeros((1, 3, 32, 32), np.float32)).shape[-2:] == (32, 32)


# -- without kept weights -------------------------------------------------------------------------------------


def test_steps_move_and_are_inserted_and_taken_away(tmp_path):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = Straight(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
            self.two = Straight(nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU())
            self.last = nn.Conv2d(6, 6, 3, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.two(self.one(x)))

    model = Two().eval()
    before = export(model, (3, 33, 40), tmp_path / "m.onnx")
    graph = sw.read_onnx(before)
    slot = next(s.key for s in graph.slots if s.key.startswith("two"))
    x = torch.randn(1, 3, 33, 40)
    for kind in ("max", "mean"):
        asked = {"one.layers.0": 1, f"+{slot}": f"2x1:{kind}"}
        done = sw.apply(before, sw.plan(graph, asked), out=tmp_path / "n.onnx")
        assert done.certificate is None
        twin = copy.deepcopy(model)
        sw.apply(twin, sw.plan(sw.trace(twin, (3, 33, 40)), asked), input=(3, 33, 40))
        y = run(tmp_path / "n.onnx", x.numpy())
        assert torch.allclose(twin(x), torch.from_numpy(y), atol=1e-5)
        assert y.shape[-2:] == (8, 20)
        assert sw.show(done.graph).to_json()["outputs"][0]["size"] == [8, 20]
    again = sw.read_onnx(tmp_path / "n.onnx")
    assert next(s for s in again.slots if s.key == slot).stride == (2, 1)
    with pytest.raises(PlanError, match="changed already"):
        sw.apply(tmp_path / "n.onnx", sw.plan(graph, asked), out=tmp_path / "o.onnx")
    back = sw.plan(again, {"one.layers.0": 2, f"+{slot}": 1})
    sw.apply(tmp_path / "n.onnx", back, out=tmp_path / "o.onnx")
    assert np.abs(run(tmp_path / "o.onnx", x.numpy()) - run(before, x.numpy())).max() <= CLOSE


@pytest.mark.parametrize(
    ("place", "kind"), [("main", "2:polyphase"), ("main", "2:space-to-depth"), ("+stem", "2:polyphase")]
)
def test_a_kind_that_files_do_not_have_is_named(place, kind, tmp_path):
    model = Named().eval()
    before = export(model, (3, 32, 32), tmp_path / "m.onnx")
    with pytest.raises(PlanError, match="is not done in a file; apply it to the model, then export"):
        sw.apply(before, sw.plan(sw.trace(model, (3, 32, 32)), {place: kind}), out=tmp_path / "n.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("kind", ["2:blur:3", "2:blur:5:zero", "3x2:blur:4:circular", "2:mean", "2x3:max"])
@pytest.mark.parametrize("place", ["main", "+stem"])
def test_other_ways_to_step_equal_the_changed_model(kind, place, tmp_path):
    model = Named().eval()
    randomise(model)
    before = export(model, (3, 33, 46), tmp_path / "m.onnx")
    plan = sw.plan(sw.trace(model, (3, 33, 46)), {place: kind})
    sw.apply(before, plan, out=tmp_path / "n.onnx")
    twin = copy.deepcopy(model)
    sw.apply(twin, plan, input=(3, 33, 46))
    x = torch.randn(1, 3, 33, 46)
    assert torch.allclose(twin(x), torch.from_numpy(run(tmp_path / "n.onnx", x.numpy())), atol=1e-4)
    with pytest.raises(PlanError, match="changed already"):
        sw.apply(tmp_path / "n.onnx", plan, out=tmp_path / "o.onnx")


class Named(nn.Module):
    """A stem of modules, and a step beside a 1x1 one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1), nn.ReLU())
        self.main = nn.Conv2d(6, 6, 3, 2, 1)
        self.side = nn.Conv2d(6, 6, 1, 2)
        self.last = nn.Conv2d(6, 6, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.last(torch.relu(self.main(x)) + self.side(x))


def test_a_parallel_average_gets_its_missing_row(tmp_path):
    model = Branches(nn.AvgPool2d(2, 2)).eval()
    before = export(model, (3, 32, 32), tmp_path / "m.onnx")
    plan = sw.plan(sw.read_onnx(before), {"main": 1})
    done = sw.apply(before, plan, out=tmp_path / "n.onnx")
    assert any("more of padding at the end" in line for line in done.changes)
    twin = copy.deepcopy(model)
    sw.apply(twin, sw.plan(sw.trace(twin, (3, 32, 32)), {"main": 1}), input=(3, 32, 32))
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(twin(x), torch.from_numpy(run(tmp_path / "n.onnx", x.numpy())), atol=1e-5)


# -- what is refused ------------------------------------------------------------------------------------------


class Shuffled(nn.Module):
    """Channels shuffled through views, whose sizes an exporter bakes in."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x))
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.head = nn.Conv2d(3, 6, 3, 2, 1), nn.Linear(6 * 256, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.one(x).flatten(1))


class Sized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        return x + F.interpolate(self.two(x), size=(16, 16))


def test_statistics_over_merged_positions_are_refused_on_the_grid(tmp_path):
    before = export(Gated().eval(), (3, 32, 32), tmp_path / "m.onnx")
    graph = sw.read_onnx(before)
    with pytest.raises(PlanError, match=r"InstanceNormalization.*holds no axis whole"):
        sw.apply(before, sw.plan(graph, output_stride=2, keep_weights=True, means="grid"), out=tmp_path / "n.onnx")
    done = sw.apply(before, sw.plan(graph, output_stride=2, keep_weights=True), out=tmp_path / "n.onnx")
    assert not done.certificate.exact


class Pooled(nn.Module):
    """A mean over all positions, spread over the map again (the pooling branch of ASPP)."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        mean = F.adaptive_avg_pool2d(x, 1)
        return torch.cat([x, F.interpolate(mean, size=x.shape[-2:], mode="bilinear")], 1)


class Merged(Shuffled):
    """Positions merged into one dimension and parted again."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x))
        n, c, h, w = x.shape
        return x.reshape(n, c, h * w).softmax(1).reshape(n, c, h, w)


class Following(Sized):
    """Resized to the size of what it is added to, which an exporter writes down as a number; then concatenated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        y = x + F.interpolate(self.two(x), size=x.shape[2:], mode="bilinear")
        return torch.cat([y, F.interpolate(F.max_pool2d(y, 2), size=x.shape[2:])], 1)


@pytest.mark.parametrize(
    ("network", "site", "keep"),
    [
        (Shuffled, "two", True),
        (Shuffled, "two", False),
        (Merged, "one", True),
        (Merged, "two", False),
        (Following, "one", False),
        (Following, "two", False),
        (Pooled, "one", True),
        (Pooled, "one", False),
    ],
)
def test_baked_constants_that_can_only_follow_are_written_anew(network, site, keep, tmp_path):
    torch.manual_seed(0)
    model, after = network().eval(), tmp_path / "n.onnx"
    before = export(model, (3, 30, 44), tmp_path / "m.onnx")
    done = sw.apply(before, sw.plan(sw.read_onnx(before), {site: 1}, keep_weights=keep), out=after)
    assert any("in place of" in line for line in done.changes) == (network is not Following or site == "one")
    sw.apply(model, sw.plan(sw.trace(model, (3, 30, 44)), {site: 1}, keep_weights=keep))
    x = torch.randn(1, 3, 30, 44)
    wanted, found = model(x).detach().numpy(), run(after, x.numpy())
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < CLOSE * np.abs(wanted).max()


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    ("network", "asked", "text"),
    [
        (Flat, {"one": 1}, r"(flatten|Gemm)"),
        (Sized, {"nothing": 1}, "no site of that name"),
    ],
)
def test_a_baked_constant_is_named_and_nothing_is_written(network, asked, text, keep, tmp_path):
    before = export(network().eval(), (3, 32, 32), tmp_path / "m.onnx")
    with pytest.raises(PlanError, match=text) as error:
        sw.apply(before, sw.plan(sw.read_onnx(before), asked, keep_weights=keep), out=tmp_path / "n.onnx")
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (lambda model: setattr(model, "ir_version", 0), "onnx's checker refuses the changed model: .*ir_version"),
        (lambda model: setattr(model.graph.output[0].type.tensor_type, "elem_type", 7), "onnx infers no sizes for"),
    ],
)
def test_a_file_that_onnx_refuses_is_not_written(fault, text, tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w1"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])]
    before = by_hand(tmp_path / "m.onnx", nodes, [1, 3, 16, 16], w1=(4, 3, 3, 3))
    model = onnx.load(before)
    fault(model)
    before.write_bytes(model.SerializeToString())
    with pytest.raises(PlanError, match=text) as error:
        sw.apply(before, sw.plan(sw.read_onnx(before), output_stride=1, keep_weights=True), out=tmp_path / "n.onnx")
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_file_is_not_written_over(tmp_path):
    before = export(ready("maximum"), (3, 32, 32), tmp_path / "m.onnx")
    plan = sw.plan(sw.read_onnx(before), output_stride=1, keep_weights=True)
    with pytest.raises(PlanError, match="name another one"):
        sw.apply(before, plan, out=before)
    with pytest.raises(PlanError, match="not changed in place"):
        sw.apply(before, plan)
    with pytest.raises(PlanError, match="cannot be written"):
        sw.apply(before, plan, out=tmp_path / "nowhere" / "n.onnx")
    sw.apply(before, plan, out=tmp_path / "n.onnx")
    with pytest.raises(PlanError, match="changed already"):
        sw.apply(tmp_path / "n.onnx", plan, out=tmp_path / "o.onnx")


# -- the command ----------------------------------------------------------------------------------------------


def test_the_command_writes_a_file_and_compares_it(tmp_path):
    before = export(ready("maximum"), (3, 32, 32), tmp_path / "m.onnx")
    out = ["-o", str(tmp_path / "p.toml"), "--export", str(tmp_path / "n.onnx")]
    result = CliRunner().invoke(command, [f"onnx:{before}", "main=1", "--keep-weights", "--verify", *out])
    assert result.exit_code == 0, result.output
    assert "relative difference" in result.stdout
    assert "in float32, onnxruntime" in result.stdout
    plan = sw.Plan.read(tmp_path / "p.toml")
    assert set(plan.sites) == {"main", "pool"}
    sw.apply(before, plan, out=tmp_path / "o.onnx")
    assert (tmp_path / "o.onnx").read_bytes() == (tmp_path / "n.onnx").read_bytes()


def test_a_file_is_changed_without_torch(tmp_path):
    before = export(ready("average, padded"), (3, 32, 32), tmp_path / "m.onnx")
    code = (
        "import sys, stridewise as sw\n"
        f"plan = sw.plan(sw.read_onnx({str(before)!r}), output_stride=1, keep_weights=True)\n"
        f"print(sw.apply({str(before)!r}, plan, out={str(tmp_path / 'n.onnx')!r}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "exact: every feature map" in done.stdout


def test_the_command_exports_a_live_model(tmp_path):
    path = tmp_path / "n.onnx"
    for asked in (["+layers.2=2:mean"], ["layers.7.conv1=1"], ["layers.7.conv1=1", "--keep-weights"]):
        result = CliRunner().invoke(command, ["builtin:resnet20", *asked, "--export", str(path)])
        assert result.exit_code == 0, result.output
        assert "onnxruntime's outputs are within" in result.stderr
        onnx.checker.check_model(str(path), full_check=True)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["n.onnx"]
    result = CliRunner().invoke(command, ["builtin:resnet20", *asked, "--export", str(path), "--open-sizes"])
    assert result.exit_code == 0, result.output
    assert "input_2" in str(onnx.load(path).graph.input)
    result = CliRunner().invoke(command, ["builtin:resnet20", *asked, "--open-sizes"])
    assert "give --export FILE" in str(result.exception)


class Same(nn.Module):
    """TensorFlow's SAME, worked out from the incoming size: in the graph of a file, or `baked` as numbers."""

    def __init__(self, baked: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 6, 5, 2), nn.Conv2d(6, 6, (3, 2), 2)
        self.baked = baked

    def pads(self, x, conv):
        out = []
        for axis in (3, 2):
            size, kernel, stride = x.shape[axis], conv.kernel_size[axis - 2], conv.stride[axis - 2]
            if self.baked:
                total = max((-(-int(size) // stride) - 1) * stride + kernel - int(size), 0)
            elif isinstance(size, torch.Tensor):
                total = (((size + stride - 1) // stride - 1) * stride + kernel - size).clamp(min=0)
            else:
                total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            out += [total // 2, total - total // 2]
        return out

    def forward(self, x):
        for conv in (self.a, self.b, self.c):
            x = conv(F.pad(x, self.pads(x, conv))).relu()
        return x


@pytest.mark.parametrize("asked", [{"output_stride": 2, "keep_weights": True}, {"request": {"b": 1}}, {}])
def test_an_export_with_open_sizes_equals_the_model_at_every_size(asked, tmp_path):
    torch.manual_seed(0)
    model = Same().eval()
    graph = sw.trace(model, (3, 64, 64))
    plan = sw.plan(graph, asked.pop("request", None), **asked) if asked else None
    assert sw.export(model, tmp_path / "n.onnx", plan=plan, input=(3, 64, 64), open_sizes=True) < 1e-5
    assert [p.name for p in tmp_path.iterdir()] == ["n.onnx"]
    session = runtime.InferenceSession(str(tmp_path / "n.onnx"), providers=["CPUExecutionProvider"])
    if plan is not None:
        sw.apply(model, plan)
    for size in ((131, 77), (64, 64), (35, 102), (33, 31)):
        x = torch.randn(1, 3, *size)
        wanted, found = model(x).detach().numpy(), session.run(None, {"input": x.numpy()})[0]
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < CLOSE * np.abs(wanted).max()


def test_an_export_with_open_sizes_that_cannot_be_says_so(tmp_path):
    model = Same(baked=True).eval()
    plan = sw.plan(sw.trace(model, (3, 64, 64)), output_stride=2, keep_weights=True)
    with pytest.raises(PlanError, match=r"cannot be exported with open sizes: .*3x69x66"):
        sw.export(model, tmp_path / "n.onnx", plan=plan, input=(3, 64, 64), open_sizes=True)
    assert not list(tmp_path.iterdir())
    assert model.b.stride == (2, 2)


def test_paddings_that_a_file_computes_by_the_rule_of_same_are_windows_of_it(tmp_path):
    torch.manual_seed(0)
    sw.export(Same(), tmp_path / "m.onnx", input=(3, 64, 64), open_sizes=True)
    graph = sw.read_onnx(tmp_path / "m.onnx", (3, 64, 64))
    assert [[w.same for w in node.attrs["maps"]] for node in graph.sites] == [["end", "end"]] * 3
    for size in ((131, 77), (50, 33)):
        again = sw.read_onnx(tmp_path / "m.onnx", (3, *size))
        last = again.tensors[again.outputs[0]]
        assert last.shape[2:] == tuple(-(-n // 8) for n in size)
        assert grid_sizes(graph, size)[last.grid] == last.shape[2:]
