"""What a plan is asked for: names and settings as people write them, resolved to sites, slots and modules."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stridewise.analyses.strides import blocks, components, site_grids
from stridewise.errors import PlanError
from stridewise.ir import Graph, Node, Slot
from stridewise.ops.registry import op_named
from stridewise.plans import BORDERS, KINDS, check_stride
from stridewise.rewrites.kinds import steps_now
from stridewise.rewrites.multipliers import steps_of
from stridewise.rewrites.places import IN_A_LOOP, calls_of, is_within


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of one site or slot: a stride (None: as it is) and how to downsample by it."""

    stride: tuple[int, ...] | None
    downsample: str = "stride"
    filter: int | None = None
    border: str = "reflect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for: of sites (by node index), of slots, and of all the sites in a module that step."""

    sites: dict[int, Wish] = field(default_factory=dict)
    slots: list[tuple[Slot, Wish]] = field(default_factory=list)
    modules: list[tuple[Sequence[Node], Wish]] = field(default_factory=list)


def per_axis(what: str, value: Any, axes: int) -> tuple[int, ...]:
    """A stride for each of `axes` axes, from one whole number for all of them or one each. Raises: PlanError."""
    entries = check_stride(what, list(value) if isinstance(value, list | tuple) else value)
    if len(entries) == 1:
        return entries * axes
    if len(entries) != axes:
        raise PlanError(f"{what}: {len(entries)} entries for {axes} axes")
    return entries


def parse_wish(where: str, text: Any, axes: int, kind: str) -> Wish:
    """A wish from a number, a list or text such as "2", "1x2", "2:blur:3", "blur". Raises PlanError."""
    if isinstance(text, Wish):
        return text
    if not isinstance(text, str):
        return Wish(stride=per_axis(where, text, axes), downsample=kind)
    first, *rest = text.split(":")
    stride = None
    if first.replace("x", "").isdigit():
        stride = per_axis(where, [int(n) for n in first.split("x")], axes)
    else:
        rest = [first, *rest]
    taps, border = None, "reflect"
    for part in rest:
        if part in KINDS:
            kind = part
        elif part in BORDERS and kind in ("blur", "polyphase"):
            border = part
        elif part.isdigit() and kind == "blur":
            taps = int(part)
        else:
            raise PlanError(
                f"{where}: '{text}' is no stride; write 2, 1x2, 2:blur:3 or 2:blur:3:zero (kinds: {', '.join(KINDS)})"
            )
    return Wish(stride=stride, downsample=kind, filter=3 if taps is None and kind == "blur" else taps, border=border)


def resolved(graph: Graph, request: Mapping[str, Any]) -> Request:
    """What is asked of each site, slot and module.

    Raises: PlanError for a name that is none of them (with the nearest ones), an op without a window that can step, or
    a setting that cannot be read.
    """
    found = Request()
    steppable = site_grids(graph)
    # What is said of one call of a shared module stands before what is said of all of them.
    for name, value in sorted(request.items(), key=lambda item: "#" in item[0]):
        node = graph.node_named(name)
        if name.startswith("+"):
            found.slots.append((_slot(graph, name[1:]), parse_wish(name, value, graph.axes, "max")))
        elif node is None:
            _resolve_module(graph, found, name, value)
        elif node.index in steppable:
            wish = parse_wish(name, value, graph.axes, "stride")
            found.sites.update({n.index: wish for n in calls_of(graph, name) if n.index in steppable})
        else:
            raise PlanError(f"{name}: {_why_no_site(graph, node)}")
    return found


def _resolve_module(graph: Graph, found: Request, name: str, value: Any) -> None:
    """What is asked of all sites in a module."""
    nodes = [graph.nodes[n] for n in site_grids(graph)]
    inside = [node for node in nodes if name and is_within(node.path, name)]
    if not inside:
        raise PlanError(f"{name}: no site of that name; {_nearest(name, [node.key for node in nodes])}")
    wish = parse_wish(name, value, graph.axes, "stride")
    if wish.stride is not None:
        found.sites.update(_shared_out(graph, name, inside, wish.stride))
    elif not any(s > 1 for n in inside for s in steps_now(graph, n)):
        raise PlanError(f"{name}: no site in it steps: '{wish.downsample}' would change nothing")
    if wish.downsample != "stride":
        found.modules.append((inside, wish))


def _slot(graph: Graph, name: str) -> Slot:
    for slot in graph.slots:
        if slot.key == name or name in slot.aliases:
            return slot
    raise PlanError(f"+{name}: no slot of that name; {_nearest(name, [slot.key for slot in graph.slots])}")


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known[:3])
    return f"near it are {', '.join(close)}" if close else "there is none in this network"


def _why_no_site(graph: Graph, node: Node) -> str:
    if "repeated" in node.attrs:
        return IN_A_LOOP
    if node.attrs.get("transposed"):
        return "a transposed convolution; its stride is fixed and ties the strides on both of its sides"
    if "resize" in op_named(node.op).dilated:
        return "a resize; its factor is fixed and ties the strides on both of its sides"
    return f"'{node.op}' has no window that can step"


def _shared_out(graph: Graph, name: str, inside: Sequence[Node], stride: Sequence[int]) -> dict[int, Wish]:
    """A stride for a whole module, shared out over the sites in it that step today, in order."""
    today = [steps_of(graph, axis) for axis in range(graph.axes)]
    out: dict[int, list[int]] = {}
    for axis, left in enumerate(stride):
        stepping = _stepping(graph, name, inside, axis)
        for node in stepping:
            step = today[axis][node]
            take = left if node == stepping[-1] else step if left % step == 0 else 1
            left //= take
            out.setdefault(node, [steps[node] for steps in today])[axis] = take
    return {node: Wish(stride=tuple(steps)) for node, steps in out.items()}


def _stepping(graph: Graph, name: str, inside: Sequence[Node], axis: int) -> list[int]:
    """The sites of a module that step along an axis, one a group: those on parallel paths follow it.

    Where none steps, the one with the largest kernel of those that could.
    """
    parts, steps = components(graph, axis), steps_of(graph, axis)
    group = blocks(parts.count, [(e.source, e.target) for e in parts.edges])
    block = {e.node: home for e, home in zip(parts.edges, group, strict=True)}
    able = {e.node for e in parts.edges if e.site}
    free = [node for node in inside if node.index in able]
    if not free:
        raise PlanError(f"{name}: no site in it can step: each one's input and output are added together")
    first: dict[int, int] = {}
    for node in free:
        if steps[node.index] > 1:
            first.setdefault(block[node.index], node.index)
    return list(first.values()) or [max(free, key=lambda n: max(n.attrs.get("kernel", (0,)))).index]
