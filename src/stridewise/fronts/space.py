"""The space of consistent plans: the steps each site and slot may take, and what ties them together.

A plan gives every component of the network a cumulative stride. Sites whose component is reached by a longer path as
well are *implied*: they take that path's product, whatever it is. All other sites take one of the allowed steps.
Resizes and transposed convolutions of a fixed factor tie components: one unknown for all that are tied.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from typing import TypeAlias

from stridewise.analyses.cost import lifetimes
from stridewise.analyses.strides import Components, components, groups, site_grids
from stridewise.axis import AxisMap, Window
from stridewise.errors import PlanError
from stridewise.ir import Graph, Node, Slot
from stridewise.plans import check_stride
from stridewise.rewrites.insert import opened
from stridewise.rewrites.multipliers import cumulative
from stridewise.rewrites.restride import pool_of

Step: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A site or slot that steps. options: the steps it may take, today's first; implied: per axis, whether a longer
    path decides. slot: the slot's key, "" for a site of the network's own; kind: how the slot steps."""

    node: int
    grid: int
    key: str
    today: Step
    options: tuple[Step, ...]
    implied: tuple[bool, ...]
    slot: str = ""
    kind: str = "stride"

    def windows(self, graph: Graph, step: Step) -> tuple[AxisMap, ...]:
        """The maps of the site at `step`."""
        if self.slot:
            return pool_of(step)
        maps = graph.grids[self.grid].maps
        return tuple(replace(m, stride=s) if isinstance(m, Window) else m for m, s in zip(maps, step, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tied:
    """One axis: `of[c]` is (unknown, factor) of component c, whose cumulative stride is factor times the unknown's.

    known: unknowns that are given: the input's, and those of maps whose size is a constant.
    """

    of: tuple[tuple[int, Fraction], ...]
    known: Mapping[int, Fraction]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """All consistent plans of a network. graph: with a step of 1 at every slot that may step.

    same_axes: every step is equal on all axes, so that one axis speaks for all. moves: by the grid each one makes.
    """

    graph: Graph
    moves: Mapping[int, Move]
    parts: tuple[Components, ...]
    tied: tuple[Tied, ...]
    same_axes: bool

    @property
    def free(self) -> int:
        """Sites and slots with more than one step to choose from."""
        return sum(len(m.options) > 1 and not all(m.implied) for m in self.moves.values())


def space(
    graph: Graph,
    *,
    steps: Sequence[int] = (1, 2),
    slots: bool | None = None,
    sites: Sequence[str] | None = None,
    per_axis: bool = False,
) -> Space:
    """The space of consistent plans of `graph`.

    steps: what a site may step by, beside today's step. slots: None for those that step today, True for all, False for
    none. sites: only these sites, modules, groups ("g3") and slots ("+layer3.2") may change; sites on parallel paths
    that must follow them still do. per_axis: steps may differ between the axes.
    Raises: PlanError for a step or a name that is none.
    """
    allowed = check_stride("steps", list(steps))
    steppable = {slot.key for slot in graph.slots if slots or (slots is None and slot.node is not None)}
    slot_names = {n for slot in graph.slots for n in (f"+{slot.key}", *(f"+{a}" for a in slot.aliases))}
    if sites is not None:
        chosen = {n.removeprefix("+") for n in sites if n.startswith("+")}
        steppable = {s.key for s in graph.slots if s.key in chosen or chosen & set(s.aliases)}
    names = None if sites is None else _named(graph, sites, slot_names)
    wide = opened(graph, [s.key for s in graph.slots if s.node is None and s.key in steppable])
    at = {s.node: s for s in wide.slots if s.node is not None}
    parts = tuple(components(wide, axis) for axis in range(wide.axes))
    moves = {}
    for node, grid in site_grids(wide).items():
        slot = at.get(node)
        free = slot.key in steppable if slot else names is None or wide.nodes[node].key in names
        if (slot and not _frees_memory(wide, slot)) or _runs_often(wide, wide.nodes[node]):
            free = False
        moves[grid] = _move(wide, parts, wide.nodes[node], grid, slot, allowed if free else (), per_axis)
    tied = tuple(_tied(wide, part, moves) for part in parts)
    moves, same = _with_implied(wide, parts, moves)
    return Space(graph=wide, moves=moves, parts=parts, tied=tied, same_axes=same)


def _named(graph: Graph, sites: Sequence[str], slot_names: set[str]) -> set[str]:
    """The keys of the sites that `sites` names."""
    keys = [graph.nodes[n].key for n in site_grids(graph)]
    ids = {g.id: g.sites for g in groups(graph)}
    out: set[str] = set()
    for name in sites:
        found = ids.get(name) or [
            k for k in keys if k == name or f"{k}#1" == name or k.startswith((f"{name}.", f"{name}/"))
        ]
        if not found and name not in slot_names:
            raise PlanError(f"sites: no site, module, group or slot is called '{name}'")
        out.update(found)
    return out


def _runs_often(graph: Graph, node: Node) -> bool:
    """Whether the site's module has several calls, which cannot step differently."""
    base = node.key.split("#")[0]
    return "/" not in base and any(n.site and n is not node and n.key.split("#")[0] == base for n in graph.nodes)


def _frees_memory(graph: Graph, slot: Slot) -> bool:
    """Whether the map before the slot's step is given back as soon as the step is made."""
    assert slot.node is not None
    node = graph.nodes[slot.node]
    spans = {root: (born, dies) for born, dies, root in lifetimes(graph).spans}
    before, after = graph.tensors[node.inputs[0]].storage, graph.tensors[node.outputs[0]].storage
    return spans[before][1] == node.index == spans[after][0]


def _move(
    graph: Graph,
    parts: Sequence[Components],
    node: Node,
    grid: int,
    slot: Slot | None,
    allowed: Sequence[int],
    per_axis: bool,
) -> Move:
    """The move of one site, nothing implied yet. Axes on which the site lies inside a component keep their step."""
    today = tuple(m.stride if isinstance(m, Window) else 1 for m in graph.grids[grid].maps)
    can = [
        isinstance(m, Window) and graph.grids[grid].local[a] and node.index not in parts[a].inner
        for a, m in enumerate(graph.grids[grid].maps)
    ]
    if per_axis:
        each = [dict.fromkeys((t, *allowed)) if c else {t: None} for t, c in zip(today, can, strict=True)]
        options = list(itertools.product(*each))
    else:
        options = [today, *(tuple(s if c else t for t, c in zip(today, can, strict=True)) for s in allowed)]
    key, kind = (slot.key, slot.kind or "max") if slot else ("", "stride")
    return Move(
        node=node.index,
        grid=grid,
        key=node.key,
        today=today,
        options=tuple(dict.fromkeys(options)),
        implied=(False,) * graph.axes,
        slot=key,
        kind=kind,
    )


def _tied(graph: Graph, parts: Components, moves: Mapping[int, Move]) -> Tied:
    """Components joined by equations into unknowns, and which of them are given."""
    root = list(range(parts.count))
    factor = [Fraction(1)] * parts.count  # of a component, relative to its root

    def find(c: int) -> tuple[int, Fraction]:
        by = Fraction(1)
        while root[c] != c:
            by *= factor[c]
            c = root[c]
        return c, by

    for edge in parts.edges:
        if not edge.site:
            (a, by_a), (b, by_b) = find(edge.source), find(edge.target)
            if a != b:
                root[b], factor[b] = a, by_a * edge.ratio / by_b
    found = [find(c) for c in range(parts.count)]
    today = {m.node: m.today[parts.axis] for m in moves.values()}
    reach = cumulative(graph, parts, today)
    kinds = ("input", "fixed", "unknown")
    given = {parts.of[g.index] for g in graph.grids if parts.of[g.index] >= 0 and g.kind in kinds}
    known = {found[c][0]: reach[c] / found[c][1] for c in sorted(given)}
    return Tied(of=tuple(found), known=known)


def _with_implied(graph: Graph, parts: Sequence[Components], moves: Mapping[int, Move]) -> tuple[dict[int, Move], bool]:
    """The moves with those that longer paths decide marked, and whether all axes step alike."""
    by_node = {m.node: m for m in moves.values()}
    implied = {m.node: [False] * graph.axes for m in moves.values()}
    products: dict[int, list[tuple[int, ...]]] = {m.node: [] for m in moves.values()}
    for axis, part in enumerate(parts):
        after: dict[int, list[tuple[int, int, Fraction]]] = {}
        for edge in part.edges:
            if edge.site or edge.ratio > 1:
                after.setdefault(edge.source, []).append((edge.target, edge.node if edge.site else -1, edge.ratio))
        reach: dict[int, set[int]] = {}
        for start in range(part.count):
            _reach(start, after, reach)
        longer = {
            e.node
            for e in part.edges
            if e.site and any(t != e.target and e.target in reach[t] for t, _, _ in after[e.source])
        }
        for edge in part.edges:
            if edge.node in longer and len(by_node[edge.node].options) > 0:
                implied[edge.node][axis] = True
                products[edge.node].append(_products(edge.source, edge.target, after, reach, longer, by_node, axis))
    out = {}
    for grid, move in moves.items():
        flags = implied[move.node]
        if any(flags) and not _is_frozen(graph, move):
            found = iter(products[move.node])
            each = [next(found) if f else tuple(dict.fromkeys(o[a] for o in move.options)) for a, f in enumerate(flags)]
            move = replace(move, options=tuple(itertools.product(*each)), implied=tuple(flags))
        out[grid] = move
    same = all(_alike(part, parts[0]) for part in parts[1:]) and all(
        len(set(step)) == 1 for move in moves.values() for step in move.options
    )
    same = same and all(len(set(m.implied)) == 1 for m in out.values())
    if same:
        out = {
            g: replace(m, options=tuple(o for o in m.options if len(set(o)) == 1)) if any(m.implied) else m
            for g, m in out.items()
        }
    return out, same


def _is_frozen(graph: Graph, move: Move) -> bool:
    """Whether the site cannot follow even a parallel path: its module runs several times."""
    return _runs_often(graph, graph.nodes[move.node])


def _alike(a: Components, b: Components) -> bool:
    return a.of == b.of and a.edges == b.edges and a.inner == b.inner


def _reach(start: int, after: Mapping[int, Sequence[tuple[int, int, Fraction]]], reach: dict[int, set[int]]) -> None:
    """Fill in what lies behind `start`, itself included."""
    todo = [start]
    while todo:
        at = todo[-1]
        missing = [t for t, _, _ in after.get(at, ()) if t not in reach]
        if missing:
            todo += missing
            continue
        todo.pop()
        if at not in reach:
            reach[at] = {at}.union(*(reach[t] for t, _, _ in after.get(at, ())))


def _products(
    source: int,
    target: int,
    after: Mapping[int, Sequence[tuple[int, int, Fraction]]],
    reach: Mapping[int, set[int]],
    longer: set[int],
    moves: Mapping[int, Move],
    axis: int,
) -> tuple[int, ...]:
    """Every step one path from source to target can make that no longer path stands beside."""
    sets: list[list[Fraction]] = []
    at = source
    while at != target:
        to, node, ratio = next((t, n, r) for t, n, r in after[at] if target in reach[t] and n not in longer)
        sets.append([Fraction(o[axis]) for o in moves[node].options] if node >= 0 else [ratio])
        at = to
    found = reduce(lambda a, b: {x * y for x in a for y in b}, map(set, sets))
    return tuple(sorted(int(p) for p in found if p.denominator == 1))


def step_name(step: Step) -> str:
    """A step as people write it: 2, or 1x2 where the axes differ."""
    return str(step[0]) if len(set(step)) == 1 else "x".join(map(str, step))


def area(step: Step) -> int:
    """Positions of the input for one of the output."""
    return math.prod(step)
