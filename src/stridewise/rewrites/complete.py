"""From a request (some sites, a slot, an output stride) to a consistent plan of the smallest change (DESIGN 3.4)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from stridewise.analyses.sizes import where
from stridewise.analyses.strides import Components, Edge, blocks, components, inputs_of, site_grids
from stridewise.axis import Adaptive
from stridewise.errors import PlanError
from stridewise.ir import Graph, Node, Slot
from stridewise.plans import BORDERS, KINDS, Plan, Setting, check_stride
from stridewise.rewrites.cut import ENDLESS, smallest_cut
from stridewise.rewrites.kinds import check_kinds, steps_now
from stridewise.rewrites.phases import phases, spans_of
from stridewise.rewrites.reach import cumulative, steps_of

# What changing an unnamed parallel site costs: one that steps today before one that does not, a window that covers
# the new step before one that would leave positions unread.
_STEPS_TODAY, _COVERS, _LEAVES_UNREAD = 1, 100, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One thing asked for: a stride (None: as it is) and a way to downsample at a site or slot."""

    stride: tuple[int, ...] | None
    downsample: str = "stride"
    filter: int | None = None
    border: str = "reflect"


def make_plan(
    graph: Graph,
    request: Mapping[str, Any] | None = None,
    *,
    output_stride: int | Sequence[int] | None = None,
    keep_weights: bool = False,
    means: str = "dense",
) -> Plan:
    """The consistent plan of the smallest change that gives what is asked for.

    request: site, module or "+slot" -> stride: a whole number, one entry an axis, or text as on the command line
    ("2", "1x2", "2:blur:3"). Unnamed sites keep their step, except on paths parallel to a named one, which take the
    product. Raises: PlanError naming the unknown site, the conflict, or the cycle, table, window or flatten that
    forbids it.
    """
    sites, slots, stages = _resolved(graph, request or {})
    steps = [dict(steps_of(graph, axis)) for axis in range(graph.axes)]
    before = [dict(s) for s in steps]
    if output_stride is not None:
        caps = _per_axis("output stride", output_stride, graph.axes)
        if graph.unknown:
            raise PlanError(f"output stride: what follows is not known: {graph.unknown[0].message}")
        for axis, cap in enumerate(caps):
            _cap(graph, components(graph, axis), steps[axis], cap, keep_weights)
    for axis in range(graph.axes):
        wanted = {n: wish.stride[axis] for n, wish in sites.items() if wish.stride is not None}
        _complete(graph, components(graph, axis), steps[axis], wanted)
    kinds = _kinds(graph, sites, stages, steps)
    settings = {}
    for node in graph.nodes:
        if node.index not in before[0]:
            continue
        new, was = tuple(s[node.index] for s in steps), tuple(b[node.index] for b in before)
        wish = kinds.get(node.index, Wish(stride=None))
        if new != was or wish.downsample != "stride":
            settings[node.key] = Setting(
                stride=new, was=was, downsample=wish.downsample, filter=wish.filter, border=wish.border
            )
    made = {n: k for k, n in ((slot.key, slot.node) for slot in graph.slots) if n is not None}
    insert = {
        slot.key: Setting(stride=w.stride, was=slot.stride, downsample=w.downsample, filter=w.filter, border=w.border)
        for slot, w in ((slot, replace(w, stride=w.stride or slot.stride)) for slot, w in slots)
        if w.stride is not None
        and (w.stride != slot.stride or (max(w.stride) > 1 and w.downsample not in ("max", slot.kind)))
    }
    for key in list(settings):
        site = graph.node_named(key)
        if site is not None and site.index in made:  # the step of a slot changes with its window
            found = settings.pop(key)
            insert[made[site.index]] = Setting(stride=found.stride, was=found.was, downsample="max")
    _within_maps(graph, settings)
    plan = Plan(
        sites=settings,
        insert=insert,
        model=graph.model,
        input=graph.input,
        keep_weights=keep_weights,
        means=means,
    )
    check_kinds(graph, plan)
    phases(graph, plan)
    return plan


def _kinds(
    graph: Graph,
    sites: Mapping[int, Wish],
    stages: Sequence[tuple[Sequence[Node], Wish]],
    steps: Sequence[dict[int, int]],
) -> dict[int, Wish]:
    """What is said of each site, kinds that reach further included.

    A kind asked of a module holds for every site in it that steps. A phase holds for all parallel paths, since their
    positions would not lie on each other else.
    """
    kinds = dict(sites)

    def follow(node: int, wish: Wish) -> None:
        if any(s[node] > 1 for s in steps) and (node not in sites or sites[node].downsample == "stride"):
            kinds[node] = replace(wish, stride=None)

    for inside, wish in stages:
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
            raise PlanError(f"{key}: a step of {by} is larger than the map it steps over ({'x'.join(map(str, sizes))})")


def _per_axis(what: str, value: Any, axes: int) -> tuple[int, ...]:
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
        return Wish(stride=_per_axis(where, text, axes), downsample=kind)
    first, *rest = text.split(":")
    stride = None
    if first.replace("x", "").isdigit():
        stride = _per_axis(where, [int(n) for n in first.split("x")], axes)
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


def _resolved(
    graph: Graph, request: Mapping[str, Any]
) -> tuple[dict[int, Wish], list[tuple[Slot, Wish]], list[tuple[Sequence[Node], Wish]]]:
    """(Wishes by site, by slot, and kinds asked of all sites of a module.)"""
    sites: dict[int, Wish] = {}
    stages: list[tuple[Sequence[Node], Wish]] = []
    slots: list[tuple[Slot, Wish]] = []
    steppable = site_grids(graph)
    for name, value in request.items():
        if name.startswith("+"):
            wish = parse_wish(name, value, graph.axes, "max")
            slots.append((_slot(graph, name[1:]), wish))
            continue
        node = graph.node_named(name)
        if node is not None and node.index in steppable:
            sites[node.index] = parse_wish(name, value, graph.axes, "stride")
            continue
        if node is not None:
            raise PlanError(f"{name}: {_why_no_site(graph, node)}")
        inside = [
            graph.nodes[n]
            for n in steppable
            if graph.nodes[n].path.startswith(f"{name}.") or graph.nodes[n].path == name
        ]
        if not inside:
            raise PlanError(f"{name}: no site of that name; {_nearest(name, [graph.nodes[n].key for n in steppable])}")
        wish = parse_wish(name, value, graph.axes, "stride")
        if wish.stride is not None:
            sites.update(_stage(graph, name, inside, wish))
        elif not any(s > 1 for n in inside for s in steps_now(graph, n)):
            raise PlanError(f"{name}: no site in it steps: there is nothing to do by '{wish.downsample}'")
        if wish.downsample != "stride":
            stages.append((inside, wish))
    return sites, slots, stages


def _slot(graph: Graph, name: str) -> Slot:
    for slot in graph.slots:
        if slot.key == name or name in slot.aliases:
            return slot
    raise PlanError(f"+{name}: no slot of that name; {_nearest(name, [slot.key for slot in graph.slots])}")


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known[:3])
    return f"near it are {', '.join(close)}" if close else "there is none in this network"


def _why_no_site(graph: Graph, node: Node) -> str:
    if node.op == "resize":
        return "a resize; its factor is fixed and ties the strides on both of its sides"
    if node.attrs.get("transposed"):
        return "a transposed convolution; its stride is fixed and ties the strides on both of its sides"
    return f"'{node.op}' has no window that can step"


def _stage(graph: Graph, name: str, inside: Sequence[Node], wish: Wish) -> dict[int, Wish]:
    """A stride for a whole module: shared out over the sites in it that step today, in order."""
    assert wish.stride is not None
    out: dict[int, list[int]] = {}
    for axis, want in enumerate(wish.stride):
        parts, steps = components(graph, axis), steps_of(graph, axis)
        ends = {e.node: e for e in parts.edges if e.site}
        block = dict(
            zip(
                (e.node for e in parts.edges),
                blocks(parts.count, [(e.source, e.target) for e in parts.edges]),
                strict=True,
            )
        )
        stepping: list[Node] = []
        for node in inside:
            # One site a group is named; those on parallel paths follow it.
            taken = {block[n.index] for n in stepping}
            if node.index in ends and steps[node.index] > 1 and block[node.index] not in taken:
                stepping.append(node)
        if not stepping:
            free = [n for n in inside if n.index in ends]
            if not free:
                raise PlanError(f"{name}: no site in it can step: each one's input and output are added together")
            stepping = [max(free, key=lambda n: max(n.attrs.get("kernel", (0,))))]
        left = want
        for i, node in enumerate(stepping):
            step = steps[node.index]
            take = left if i == len(stepping) - 1 else step if left % step == 0 else 1
            left //= take
            out.setdefault(node.index, [steps_of(graph, a)[node.index] for a in range(graph.axes)])
            out[node.index][axis] = take
    return {n: Wish(stride=tuple(s)) for n, s in out.items()}


def _cap(graph: Graph, parts: Components, steps: dict[int, int], cap: int, keep_weights: bool = False) -> None:
    """Every cumulative stride above `cap` brought down to it. With kept weights a resize reads a coarser grid."""
    reach = cumulative(graph, parts, steps)
    if cap > max(reach, default=1):
        top = max(reach, default=Fraction(1))
        raise PlanError(f"output stride {cap}: the network's is {top}; name a site or slot that should step more")
    new = [min(c, Fraction(cap)) for c in reach]
    for edge in parts.edges:
        step = new[edge.target] / new[edge.source]
        name = graph.nodes[edge.node].key or where(graph, graph.grids[edge.grid])
        if not edge.site and step != edge.ratio and not (keep_weights and _absorbs(graph, edge, parts.axis)):
            raise PlanError(
                f"output stride {cap}: {name} has a fixed factor of {1 / edge.ratio} and ties the strides on both sides"
            )
        if edge.site:
            if step.denominator != 1:
                options = sorted({int(c) for c in reach if c.denominator == 1 and c < max(reach)})
                raise PlanError(f"output stride {cap}: {name} would step by {step}; possible are {options}")
            steps[edge.node] = int(step)


def _absorbs(graph: Graph, edge: Edge, axis: int) -> bool:
    """Whether a map of fixed factor can read a coarser grid, so that kept weights untie its two sides."""
    return edge.ratio < 1 or isinstance(graph.grids[edge.grid].maps[axis], Adaptive)


def _complete(graph: Graph, parts: Components, steps: dict[int, int], wanted: Mapping[int, int]) -> None:
    """Give the wanted sites their step and let parallel paths follow."""
    edges = {e.node: e for e in parts.edges if e.site}
    done: set[int] = set()
    for node, want in wanted.items():
        if node in parts.inner:
            if want != 1:
                raise PlanError(f"{graph.nodes[node].key}: cannot step by {want}: {_cycle(graph, parts, node)}")
            continue
        edge = edges[node]
        if steps[node] != want:
            _move(graph, parts, steps, edge, want, {n for n in wanted if n not in done and n != node}, done)
        done.add(node)
    for node, want in wanted.items():
        if node not in parts.inner and steps[node] != want:
            others = ", ".join(graph.nodes[n].key for n in wanted if n != node)
            raise PlanError(f"{graph.nodes[node].key}={want} contradicts what is asked of {others}")


def _move(
    graph: Graph,
    parts: Components,
    steps: dict[int, int],
    edge: Edge,
    want: int,
    open_: set[int],
    done: set[int],
) -> None:
    """Scale the cumulative stride of what lies behind `edge`, cutting parallel paths where it costs least."""
    factor = Fraction(want, steps[edge.node])
    arcs: list[tuple[int, int, int]] = []
    for other in parts.edges:
        cost = 0 if other is edge else _cost(graph, other, steps, factor, open_, done)
        arcs.append((other.source, other.target, cost))
        arcs.append((other.target, other.source, ENDLESS))
    for given in inputs_of(graph, parts) - {edge.source}:  # sizes that are given stay what they are
        arcs.append((edge.source, given, ENDLESS))
        arcs.append((given, edge.source, 0))
    capacity, before = smallest_cut(parts.count, arcs, edge.source, edge.target)
    if capacity >= ENDLESS:
        raise PlanError(f"{graph.nodes[edge.node].key}={want}: {_forbidden(graph, parts, edge, steps, factor, done)}")
    for other in parts.edges:
        if other.site and other.source in before and other.target not in before:
            steps[other.node] = int(steps[other.node] * factor)


def _cost(graph: Graph, edge: Edge, steps: Mapping[int, int], factor: Fraction, open_: set[int], done: set[int]) -> int:
    """What it costs to let `edge` take the factor."""
    if not edge.site or edge.node in done:
        return ENDLESS
    new = steps[edge.node] * factor
    if new.denominator != 1:
        return ENDLESS
    if edge.node in open_:
        return 0
    if steps[edge.node] > 1:
        return _STEPS_TODAY
    kernel = min(graph.nodes[edge.node].attrs.get("kernel", (1,)))
    return _COVERS if kernel >= new else _LEAVES_UNREAD


def _forbidden(
    graph: Graph, parts: Components, edge: Edge, steps: Mapping[int, int], factor: Fraction, done: set[int]
) -> str:
    """The parallel path that cannot follow: the sites or resize on it that would have to step by a fraction."""
    stuck = [
        other
        for other in parts.edges
        if other is not edge and _cost(graph, other, steps, factor, set(), done) >= ENDLESS
    ]
    behind = _behind(parts, edge.target)
    crossing = [e for e in stuck if e.target in behind and e.source not in behind] or stuck
    names = [graph.nodes[e.node].key or where(graph, graph.grids[e.grid]) for e in crossing]
    fixed = [e for e in stuck if not e.site]
    if fixed:
        e = fixed[0]
        name = graph.nodes[e.node].key or where(graph, graph.grids[e.grid])
        return (
            f"the path back through {name} has a fixed factor of {1 / e.ratio} and joins what lies before "
            f"{graph.nodes[edge.node].key}; the strides on this cycle cannot change alone"
        )
    named = [graph.nodes[e.node].key for e in crossing if e.node in done]
    if named:
        return f"contradicts what is asked of {', '.join(named)}, which lies on a parallel path"
    return f"the parallel path through {', '.join(names[:3])} would have to step by a fraction ({factor} of today)"


def _behind(parts: Components, start: int) -> set[int]:
    seen, todo = {start}, [start]
    while todo:
        at = todo.pop()
        for edge in parts.edges:
            if edge.source == at and edge.target not in seen:
                seen.add(edge.target)
                todo.append(edge.target)
    return seen


def _cycle(graph: Graph, parts: Components, node: int) -> str:
    """Why a site inside a component cannot step: the join that ties its output to its input."""
    home = site_grids(graph)[node]
    component = parts.of[home]
    joins = [
        where(graph, g)
        for g in graph.grids
        if g.kind in ("join", "concat") and not g.mixes and parts.of[g.index] == component and g.index > home
    ]
    path = [graph.nodes[n].key for n in sorted(parts.inner) if parts.of[site_grids(graph).get(n, 0)] == component]
    near = [p for p in path if p.rsplit(".", 1)[0] == graph.nodes[node].key.rsplit(".", 1)[0]] or path
    join = joins[0] if joins else "a later join"
    return (
        f"its path ({' -> '.join(near[:4])}) ends in {join}, where it is joined with its own input, which has no step "
        "of its own; insert a step at a slot instead"
    )
