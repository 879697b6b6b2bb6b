"""What a refusal offers instead: it works, is near, and costs what it says."""

import json

import pytest
from torch import nn

import stridewise as sw
from stridewise.analyses import cost
from stridewise.cli import main
from stridewise.rewrites.completion import planned


def block(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU())


class Pyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.d1, self.d2, self.d3, self.d4 = (block(c) for c in (3, 8, 8, 8, 8))
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x):
        c3 = self.d2(self.d1(self.stem(x)))
        c4 = self.d3(c3)
        c5 = self.d4(c4)
        p4 = c4 + self.up(c5)
        return c3 + self.up(p4), p4, c5


@pytest.fixture(scope="module")
def pyramid():
    return sw.trace(Pyramid(), (3, 64, 64))


@pytest.mark.parametrize("asked", [{"request": {"d3.0": 1}}, {"output_stride": 4}])
def test_strides_tied_by_a_fixed_factor_move_where_they_can(pyramid, asked):
    with pytest.raises(
        sw.PlanError, match=r"fixed factor of 2.*these work: d2.0=1 gives 4/8/16 at 562 k, d1.0=1"
    ) as stop:
        sw.plan(pyramid, **asked)
    near = stop.value.instead
    assert [dict(one.request) for one in near] == [{"d2.0": "1"}, {"d1.0": "1"}, {"stem.0": "1"}]
    for one in near:
        model = Pyramid()
        sw.apply(model, sw.plan(pyramid, one.request))
        again = sw.trace(model, (3, 64, 64))
        assert one.strides == ("4", "8", "16")
        assert one.macs == cost.macs(again, [grid.sizes for grid in again.grids])
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ({"request": {"layers.5.conv1": "2"}}, "+layers.4=2"),
        ({"request": {"layers.4.conv1": "64"}}, "layers.4.conv1=8"),
        ({"request": {"layers.0.0": 1, "layers.4.conv1": "64"}}, "layers.0.0=1 layers.4.conv1=8"),
        ({"output_stride": 3}, "output stride 2"),
    ],
)
def test_all_that_is_offered_works(asked, first):
    graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    with pytest.raises(sw.PlanError) as stop:
        sw.plan(graph, **asked)
    assert str(stop.value.instead[0]) == first
    assert len(stop.value.instead) <= 5
    for one in stop.value.instead:
        most = one.output_stride and int(one.output_stride)
        plan, changed = planned(graph, one.request, output_stride=most)
        assert plan
        assert one.macs == cost.macs(changed.graph, [grid.sizes for grid in changed.graph.grids])


@pytest.mark.parametrize("request_", [{"conv9": 2}, {"layers.0.0": "two"}])
def test_what_means_nothing_gets_no_offers(request_):
    graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    with pytest.raises(sw.PlanError) as stop:
        sw.plan(graph, request_)
    assert stop.value.instead == ()
    assert "these work" not in str(stop.value)


def test_a_refusal_that_blames_no_name_stays_as_it_is():
    graph = sw.trace(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Flatten(), nn.Linear(8 * 64, 2)), (3, 16, 16), name="n")
    with pytest.raises(sw.PlanError) as stop:
        sw.plan(graph, {"0": 1})
    assert stop.value.instead == ()


class Numbered(nn.Module):
    """Its own forward allows a coarser or finer map behind `b` only, and runs `c` twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.d = (nn.Conv2d(c, 8, 3, 2, 1) for c in (3, 8, 8))
        self.c = nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        y = self.b(self.a(x))
        y = y.view(y.shape[0], 8, x.shape[2] // 4, x.shape[3] // 4)
        return self.d(self.c(self.c(y)))


@pytest.mark.parametrize("asked", [{"request": {"b": 1}}, {"output_stride": 2}, {"request": {"a": 1}}])
def test_what_only_the_model_refuses_is_answered_by_what_it_runs(asked):
    graph = sw.trace(Numbered(), (3, 32, 32))
    with pytest.raises(
        sw.PlanError, match=r"own forward does not allow.*these work: (d=1|output stride 4) gives 4 at"
    ) as stop:
        sw.plan(graph, **asked)
    assert stop.value.instead
    for one in stop.value.instead:
        model, most = Numbered(), one.output_stride and int(one.output_stride)
        sw.apply(model, sw.plan(graph, one.request, output_stride=most))
        assert sw.trace(model, (3, 32, 32)).grids[-1].sizes == (8, 8)


def test_the_command_prints_them_as_json(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["set", "builtin:resnet20-narrow", "--output-stride", "3", "--json"])
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert stop.value.code == 1
    assert found["instead"][0]["output_stride"] == "2"
    assert found["error"] in err
