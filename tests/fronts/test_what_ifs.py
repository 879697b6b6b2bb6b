"""Many what-ifs at once are each what `restride` gives, refusals too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from stridewise.analyses import cost
from stridewise.analyses.strides import site_grids
from stridewise.axis import Window
from stridewise.errors import PlanError
from stridewise.fronts.front import front
from stridewise.fronts.shortlist import place_of, places_of
from stridewise.fronts.what_ifs import what_ifs
from stridewise.ir import Graph
from stridewise.models.load import load
from stridewise.plans import Plan, Setting
from stridewise.rewrites.restride import restride
from stridewise.tracing.trace import trace

from .search_nets import Drawn, Hourglass, Residual, conv, graph_of, networks


def sites_of(graph: Graph) -> list[str]:
    return [graph.nodes[n].key for n in site_grids(graph)]


def check(graph: Graph, sites: list[str], strides: np.ndarray, inputs: np.ndarray | None = None) -> int:
    """Compare every row with the single what-if; how many fit."""
    rows = what_ifs(graph, sites, strides, inputs)
    wide = strides[:, :, None].repeat(graph.axes, 2) if strides.ndim == 2 else strides
    today = {}
    for key in sites:
        maps = graph.grids[site_grids(graph)[graph.node_named(key).index]].maps
        today[key] = tuple(m.stride if isinstance(m, Window) else 1 for m in maps)
    for row in range(len(rows)):
        steps = {key: tuple(wide[row, at].tolist()) for at, key in enumerate(sites)}
        plan = Plan(sites={k: Setting(stride=s, was=today[k]) for k, s in steps.items() if s != today[k]})
        try:
            after = restride(graph, plan, None if inputs is None else tuple(inputs[row].tolist())).graph
        except PlanError:
            assert not rows.fits[row], plan
            assert not rows.sizes[row].any()
            assert rows.macs[row] == rows.activations[row] == 0
            continue
        sizes = [g.sizes for g in after.grids]
        assert rows.fits[row], plan
        assert rows.sizes[row].tolist() == [list(s) for s in sizes]
        assert rows.macs[row] == cost.macs(after, sizes)
        assert rows.activations[row] == cost.activations(after, sizes)
    return int(rows.fits.sum())


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_drawn_plans_of_drawn_networks(
    drawn: tuple[nn.Module, int, int], seed: int, per_axis: bool, resized: bool
) -> None:
    graph = graph_of(drawn)
    sites, generator = sites_of(graph), np.random.default_rng(seed)
    shape = (12, len(sites), graph.axes) if per_axis else (12, len(sites))
    strides = generator.choice([1, 1, 2, 3], shape)
    check(graph, sites, strides, generator.integers(1, 24, (12, graph.axes)) if resized else None)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(), st.booleans())
def test_plans_of_a_front_lie_where_each_alone_lies(drawn: tuple[nn.Module, int, int], slots: bool) -> None:
    """Slots too: their windows are as large as their steps, and fall short where a size leaves a remainder."""
    graph = graph_of(drawn)
    try:
        found = front(graph, slots=slots, steps=(1, 2, 3))
    except PlanError:
        return
    points = found.points[:: -(-len(found.points) // 12)]
    plans = [point.plan for point in points]
    alone = [
        place_of(graph, restride(graph, plan).graph, point.macs) for plan, point in zip(plans, points, strict=True)
    ]
    assert places_of(graph, found.space, plans) == alone


def test_plans_that_fit_and_plans_that_do_not() -> None:
    """A stem and a mean beside a convolution: the mean at step 1 needs its end padding; unequal steps are refused."""
    path = Residual(conv(3, 2), nn.Sequential(nn.AvgPool2d(2, 2), conv(1)))
    graph = trace(Drawn([path, Hourglass(conv(3, 2), follow=True)]), (3, 16, 12))
    sites = sites_of(graph)
    strides = np.random.default_rng(0).choice([1, 2], (200, len(sites)))
    assert 0 < check(graph, sites, strides) < 200


def test_plans_and_input_sizes_of_resnet50() -> None:
    graph = trace(load("torchvision:resnet50", device="meta"), (3, 224, 224))
    points = front(graph).points
    sites, today = sites_of(graph), {m.key: m.today for m in front(graph).space.moves.values()}
    plans = [point.plan.sites for point in points[:: len(points) // 20]]
    strides = np.array([[(plan[k].stride if k in plan else today[k])[0] for k in sites] for plan in plans])
    assert check(graph, sites, strides) == len(plans)
    rows = what_ifs(graph, sites, strides)
    assert rows.macs.tolist() == points.macs[:: len(points) // 20].tolist()
    inputs = np.random.default_rng(0).integers(1, 300, (12, 2))
    assert check(graph, [], np.ones((12, 0), dtype=int), inputs) > 8
    assert what_ifs(graph, inputs=(3, 5)).sizes.shape == (1, len(graph.grids), 2)


def test_numbers_beyond_64_bits() -> None:
    graph = trace(nn.Conv3d(1, 1000, 3, padding=1, device="meta"), (1, 8, 8, 8))
    rows = what_ifs(graph, inputs=np.full((1, 3), 10**6))
    assert rows.macs.tolist() == [27_000 * 10**18]
    far = what_ifs(graph, sites_of(graph), [[10**9], [1]], [[10**6, 10**6, 10**9]])
    assert far.sizes[:, -1].tolist() == [[1, 1, 1], [10**6, 10**6, 10**9]]


@pytest.mark.parametrize(
    ("sites", "strides", "inputs", "said"),
    [
        (["nothing"], [[1]], None, "nothing: .* has no such site"),
        (["0"], [[0]], None, "strides: whole numbers from 1"),
        (["0"], [[1.5]], None, "strides: whole numbers from 1"),
        (["0"], [[1, 2]], None, "strides: plans x 1 sites"),
        (["0"], [[1]], [[8]], "inputs: plans x 2 axes"),
        (["0"], [[1], [2]], [[8, 8]] * 3, "inputs: 3 rows for 2 plans"),
    ],
)
def test_bad_arrays(sites: list[str], strides: object, inputs: object, said: str) -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 8, 8))
    with pytest.raises(PlanError, match=said):
        what_ifs(graph, sites, strides, inputs)
