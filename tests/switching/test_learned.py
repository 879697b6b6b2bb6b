"""Strides as parameters: the crop against scipy, the price against exact plans, descent towards what is planted."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.signal import resample
from torch import nn

import stridewise as sw
from strategies import network
from stridewise.analyses import cost
from stridewise.errors import PlanError, TraceError
from stridewise.rewrites.completion import planned
from stridewise.switching.learned import MOST, LearnedStrides, spectral_crop

INPUT = (3, 32, 32)


@pytest.fixture(scope="module")
def narrow() -> LearnedStrides:
    torch.manual_seed(0)
    return sw.learned(sw.load("builtin:resnet20-narrow"), INPUT)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "stride"), [(32, 2.0), (32, 4.0), (45, 3.0), (30, 1.5), (31, 2.5)])
def test_a_crop_without_a_ramp_is_an_ideal_low_pass(n: int, stride: float) -> None:
    x = noise(2, 3, n)
    got = spectral_crop(x, torch.tensor([stride]), ramp=1e-7)
    expected = resample(x.numpy(), math.ceil(n / stride), axis=-1)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert np.abs(expected).max() > 0.5  # a live signal
    assert not np.allclose(spectral_crop(x, torch.tensor([stride]), ramp=4.0)[..., : got.shape[-1]], got, atol=0.1)


def test_a_stride_of_one_changes_nothing() -> None:
    x = noise(1, 2, 17, 32)
    assert torch.equal(spectral_crop(x, torch.ones(2)), x)


@pytest.mark.parametrize("n", [32, 45])
def test_the_crop_s_gradients_are_finite_differences(n: int) -> None:
    x, at = noise(1, 1, n).double(), torch.tensor([1.83], dtype=torch.float64, requires_grad=True)
    weights = noise(1, 1, n, seed=1).double()

    def value(stride: torch.Tensor) -> torch.Tensor:
        out = spectral_crop(x, stride, ramp=3.0).double()
        return (out * weights[..., : out.shape[-1]]).sum()

    value(at).backward()
    step = 1e-3  # large enough for the float32 in between, small enough to keep the same frequencies
    with torch.no_grad():
        slope = (value(at + step) - value(at - step)) / (2 * step)
    assert at.grad is not None
    assert at.grad.abs().item() > 1e-3
    assert at.grad.item() == pytest.approx(slope.item(), rel=2e-2)


def test_the_price_is_exact_at_whole_strides_and_continuous_between(narrow: LearnedStrides) -> None:
    graph, (rows, axes) = narrow.graph, narrow.log_strides.shape
    now = cost.macs(graph, [g.sizes for g in graph.grids])
    for strides in itertools.product((1, 2, MOST), (1, 3), (2,), (1, MOST)):
        request = {key: strides[i * axes : (i + 1) * axes] for i, key in enumerate(narrow.steps)}
        exact = planned(graph, request)[1].graph
        narrow.start(request)
        assert narrow.cost().item() == pytest.approx(cost.macs(exact, [g.sizes for g in exact.grids]) / now, rel=1e-4)
        beside = noise(rows, axes, seed=sum(strides)) * 1e-4
        before = narrow.cost().item()
        narrow.raw.data += beside / 10
        assert narrow.cost().item() == pytest.approx(before, rel=1e-2)


def test_the_price_s_gradient_is_a_finite_difference(narrow: LearnedStrides) -> None:
    narrow.start(dict(zip(narrow.steps, [(1.3, 2.6), (1.9, 3.4)], strict=True)))
    narrow.raw.grad = None
    narrow.cost().backward()
    slopes = narrow.raw.grad
    assert slopes is not None
    assert bool((slopes < 0).all())
    for row, axis in itertools.product(range(2), range(2)):
        values = []
        for sign in (1, -1):
            narrow.raw.data[row, axis] += sign * 1e-4
            values.append(narrow.cost().item())
            narrow.raw.data[row, axis] -= sign * 1e-4
        assert (values[0] - values[1]) / 2e-4 == pytest.approx(float(slopes[row, axis]), rel=1e-2)


class Wire(nn.Module):
    """One window that gives on what it gets: what a stride loses is what a crop cuts off."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)
        self.conv.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.mark.parametrize(("highest", "least", "most"), [(3, 3.5, MOST), (30, 1.0, 1.2), (15, 1.5, 2.9)])
def test_descent_finds_the_stride_that_a_signal_permits(highest: int, least: float, most: float) -> None:
    spectrum = torch.fft.rfft(noise(16, 1, 64))
    spectrum[..., highest + 1 :] = 0
    x = torch.fft.irfft(spectrum, n=64)
    x = x / x.square().mean().sqrt()
    net = sw.learned(Wire(), (1, 64), at=["conv"], ramp=1.0)
    net.start({"conv": (1.15,)})
    optimizer = torch.optim.Adam([net.raw], lr=0.003)
    for _ in range(80):
        optimizer.zero_grad()
        (x.square().mean() - net(x).square().mean() + 0.2 * net.cost()).backward()
        optimizer.step()
    (stride,) = net.strides()["conv"]
    assert least <= stride <= most + 1e-4


@pytest.mark.filterwarnings("ignore:Using padding")
def test_drawn_networks_learn_and_come_back_as_they_were() -> None:
    tried = 0
    for seed in range(40):
        drawn = network(seed)
        model, shape = drawn.model.float(), drawn.shape
        x = noise(1, *shape)
        model.eval()
        before = model(x)
        try:
            net = sw.learned(model, shape)
        except (PlanError, TraceError):
            continue
        tried += 1
        assert net.cost().item() == pytest.approx(1, rel=1e-5)
        assert not net.plan()
        net.raw.data *= 1.3
        loss = net(x).square().mean() + net.cost()
        loss.backward()
        assert net.raw.grad is not None
        assert bool(net.raw.grad.isfinite().all())
        net.undo()
        assert torch.equal(model(x), before)
    assert tried >= 10


def test_a_plan_of_learned_strides_is_consistent(narrow: LearnedStrides) -> None:
    narrow.start(dict(zip(narrow.steps, [(1.45, 1.38), (2.4, 3.6)], strict=True)))
    plan = narrow.plan()
    assert {key: s.stride for key, s in plan.insert.items()} == {"layers.3": (2, 1), "layers.6": (2, 4)}


def test_strides_that_fit_no_plan_are_rounded_to_shorter_ones(narrow: LearnedStrides) -> None:
    net = sw.learned(sw.load("builtin:resnet20-narrow"), (3, 9, 9))
    net.start(dict.fromkeys(net.steps, (4.0, 4.0)))
    with pytest.raises(PlanError, match="does not fit"):
        sw.plan(net.graph, dict.fromkeys(net.steps, 4))
    assert net.plan().insert["layers.3"].stride == (4, 4)


def test_what_cannot_be_learned_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 16 * 16, 2))
    with pytest.raises(PlanError, match=r"1|flatten|Linear"):
        sw.learned(model, INPUT)
    with pytest.raises(PlanError, match="nothing steps"):
        sw.learned(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), INPUT)
    with pytest.raises(PlanError, match="nothere"):
        sw.learned(sw.load("builtin:resnet20-narrow"), INPUT, at=["nothere"])
    with pytest.raises(PlanError, match="start: conv wants 1 strides from 1 to 4"):
        sw.learned(Wire(), (1, 64), at=["conv"]).start({"conv": (5.0,)})
    with pytest.raises(PlanError, match="elastic network"):
        sw.relaxed(nn.Conv2d(1, 1, 1))  # type: ignore[arg-type]


def test_a_relaxed_choice_takes_the_plan_that_loses_less() -> None:
    """Losses are planted: the plan of half the cost is as good, or much worse."""
    for worse, expected in ((0.0, "0.5x"), (3.0, "1x")):
        torch.manual_seed(0)
        net = sw.elastic(sw.load("builtin:resnet20-narrow"), costs=(0.5, 1), input=(3, 16, 16))
        choice = sw.relaxed(net)
        optimizer = torch.optim.Adam([choice.logits], lr=0.2)
        for _ in range(20):
            optimizer.zero_grad()

            def criterion(out: torch.Tensor) -> torch.Tensor:
                return 0 * out.sum() + (worse if net.active == "0.5x" else 0.0)  # noqa: B023

            choice.loss(noise(2, 3, 16, 16), criterion, price=1.0).backward()
            optimizer.step()
        assert choice.plan() == net.plans[expected]
        assert choice.shares()[expected] > 0.8


def test_a_relaxed_choice_teaches_the_drawn_plan_as_it_would_learn_alone() -> None:
    torch.manual_seed(0)
    net = sw.elastic(sw.load("builtin:resnet20-narrow"), costs=(0.5, 1), input=(3, 16, 16)).eval()
    choice, x = sw.relaxed(net), noise(2, 3, 16, 16)
    choice.loss(x, lambda out: out.square().mean()).backward()
    weight = next(net.model.parameters())
    assert weight.grad is not None
    got, drawn = weight.grad.clone(), net.active
    net.zero_grad()
    net.use(drawn)(x).square().mean().backward()
    assert torch.allclose(weight.grad, got)
    other = next(name for name in net.plans if name != drawn)
    net.zero_grad()
    net.use(other)(x).square().mean().backward()
    assert not torch.allclose(weight.grad, got)
