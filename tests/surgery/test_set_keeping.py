"""Kept weights: the new network equals the old one on its old grid, at every input size, in float64."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import stridewise as sw
from stridewise.errors import PlanError
from stridewise.rewrites.dilate import dilated_graph, dilation
from stridewise.surgery.verify import compare, randomise

from .networks import Blur, Branches, Functional, Gated, Line, Painted, Pyramid, Same, Straight, everything

SIZES = [(32, 32), (33, 47), (38, 29)]
NETWORKS = {
    "average, ceil, inside only": lambda: Branches(),
    "average, padded": lambda: Branches(nn.AvgPool2d(3, 2, 1)),
    "average, divisor": lambda: Branches(nn.AvgPool2d(3, 2, 1, divisor_override=5)),
    "average, ceil, padded": lambda: Branches(nn.AvgPool2d(2, 2, 0, ceil_mode=True)),
    "maximum": lambda: Branches(nn.MaxPool2d(3, 2, 1)),
    "maximum, ceil": lambda: Branches(nn.MaxPool2d(2, 2, ceil_mode=True)),
    "maximum, wide": lambda: Straight(
        nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1), nn.MaxPool2d(5, 1, 2), nn.MaxPool2d(3, 2, 1)
    ),
    "blur, reflect": lambda: Branches(Blur()),
    "blur, replicate": lambda: Branches(Blur("replicate")),
    "blur, zero": lambda: Branches(Blur("constant")),
    "same": lambda: Straight(Same(3, 6, 3, 2), Same(6, 6, 5, 2), Same(6, 6, 3, 2), nn.Conv2d(6, 6, 2)),
    "functional": Functional,
    "gated": Gated,
    "stride 4, dilated": lambda: Straight(nn.Conv2d(3, 6, 5, 4, 2), nn.Conv2d(6, 6, 3, 2, 2, dilation=2)),
    "subsampling pools": lambda: Straight(nn.Conv2d(3, 6, 3, 2, 1), nn.MaxPool2d(1, 2), nn.MaxPool2d(2, 4)),
    "a mean by a pool larger than every map": lambda: Straight(
        nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1), nn.AvgPool2d(64, ceil_mode=True), nn.Conv2d(6, 6, 1)
    ),
    "even kernels": lambda: Straight(nn.Conv2d(3, 6, 2, 2), nn.Conv2d(6, 6, 4, 2, 1), nn.Conv2d(6, 6, 2, 1)),
}


def plan_for(model: nn.Module, cap, **options) -> sw.Plan:
    return sw.plan(sw.trace(model, (3, 32, 32)), output_stride=cap, keep_weights=True, **options)


@pytest.mark.parametrize("cap", [1, 2, (1, 2), (4, 1)])
@pytest.mark.parametrize("name", NETWORKS)
def test_is_exact_at_every_size(name, cap):
    torch.manual_seed(0)
    model = NETWORKS[name]()
    plan = plan_for(model, cap, means="grid")
    for size in SIZES:
        found = compare(model, plan, input=(3, *size))
        assert found.done.certificate.exact, found.done.certificate
        assert found.outputs <= 1e-12, (name, size, found)


def test_one_axis_is_exact_too():
    model = Line()
    for cap in (1, 2, 4):
        plan = sw.plan(sw.trace(model, (3, 64)), output_stride=cap, keep_weights=True)
        for size in (64, 65, 71):
            assert compare(model, plan, input=(3, size)).outputs <= 1e-12


@pytest.mark.parametrize("name", ["maximum, ceil", "subsampling pools"])
def test_no_position_between_the_old_ones_is_without_a_value(name):
    """A window of padding alone has no maximum; one such position makes every mean behind it meaningless."""
    model = randomised(NETWORKS[name]())
    sw.apply(model, plan_for(model, 1), input=(3, 32, 32))
    for size in SIZES:
        assert torch.isfinite(model(torch.randn(1, 3, *size))).all()


@pytest.mark.parametrize("cap", [1, 2, (1, 4)])
def test_a_transposed_convolution_reads_the_coarse_grid(cap):
    """Its sizes, work and field are those of the old positions, once for each phase of its output."""
    model = Painted()
    graph = sw.trace(model, (3, 32, 32))
    plan = sw.plan(graph, output_stride=cap, keep_weights=True)
    for size in [(32, 32), (64, 48)]:
        assert compare(model, plan, input=(3, *size)).outputs <= 1e-12
    told = dilated_graph(dilation(graph, plan))
    rows = {row["key"]: row for row in sw.show(told).to_json()["layers"]}
    for row in sw.show(graph).to_json()["layers"]:
        assert rows[row["key"]]["receptive_field"] == row["receptive_field"], row["key"]
    sw.apply(model, plan)
    with FlopCounterMode(display=False) as counted:
        model(torch.randn(1, 3, 32, 32))
    assert sum(row["macs"] for row in rows.values()) == counted.get_total_flops() // 2


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_a_resize_of_fixed_factor_reads_the_coarse_grid(mode):
    model = Pyramid(mode)
    for cap in (2, (2, 4)):
        found = compare(model, plan_for(model, cap), input=(3, 64, 32))
        assert found.outputs <= 1e-12


class Ladder(nn.Module):
    """A resize back up, met in the graph before the path beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1)
        self.side, self.last = nn.Conv2d(6, 6, 3, 1, 1), nn.Conv2d(6, 6, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.last(nn.functional.interpolate(self.down(x), scale_factor=2) + self.side(x))


@pytest.mark.parametrize(("cap", "times"), [(1, (2, 2)), (2, (1, 1)), ((1, 4), (2, 1))])
@pytest.mark.parametrize(
    "network",
    [
        Ladder,
        lambda: Straight(
            nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1), nn.Upsample(scale_factor=2), nn.Conv2d(6, 6, 3, 1, 1)
        ),
    ],
    ids=["beside a path", "alone"],
)
def test_a_resize_gives_as_many_positions_as_are_needed(network, cap, times):
    """What sites say of its other side decides; alone it is never finer than what it reads."""
    model = network()
    plan = plan_for(model, cap)
    assert dilation(sw.trace(model, (3, 32, 32)), plan).multipliers[-1] == times
    assert compare(model, plan, input=(3, 64, 32)).outputs <= 1e-12


def test_a_resize_that_shrinks_is_refused_where_its_phases_do_not_exist():
    model = Straight(nn.Conv2d(3, 6, 3, 2, 1), nn.Upsample(scale_factor=0.5), nn.Conv2d(6, 6, 3, 1, 1))
    graph = sw.trace(model, (3, 32, 32))
    with pytest.raises(PlanError, match=r"layers.1: a fixed factor ties .*; no grid gives 2 times its size"):
        sw.plan(graph, {"layers.0": 1}, keep_weights=True)


@pytest.mark.parametrize(("means", "close"), [("dense", False), ("grid", True)])
def test_certificate_and_numbers_agree_about_means(means, close):
    model = Gated()
    found = compare(model, plan_for(model, 1, means=means))
    assert found.done.certificate.exact is close
    assert (found.features <= 1e-12) is close
    assert (found.outputs <= 1e-12) is close
    assert bool(found.done.certificate.means) is not close


def test_the_changed_model_is_a_normal_one(tmp_path):
    model = randomised(Branches(Blur()))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(2, 3, 33, 40)
    done = sw.apply(model, plan_for(model, 2), input=(3, 32, 32))
    y = model(x)
    assert y.shape[-2:] == (18, 20)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert list(before) == list(model.state_dict())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert torch.equal(twin(x), y), "a copy leads back into the model it was made from"
    memory = io.BytesIO()
    torch.save(twin, memory)
    memory.seek(0)
    assert torch.equal(torch.load(memory, weights_only=False)(x), y)
    twin(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in twin.parameters())
    assert twin.to(memory_format=torch.channels_last)(x).shape == y.shape
    assert twin.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert done.certificate.exact


@pytest.mark.parametrize("network", [lambda: Branches(Blur()), Functional, Gated])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_survives_export_and_compile(network):
    model = randomised(network())
    x = torch.randn(1, 3, 32, 32)
    sw.apply(model, plan_for(model, 1, means="grid"), input=(3, 32, 32))
    y = model(x)
    assert torch.allclose(torch.export.export(model, (x,)).module()(x), y, atol=1e-5)
    torch._dynamo.reset()
    whole = not any("pad" in vars(m)["forward"].swaps for m in model.modules() if "forward" in vars(m))
    compiled = torch.compile(model, backend="eager", fullgraph=whole)
    assert torch.allclose(compiled(x), y, atol=1e-5)


def test_undo_puts_everything_back():
    for network in NETWORKS.values():
        model = network()
        before = everything(model)
        done = sw.apply(model, plan_for(model, 1), input=(3, 32, 32))
        assert everything(model) != before
        done.undo()
        assert everything(model) == before


def test_a_second_application_is_refused_and_changes_nothing():
    for network in (Functional, Branches):
        model = network()
        plan = plan_for(model, 1)
        sw.apply(model, plan, input=(3, 32, 32))
        before = everything(model)
        with pytest.raises(PlanError, match="changed already"):
            sw.apply(model, plan, input=(3, 32, 32))
        assert everything(model) == before


def test_plan_survives_its_file(tmp_path):
    model = Branches()
    plan = plan_for(model, (1, 2), means="grid")
    plan.write(tmp_path / "p.toml")
    assert sw.Plan.read(tmp_path / "p.toml") == plan


def test_refuses_what_does_not_divide():
    model = Straight(nn.Conv2d(3, 6, 3, 3, 1), nn.Conv2d(6, 6, 3, 2, 1))
    with pytest.raises(PlanError, match=r"output stride 4: layers.1 would step by 4/3; possible are \[1, 3\]"):
        plan_for(model, 4)
    model = Straight(nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 6, 3, 1, 1))
    graph = sw.trace(model, (3, 32, 32))
    with pytest.raises(PlanError, match=r"stride 4 becomes 3, .* possible are 1, 2, 4"):
        sw.plan(graph, {"layers.0": 3}, keep_weights=True)


def test_refuses_a_flattened_head_by_name():
    model = Straight(nn.Conv2d(3, 6, 3, 2, 1), nn.Flatten(), nn.Linear(6 * 16 * 16, 4))
    before = everything(model)
    with pytest.raises(PlanError, match=r"layers.2: .*flatten.*cannot grow by 2"):
        sw.apply(model, plan_for(model, 1))
    assert everything(model) == before


class Both(nn.Module):
    """Two maps that a module flattens."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6 * 8 * 8, 4), nn.Linear(6 * 8 * 8, 4)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.first(a.flatten(1)) + self.second(b.flatten(1))


class Fork(nn.Module):
    """Two paths of one step into a head of fixed size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.a, self.b, self.head = nn.Conv2d(6, 6, 3, 2, 1), nn.Conv2d(6, 6, 1, 2), Both()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(self.a(x), self.b(x))


def test_refuses_a_head_of_fixed_size_that_takes_two_maps():
    model = Fork()
    with pytest.raises(PlanError, match=r"head.first: .*flatten.*cannot grow by 4"):
        sw.apply(model, plan_for(model, 1))


def randomised(model: nn.Module) -> nn.Module:
    randomise(model)
    return model.eval()


class ChannelsLast(nn.Module):
    """A response norm over the positions of a map that holds its channels last (ConvNeXt V2 with linear layers)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(self.stem(x)).permute(0, 2, 3, 1)
        return (x * x.norm(dim=(1, 2), keepdim=True)).permute(0, 3, 1, 2)


def test_means_on_the_grid_with_channels_last():
    model = ChannelsLast()
    found = compare(model, plan_for(model, 1, means="grid"), input=(3, 33, 40))
    assert found.done.certificate.exact
    assert found.outputs <= 1e-12
