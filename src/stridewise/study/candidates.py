"""The shortlist a study trains: plans from the exact cost front, the network as it is, and the rule plan."""

from __future__ import annotations

import itertools
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from stridewise.analyses import cost
from stridewise.analyses.strides import groups
from stridewise.errors import PlanError, UsageError
from stridewise.fronts.shortlist import Place, place_of
from stridewise.ir import Graph, Node
from stridewise.plans import Plan
from stridewise.rewrites.restride import restride
from stridewise.study.jobs import Rival, Target
from stridewise.study.training import TrainScore

Costs: TypeAlias = tuple[int, int, int]
"""Multiply-adds, activations, peak bytes."""
_ROUNDS = 15  # of a measured latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A plan and what it costs: exact multiply-adds and activations, peak bytes by liveness (an estimate of a real
    run's). steps: where the network steps under it; place: how far it lies from others (`search.distance`). origin:
    "default", "rule", "front", "block" (a step moved from a 1x1 to the 3x3 beside it), "scale", "width", "given",
    "learned" or "rival". within: it keeps the limits of the search; variant: the network it is a plan of, where that
    is another."""

    name: str
    plan: Plan
    origin: str
    macs: int
    activations: int
    peak_bytes: int
    steps: str
    place: Place = field(default=(), repr=False)
    within: bool = True
    variant: Rival | None = field(default=None, repr=False)

    @property
    def target(self) -> Target:
        """What is trained."""
        return self.plan if self.variant is None else replace(self.variant, plan=self.plan)

    @property
    def rival(self) -> bool:
        """Whether it is another network to compare with, and no plan of this one."""
        return self.origin == "rival"

    def to_json(self) -> dict[str, Any]:
        """Plain values, each cost with how it is known."""
        return {
            "name": self.name,
            "origin": self.origin,
            "steps": self.steps,
            "within_limits": self.within,
            "plan": self.plan.to_toml(),
            "macs": {"value": self.macs, "kind": "exact"},
            "activations": {"value": self.activations, "kind": "exact"},
            "peak_activation_bytes": {"value": self.peak_bytes, "kind": "estimated"},
        }


def candidate(graph: Graph, plan: Plan, name: str, origin: str, *, base: Graph | None = None) -> Candidate:
    """A plan with its costs on `graph`. base: the network among whose plans it lies, where that is another one.

    Raises: PlanError where it does not suit the graph.
    """
    changed = restride(graph, plan).graph if plan else graph
    sizes = [grid.sizes for grid in changed.grids]
    macs = cost.macs(changed, sizes)
    return Candidate(
        name=name,
        plan=plan,
        origin=origin,
        macs=macs,
        activations=cost.activations(changed, sizes),
        peak_bytes=cost.peak_bytes(changed, sizes),
        steps=steps_of(changed),
        place=_placed(base or graph, changed, macs),
    )


def _placed(base: Graph, changed: Graph, macs: int) -> Place:
    """Where a plan lies among those of a network, with how wide the layers are beside it as one more coordinate."""
    *sizes, cost = place_of(base, changed, macs)
    now = {n.key: _channels(n) for n in changed.nodes if n.counted}
    wide = [math.log2(now[n.key] / _channels(n)) for n in base.nodes if n.counted and now.get(n.key)]
    return (*sizes, math.sqrt(max(len(sizes), 1)) * (sum(wide) / len(wide) if wide else 0.0), cost)


def _channels(node: Node) -> int:
    """Of what a node writes."""
    given = node.attrs.get("channels")
    return max(1, int(given[-1])) if given else 1


def keeps_limits(one: Candidate, limits: Mapping[str, Any]) -> bool:
    """Whether a plan keeps the limits of its costs, in whole numbers."""
    costs = {"max_macs": one.macs, "max_activations": one.activations, "max_peak_bytes": one.peak_bytes}
    return all(limits.get(name) is None or value <= limits[name] for name, value in costs.items())


def given(graph: Graph, plans: Sequence[Plan]) -> tuple[Candidate, ...]:
    """The network as it is, then the plans a person gave."""
    named = [candidate(graph, plan, f"plan {number}", "given") for number, plan in enumerate(plans, 1) if plan]
    return (candidate(graph, Plan(), "default", "default"), *named)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFront:
    """The front a shortlist was chosen from. points: each plan's costs; known: "exact", or how near it is, as "within
    1 %"; limits: in whole numbers; refused: why plans that would have been chosen do not serve the task."""

    points: tuple[Costs, ...] = ()
    known: str = "exact"
    limits: Mapping[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


def shortlisted(
    graph: Graph, *, count: int, refusal: Callable[[Plan], str] = lambda plan: "", **limits: Any
) -> tuple[tuple[Candidate, ...], CostFront]:
    """(shortlist, the front it is from): the default first, the rule's plan second, then the front's by cost.
    limits: as for `front`. refusal: why a plan of the front does not serve what it is for, "" where it does.

    Raises: PlanError where nothing is free to choose, or no plan meets the limits or serves.
    """
    from stridewise.fronts.front import front
    from stridewise.fronts.shortlist import shortlist

    found = front(graph, **limits)
    wanted = found.limits.get("output_stride")
    kept = wanted is None or tuple(wanted) in (found.current.output_stride, found.current.output_stride[:1])
    names = {"as it is": "default", "rule": "rule"}
    letters = itertools.chain(string.ascii_uppercase, (f"P{n}" for n in itertools.count(27)))
    refused: list[str] = []

    def serves(plan: Plan) -> bool:
        why = refusal(plan)
        if why:
            refused.append(why)
        return not why

    listed = tuple(
        replace(
            candidate(graph, pick.plan, names.get(pick.why) or next(letters), names.get(pick.why, "front")),
            within=pick.within and (kept or pick.why != "as it is"),
        )
        for pick in shortlist(graph, found, count=count, slots=limits.get("slots"), serves=serves)
    )
    if refused and not any(c.origin == "front" for c in listed):
        raise PlanError(f"{graph.model}: no plan of the front serves: {refused[0]}")
    costs = tuple((p.macs, p.activations, p.peak_bytes) for p in found.points)
    return listed, CostFront(points=costs, known=found.known, limits=found.limits, refused=tuple(refused))


def steps_of(graph: Graph) -> str:
    """Where a network steps, in executed order: "conv1 /2, +layer1.0 /2"; a plus marks a step behind a module."""
    behind = {graph.nodes[slot.node].key: slot.key for slot in graph.slots if slot.node is not None}
    parts = []
    for group in groups(graph):
        if any(s > 1 for s in group.stride):
            step = str(group.stride[0]) if len(set(group.stride)) == 1 else "×".join(map(str, group.stride))
            slot = next((behind[site] for site in group.sites if site in behind), None)
            parts.append(f"{common_name(group.sites) if slot is None else f'+{slot}'} /{step}")
    return ", ".join(parts) or "no steps"


def common_name(sites: tuple[str, ...]) -> str:
    """What the names of a group's sites have in common: the module they sit in."""
    common = []
    for parts in zip(*(site.split(".") for site in sites), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common) or sites[0]


def check_latency(limit: str) -> tuple[float, bool]:
    """(number, whether it is a share of the default's time): "0.8x", or "12ms" in seconds. Raises: UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(x|ms)", limit)
    if not found or not float(found[1]):
        raise UsageError(f'max_latency: "0.8x" of the network as it is, or "12ms", not {limit!r}')
    return (float(found[1]), True) if found[2] == "x" else (float(found[1]) / 1e3, False)


def measured(score: TrainScore, chosen: Sequence[Candidate]) -> dict[str, tuple[float, float]]:
    """By plan its (ratio to the default's time, seconds) for one picture on one thread. Plans that the task cannot be
    built on are left out."""
    targets = {c.name: c.target for c in chosen if c.variant or c.origin == "default" or score.builds(c.plan)}
    return {found.name: (found.ratio, found.median) for found in score.latency(targets, rounds=_ROUNDS)}


def fast_enough(
    chosen: Sequence[Candidate], times: Mapping[str, Sequence[float]], limit: str, model: str
) -> frozenset[str]:
    """The plans that keep the limit. Raises: PlanError naming the fastest where none does."""
    most, share = check_latency(limit)
    value = {name: ratio if share else seconds for name, (ratio, seconds) in times.items()}
    kept = frozenset(name for name, took in value.items() if took <= most)
    if not kept - {chosen[0].name}:
        fastest = min(value, key=value.__getitem__)
        ratio, seconds = times[fastest]
        raise PlanError(
            f"{model}: no plan of the shortlist takes {limit} or less; the fastest, {fastest}, was measured at "
            f"{ratio:.2f}x ({1e3 * seconds:.2f} ms): raise the limit, or give --trials or --max-macs to look at others"
        )
    return kept
