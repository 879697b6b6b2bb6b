"""From a request (some sites, a slot, an output stride) to a consistent plan of the smallest change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from stridewise.analyses.sizes import name_of
from stridewise.analyses.strides import components
from stridewise.errors import PlanError, by
from stridewise.ir import Graph, Slot
from stridewise.plans import Plan, Setting
from stridewise.rewrites.multipliers import steps_of
from stridewise.rewrites.phases import spans_of
from stridewise.rewrites.places import IN_A_LOOP, calls_of
from stridewise.rewrites.request import Request, Wish, per_axis, resolved
from stridewise.rewrites.restride import Restrided, restride
from stridewise.rewrites.solver import cap, complete

_Steps: TypeAlias = Sequence[Mapping[int, int]]
"""By axis, the step of every steppable site (node index)."""


def make_plan(
    graph: Graph,
    request: Mapping[str, Any] | None = None,
    *,
    output_stride: int | Sequence[int] | None = None,
    keep_weights: bool = False,
    means: str = "dense",
) -> Plan:
    """The plan that `planned` makes of a request."""
    return planned(graph, request, output_stride=output_stride, keep_weights=keep_weights, means=means)[0]


def planned(
    graph: Graph,
    request: Mapping[str, Any] | None = None,
    *,
    output_stride: int | Sequence[int] | None = None,
    keep_weights: bool = False,
    means: str = "dense",
) -> tuple[Plan, Restrided]:
    """The consistent plan of the smallest change that gives what is asked for, and the graph under it, its tensors as
    traced.

    request: site, module or "+slot" -> stride: a whole number, one entry an axis, or text as on the command line
    ("2", "1x2", "2:blur:3"). Unnamed sites keep their step, except on paths parallel to a named one, which take the
    product. Raises: PlanError naming the unknown site, the conflict, or the cycle, table, window or flatten that
    forbids it.
    """
    wishes = resolved(graph, request or {})
    steps = _stepping(graph, wishes, output_stride, keep_weights)
    settings = _settings(graph, steps, _kinds(graph, wishes, steps))
    insert = {slot.key: setting for slot, wish in wishes.slots if (setting := _inserted(slot, wish))}
    windows = {graph.nodes[slot.node].key: slot.key for slot in graph.slots if slot.node is not None}
    for key in [key for key in settings if key in windows]:  # the step of a slot changes with its window
        found = settings.pop(key)
        insert[windows[key]] = Setting(stride=found.stride, was=found.was, downsample="max")
    _within_maps(graph, settings)
    plan = Plan(
        sites=settings,
        insert=insert,
        model=graph.model,
        fingerprint=graph.fingerprint,
        input=graph.input,
        keep_weights=keep_weights,
        means=means,
    )
    changed = restride(graph, plan, shapes=False)
    check_pins(graph, changed.graph)
    return plan, changed


def check_pins(before: Graph, after: Graph) -> None:
    """Refuse a plan that changes the size of a map which a flattened head or a table is made for."""
    for old, new in zip(before.pins, after.pins, strict=True):
        made, now = before.grids[old.grid].sizes, after.grids[new.grid].sizes
        if old.anew and made != now and "repeated" in before.nodes[old.node].attrs:
            raise PlanError(f"{name_of(before, before.nodes[old.node])}: {old.message}, and {IN_A_LOOP}")
        if old.kind in ("flatten", "position table") and made != now and new.sizes != now:
            node = before.nodes[old.node]
            raise PlanError(
                f"{node.key or node.path or node.target}: {old.message} ({old.kind}); the plan would make that map "
                f"{by(now)}: leave its size as it is, or give the network a head for the new one first"
            )


def _stepping(
    graph: Graph, wishes: Request, output_stride: int | Sequence[int] | None, keep_weights: bool
) -> list[dict[int, int]]:
    """The step of every site along each axis, with the output stride and then the named sites as wanted."""
    steps = [dict(steps_of(graph, axis)) for axis in range(graph.axes)]
    if output_stride is not None:
        most = per_axis("output stride", output_stride, graph.axes)
        if graph.unknown:
            raise PlanError(f"output stride: what follows is not known: {graph.unknown[0].message}")
        for axis, stride in enumerate(most):
            cap(graph, components(graph, axis), steps[axis], stride, keep_weights)
    for axis in range(graph.axes):
        wanted = {node: wish.stride[axis] for node, wish in wishes.sites.items() if wish.stride is not None}
        complete(graph, components(graph, axis), steps[axis], wanted)
    return steps


def _settings(graph: Graph, steps: _Steps, kinds: Mapping[int, Wish]) -> dict[str, Setting]:
    """A setting for each site that steps otherwise than today, or by another kind."""
    today = [steps_of(graph, axis) for axis in range(graph.axes)]
    settings = {}
    moved = {n for now, was in zip(steps, today, strict=True) if now != was for n in was if now[n] != was[n]}
    for index in sorted(moved.union(n for n in kinds if n in today[0])):
        new, was = (tuple([s[index] for s in each]) for each in (steps, today))
        wish = kinds.get(index, Wish(stride=None))
        if new != was or wish.downsample != "stride":
            settings[graph.nodes[index].key] = _setting(wish, new, was)
    return {_alone(graph, settings, key): setting for key, setting in settings.items()}


def _alone(graph: Graph, settings: Mapping[str, Setting], key: str) -> str:
    """The key of a site; with #1 where a shared module's first call changes and not all of them do."""
    calls = calls_of(graph, key)
    return f"{key}#1" if len(calls) > 1 and any(n.key not in settings for n in calls) else key


def _inserted(slot: Slot, wish: Wish) -> Setting | None:
    """The setting of a slot, None where what is asked for is there already."""
    stride = wish.stride or slot.stride
    other_kind = max(stride) > 1 and wish.downsample not in ("max", slot.kind)
    return _setting(wish, stride, slot.stride) if stride != slot.stride or other_kind else None


def _setting(wish: Wish, stride: tuple[int, ...], was: tuple[int, ...]) -> Setting:
    return Setting(stride=stride, was=was, downsample=wish.downsample, filter=wish.filter, border=wish.border)


def _kinds(graph: Graph, wishes: Request, steps: _Steps) -> dict[int, Wish]:
    """How each site is to downsample, kinds that reach further included.

    A kind asked of a module holds for every site in it that steps. A phase holds for all parallel paths: their
    positions would not lie on each other otherwise.
    """
    kinds = dict(wishes.sites)

    def follow(node: int, wish: Wish) -> None:
        own = wishes.sites.get(node)
        if any(s[node] > 1 for s in steps) and (own is None or own.downsample == "stride"):
            kinds[node] = replace(wish, stride=None)

    for inside, wish in wishes.modules:
        for node in inside:
            follow(node.index, wish)
    asked = {n: w for n, w in kinds.items() if w.downsample == "polyphase"}
    if asked:
        where = spans_of(graph, {graph.nodes[n].key: tuple(s[n] for s in steps) for n in steps[0]})
        for n, wish in asked.items():
            for other, place in where.items():
                if other not in asked and place == where.get(n):
                    follow(other, wish)
    return kinds


def _within_maps(graph: Graph, settings: Mapping[str, Setting]) -> None:
    """Refuse steps larger than the map they step over."""
    for key, setting in settings.items():
        node = graph.node_named(key)
        assert node is not None
        assert node.grid is not None
        sizes = graph.grids[graph.grids[node.grid].sources[0]].sizes
        if any(step > size for step, size in zip(setting.stride, sizes, strict=True)):
            by = "x".join(map(str, setting.stride))
            over = "x".join(map(str, sizes))
            raise PlanError(f"{key}: a step of {by} is larger than the map it steps over ({over}): take a smaller one")
