"""Places where a step can be inserted: modules whose output is all that later ops will read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stridewise.building.builder import Builder
from stridewise.building.recorded import ModuleCall
from stridewise.ir import Graph, Slot
from stridewise.ops.layout import whole_axis


def with_slots(graph: Graph, builder: Builder, calls: Sequence[ModuleCall]) -> Graph:
    """The graph with its slots: modules whose output is, at that moment, all that later ops will read."""
    last_use: dict[int, int] = {}
    for node in graph.nodes:
        for tensor in node.inputs:
            last_use[tensor] = node.index
    for tensor in graph.outputs:
        last_use[tensor] = len(graph.nodes)
    alive: set[int] = {t for _, t in graph.inputs if t in last_use}
    cuts: set[int] = set()
    for node in graph.nodes:
        for tensor in node.outputs:
            if tensor in last_use:
                alive.add(tensor)
        for tensor in node.inputs:
            if last_use[tensor] == node.index:
                alive.discard(tensor)
        if len(alive) == 1:
            cuts |= alive
    slots: dict[int, list[ModuleCall]] = {}
    repeated = {c.path for c in calls if c.number > 1}
    for call in calls:
        if call.output in cuts and call.path and call.path not in repeated:
            slots.setdefault(call.output, []).append(call)
    chosen: dict[int, Slot] = {}
    last_site = max((node.index for node in graph.nodes if node.site), default=-1)
    made_by = {t: node.index for node in graph.nodes for t in node.outputs}
    inserted = {c.inserted[2] for c in calls if c.inserted and c.inserted[2] is not None}
    before_step = {t for i in inserted for t in graph.nodes[i].inputs}
    for tensor, at in sorted(slots.items()):
        if tensor in before_step or (made_by.get(tensor, -1) >= last_site and not any(c.inserted for c in at)):
            continue  # the step that is there already, or nothing behind it that would get cheaper
        grid, dims = graph.tensors[tensor].grid, builder.layouts[tensor]
        if grid is None or dims is None or not all(graph.grids[grid].local) or tensor in graph.outputs:
            continue
        if len(dims) != 2 + len(graph.grids[grid].sizes) or any(whole_axis(d) is None for d in dims[2:]):
            continue
        inner = [c for c in at if not c.leaf and (c.direct or c.below)]
        key = max(inner, key=lambda c: c.path.count(".")) if inner else min(at, key=lambda c: c.path.count("."))
        step = next((c.inserted for c in at if c.inserted), None)
        # Of the places on one grid the last one counts: after the norm and the activation.
        chosen[grid] = Slot(
            key=next((c.path for c in at if c.inserted), key.path),
            aliases=tuple(c.path for c in at if c is not key),
            grid=grid,
            tensor=tensor,
            stride=step[1] if step else (1,) * len(graph.grids[grid].sizes),
            kind=step[0] if step else "",
            node=step[2] if step else None,
        )
    return replace(
        graph,
        slots=tuple(chosen[g] for g in sorted(chosen, key=lambda g: chosen[g].tensor)),
        modules=tuple({c.path: c.output for c in calls if c.output is not None}.items()),
    )
