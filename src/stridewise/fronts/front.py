"""The exact front of a network's stride plans: few multiply-adds and a low peak against much computed."""

from __future__ import annotations

from collections.abc import Sequence

from stridewise.analyses import cost
from stridewise.analyses.targets import most_bytes, target_of
from stridewise.errors import PlanError
from stridewise.fronts.answer import answer
from stridewise.fronts.asked import Asked, Budget, budget
from stridewise.fronts.attempt import run, tries_for
from stridewise.fronts.chip import keeping_to
from stridewise.fronts.follow import Spent
from stridewise.fronts.refused import nothing_left
from stridewise.fronts.result import Front
from stridewise.fronts.space import space
from stridewise.fronts.sweep import Limits
from stridewise.fronts.watch import Wanted
from stridewise.ir import Graph, Sizes, check_graph
from stridewise.plans import check_stride
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
