"""What windows leave out: work that is never read (SW108), and neighbours that never mix (SW107, gridding).

Unread, backward over the graph: for each tensor, which of its positions some later op reads. A *demand* is None (all
of them) or a set of residue tuples modulo a period an axis; rows that only a remainder drops are not counted (SW102).
Gridding, forward: each grid stands in a lattice above the last grid where neighbours still mixed (`base`): position i
reaches the base positions anchor + i * jump + any multiple of `gap`. Neighbours share some exactly when `gap` divides
`jump`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from stridewise.analyses.fields import State
from stridewise.analyses.sites import axis_names, percent
from stridewise.axis import AxisMap, Whole, Window
from stridewise.findings import Finding
from stridewise.ir import Node

# Beyond this many residues an axis everything counts as read.
_MAX_PERIOD = 64


@dataclass(frozen=True, slots=True)
class Demand:
    """Positions read: those whose residues modulo `period` (an entry an axis) are among `residues`."""

    period: tuple[int, ...]
    residues: frozenset[tuple[int, ...]]

    def count(self, sizes: Sequence[int]) -> int:
        """Positions read on a grid of these sizes."""
        return sum(
            math.prod(len(range(r, n, p)) for r, n, p in zip(residue, sizes, self.period, strict=True))
            for residue in self.residues
        )


def _settled(period: tuple[int, ...], residues: frozenset[tuple[int, ...]]) -> Demand | None:
    """The demand, or None where it is everything."""
    return None if len(residues) == math.prod(period) else Demand(period, residues)


@lru_cache(maxsize=4096)
def pulled_back(demand: Demand | None, maps: tuple[AxisMap, ...], sizes: tuple[int, ...]) -> Demand | None:
    """Which positions of a map's input are read when `demand` of its output is; sizes: the input's."""
    period: list[int] = []
    reach: list[dict[int, set[int]]] = []
    for axis, (change, size) in enumerate(zip(maps, sizes, strict=True)):
        own = demand.period[axis] if demand else 1
        if isinstance(change, Whole):
            period.append(1)
            reach.append({r: {0} for r in range(own)})
            continue
        advance, taps = change.taps(size)
        turns = math.lcm(own, len(taps))
        modulus = turns // len(taps) * advance
        if not 0 < modulus <= _MAX_PERIOD or turns > _MAX_PERIOD:
            period.append(1)
            reach.append({r: {0} for r in range(own)})
            continue
        hit: dict[int, set[int]] = {}
        for position in range(turns):
            turn, phase = divmod(position, len(taps))
            hit.setdefault(position % own, set()).update((t + turn * advance) % modulus for t in taps[phase])
        period.append(modulus)
        reach.append(hit)
    wanted = demand.residues if demand else [(0,) * len(maps)]
    found = {r for out in wanted for r in product(*(reach[a][o] for a, o in enumerate(out)))}
    return _settled(tuple(period), frozenset(found))


def united(first: Demand | None, second: Demand | None) -> Demand | None:
    """The positions that either demand reads."""
    if first is None or second is None or first == second:
        return first if first == second else None
    period = tuple(math.lcm(a, b) for a, b in zip(first.period, second.period, strict=True))
    if math.prod(period) > _MAX_PERIOD**2:
        return None
    residues = {
        tuple(r + k * p for r, k, p in zip(residue, turn, d.period, strict=True))
        for d in (first, second)
        for residue in d.residues
        for turn in product(*(range(whole // p) for whole, p in zip(period, d.period, strict=True)))
    }
    return _settled(period, frozenset(residues))


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """Multiply-adds of one node whose positions nobody reads. by: the nodes that step over them."""

    node: int
    macs: int
    share: Fraction
    by: tuple[int, ...]


def waste(state: State) -> tuple[Waste, ...]:
    """What each op computes and no later op reads, in executed order."""
    graph, sizes = state.graph, state.sizes
    wanted: dict[int, Demand | None] = dict.fromkeys(graph.outputs)
    skippers: dict[int, set[int]] = {}
    found: list[Waste] = []
    for node in reversed(graph.nodes):
        asked = [t for t in node.outputs if t in wanted]
        if not asked:
            continue
        demand = wanted[asked[0]]
        for other in asked[1:]:
            demand = (
                united(demand, wanted[other]) if graph.tensors[other].grid == graph.tensors[asked[0]].grid else None
            )
        grid = graph.tensors[asked[0]].grid
        by = {s for t in asked for s in skippers.get(t, ())} if demand is not None else set()
        if node.counted and demand is not None and grid is not None and _by_position(node, grid, len(sizes[grid])):
            positions = math.prod(sizes[grid])
            share = 1 - Fraction(demand.count(sizes[grid]), positions)
            macs = int(node.macs.at(sizes) * share)
            if macs:
                found.append(Waste(node=node.index, macs=macs, share=share, by=tuple(sorted(by))))
        for tensor in node.inputs:
            source = graph.tensors[tensor].grid
            passed = _back(state, demand, grid, source)
            wanted[tensor] = united(wanted[tensor], passed) if tensor in wanted else passed
            if passed is None:
                continue
            skippers.setdefault(tensor, set()).update(by if demand is not None else {node.index})
    return tuple(reversed(found))


def _by_position(node: Node, grid: int, axes: int) -> bool:
    """Whether a node's work is the same at each position of its output."""
    return sorted(node.macs.over) == [(grid, axis) for axis in range(axes)]


def _back(state: State, demand: Demand | None, grid: int | None, source: int | None) -> Demand | None:
    """The demand on grid `source` of an op whose output lies on `grid`; everything where the way is not known."""
    graph = state.graph
    if source is None or grid is None or not graph.grids[source].sizes:
        return None
    while grid != source:
        made = graph.grids[grid]
        if made.mixes or made.kind not in ("map", "join") or not made.sources:
            return None
        if made.kind == "map":
            before = made.sources[0]
            demand = pulled_back(demand, state.maps.get(grid) or made.maps, state.sizes[before])
            grid = before
        else:
            return demand if source in made.sources and graph.grids[source].local == made.local else None
    return demand


def never_read(state: State) -> Iterator[Finding]:
    """SW108: one finding for each step that skips what earlier layers computed, with what stepping there would save."""
    graph = state.graph
    groups: dict[tuple[int, ...], list[Waste]] = {}
    for part in waste(state):
        groups.setdefault(part.by, []).append(part)
    if not groups:
        return
    total = sum(node.macs.at(state.sizes) for node in graph.nodes if node.counted)
    for by, parts in groups.items():
        saved = sum(part.macs for part in parts)
        keys = [graph.nodes[part.node].key for part in parts]
        named = keys[0] if len(keys) == 1 else f"{keys[0]} to {keys[-1]} ({len(keys)} layers)"
        yield Finding(
            rule="SW108",
            severity="info",
            key=keys[0],
            message=f"{named}: {percent(max(p.share for p in parts))} of the positions are computed and never read: "
            f"{_listed([_name(graph.nodes[n]) for n in by])} step{'s' if len(by) == 1 else ''} over them. "
            f"Stepping in {keys[0]} instead saves {saved:,} multiply-adds ({percent(Fraction(saved, total))})",
        )


def _name(node: Node) -> str:
    return node.key or (f"{node.path}/{node.op}" if node.path else node.op)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


class _Lattice(NamedTuple):
    base: int
    jump: int = 1
    anchor: int = 0
    gap: int = 0
    stack: tuple[int, ...] = ()  # nodes of the dilated windows on the longest path from the base


def _windowed(before: _Lattice, window: Window, size: int, grid: int, node: int | None) -> _Lattice:
    begin, _ = window.padding(size)
    gap = math.gcd(before.gap, before.jump * window.dilation) if window.kernel > 1 else before.gap
    jump = before.jump * window.stride
    if gap and jump % gap == 0:
        return _Lattice(grid)
    stack = (*before.stack, node) if window.kernel > 1 and node is not None else before.stack
    return _Lattice(before.base, jump, before.anchor - begin * before.jump, gap, stack)


def _joined(parts: Sequence[_Lattice], grid: int) -> _Lattice:
    first = parts[0]
    if any((p.base, p.jump) != (first.base, first.jump) for p in parts):
        return _Lattice(grid)
    gap = math.gcd(*(p.gap for p in parts), *(p.anchor - first.anchor for p in parts))
    if gap and first.jump % gap == 0:
        return _Lattice(grid)
    return first._replace(gap=gap, stack=max((p.stack for p in parts), key=len))


def _lattices(state: State, axis: int) -> list[_Lattice]:
    """The lattice of every grid along one axis."""
    found: list[_Lattice] = []
    for grid in state.graph.grids:
        parts = [found[s] for s in grid.sources]
        if axis >= len(grid.sizes) or not grid.local[axis] or grid.mixes or not parts:
            found.append(_Lattice(grid.index))
        elif grid.kind == "map":
            change = (state.maps.get(grid.index) or grid.maps)[axis]
            size = state.sizes[grid.sources[0]][axis]
            known = isinstance(change, Window)
            found.append(_windowed(parts[0], change, size, grid.index, grid.node) if known else _Lattice(grid.index))  # type: ignore[arg-type]
        elif grid.kind == "join" or (grid.kind == "concat" and grid.axis != axis):
            local = [p for p, s in zip(parts, grid.sources, strict=True) if state.graph.grids[s].local[axis]]
            found.append(_joined(local or parts, grid.index))
        else:
            found.append(_Lattice(grid.index))
    return found


def gridding(state: State) -> Iterator[Finding]:
    """SW107: one finding for each stack of dilated windows that nothing mixes again afterwards."""
    graph = state.graph
    if not any(
        isinstance(w, Window) and w.dilation > 1 for g in graph.grids for w in state.maps.get(g.index) or g.maps
    ):
        return
    stacks: dict[tuple[int, ...], dict[int, _Lattice]] = {}
    for axis in range(graph.axes):
        lattices = _lattices(state, axis)
        continued, mixed = _after(state, axis, lattices)
        for index, lattice in enumerate(lattices):
            if lattice.gap and len(lattice.stack) > 1 and index not in continued and index not in mixed:
                stacks.setdefault(lattice.stack, {})[axis] = lattice
    for stack, axes in stacks.items():
        lattice = next(iter(axes.values()))
        last = graph.nodes[stack[-1]]
        first = graph.nodes[stack[0]]
        yield Finding(
            rule="SW107",
            severity="info",
            key=last.key,
            message=f"{last.key}: {len(stack)} dilated windows from {first.key} on reach only every "
            f"{_ordinal(lattice.gap)} position{axis_names(sorted(axes), graph.axes)}, so neighbours never mix. "
            f"Give them dilations without a common divisor, or end with a window of dilation 1",
        )


def _after(state: State, axis: int, lattices: Sequence[_Lattice]) -> tuple[set[int], set[int]]:
    """Grids whose lattice a later grid continues, and grids whose neighbours some later window reads together."""
    continued: set[int] = set()
    mixed: set[int] = set()
    for grid in reversed(state.graph.grids):
        if axis >= len(grid.sizes) or not grid.local[axis]:
            continue
        fresh = lattices[grid.index].base == grid.index
        if (fresh and grid.kind == "map") or grid.mixes or grid.index in mixed:
            mixed.update(grid.sources)
        if not fresh:
            continued.update(grid.sources)
    return continued, mixed


def _ordinal(number: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{ends.get(number % 10, 'th') if number % 100 not in (11, 12, 13) else 'th'}"
