"""A front too large to be whole is thinned, and every plan has one on it that is near enough in every cost."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from stridewise.errors import PlanError
from stridewise.fronts import front as front_module
from stridewise.fronts import sweep
from stridewise.fronts.front import front
from stridewise.fronts.result import Front
from stridewise.ir import Graph
from stridewise.models.builtin import build
from stridewise.models.load import load
from stridewise.tracing.trace import trace

from .brute import Cost, all_plans, priced
from .search_nets import graph_of, networks

Found = set[tuple[Fraction, Cost]]


@pytest.fixture(autouse=True)
def _thinned_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is so small that its front is not thinned at every block."""
    monkeypatch.setattr(front_module, "EASY_POINTS", 0)
    monkeypatch.setattr(sweep, "THINNED_FROM", 0)
    monkeypatch.setattr(sweep, "_COMPARED_AT", 0)
    monkeypatch.setattr(sweep, "_PORTION", 1)


def points(found: Front) -> Found:
    return {(Fraction(p.output_stride[0]), p.cost) for p in found.points}


def missed(plans: Iterable[tuple[Fraction, Cost]], listed: Found, tolerance: Fraction) -> list[tuple[Fraction, Cost]]:
    """The plans that none of those listed is near enough to, reckoned in whole numbers."""
    by = 1 + tolerance
    return [
        (stride, (macs, peak, made))
        for stride, (macs, peak, made) in plans
        if not any(s == stride and m <= by * macs and p <= by * peak and by * a >= made for s, (m, p, a) in listed)
    ]


SHARES = st.sampled_from([Fraction(1, 100), Fraction(1, 10), Fraction(1, 2)])


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(), SHARES)
def test_drawn_networks_against_every_plan(drawn: tuple[nn.Module, int, int], tolerance: Fraction) -> None:
    check_share(graph_of(drawn), tolerance)


@pytest.mark.zoo
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(), SHARES)
def test_many_drawn_networks_against_every_plan(drawn: tuple[nn.Module, int, int], tolerance: Fraction) -> None:
    check_share(graph_of(drawn, most=8), tolerance)


def check_share(graph: Graph, tolerance: Fraction) -> None:
    """Every plan has one on the thinned front that is as near as the front says."""
    plans = all_plans(graph)
    try:
        found = front(graph, tolerance=float(tolerance))
    except PlanError:
        assert not plans or len(plans) == 1
        return
    assert points(found) <= plans
    assert not missed(plans, points(found), tolerance)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(), st.fractions(Fraction(1, 4), Fraction(7, 8)), st.sampled_from([0, 1, 2]))
def test_limits_are_kept_and_cost_no_more_than_the_tolerance(
    drawn: tuple[nn.Module, int, int], share: Fraction, which: int
) -> None:
    graph = graph_of(drawn)
    plans = all_plans(graph)
    limit = int(share * max((c[which] for _, c in plans), default=1)) or 1
    name = ("max_macs", "max_peak_bytes", "max_activations")[which]
    try:
        listed = points(front(graph, tolerance=0.1, **{name: limit}))
    except PlanError:
        listed = set()
    assert all(c[which] <= limit for _, c in listed)
    to_spare = {p for p in plans if p[1][which] * Fraction(11, 10) <= limit}
    assert not missed(to_spare, listed, Fraction(1, 10))


NETWORKS: dict[str, tuple[str, int]] = {
    "mobilenet_v2": ("torchvision:mobilenet_v2", 96),
    "resnet50": ("torchvision:resnet50", 224),
}


@pytest.mark.parametrize("tolerance", [Fraction(1, 100), Fraction(1, 20)])
@pytest.mark.parametrize("name", NETWORKS)
def test_against_the_whole_front(name: str, tolerance: Fraction) -> None:
    model, size = NETWORKS[name]
    graph: Graph = trace(load(model, device="meta"), (3, size, size))
    whole, thin = front(graph, tolerance=0), front(graph, tolerance=float(tolerance))
    assert (whole.tolerance, thin.tolerance) == (0.0, float(tolerance))
    assert len(thin.points) < len(whole.points)
    assert whole.points.strides == thin.points.strides
    for at, stride in enumerate(whole.points.strides):
        ours, theirs = (f.points.stride == f.points.strides.index(stride) for f in (thin, whole))
        listed = [getattr(thin.points, c)[ours] for c in ("macs", "peak_bytes", "activations")]
        every = [getattr(whole.points, c)[theirs] for c in ("macs", "peak_bytes", "activations")]
        macs, peak, made = (c[:, None] for c in every)
        by = 100 + int(100 * tolerance)
        near = (100 * listed[0] <= by * macs) & (100 * listed[1] <= by * peak) & (by * listed[2] >= 100 * made)
        assert near.any(1).all(), (at, stride)
    for point in thin.points[:: len(thin.points) // 5 or 1]:
        assert priced(graph, point.plan) == point.cost


def test_a_long_chain_is_thinned_often_and_keeps_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few points behind every block, far fewer than without: their shares together are no more than was stated."""
    monkeypatch.setattr(front_module, "EASY_POINTS", 3_000)
    monkeypatch.setattr(sweep, "THINNED_FROM", 500)
    layers = [nn.Conv2d(3 if i == 0 else 4, 4, 3, 1 + (i % 5 == 2), 1) for i in range(14)]
    graph = trace(nn.Sequential(*layers), (3, 64, 64))
    monkeypatch.setattr(sweep, "_COMPARED_AT", 4)
    thin = front(graph, tolerance=0.02)
    monkeypatch.setattr(front_module, "EASY_POINTS", 10**6)
    whole = front(graph)
    assert (whole.tolerance, thin.tolerance) == (0.0, 0.02)
    assert len(thin.points) < len(whole.points) / 3
    assert not missed(points(whole), points(thin), Fraction(1, 50))


def test_it_says_so() -> None:
    graph = trace(build("resnet20-narrow"), (3, 32, 32), name="net")
    thin = front(graph)
    assert (thin.tolerance, thin.known) == (0.01, "within 1 %")
    assert str(thin).splitlines()[0].endswith("thinned: each plan left out is within 1 % of one of these in every cost")
    assert (thin.to_json()["kind"], thin.to_json()["tolerance"]) == ("within 1 %", 0.01)


def test_a_front_that_is_easy_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "EASY_POINTS", 10**6)
    graph = trace(build("resnet20-narrow"), (3, 32, 32), name="net")
    for tolerance in (None, 0, 0.05):
        found = front(graph, tolerance=tolerance)
        assert (found.tolerance, found.known, found.to_json()["kind"]) == (0.0, "exact", "exact")
