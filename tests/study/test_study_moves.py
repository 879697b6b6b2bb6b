"""What a study may move and what it compares by: scale, width, a step off a 1x1, latency, memory; the dry run."""

import time
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from study_nets import drawn, graph, plans
from torch import nn

import stridewise as sw
from stridewise.analyses import cost
from stridewise.data import digits
from stridewise.errors import DataError, PlanError, UsageError
from stridewise.plans import Setting
from stridewise.study.pool import pool
from stridewise.study.store import Store
from stridewise.study.training import TrainScore

NET = """
from torch import nn
def net(num_classes=10, width=8):
    body = [nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, num_classes))
class Strict(nn.Sequential):
    def forward(self, x):
        for part in self:
            x = part(x)
            if x.dim() == 4 and x.shape[1] == 16 and x.shape[-1] == 8:
                raise RuntimeError("eight positions are too many")
        return x
def strict(num_classes=10):
    return Strict(*net(num_classes))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the networks, which is where the test runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def few():
    """Digits enough to train on."""
    return digits(size=16, train=40, val=20)


def macs_of(model, shape):
    traced = sw.trace(model, shape)
    return cost.macs(traced, [grid.sizes for grid in traced.grids])


def test_smaller_pictures_and_narrower_networks_are_moves_with_their_own_costs(here):
    trains = TrainScore("classify", "net.py:net", few())
    asked = sw.Study.of("net.py:net", data="d", moves="scale,width", trials=6)
    default, *others = pool(trains.graph(), asked, trains).chosen
    assert {c.origin for c in others} == {"scale", "width"}
    for one in others:
        size = one.variant.size or (16, 16)
        model = sw.load("net.py:net") if one.origin == "scale" else one.variant.model(num_classes=10)
        assert one.macs == macs_of(model, (3, *size)) < default.macs
        assert not one.plan
        assert (one.target.name, one.target.plan) == (one.name, one.plan)
    dearer = replace(asked, limits=sw.Limits(max_macs="4x"))
    both = pool(trains.graph(), replace(dearer, moves=sw.Moves(kinds=("strides", "scale"))), trains).chosen
    assert {c.origin for c in both} >= {"default", "front", "scale"}
    assert "width" not in {c.origin for c in both}
    only = pool(trains.graph(), replace(dearer, moves=sw.Moves(kinds=("strides",))), trains).chosen
    assert all(c.variant is None for c in only)


@pytest.mark.parametrize(
    ("layers", "taken", "given"),
    [
        (((3, 8, 3, 1), (8, 8, 1, 2), (8, 8, 1, 1)), "1", "0"),  # to the 3x3 before it
        (((3, 8, 1, 2), (8, 8, 3, 1)), "0", "1"),  # to the 3x3 behind it
    ],
)
def test_a_step_moves_from_a_1x1_to_the_3x3_beside_it(layers, taken, given):
    def net(steps):
        convs = [nn.Conv2d(i, o, k, steps.get(str(n), s), k // 2) for n, (i, o, k, s) in enumerate(layers)]
        return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    found = pool(
        sw.trace(net({}), (3, 16, 16)), sw.Study.of(None, score=drawn, moves="block", max_macs="4x"), None
    ).chosen
    assert [c.origin for c in found] == ["default", "block"]
    assert {key: setting.stride for key, setting in found[1].plan.sites.items()} == {taken: (1, 1), given: (2, 2)}
    assert found[1].macs == macs_of(net({taken: 1, given: 2}), (3, 16, 16))


def test_nothing_that_may_move_is_one_line():
    with pytest.raises(PlanError, match="nothing may change by --moves block within the limits"):
        pool(graph(), sw.Study.of(None, score=drawn, moves="block"), None)


def test_plans_are_compared_by_memory_where_that_is_asked_for():
    result = sw.search(graph(), score=drawn, budget=1, seeds=2, per="memory")
    peak = {row.candidate.name: row.candidate.peak_bytes for row in result.rows}
    assert (result.cost, "peak memory" in str(result)) == ("peak memory", True)
    marks = [mark for mark in result.curve if mark.plan]
    assert marks
    assert all(mark.cost == peak[mark.plan] / peak["default"] <= mark.mark for mark in marks)


def test_plans_are_compared_by_latency_measured_once(here):
    with pytest.raises(UsageError, match="they go without score="):
        sw.search(graph(), score=drawn, per="latency")
    small = {"budget": 1, "trials": 3, "seeds": 2, "batch": 20, "moves": "strides", "max_macs": "4x", "rivals": ()}
    result = sw.search("net.py:net", data=few(), per="latency", run=here / "run", **small)
    store = Store.open(here / "run")
    times = store.note("shortlist latency")
    store.close()
    assert result.cost == "latency"
    assert set(times) == {row.candidate.name for row in result.rows}
    for mark in result.curve:
        assert not mark.plan or mark.cost == pytest.approx(times[mark.plan][1] / times["default"][1])


def test_data_of_one_class_is_said_before_anything_is_trained(here):
    pictures = np.zeros((8, 16, 16, 3), np.uint8)
    np.savez("one.npz", x_train=pictures, y_train=np.zeros(8, int), x_test=pictures, y_test=np.zeros(8, int))
    with pytest.raises(DataError, match="are of one class: a classifier wants two or more"):
        sw.search("net.py:net", data="one.npz", run="run")
    assert not (here / "run").exists()


def test_a_plan_that_cannot_be_trained_is_said_before_anything_is_trained(here):
    trains = TrainScore("classify", "net.py:strict", few())
    with pytest.raises(PlanError, match=r"no plan of the front serves: .*eight positions are too many"):
        pool(trains.graph(), sw.Study.of("m", data="d", moves="strides", max_macs="8x", output_stride=2), trains)
    wrong = sw.Plan(sites={"2": Setting(stride=(1, 1), was=(2, 2))})
    with pytest.raises(PlanError, match=r"plan 1 cannot be trained: .*eight positions are too many"):
        sw.search("net.py:strict", data=few(), plans=[wrong], run="run")
    assert not (here / "run").exists()


def test_the_time_left_never_rises_by_more_than_a_fifth(monkeypatch):
    clock = [time.monotonic()]
    monkeypatch.setattr("stridewise.study.run.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def score(plan, budget, seed):
        clock[0] += 100 if len(told) in range(4, 9) else 6  # a while of other work on the machine
        return drawn(plan, budget, seed)

    told = []
    sw.search(graph(), score=score, plans=plans(), budget=4, seeds=2, tell=lambda now: told.append(now.seconds_left))
    known = [left for left in told if left is not None]
    assert len(known) > 5
    assert all(after <= 1.2 * before for before, after in pairwise(known))
    assert any(after > before for before, after in pairwise(known))
