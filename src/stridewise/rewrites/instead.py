"""A refused request answered by the nearest that work, each tried; how many are tried is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from math import log2
from typing import Any, TypeAlias

from stridewise.analyses import cost
from stridewise.analyses.declared import cumulative_stride
from stridewise.analyses.fields import evaluate
from stridewise.analyses.strides import groups, site_grids
from stridewise.errors import GeometryError, Instead, PlanError, once
from stridewise.ir import Graph, Slot
from stridewise.plans import Plan
from stridewise.report.units import count
from stridewise.rewrites.certify import Certificate
from stridewise.rewrites.completion import planned
from stridewise.rewrites.kinds import steps_now
from stridewise.rewrites.request import Wish, parse_wish, per_axis, resolved

Stride: TypeAlias = int | Sequence[int] | None

_MOST, _TRIALS, _SAME = 5, 12, 2  # told, tried, and told of other steps for the same name
_STEPS = (1, 2, 3, 4, 8)


def planned_or_instead(
    graph: Graph,
    request: Mapping[str, Any],
    stride: Stride,
    keep_weights: bool,
    means: str,
    rehearsed: Callable[[Graph, Plan], Certificate | None],
) -> tuple[Plan, Certificate | None]:
    """The plan and what a rehearsal of it says. Raises: PlanError, of planning or of the rehearsal, with the nearest
    requests that do work in both in its text and as its `instead`."""
    try:
        made = planned(graph, request, output_stride=stride, keep_weights=keep_weights, means=means)[0]
        return made, rehearsed(graph, made)
    except PlanError as error:
        error.instead = instead(graph, request, str(error), stride, keep_weights, means, rehearsed)
        if error.instead:
            error.args = (f"{error}; these work: {', '.join(map(_in_words, error.instead))} multiply-adds",)
        raise


def instead(
    graph: Graph,
    request: Mapping[str, Any],
    why: str,
    stride: Stride,
    keep_weights: bool,
    means: str,
    rehearsed: Callable[[Graph, Plan], object] | None = None,
) -> tuple[Instead, ...]:
    """At most five requests near a refused one that do work, the nearest first; none where a name or setting of it
    means nothing here. why: the refusal, which says what is to blame. rehearsed: tries each on
    the model, and raises PlanError where it cannot be carried out."""
    try:
        resolved(graph, request)
        tries = _near(graph, request, why, stride)
        found: dict[tuple[tuple[str, ...], int], Instead] = {}
        same = 0
        for changes, most, is_same in islice(tries, _TRIALS):
            needless = same and stride is not None and most is None  # a site, where another output stride works
            if len(found) == _MOST or (is_same and same == _SAME) or needless:
                continue
            try:
                plan, changed = planned(graph, changes, output_stride=most, keep_weights=keep_weights, means=means)
                one = _told(changed.graph, changes, most)
                if not plan or (one.strides, one.macs) in found:  # another way to the same is no other choice
                    continue
                if rehearsed is not None:
                    rehearsed(graph, plan)
            except (PlanError, GeometryError):
                continue
            found[one.strides, one.macs] = one
            same += is_same
    except (PlanError, GeometryError):
        return ()
    return tuple(found.values())


def _in_words(one: Instead) -> str:
    gives = f" gives {'/'.join(one.strides)} at" if one.strides else " at"
    return f"{one}{gives} {count(one.macs)}"


def _told(graph: Graph, changes: Mapping[str, Any], most: Stride) -> Instead:
    """A request that works with the strides that go out and the multiply-adds of the graph under it."""
    sizes = [grid.sizes for grid in graph.grids]
    state = evaluate(graph, smallest=False, sizes=sizes)
    strides = {s for t in graph.outputs if (s := cumulative_stride(state, t)) is not None}
    return Instead(
        request={name: str(value) for name, value in changes.items()},
        output_stride=None if most is None else once(per_axis("output stride", most, graph.axes)),
        strides=tuple(once(s) for s in sorted(strides)),
        macs=cost.macs(graph, sizes),
    )


def _near(
    graph: Graph, request: Mapping[str, Any], why: str, stride: Stride
) -> Iterator[tuple[dict[str, Any], Stride, bool]]:
    """Requests near a refused one, the nearest first: (changes, output stride, whether only a step is another)."""
    changes = dict(request)
    if stride is not None and (not changes or why.startswith("output stride")):
        want = per_axis("output stride", stride, graph.axes)
        for step in _by_nearness(want, (1, 2, 4, 8, 16, 32, 64)):
            yield changes, step, True
        for name, now in reversed(_stepping(graph)):
            if name not in changes:
                yield {**changes, name: once([1] * len(now))}, None, False
        return
    blamed = [name for name in changes if why.startswith(name)] + [name for name in changes if name in why]
    blamed += changes if len(changes) == 1 else []
    if not blamed:
        return
    name = blamed[0]
    slot = name.startswith("+")
    wish = parse_wish(name, changes[name], graph.axes, "max" if slot else "stride")
    if wish.stride is None:
        return
    for step in _by_nearness(wish.stride, _STEPS):
        yield {**changes, name: _as_written(changes[name], step)}, stride, True
    rest = {key: value for key, value in changes.items() if key != name}
    for key, steps in _neighbours(graph, name, wish):
        if key not in rest:
            yield {**rest, key: steps}, stride, False


def _by_nearness(want: Sequence[int], steps: Sequence[int]) -> list[int]:
    other = [step for step in steps if any(step != w for w in want)]
    return sorted(other, key=lambda step: (sum(abs(log2(step / w)) for w in want), step))


def _as_written(value: Any, step: int) -> str:
    """A setting with another step, its kind as it was."""
    kind = value.partition(":")[2] if isinstance(value, str) else ""
    return f"{step}:{kind}" if kind else str(step)


def _stepping(graph: Graph) -> list[tuple[str, Sequence[int]]]:
    """Sites and slots that step today, in executed order, one a group."""
    first = {group.sites[0] for group in groups(graph) if group.free}
    nodes = [graph.nodes[n] for n in site_grids(graph)]
    sites = [(n.index, n.key, steps_now(graph, n)) for n in nodes if n.key in first]
    slots = [(_place(graph, slot), f"+{slot.key}", slot.stride) for slot in graph.slots]
    return [(name, now) for _, name, now in sorted([*sites, *slots]) if max(now, default=1) > 1]


def _place(graph: Graph, slot: Slot) -> int:
    """The node that makes a slot's tensor, -1 for an input."""
    made = graph.grids[slot.grid].node
    return -1 if made is None else made


def _neighbours(graph: Graph, name: str, wish: Wish) -> list[tuple[str, str]]:
    """Sites of other groups, and slots, that could take over the change asked of `name`, the nearest first."""
    node = graph.node_named(name)
    assert wish.stride is not None
    if node is None:
        return []
    now = steps_now(graph, node)
    factor = [Fraction(new, old) for new, old in zip(wish.stride, now, strict=True)]
    others = [group for group in groups(graph) if group.free and node.key not in group.sites]
    free = {key for group in others for key in group.sites}
    places: list[tuple[int, str, Sequence[int]]] = [
        (n, graph.nodes[n].key, steps_now(graph, graph.nodes[n]))
        for n in site_grids(graph)
        if graph.nodes[n].key in free
    ]
    places += [(_place(graph, slot), f"+{slot.key}", slot.stride) for slot in graph.slots]
    out = []
    for at, key, steps in sorted(places, key=lambda p: (abs(p[0] - node.index), p[1])):
        new = [s * f for s, f in zip(steps, factor, strict=True)]
        if all(n.denominator == 1 for n in new) and at != node.index:
            out.append((key, once(new)))
    return out
