"""From a front to a few plans worth training: on the front, spread over cost and over where the steps stand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from stridewise.analyses import cost
from stridewise.analyses.sizes import grid_sizes
from stridewise.fronts.chip import broken_by
from stridewise.fronts.distance import Place, farthest, place_of, places_of
from stridewise.fronts.result import Front, Point
from stridewise.fronts.rule import rule_plan
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.rewrites.restride import restride

Why: TypeAlias = Literal["as it is", "rule", "front"]

# A front of many thousand plans is thinned to this many, evenly over cost, before plans are made and compared.
_CANDIDATES = 96
# Plans cheaper than this share of the budget (or of today's cost) answer another question and are left out.
_LEAST = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One plan of a shortlist, why it is there, and its exact cost. within: it keeps the limits of the front."""

    plan: Plan
    why: Why
    macs: int
    peak_bytes: int
    activations: int
    within: bool = True


def shortlist(
    graph: Graph,
    found: Front,
    *,
    count: int = 12,
    slots: bool | None = None,
    serves: Callable[[Plan], bool] = lambda plan: True,
) -> tuple[Pick, ...]:
    """`count` plans at most: the network as it is, the rule's plan, and plans of the front far from each other.

    Far: in the logarithm of the multiply-adds and in the logarithm of every layer's size. The first two are there also
    where they exceed the limits (`within` says so), the rule's plan not where it breaks those of a target. By rising
    multiply-adds within "front". serves: whether a plan of the front may be picked; it is asked of no more plans than
    need be.
    """
    picks = [_pick(graph, Plan(), "as it is", found)]
    rule = rule_plan(graph, slots=slots)
    if rule is not None and rule and not broken_by(graph, rule, found.target):
        picks.append(_pick(graph, rule, "rule", found))
    ahead = [(point, plan) for point in _thinned(found) if (plan := point.plan)]
    first = [_place(graph, pick.plan, pick.macs) for pick in picks]
    places = places_of(graph, found.space, [plan for _, plan in ahead])
    asked: dict[int, bool] = {}
    rest = list(range(len(ahead)))
    while True:
        near = [*first, *(places[i] for i in rest)]
        taken = [rest[i - len(first)] for i in farthest(near, range(len(first)), count - len(first))]
        asked.update((i, serves(ahead[i][1])) for i in taken if i not in asked)
        if all(asked[i] for i in taken):
            break
        rest = [i for i in rest if asked.get(i, True)]
    chosen = [
        Pick(plan=plan, why="front", macs=point.macs, peak_bytes=point.peak_bytes, activations=point.activations)
        for point, plan in (ahead[i] for i in taken)
    ]
    return (*picks, *sorted(chosen, key=lambda pick: pick.macs))


def _thinned(found: Front) -> list[Point]:
    """Points evenly over the logarithm of the multiply-adds, from a fifth of the budget on."""
    least = _LEAST * min(found.limits.get("max_macs") or found.current.macs, found.current.macs)
    order = sorted(range(len(found.points)), key=lambda i: int(found.points.macs[i]))
    order = [i for i in order if found.points.macs[i] >= least] or order
    if len(order) <= _CANDIDATES:
        return [found.points[i] for i in order]
    logs = [math.log(max(int(found.points.macs[i]), 1)) for i in order]
    kept: dict[int, int] = {}
    for i, log in zip(order, logs, strict=True):
        kept.setdefault(int((log - logs[0]) / max(logs[-1] - logs[0], 1e-9) * (_CANDIDATES - 1)), i)
    return [found.points[i] for i in kept.values()]


def _place(graph: Graph, plan: Plan, macs: int) -> Place:
    return place_of(graph, restride(graph, plan).graph if plan else graph, macs)


def _pick(graph: Graph, plan: Plan, why: Why, found: Front) -> Pick:
    under = restride(graph, plan).graph if plan else graph
    sizes = grid_sizes(under)
    macs, peak, kept = cost.macs(under, sizes), cost.peak_bytes(under, sizes), cost.activations(under, sizes)
    limits = found.limits
    over = [
        limits.get(name) is not None and value > limits[name]
        for name, value in (("max_macs", macs), ("max_peak_bytes", peak), ("max_activations", kept))
    ]
    within = not any(over) and not broken_by(graph, plan, found.target)
    return Pick(plan=plan, why=why, macs=macs, peak_bytes=peak, activations=kept, within=within)
