"""Plans under which a network keeps its trained weights: steps that go become dilation, where that can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stridewise.errors import StridewiseError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.study.candidates import Candidate, candidate, keeps_limits


def keeping(
    graph: Graph, chosen: Sequence[Candidate], limits: Mapping[str, Any], builds: Callable[[Plan], bool]
) -> tuple[Candidate, ...]:
    """The candidates, each with its weights kept by dilation where the geometry, the live network (`builds`) and the
    limits (whole numbers, as a front's) allow it, and costed anew; the others step as they did.

    A plan that steps further than the network does, or between its modules, cannot keep what the weights mean.
    """
    return tuple(_keeping(graph, c, limits, builds) for c in chosen)


def _keeping(graph: Graph, chosen: Candidate, limits: Mapping[str, Any], builds: Callable[[Plan], bool]) -> Candidate:
    plan = replace(chosen.plan, keep_weights=True)
    if not chosen.plan or chosen.plan.keep_weights:
        return chosen
    try:
        made = candidate(graph, plan, chosen.name, chosen.origin)
    except StridewiseError:
        return chosen
    if (chosen.within and not keeps_limits(made, limits)) or not builds(plan):
        return chosen
    return replace(made, within=chosen.within)
