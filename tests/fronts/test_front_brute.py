"""The front is exactly what comparing every plan with every other leaves."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from stridewise.analyses.fields import fields
from stridewise.errors import PlanError
from stridewise.fronts.front import front
from stridewise.ir import Graph
from stridewise.plans import Plan, Setting
from stridewise.rewrites.restride import restride
from stridewise.tracing.trace import trace

from .brute import Cost, all_plans, beats, best, consistent, priced
from .search_nets import CHANNELS, Branches, Drawn, Hourglass, Residual, conv, graph_of, networks


class Cut(nn.Module):
    """What a module makes, cut to its input's size and laid over it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.interpolate(self.inner(x), scale_factor=2)
        return x + y[:, :, : x.shape[2], : x.shape[3]]


def found(graph: Graph, **limits: object) -> dict[tuple[Fraction, Cost], int]:
    """The front as `best` writes it; empty where no plan meets the limits."""
    try:
        result = front(graph, **limits)
    except PlanError:
        return {}
    return {(Fraction(p.output_stride[0]), p.cost): p.changes for p in result.points}


SMALL = {
    "chain": Drawn([conv(3, 2), conv(3), nn.MaxPool2d(2, 2), conv(3)]),
    "residual": Drawn([Residual(nn.Sequential(conv(3, 2), conv(3)), conv(1, 2)), conv(3, 2)]),
    "average shortcut": Drawn([Residual(conv(3, 2), nn.Sequential(nn.AvgPool2d(2, 2), conv(1))), conv(3)]),
    "valid branches": Drawn(
        [Branches(conv(3, 2, 0), nn.Sequential(conv(1), conv(3), conv(3, 2, 0)), nn.MaxPool2d(3, 2))]
    ),
    "hourglass": Drawn([conv(3), Hourglass(nn.Sequential(conv(3, 2), conv(3)), follow=False)], classes=False),
    "hourglass that follows": Drawn([Hourglass(nn.Sequential(conv(3, 2), conv(3)), follow=True)], classes=False),
    "patches": Drawn([conv(4, 4, 0), conv(2, 2, 0)]),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_front_of_small_networks(name: str, size: tuple[int, int]) -> None:
    graph = trace(SMALL[name], (3, *size))
    expected = best(graph)
    assert expected
    assert found(graph) == expected


def test_a_network_that_steps_beyond_its_map() -> None:
    """Down to one position and on by 2, up by 2 and cut: it runs, and its ties leave that step no other choice."""
    deep = Cut(nn.Sequential(conv(3, 2), Cut(nn.Sequential(conv(3, 2), Cut(conv(3, 2))))))
    graph = trace(Drawn([deep], classes=False), (3, 4, 4))
    result = found(graph)
    assert result == best(graph)
    assert front(graph).current.cost in {cost for _, cost in result}


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks())
def test_front_of_drawn_networks(drawn: tuple[nn.Module, int, int]) -> None:
    graph = graph_of(drawn, most=7)
    assert found(graph) == best(graph)


def test_end_padding_decides_about_the_front() -> None:
    """Some plans of the front need the missing end padding, so that a front that refused them would differ."""
    graph = trace(SMALL["average shortcut"], (3, 16, 16))
    plans = [restride(graph, p.plan).pads for p in front(graph).points]
    assert any(plans)
    assert not all(plans)


@pytest.mark.parametrize("name", ["chain", "residual"])
def test_other_steps_and_smallest_map(name: str) -> None:
    graph = trace(SMALL[name], (3, 16, 16))
    assert found(graph, steps=(1, 2, 3)) == best(graph, (1, 2, 3))
    assert found(graph, smallest_map=3) == best(graph, smallest=3)
    assert found(graph, smallest_map=3) != best(graph)


@pytest.mark.parametrize("name", ["chain", "residual", "average shortcut", "valid branches"])
@pytest.mark.parametrize("share", [Fraction(1, 4), Fraction(1, 2), Fraction(4, 5)])
@pytest.mark.parametrize("which", ["max_macs", "max_peak_bytes", "max_activations"])
def test_budgets(name: str, share: Fraction, which: str) -> None:
    """A plan beaten only by plans over the budget is on the front within the budget."""
    graph = trace(SMALL[name], (3, 16, 12))
    plans = all_plans(graph)
    column = ("max_macs", "max_peak_bytes", "max_activations").index(which)
    limit = int(share * max(c[column] for _, c in plans))
    within = [p for p in plans if p[1][column] <= limit]
    expected = {p for p in within if not any(beats(other, p) for other in within)}
    assert set(found(graph, **{which: limit})) == expected


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(), st.fractions(Fraction(1, 8), Fraction(7, 8)))
def test_most_activations_of_drawn_networks(drawn: tuple[nn.Module, int, int], share: Fraction) -> None:
    graph = graph_of(drawn)
    plans = all_plans(graph)
    limit = int(share * max((c[2] for _, c in plans), default=1)) or 1
    within = [p for p in plans if p[1][2] <= limit]
    expected = {p for p in within if not any(beats(other, p) for other in within)}
    assert set(found(graph, max_activations=limit)) == expected


def test_a_plan_over_the_budget_beats_none_within_it() -> None:
    """Early in one branch is few multiply-adds and many activations, early in the other is the opposite."""
    wide = nn.Sequential(nn.Conv2d(CHANNELS, 64, 1, 2), nn.Conv2d(64, CHANNELS, 1))
    heavy = nn.Sequential(nn.Conv2d(CHANNELS, 8, 7, 2, 3), nn.Conv2d(8, CHANNELS, 1))
    squeeze = nn.Sequential(nn.Conv2d(CHANNELS, 160, 1), nn.Conv2d(160, CHANNELS, 1))
    graph = trace(Drawn([squeeze, Branches(wide, heavy), conv(3)]), (3, 8, 8))
    every = [(s, c) for p, s in consistent(graph, (1, 2)) if (c := priced(graph, p)) is not None]
    differs = 0
    # Just below a plan's activations it is within the budget to the last layer but one.
    for limit in sorted({c[2] - 1 for s, c in every if s == 2}):
        within = {p for p in every if p[1][2] <= limit}
        expected = {p for p in within if not any(beats(other, p) for other in within)}
        assert set(found(graph, max_activations=limit)) == expected
        differs += bool(expected - set(best(graph)))
    assert differs


def test_steps_inserted_at_slots() -> None:
    """A slot that stays idle costs no memory, also where a step there would hold the most."""
    head = nn.Sequential(nn.Conv2d(16, 2, 3, 2, 1), nn.Conv2d(2, 2, 1))
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True), head)
    graph = trace(model, (3, 16, 16))
    points = front(graph, slots=True).points
    assert any(p.plan.insert for p in points)
    for point in points:
        assert priced(graph, point.plan) == point.cost
    idle = next(p for p in points if not p.plan)
    assert idle.peak_bytes < 2 * 16 * 16 * 16 * 4


@pytest.mark.parametrize("name", ["chain", "hourglass that follows"])
def test_pyramid_and_field(name: str) -> None:
    graph = trace(SMALL[name], (3, 16, 16))
    plans = list(consistent(graph, (1, 2)))
    for limits in ({"pyramid": (2, 4)}, {"min_field": 17}, {"min_field": 9, "pyramid": (4,)}):
        within = set()
        for plan, stride in plans:
            cost = priced(graph, plan)
            if cost is None:
                continue
            after = restride(graph, plan).graph
            known = fields(after, [g.sizes for g in after.grids]).full
            met = {f[0].jump for g, f in zip(after.grids, known, strict=True) if g.node is not None and all(g.local)}
            assert after.last is not None
            last = known[after.tensors[after.last].grid or 0]
            if met >= set(limits.get("pyramid", ())) and last[0].size >= limits.get("min_field", 0):
                within.add((stride, cost))
        expected = {p for p in within if not any(beats(other, p) for other in within)}
        assert set(found(graph, **limits)) == expected
        assert expected != set(best(graph))


def test_steps_that_differ_between_the_axes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, (1, 3), 1, (0, 1)), nn.AvgPool2d(2, (1, 2)))
    graph = trace(model, (3, 12, 9))
    today = {"0": (2, 2), "1": (1, 1), "2": (1, 2)}
    every = [tuple(itertools.product((1, 2), repeat=2))] * 3
    plans = {}
    for steps in itertools.product(*every):
        rows = {k: Setting(stride=s, was=w) for (k, w), s in zip(today.items(), steps, strict=True) if s != w}
        cost = priced(graph, Plan(sites=rows))
        stride = tuple(s[0] * s[1] * s[2] for s in zip(*steps, strict=True))
        if cost is not None:
            plans[stride, cost] = min(len(rows), plans.get((stride, cost), 9))
    expected = {p: n for p, n in plans.items() if not any(beats(other, p) for other in plans)}
    points = front(graph, per_axis=True).points
    assert {(p.output_stride, p.cost): p.changes for p in points} == expected
    assert len({s for s, _ in expected if len(set(s)) > 1}) > 3
