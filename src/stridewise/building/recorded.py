"""Calls as they came, the names they get, and the slots between them.

A call is named by the module that ran it, once it is known what else ran in it. A slot, where a step can be inserted,
is a module whose output is all that later ops will read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from stridewise.ir import Graph, Node, Slot
from stridewise.ops.draft import Reading
from stridewise.ops.layout import Dims, is_turned, whole_axis
from stridewise.ops.registry import op_named


@dataclass(slots=True)
class ModuleCall:
    """One call of a module: its path, which call of it this is, and what ran directly in it."""

    path: str
    number: int
    parent: ModuleCall | None
    leaf: bool
    direct: int = 0
    below: bool = False
    output: int | None = None
    inserted: tuple[str, tuple[int, ...], int | None] | None = None


class Seen(NamedTuple):
    """One call as it came: a node but for its name, which only the whole of its module tells."""

    op: str
    target: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: int
    reading: Reading
    owner: ModuleCall | None


def node_of(index: int, seen: Seen, key: str) -> Node:
    """The node that a call has become."""
    op, target, inputs, outputs, params, reading, owner = seen
    return Node(
        index=index,
        op=op,
        target=target,
        path=owner.path if owner else "",
        key=key,
        inputs=inputs,
        outputs=outputs,
        grid=reading.grid,
        site=reading.site,
        counted=reading.counted,
        macs=reading.macs,
        params=params,
        attrs=reading.attrs,
        keeps=reading.keeps,
        call=owner.number if owner else 1,
    )


def keys_of(nodes: Sequence[Seen], names: Mapping[int, str]) -> list[str]:
    """A unique name for every site and every op with multiply-adds; names: those that are given."""
    keys: list[str] = []
    used: dict[str, int] = {}
    for index, seen in enumerate(nodes):
        if not (seen.reading.site or seen.reading.counted):
            keys.append("")
            continue
        owner = seen.owner
        if index in names:
            base = names[index]
        elif owner is not None and owner.path and owner.direct == 1 and not owner.below:
            base = owner.path
        else:
            name = op_named(seen.op).named(seen.target, seen.reading.attrs, seen.params > 0)
            base = f"{owner.path}/{name}" if owner is not None and owner.path else name
        used[base] = used.get(base, 0) + 1
        keys.append(base if used[base] == 1 else f"{base}#{used[base]}")
    return keys


def with_slots(graph: Graph, layouts: Sequence[Dims | None], calls: Sequence[ModuleCall]) -> Graph:
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
        grid, dims = graph.tensors[tensor].grid, layouts[tensor]
        if grid is None or dims is None or not all(graph.grids[grid].local) or tensor in graph.outputs:
            continue
        if (
            len(dims) != 2 + len(graph.grids[grid].sizes)
            or any(whole_axis(d) is None for d in dims[2:])
            or is_turned(dims)
        ):
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
