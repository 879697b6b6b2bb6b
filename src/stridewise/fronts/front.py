"""The exact front of a network's stride plans: few multiply-adds and a low peak against much computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from stridewise.analyses import cost
from stridewise.analyses.targets import itemsize, most_bytes, target_of
from stridewise.errors import PlanError
from stridewise.fronts.answer import Ran, answer, output_stride_of
from stridewise.fronts.asked import Asked, Budget, budget
from stridewise.fronts.chip import keeping_to
from stridewise.fronts.compile import compiled
from stridewise.fronts.follow import Follower, Spent
from stridewise.fronts.paths import stages
from stridewise.fronts.result import Front
from stridewise.fronts.space import Space, space
from stridewise.fronts.sweep import NO_ROWS, Limits, Rows, TooManyPointsError, swept
from stridewise.fronts.watch import Wanted
from stridewise.ir import Graph, Sizes, check_graph
from stridewise.plans import Plan, check_stride
from stridewise.report.units import binary, count, once
from stridewise.rewrites.restride import with_sizes


def front(
    graph: Graph,
    *,
    max_macs: Budget = None,
    max_activations: Budget = None,
    max_peak_bytes: Budget = None,
    output_stride: int | Sequence[int] | None = None,
    pyramid: Sequence[int] = (),
    min_field: int = 0,
    smallest_map: int = 1,
    steps: Sequence[int] = (1, 2),
    slots: bool | None = None,
    sites: Sequence[str] | None = None,
    per_axis: bool = False,
    inputs: Sizes | None = None,
    tolerance: float | None = None,
    target: str | None = None,
) -> Front:
    """Every plan that no other consistent plan beats in multiply-adds, peak bytes and activations, per output stride.

    Where those are too many they are thinned, and the result's `tolerance` says to what: to 0.01 every plan (that
    keeps the limits with as much to spare) has one on the front that takes at most 1.01 times its multiply-adds and
    peak and keeps at least 1 / 1.01 of its activations. tolerance: the largest that will do; 0 for a whole front.

    Budgets: "0.7x" of the network as it is, or a whole number (multiply-adds, elements, bytes). output_stride: that of
    the last feature map. pyramid: cumulative strides at which some map must lie. min_field: input positions, per axis,
    that the last map must see. smallest_map: positions that every map keeps on each axis. steps, slots, sites,
    per_axis: see `space`. inputs: sizes of the main input, as traced unless given. target: a chip, as for `check`,
    whose limits every plan keeps.
    Raises: PlanError in one line where nothing is free, no plan meets the limits, or there are too many to weigh;
    UsageError for a target that is none.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> front = sw.front(graph, max_macs="0.8x", output_stride=4)
    >>> [point.macs for point in front.points]
    [5036352, 5257536, 7493952, 7856448, 8077632]
    """
    check_graph(graph, "front")
    graph = graph if inputs is None else with_sizes(graph, tuple(inputs))
    chip = None if target is None else target_of(target)
    sizes = [g.sizes for g in graph.grids]
    now = Spent(cost.macs(graph, sizes), cost.peak_bytes(graph, sizes), cost.activations(graph, sizes), 0)
    memory = None if chip is None else most_bytes(graph, chip)
    limits = Limits(
        macs=budget("max_macs", max_macs, now.macs),
        activations=budget("max_activations", max_activations, now.activations),
        peak_bytes=min(filter(None, (budget("max_peak_bytes", max_peak_bytes, now.peak), memory)), default=None),
    )
    wanted = Wanted(
        pyramid=tuple(dict.fromkeys(check_stride("pyramid", list(pyramid)) if pyramid else ())), min_field=min_field
    )
    found = space(graph, steps=steps, slots=slots, sites=sites, per_axis=per_axis)
    if not found.free:
        raise PlanError(f"{graph.model}: no site or slot may step otherwise here, so there is nothing to choose")
    if chip is not None:
        found = keeping_to(found, chip)
    asked = Asked(output_stride=output_stride, smallest_map=smallest_map, wanted=wanted, limits=limits, target=chip)
    ran = run(found, asked, tries_for(tolerance))
    if not len(ran.points):
        raise PlanError(nothing_left(found, asked, now))
    return answer(graph, ran, asked, now)


# Points half-way at which the whole front is given up for a thinned one; and the tolerances then tried.
EASY_POINTS = 1_300_000
TOLERANCES = (0.01, 0.05)
THINNED_POINTS = 2_100_000
MOST_POINTS = 5_000_000  # where no tolerance is allowed: minutes and gigabytes


Tries: TypeAlias = Sequence[tuple[float, int, bool]]
"""(tolerance, most points half-way, whether thinned late), to be tried one after the other."""


def tries_for(tolerance: float | None) -> Tries:
    """What to try where `tolerance` is the largest that will do. Raises: PlanError."""
    if tolerance is None:
        thinned = [(t, THINNED_POINTS, late) for late in (False, True) for t in TOLERANCES]
        return ((0.0, EASY_POINTS, False), *thinned)
    if not 0 <= tolerance < 1:
        raise PlanError(f"tolerance: a share from 0 to below 1 is wanted, not {tolerance!r}")
    if not tolerance:
        return ((0.0, MOST_POINTS, False),)
    return ((0.0, EASY_POINTS, False), (tolerance, MOST_POINTS, False), (tolerance, MOST_POINTS, True))


def run(found: Space, asked: Asked, tries: Tries) -> Ran:
    """The program of a space and the points that meet what is asked. Raises: PlanError where they are too many."""
    program = compiled(found, asked.given(found), asked.wanted, asked.target)
    ways = stages(program, Follower(program, asked.smallest_map, asked.wanted))
    if not ways:
        return Ran(program=program, layers=[], points=NO_ROWS, tolerance=0.0)
    count = 0
    for tolerance, most, late in tries:
        try:
            layers, points = swept(ways, asked.limits, most=most, tolerance=tolerance, late=late)
        except TooManyPointsError as error:
            count = error.count
        else:
            return Ran(program=program, layers=layers, points=points, tolerance=tolerance)
    raise PlanError(
        f"{found.graph.model}: too many plans for a front ({count} half-way); name the sites that may change, an "
        "output stride or a budget" + ("" if tries[-1][0] else ", or allow a tolerance")
    )


def nothing_left(found: Space, asked: Asked, now: Spent) -> str:
    """One line that says why no plan of a space meets what is asked. now: what the network takes as it is."""
    model, free = found.graph.model, replace(asked, limits=Limits())
    if asked.target is not None and len(run(found, replace(free, target=None), tries_for(None)).points):
        points = run(found, free, tries_for(None)).points
        if not len(points):
            return f"{model}: no plan keeps its maps within the sizes that {asked.target.name} takes: {free}"
    points = run(found, free, tries_for(None)).points
    if len(points):
        return f"{model}: {_over_budget(found, asked, points, now)}"
    if asked.output_stride is not None:
        ran = run(found, replace(free, output_stride=None), tries_for(None))
        strides = sorted({output_stride_of(ran.program, key) for key in ran.points.states})
        if strides:
            those = ", ".join(once(s) for s in strides)
            return f"{model}: no consistent plan has {free}; possible output strides: {those}"
    return f"{model}: no consistent plan has {free}"


def _over_budget(found: Space, asked: Asked, points: Rows, now: Spent) -> str:
    """The first budget that even the cheapest plan exceeds, or that they cannot be met together."""
    limits = asked.limits
    for name, limit, column, today in (
        ("max_macs", limits.macs, points.macs, now.macs),
        ("max_peak_bytes", limits.peak_bytes, points.peak, now.peak),
        ("max_activations", limits.activations, points.activations, now.activations),
    ):
        if limit is None:
            continue
        least = int(column.min())
        if name == "max_activations":  # the front keeps many; the fewest are asked for here
            least = min(least, _fewest(found, asked))
        if least > limit:
            memory = None if asked.target is None else most_bytes(found.graph, asked.target)
            if asked.target is not None and name == "max_peak_bytes" and limit == memory:
                chip = asked.target
                held, needed = f"{chip.memory:,}", least * chip.bytes // itemsize(found.graph)
                return (
                    f"no plan fits the {held} bytes of {chip.name} ({chip.memory_source}); the least takes {needed:,}"
                )
            words = binary if name == "max_peak_bytes" else count
            return (
                f"no plan keeps to {name} {words(limit)} ({limit:,}): the cheapest takes {words(least)} ({least:,}), "
                f"{least / today:.2f}x of the network as it is. {_advice(found)}"
            )
    return f"no plan meets all budgets at once, though each can be met alone; raise one of {asked}"


def _advice(found: Space) -> str:
    """What else may be allowed where no plan is cheap enough."""
    longest = max(max(step) for move in found.moves.values() for step in move.options)
    longer = f"longer steps than {longest}"
    more = longer if any(move.slot for move in found.moves.values()) else f"{longer}, or steps between modules (slots)"
    return f"Ask for so much, or allow {more}"


def _fewest(found: Space, asked: Asked) -> int:
    """The fewest activations of any plan: the last that a falling limit leaves."""
    low, high = 0, None
    while high is None or high - low > 1:
        limit = None if high is None else (low + high) // 2
        points = run(found, replace(asked, limits=Limits(activations=limit)), tries_for(None)).points
        if len(points):
            high = int(points.activations.min())
        else:
            low = limit or 0
    return high


def plans_at(graph: Graph, costs: Sequence[float]) -> dict[str, Plan]:
    """The plan that computes most within each cost, by name ("0.5x"): of the network's exact cost front.

    Raises: PlanError naming the cost that no plan of its own has.
    """
    if any(not share > 0 for share in costs):
        raise PlanError(f"a cost is a share above 0 of the network as it is, not {min(costs):g}")
    now = cost.macs(graph, [grid.sizes for grid in graph.grids])
    plans: dict[str, Plan] = {}
    for share in costs:
        name = f"{share:g}x"
        if share == 1:
            plans[name] = Plan(model=graph.model, fingerprint=graph.fingerprint, input=graph.input)
            continue
        best = _most_within(graph, int(share * now))
        if best is None:
            raise PlanError(f"{graph.model}: no consistent plan costs {name} or less; leave that cost out")
        if any(best == plan for plan in plans.values()):
            raise PlanError(f"{graph.model}: no plan of its own costs {name}; leave that cost out")
        plans[name] = best
    return plans


def _most_within(graph: Graph, macs: int) -> Plan | None:
    """The plan that computes most within so many multiply-adds: with the sites' own steps if any will do, else with
    steps inserted at slots, else with steps of 4."""
    for slots, steps in ((None, (1, 2)), (True, (1, 2)), (True, (1, 2, 4))):
        try:
            points = front(graph, max_macs=macs, slots=slots, steps=steps).points
        except PlanError:  # none is as cheap
            continue
        return max(points, key=lambda p: (p.activations, -p.macs)).plan
    return None
