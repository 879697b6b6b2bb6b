"""What is asked of a front: limits, names, refusals in one line, what it prints and writes."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional

import stridewise as sw
from stridewise.errors import PlanError
from stridewise.fronts import front as front_module
from stridewise.fronts.asked import budget
from stridewise.fronts.front import front
from stridewise.fronts.space import space
from stridewise.ir import Graph
from stridewise.models.builtin import build
from stridewise.rewrites.restride import restride
from stridewise.tracing.trace import trace

from .search_nets import CHANNELS, Drawn, Residual, conv


@pytest.fixture(scope="module")
def resnet() -> Graph:
    return trace(build("resnet20-narrow"), (3, 32, 32), name="builtin:resnet20-narrow")


def test_budgets_are_shares_or_whole_numbers(resnet: Graph) -> None:
    found = sw.front(resnet, max_macs="0.7x", max_peak_bytes="1x", max_activations=90_000)
    now = found.current
    assert found.limits == {
        "max_macs": 7 * now.macs // 10,
        "max_activations": 90_000,
        "max_peak_bytes": now.peak_bytes,
    }
    assert all(p.macs <= found.limits["max_macs"] and p.activations <= 90_000 for p in found.points)
    assert max(p.macs for p in found.points) > now.macs // 2


@pytest.mark.parametrize("wrong", ["0.7", "x", "0x", "-1x", 0, -5, 1.5, True, "1/0x"])
def test_a_budget_that_is_none(wrong: object) -> None:
    with pytest.raises(PlanError, match=r'^max_macs: a budget is "0.7x" of the network as it is, "300M"'):
        budget("max_macs", wrong, 100)  # type: ignore[arg-type]


def test_a_budget_no_plan_meets_names_the_cheapest(resnet: Graph) -> None:
    cheapest = min(p.macs for p in front(resnet).points)
    with pytest.raises(PlanError, match=rf"to max_macs .*\({cheapest - 1:,}\): the cheapest .*\({cheapest:,}\), 0.10x"):
        front(resnet, max_macs=cheapest - 1)
    assert len(front(resnet, max_macs=cheapest).points) >= 1
    fewest = min(p.activations for p in front(resnet).points)
    with pytest.raises(PlanError, match=rf"{fewest - 1:,}.* allow longer steps than "):
        front(resnet, max_activations=fewest - 1)


def test_limits_that_contradict_each_other(resnet: Graph) -> None:
    with pytest.raises(
        PlanError, match="no consistent plan has output_stride 16, smallest_map 4; possible output stri"
    ):
        front(resnet, output_stride=16, smallest_map=4)
    with pytest.raises(PlanError, match="no consistent plan has output_stride 3; possible output strides: 1, 2, 4, 8"):
        front(resnet, output_stride=3)
    with pytest.raises(PlanError, match="no consistent plan has smallest_map 40"):
        front(resnet, smallest_map=40)


def test_names_and_steps_that_are_none(resnet: Graph) -> None:
    with pytest.raises(PlanError, match=r"^sites: no site, module, group or slot is called 'layers.9.conv7'$"):
        front(resnet, sites=["layers.9.conv7"])
    with pytest.raises(PlanError, match=r"^steps: a stride is a whole number from 1"):
        front(resnet, steps=(0, 2))
    with pytest.raises(PlanError, match="unequal steps are tried with per_axis"):
        front(resnet, output_stride=(4, 2))


def test_nothing_free() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.conv(x)

    with pytest.raises(PlanError, match=r"^Inner: no site or slot may step otherwise here, so there is nothing"):
        front(trace(Inner(), (3, 8, 8)))


def test_only_the_sites_named_change(resnet: Graph) -> None:
    model = Drawn([Residual(nn.Sequential(conv(3, 2), conv(3)), conv(1, 2)), conv(3, 2)])
    graph = trace(model, (3, 16, 16))
    points = front(graph, sites=["parts.0"]).points
    changed = {key for p in points for key in p.plan.sites}
    assert changed == {"parts.0.path.0", "parts.0.path.1", "parts.0.shortcut"}
    # The shortcut is not named and follows all the same.
    points = front(graph, sites=["parts.0.path.1"]).points
    assert {key for p in points for key in p.plan.sites} == {"parts.0.path.1", "parts.0.shortcut"}
    only = front(resnet, sites=["+layers.2"]).points
    assert {tuple(p.plan.insert) for p in only} == {(), ("layers.2",)}


def test_slots_are_those_that_step_today_all_or_none(resnet: Graph) -> None:
    slots = {m.slot for m in space(resnet).moves.values() if m.slot and len(m.options) > 1}
    assert slots == {"layers.3", "layers.6"}
    assert sum(bool(m.slot) and len(m.options) > 1 for m in space(resnet, slots=True).moves.values()) == 9
    assert not any(m.slot and len(m.options) > 1 for m in space(resnet, slots=False).moves.values())


def test_a_module_that_runs_several_times_keeps_its_step() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            y = self.down(x)
            return [self.head(y), self.head(functional.max_pool2d(y, 2))]

    points = front(trace(Shared(), (3, 16, 16))).points
    assert {key for p in points for key in p.plan.sites} == {"down", "max_pool2d"}


def test_what_fixes_a_size_is_respected() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.fc = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4 * 64, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.b(self.a(x)).flatten(1))

    graph = trace(Flat(), (3, 16, 16))
    points = front(graph).points
    assert {p.output_stride for p in points} == {(2, 2)}
    assert {tuple(p.plan.sites) for p in points} <= {(), ("a", "b")}


def test_a_plan_is_one_that_make_plan_writes(resnet: Graph) -> None:
    for point in front(resnet, slots=True, max_macs="0.5x").points[::7]:
        plan = point.plan
        assert plan == sw.Plan.from_toml(plan.to_toml())
        assert plan.model == "builtin:resnet20-narrow"
        assert plan.input == (3, 32, 32)
        assert all(s.stride != s.was for s in (*plan.sites.values(), *plan.insert.values()))
        assert len(plan.sites) + len(plan.insert) == point.changes
        made = restride(resnet, plan).graph
        assert {s.key: s.stride for s in made.slots if s.key in plan.insert} == {
            key: s.stride for key, s in plan.insert.items()
        }


def test_another_input_size(resnet: Graph) -> None:
    wide = front(resnet, inputs=(48, 40), output_stride=4)
    anew = front(trace(build("resnet20-narrow"), (3, 48, 40)), output_stride=4)
    assert [p.cost for p in wide.points] == [p.cost for p in anew.points]
    assert wide.current.cost == anew.current.cost


def test_text_and_json(resnet: Graph) -> None:
    found = front(resnet, output_stride=(4, 4), max_macs="0.9x")
    text = str(found)
    assert text.splitlines()[0] == f"builtin:resnet20-narrow: {len(found.points)} plans that no other plan beats"
    assert text.splitlines()[2].lstrip().startswith("*4")
    assert "* as it is:" in text
    written = json.loads(json.dumps(found.to_json(plans=True)))
    assert written["schema"] == "stridewise.front/1"
    assert written["input"] == [1, 3, 32, 32]
    assert written["limits"]["output_stride"] == [4, 4]
    assert [p["macs"] for p in written["points"]] == [p.macs for p in found.points]
    assert written["points"][0]["sites"] == {k: list(s.stride) for k, s in found.points[0].plan.sites.items()}
    assert not written["current"]["on_front"]
    assert front(resnet).holds_current


def test_strides_below_one() -> None:
    class Up(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, CHANNELS, 3, 2, 1), nn.Conv2d(CHANNELS, 2, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(functional.interpolate(self.stem(x), scale_factor=2))

    strides = {p.output_stride[0] for p in front(trace(Up(), (3, 8, 8))).points}
    assert strides == {Fraction(1, 2), 1, 2}
    assert front(trace(Up(), (3, 8, 8))).to_json()["points"][0]["output_stride"] == ["1/2", "1/2"]


def test_a_space_too_large_is_refused(resnet: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EASY_POINTS", "THINNED_POINTS", "MOST_POINTS"):
        monkeypatch.setattr(front_module, name, 20)
    with pytest.raises(PlanError, match=r"too many plans for a front \(\d+ half-way\); name the sites .* a budget$"):
        front(resnet)
    with pytest.raises(PlanError, match=r"or a budget, or allow a tolerance$"):
        front(resnet, tolerance=0)
    for wrong in (-0.1, 1, 2.5):
        with pytest.raises(PlanError, match=r"^tolerance: a share from 0 to below 1 is wanted"):
            front(resnet, tolerance=wrong)
