"""Steps by polyphase on parallel paths: which of them take one phase, and whether one can fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from stridewise.analyses.strides import blocks, components
from stridewise.errors import PlanError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.rewrites.multipliers import cumulative, steps_of
from stridewise.rewrites.places import place_of

Span: TypeAlias = tuple[tuple[Fraction, Fraction], ...]
"""Per axis the cumulative strides a site leads from and to."""


def phases(graph: Graph, plan: Plan) -> dict[str, str]:
    """For every site that steps by polyphase, the site whose phase it takes: the first of its parallel paths to run.

    Raises: PlanError where parallel paths share their steps out differently, so that no one phase fits them.
    """
    found: dict[tuple[int, Span], list[tuple[int, str]]] = {}
    spans: dict[tuple[int, tuple[Fraction, ...]], tuple[Span, str]] = {}
    rows = {k: s for k, s in plan.sites.items() if s.downsample == "polyphase"}
    if not rows:
        return {}
    where = spans_of(graph, {k: s.stride for k, s in plan.sites.items()})
    for key in rows:
        node = graph.node_named(key)
        if node is None or node.index not in where:
            continue
        block, span = where[node.index]
        begin = tuple(a for a, _ in span)
        other = spans.setdefault((block, begin), (span, key))
        if other[0] != span:
            raise PlanError(
                f"{key}: steps by another amount than {other[1]} on a parallel path, so no phase fits both; give each "
                "path its step in one place"
            )
        place = place_of(graph, node, "polyphase")
        runs = (
            place.reader if place.reader is not None else max(n.index for n in graph.nodes if place.tensor in n.outputs)
        )
        found.setdefault((block, span), []).append((runs, node.key))
    return {key: min(members)[1] for members in found.values() for _, key in members}


def spans_of(graph: Graph, strides: Mapping[str, Sequence[int]]) -> dict[int, tuple[int, Span]]:
    """By node index: the block of parallel paths a free site lies on, and per axis the cumulative strides it leads
    from and to when sites have these strides."""
    out: dict[int, tuple[int, list[tuple[Fraction, Fraction]]]] = {}
    named = {node.index: stride for key, stride in strides.items() if (node := graph.node_named(key)) is not None}
    for axis in range(graph.axes):
        parts = components(graph, axis)
        steps = dict(steps_of(graph, axis))
        steps.update({n: s[axis] for n, s in named.items() if len(s) > axis})
        reach = cumulative(graph, parts, steps)
        block = blocks(parts.count, [(e.source, e.target) for e in parts.edges])
        for edge, b in zip(parts.edges, block, strict=True):
            if edge.site:
                row = out.setdefault(edge.node, (b, []))
                row[1].append((reach[edge.source], reach[edge.target]))
    return {n: (b, tuple(span)) for n, (b, span) in out.items() if len(span) == graph.axes}
