"""Why no plan meets what is asked: the budget that even the best plan exceeds, or what else stands in the way."""

from __future__ import annotations

from dataclasses import replace

from stridewise.analyses.targets import itemsize, most_bytes
from stridewise.fronts.answer import output_stride_of
from stridewise.fronts.asked import Asked
from stridewise.fronts.attempt import run, tries_for
from stridewise.fronts.follow import Spent
from stridewise.fronts.space import Space
from stridewise.fronts.sweep import Limits, Rows
from stridewise.report.units import binary, count, once


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
    longer = f"steps up to {2 * longest}"
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
