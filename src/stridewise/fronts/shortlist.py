"""From a front to a few plans worth training: on the front, spread over cost and over where the steps stand.

Beside them stands the rule plan: halve each axis as often as the map stays large enough, at evenly spaced depths.
Source: nnU-Net (Isensee et al. 2021, supplementary note on the automated configuration): the axes are halved until the
map would fall below 4 positions, an axis more than twice as fine as another first; each resolution gets the same number
of layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from stridewise.analyses import cost
from stridewise.analyses.sizes import grid_sizes
from stridewise.errors import PlanError
from stridewise.fronts.chip import broken_by
from stridewise.fronts.result import Front, Point
from stridewise.fronts.space import Move, Space, Step, space
from stridewise.fronts.what_ifs import what_ifs
from stridewise.ir import Graph, Sizes
from stridewise.plans import Plan
from stridewise.rewrites.completion import make_plan
from stridewise.rewrites.restride import restride

Place: TypeAlias = tuple[float, ...]
_SAME = 1e-9  # plans nearer than this are one


def place_of(graph: Graph, under: Graph, macs: int) -> Place:
    """Where a plan lies: log2 of every counted layer's positions, and of the multiply-adds as much as all of them.

    graph: as it is, which names the layers; under: the same network under the plan.
    """
    return _place(graph, under, [g.sizes for g in under.grids], macs)


def _place(graph: Graph, under: Graph, sizes: Sequence[Sizes], macs: int) -> Place:
    work = {n.key: n.macs.at(sizes) for n in under.nodes if n.counted}
    layers = [math.log2(max(work.get(n.key, 1), 1)) for n in graph.nodes if n.counted and n.macs.over]
    return (*layers, math.sqrt(len(layers)) * math.log2(max(macs, 1)))


def places_of(graph: Graph, space: Space, plans: Sequence[Plan]) -> list[Place]:
    """Where plans of a space lie, all at once: each as `place_of` says of the network under it."""
    if not plans:
        return []
    moves = list(space.moves.values())
    strides = np.array([[_step(plan, move) for move in moves] for plan in plans])
    found = what_ifs(space.graph, [m.key for m in moves], strides, graph.grids[0].sizes)
    assert found.fits.all()  # the front holds what can be carried out
    rows = zip(found.sizes.tolist(), found.macs.tolist(), strict=True)
    return [_place(graph, space.graph, sizes, macs) for sizes, macs in rows]


def _step(plan: Plan, move: Move) -> Step:
    setting = plan.insert.get(move.slot) if move.slot else plan.sites.get(move.key)
    return move.today if setting is None else setting.stride


def farthest(places: Sequence[Place], chosen: Collection[int], count: int) -> list[int]:
    """`count` more of `places` at most, each as far as can be from those chosen before; none twice.

    >>> farthest([(0.0,), (1.0,), (5.0,), (5.0,), (3.0,)], [0], 3)
    [2, 4, 1]
    """
    if not chosen:
        raise ValueError("the first of the chosen is given")
    near = [min(math.dist(p, places[c]) for c in chosen) for p in places]
    found: list[int] = []
    while len(found) < count:
        best = max(range(len(places)), key=near.__getitem__, default=-1)
        if best < 0 or near[best] < _SAME:
            break
        found.append(best)
        near = [min(d, math.dist(p, places[best])) for d, p in zip(near, places, strict=True)]
    return found


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
    first = [place_of(graph, _under(graph, pick.plan), pick.macs) for pick in picks]
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


def _under(graph: Graph, plan: Plan) -> Graph:
    return restride(graph, plan).graph if plan else graph


def _pick(graph: Graph, plan: Plan, why: Why, found: Front) -> Pick:
    under = _under(graph, plan)
    sizes = grid_sizes(under)
    macs, peak, kept = cost.macs(under, sizes), cost.peak_bytes(under, sizes), cost.activations(under, sizes)
    limits = found.limits
    over = [
        limits.get(name) is not None and value > limits[name]
        for name, value in (("max_macs", macs), ("max_peak_bytes", peak), ("max_activations", kept))
    ]
    within = not any(over) and not broken_by(graph, plan, found.target)
    return Pick(plan=plan, why=why, macs=macs, peak_bytes=peak, activations=kept, within=within)


SMALLEST_MAP = 4


def rule_plan(graph: Graph, *, slots: bool | None = None, smallest: int = SMALLEST_MAP) -> Plan | None:
    """The rule's plan in the free sites and slots of this network; None where they cannot express it.

    Steps that are there today stay as near to their place as the rule lets them. smallest: positions a map keeps.
    """
    found = space(graph, slots=slots)
    today = found.graph.grids[0].sizes
    halvings = _halvings(today, smallest)
    places = [
        m for m in sorted(found.moves.values(), key=lambda m: m.node) if len(m.options) > 1 and not any(m.implied)
    ]
    if not places or not halvings:
        return None
    request: dict[str, Any] = {_name(m.key, m.slot): 1 for m in places if any(s > 1 for s in m.today)}
    depth = [m.node for m in places]
    span = len(found.graph.nodes)
    chosen: list[int] = []
    for k in range(1, len(halvings) + 1):
        left = [i for i in range(len(places)) if i not in chosen]
        if not left:
            break
        chosen.append(min(left, key=lambda i: abs(depth[i] - k * span / (len(halvings) + 1))))
    for i, step in zip(sorted(chosen), halvings, strict=False):
        request[_name(places[i].key, places[i].slot)] = list(step)
    try:
        return make_plan(graph, request)
    except PlanError:
        return None


def _halvings(sizes: Sequence[int], smallest: int) -> list[tuple[int, ...]]:
    """The steps of the rule from first to last, one entry an axis.

    >>> _halvings((8, 32), 4)
    [(1, 2), (2, 2), (1, 2)]
    """
    sizes, out = list(sizes), []
    while any(n // 2 >= smallest for n in sizes):
        finest = max(n for n in sizes if n // 2 >= smallest)
        step = tuple(2 if n // 2 >= smallest and 2 * n >= finest else 1 for n in sizes)
        sizes = [n // s for n, s in zip(sizes, step, strict=True)]
        out.append(step)
    return out


def _name(key: str, slot: str) -> str:
    return f"+{slot}" if slot else key
