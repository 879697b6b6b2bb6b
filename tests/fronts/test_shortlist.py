"""A few plans out of many: the network as it is and the rule among them, the rest on the front and apart."""

import pytest

from stridewise.analyses import cost
from stridewise.fronts.front import front
from stridewise.fronts.shortlist import rule_plan, shortlist
from stridewise.models.builtin import build
from stridewise.rewrites.restride import restride
from stridewise.tracing.trace import trace


@pytest.fixture(scope="module")
def graph():
    return trace(build("resnet20-narrow"), (3, 32, 32), name="builtin:resnet20-narrow")


def test_it_holds_today_the_rule_and_the_front(graph):
    found = front(graph, max_macs="0.8x", slots=True)
    picks = shortlist(graph, found, count=8, slots=True)
    assert [p.why for p in picks] == ["as it is", "rule"] + ["front"] * 6
    assert not picks[0].within
    on_front = {(p.macs, p.peak_bytes, p.activations) for p in found.points}
    for pick in picks[2:]:
        assert (pick.macs, pick.peak_bytes, pick.activations) in on_front
        assert pick.macs <= 0.8 * picks[0].macs
    assert len({p.plan.to_toml() for p in picks}) == len(picks)
    assert [p.macs for p in picks[2:]] == sorted(p.macs for p in picks[2:])


def test_costs_are_those_of_the_plan(graph):
    for pick in shortlist(graph, front(graph, slots=True), count=6, slots=True):
        under = restride(graph, pick.plan).graph if pick.plan else graph
        sizes = [g.sizes for g in under.grids]
        assert pick.macs == cost.macs(under, sizes)
        assert pick.activations == cost.activations(under, sizes)


def test_it_is_spread_over_cost(graph):
    picks = [p for p in shortlist(graph, front(graph, max_macs="1.0x", slots=True), count=10) if p.why == "front"]
    macs = [p.macs for p in picks]
    assert max(macs) > 2 * min(macs)


@pytest.mark.parametrize(("size", "halvings"), [(32, 3), (64, 4), (8, 1)])
def test_the_rule_halves_while_four_positions_are_left(size, halvings):
    graph = trace(build("resnet20-narrow"), (3, size, size))
    plan = rule_plan(graph, slots=True)
    under = restride(graph, plan).graph
    last = under.grids[under.tensors[under.last].grid]
    assert last.sizes == (size // 2**halvings,) * 2
    assert all(s.stride in ((1, 1), (2, 2)) for s in plan.insert.values())


def test_plans_that_do_not_serve_make_room_for_others(graph):
    found = front(graph, slots=True)
    all_of_them = shortlist(graph, found, count=8, slots=True)
    barred = {all_of_them[3].plan.to_toml(), all_of_them[-1].plan.to_toml()}
    asked = []

    def serves(plan):
        asked.append(plan.to_toml())
        return plan.to_toml() not in barred

    picks = shortlist(graph, found, count=8, slots=True, serves=serves)
    assert len(picks) == 8
    assert not barred & {p.plan.to_toml() for p in picks}
    assert barred < set(asked)
    assert len(asked) == len(set(asked))
    assert {p.why for p in shortlist(graph, found, count=8, slots=True, serves=lambda plan: False)} == {
        "as it is",
        "rule",
    }
