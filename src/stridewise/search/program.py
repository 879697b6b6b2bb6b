"""A network as a straight line of small steps over sizes, so that many plans can be followed at once.

Every (grid, axis) has a *variable*: its size. Grids that always measure the same share one, also across axes. The line
runs in executed order and is cut into *blocks*, each opened by a site whose step is a real choice. What a block costs
(multiply-adds, activations, live bytes at each node) depends on the variables alone and is settled in the block where
the last of them gets its size. A variable or unknown that no later block reads is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import TypeAlias

from stridewise.analyses.cost import computed, lifetimes
from stridewise.axis import AxisMap, Whole, Window
from stridewise.errors import PlanError
from stridewise.ir import Grid, Volume
from stridewise.rewrites.meet import keeps_size, meetings, short
from stridewise.search.space import Move, Space

Monomial: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pad:
    """A window on the way to a join whose size a padded window may have set. Variable `held` is how many positions.

    most: positions that this window may be given itself. after: the variable they are added to. first: none before it.
    """

    axis: int
    held: int
    most: int
    before: int
    after: int
    first: bool


@dataclass(frozen=True, slots=True)
class Site:
    """A site steps from components `source` to `target` (per axis kept: unknown, factor), sizes `before` to `after`.

    axes: the axis each entry stands for. choice: its unknowns are not all settled before it.
    """

    move: int
    axes: tuple[int, ...]
    source: tuple[tuple[int, Fraction] | None, ...]
    target: tuple[tuple[int, Fraction] | None, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    local: tuple[bool, ...]
    choice: bool
    pads: tuple[Pad, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapped:
    """Variable `after` is the map's output size at variable `before`."""

    after: int
    before: int
    map: AxisMap
    local: bool


@dataclass(frozen=True, slots=True)
class Total:
    """Variable `after` is the sum of the variables `parts`."""

    after: int
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Same:
    """The variables must agree. held: how much padding set each part's size, where any may have: one must have none,
    for padding only makes up for what a part lacks."""

    parts: tuple[int, ...]
    held: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pinned:
    """The variable must measure `size`."""

    at: int
    size: int


Instruction: TypeAlias = Site | Mapped | Total | Same | Pinned


@dataclass(slots=True)
class Block:
    """Instructions from one choice to the next, and what is settled here: `monomials` are products of variables;
    macs, activations: {monomial: factor}; live: bytes alive at a node, as (monomial, factor) pairs, counted only when
    the site of that number steps (-1: always). options: of the site that opens it; guesses: how many ways to pad it.
    open: what later blocks read."""

    instructions: list[Instruction] = field(default_factory=list)
    macs: dict[Monomial, int] = field(default_factory=dict)
    activations: dict[Monomial, int] = field(default_factory=dict)
    live: list[tuple[int, tuple[tuple[Monomial, int], ...]]] = field(default_factory=list)
    monomials: tuple[Monomial, ...] = ()
    options: int = 1
    guesses: int = 1
    open_sizes: tuple[int, ...] = ()
    open_unknowns: tuple[int, ...] = ()
    settles: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """The straight line. sizes: the constants' sizes by variable (0: computed); unknowns: the given ones, by index.

    last: per axis kept, (unknown, factor) of the last feature map, None where the network has none.
    """

    space: Space
    moves: tuple[Move, ...]
    blocks: tuple[Block, ...]
    sizes: tuple[int, ...]
    unknowns: tuple[Fraction | None, ...]
    last: tuple[tuple[int, Fraction] | None, ...]
    grids: tuple[tuple[int, ...], ...]


def compiled(space: Space, given: Mapping[int, Fraction] | None = None) -> Program:
    """The program of a space. given: unknowns that are fixed beforehand (an output stride)."""
    return _Compiler(space, given or {}).program()


def unknown_of(space: Space, axis: int, grid: int) -> tuple[int, Fraction] | None:
    """(unknown, factor) of a grid's cumulative stride along an axis; unknowns of all axes are counted through."""
    component = space.parts[axis].of[grid]
    if component < 0:
        return None
    index, by = space.tied[axis].of[component]
    return index + sum(p.count for p in space.parts[:axis]), by


class _Compiler:
    """Holds what is known while grids are read in order."""

    def __init__(self, space: Space, given: Mapping[int, Fraction]) -> None:
        self.space, self.graph = space, space.graph
        self.axes = (0,) if space.same_axes else tuple(range(space.graph.axes))
        self.moves = tuple(space.moves.values())
        self.move_of = {m.grid: i for i, m in enumerate(self.moves)}
        self.sizes: list[int] = []
        self.born: list[int] = []  # the block a variable gets its size in
        self.used: list[int] = []  # the last block that reads it
        self.known: dict[object, int] = {}
        self.vars: list[tuple[int, ...]] = []
        self.blocks = [Block()]
        count = sum(p.count for p in space.parts)
        self.unknowns: list[Fraction | None] = [None] * count
        self.settled: dict[int, int] = {}
        self.pads, self.holds = _paddable(space)
        self.held: dict[tuple[int, int, int], int] = {}
        self.asked: dict[int, int] = {}
        for axis, tied in enumerate(space.tied):
            offset = sum(p.count for p in space.parts[:axis])
            for index, value in tied.known.items():
                self.unknowns[index + offset] = value
        for index, value in given.items():
            held = self.unknowns[index]
            if held is not None and held != value:
                raise PlanError(f"output stride: the last feature map's is fixed at {held}")
            self.unknowns[index] = value

    # -- variables ---------------------------------------------------------------------------------------------

    def _var(self, key: object, size: int = 0) -> tuple[int, bool]:
        """(variable, whether it is new) of what `key` describes."""
        if key in self.known:
            return self.known[key], False
        self.known[key] = index = len(self.sizes)
        self.sizes.append(size)
        self.born.append(len(self.blocks) - 1)
        self.used.append(len(self.blocks) - 1)
        return index, True

    def _constant(self, size: int) -> int:
        index, new = self._var(("constant", size), size)
        if new:
            self.born[index] = 0
        return index

    def _use(self, *variables: int) -> None:
        for v in variables:
            self.used[v] = max(self.used[v], len(self.blocks) - 1)

    def _emit(self, instruction: Instruction) -> None:
        self.blocks[-1].instructions.append(instruction)

    # -- grids -------------------------------------------------------------------------------------------------

    def program(self) -> Program:
        pins: dict[int, list[tuple[int, ...]]] = {}
        for pin in self.graph.pins:
            pins.setdefault(pin.grid, []).append(pin.sizes)
        for stop in self.graph.unknown:  # what reaches an op without a rule must reach it as it is
            for tensor in self.graph.nodes[stop.node].inputs:
                at = self.graph.tensors[tensor].grid
                if at is not None:
                    pins.setdefault(at, []).append(self.graph.grids[at].sizes)
        for grid in self.graph.grids:
            self.vars.append(self._grid(grid))
            for wanted in pins.get(grid.index, ()):
                self._pin(grid, wanted)
        self._terms()
        self._live()
        last = self._last()
        for unknown in last:
            if unknown:
                self.asked[unknown[0]] = len(self.blocks)
        for b, block in enumerate(self.blocks):
            block.open_sizes = tuple(
                v for v, size in enumerate(self.sizes) if not size and self.born[v] <= b < self.used[v]
            )
            block.settles = tuple(u for u, at in self.settled.items() if at == b)
            block.open_unknowns = tuple(u for u, at in sorted(self.settled.items()) if at <= b < self.asked.get(u, -1))
        return Program(
            space=self.space,
            moves=self.moves,
            blocks=tuple(self.blocks),
            sizes=tuple(self.sizes),
            unknowns=tuple(self.unknowns),
            last=last,
            grids=tuple(self.vars),
        )

    def _last(self) -> tuple[tuple[int, Fraction] | None, ...]:
        if self.graph.last is None:
            return ()
        grid = self.graph.tensors[self.graph.last].grid
        assert grid is not None
        return tuple(unknown_of(self.space, axis, grid) for axis in self.axes)

    def _pin(self, grid: Grid, wanted: Sequence[int]) -> None:
        for var, size in zip(self.vars[grid.index], wanted, strict=True):
            if not self.sizes[var]:
                self._use(var)
                self._emit(Pinned(var, size))

    def _grid(self, grid: Grid) -> tuple[int, ...]:
        """The variables of a grid, one an axis; instructions for those that are new."""
        if grid.index in self.move_of:
            return self._site(grid)
        if grid.kind == "map":
            before = self.vars[grid.sources[0]]
            return tuple(self._mapped(m, v, here) for m, v, here in zip(grid.maps, before, grid.local, strict=True))
        if grid.kind == "join":
            return self._join(grid)
        if grid.kind == "follow":
            return self.vars[grid.sources[-1]]
        if grid.kind == "concat":
            parts = tuple(self.vars[s][grid.axis] for s in grid.sources)
            total, new = self._var(("sum", tuple(sorted(parts))))
            if new:
                self._use(*parts)
                self._emit(Total(total, parts))
            first = self.vars[grid.sources[0]]
            return tuple(total if a == grid.axis else v for a, v in enumerate(first))
        return tuple(self._constant(size) for size in grid.sizes)

    def _mapped(self, change: AxisMap, before: int, local: bool) -> int:
        if keeps_size(change):
            return before
        if isinstance(change, Whole):
            return self._constant(1)
        if self.sizes[before]:
            return self._constant(change.out_size(self.sizes[before]))
        after, new = self._var(("map", change, before))
        if new:
            self._use(before)
            self._emit(Mapped(after, before, change, local))
        return after

    def _join(self, grid: Grid) -> tuple[int, ...]:
        first = self.vars[grid.sources[0]]
        if grid.mixes:
            return first
        out = []
        for axis, local in enumerate(grid.local):
            found = [self.vars[s][axis] for s in grid.sources if self.graph.grids[s].local[axis]]
            if not local or not found:
                out.append(self._constant(1))
                continue
            parts = tuple(dict.fromkeys(found))
            held = tuple(self.held[h] for h in self.holds.get((grid.index, axis), ()) if h in self.held)
            if len(parts) > 1 or held:
                self._use(*parts, *held)
                self._emit(Same(parts, held if len(held) == len(found) else ()))
            out.append(next((p for p in parts if self.sizes[p]), parts[0]))
        return tuple(out)

    def _site(self, grid: Grid) -> tuple[int, ...]:
        index = self.move_of[grid.index]
        source = tuple(unknown_of(self.space, a, grid.sources[0]) for a in self.axes)
        target = tuple(unknown_of(self.space, a, grid.index) for a in self.axes)
        move = self.moves[index]
        for unknown in filter(None, source):
            if self.unknowns[unknown[0]] is None and unknown[0] not in self.settled:
                raise PlanError(f"{move.key}: what it steps over has no cumulative stride")
        inner = all(s is None or s == t for s, t in zip(source, target, strict=True))
        new = [t[0] for t in target if t and self.unknowns[t[0]] is None and t[0] not in self.settled]
        if inner and set(move.options) == {move.today} and not new:
            keys = grid.maps
            before = self.vars[grid.sources[0]]
            return tuple(self._mapped(m, v, here) for m, v, here in zip(keys, before, grid.local, strict=True))
        most = [self.pads.get((grid.index, a), (None, 0))[1] for a in range(len(grid.maps))]
        if (new and len(move.options) > 1) or any(most):
            self.blocks.append(Block())
            self.blocks[-1].options = len(move.options) if new else 1
            self.blocks[-1].guesses = prod(m + 1 for m in most)
        self.settled.update(dict.fromkeys(new, len(self.blocks) - 1))
        for part in filter(None, (*source, *target)):
            self.asked[part[0]] = len(self.blocks) - 1
        before = self.vars[grid.sources[0]]
        after: list[int] = []
        fresh: list[int] = []
        tables = zip(*(move.windows(self.graph, step) for step in move.options), strict=True)
        for axis, windows in enumerate(tables):
            kept = axis if axis in self.axes else 0
            # Sites that step alike from one component to another with the same windows give the same sizes.
            key: tuple[object, ...] = ("constant", 1)
            if grid.local[axis]:
                ends = source[self.axes.index(kept)], target[self.axes.index(kept)]
                own = (grid.index, axis) if most[axis] else ()
                key = ("site", windows, before[axis], *ends, *own)
            var, made = self._var(key, 0 if grid.local[axis] else 1)
            after.append(var)
            if made and grid.local[axis]:
                fresh.append(axis)
        self._use(*before)
        at = fresh or [0]
        self._emit(
            Site(
                move=index,
                axes=tuple(at) if fresh else (),
                source=source,
                target=target,
                before=tuple(before[a] for a in at) if fresh else (),
                after=tuple(after[a] for a in at) if fresh else (),
                local=tuple(grid.local[a] for a in at) if fresh else (),
                choice=bool(new),
                pads=tuple(
                    self._pad(grid.index, a, most[a], before[a], after[a])
                    for a in range(len(most))
                    if (grid.index, a) in self.pads
                ),
            )
        )
        return tuple(after)

    def _pad(self, grid: int, axis: int, most: int, before: int, after: int) -> Pad:
        """What a site does to the padding that a join to come asks for."""
        hold = self.pads[grid, axis][0]
        first = hold not in self.held
        if first:
            self.held[hold] = self._var(("held", hold))[0]
        self._use(self.held[hold])
        return Pad(axis, self.held[hold], most, before, after, first)

    # -- costs -------------------------------------------------------------------------------------------------

    def _monomial(self, volume: Volume) -> tuple[int | Fraction, Monomial]:
        scale: int | Fraction = volume.scale
        variables = []
        for grid, axis in volume.over:
            var = self.vars[grid][axis]
            if self.sizes[var]:
                scale *= self.sizes[var]
            else:
                variables.append(var)
        if isinstance(scale, Fraction) and scale.denominator == 1:
            scale = int(scale)
        return scale, tuple(sorted(variables))

    def _settled_at(self, monomials: Sequence[Monomial]) -> int:
        """The block in which the last of the variables gets its size; they stay open until then."""
        variables = {v for m in monomials for v in m}
        block = max((self.born[v] for v in variables), default=0)
        for v in variables:
            self.used[v] = max(self.used[v], block)
        return block

    def _whole(self, volume: Volume) -> tuple[int, Monomial]:
        scale, monomial = self._monomial(volume)
        if isinstance(scale, Fraction):
            raise PlanError(f"front: a volume of {scale} elements a position is not whole; leave these sites out")
        return scale, monomial

    def _terms(self) -> None:
        for node in self.graph.nodes:
            if not node.counted:
                continue
            scale, monomial = self._whole(node.macs)
            macs = self.blocks[self._settled_at([monomial])].macs
            macs[monomial] = macs.get(monomial, 0) + scale
            for volume in computed(self.graph, node):
                scale, monomial = self._whole(volume)
                sums = self.blocks[self._settled_at([monomial])].activations
                sums[monomial] = sums.get(monomial, 0) + scale

    def _live(self) -> None:
        """Bytes alive at each node; only those that no other node of the same block is sure to exceed."""
        found = lifetimes(self.graph)
        born: dict[int, list[int]] = {}
        dies: dict[int, list[int]] = {}
        for start, end, root in found.spans:
            born.setdefault(start, []).append(root)
            dies.setdefault(end, []).append(root)
        term = {}
        for _, _, root in found.spans:
            tensor = self.graph.tensors[root]
            scale, monomial = self._whole(tensor.volume)
            term[root] = (monomial, scale * tensor.itemsize)
        slots = {m.node: (i, m) for i, m in enumerate(self.moves) if m.slot}
        alive: dict[Monomial, int] = {}
        each: list[list[tuple[int, dict[Monomial, int]]]] = [[] for _ in self.blocks]
        for at in range(-1, found.nodes + 1):
            for root in born.get(at, ()):
                monomial, size = term[root]
                alive[monomial] = alive.get(monomial, 0) + size
            now = {m: n for m, n in alive.items() if n}
            settled = self._settled_at(list(now))
            # An idle step is no op: its output is its input's memory, and the node before it had that alive too.
            decides = at in slots and len(slots[at][1].options) > 1
            each[settled].append((slots[at][0] if decides else -1, now))
            for root in dies.get(at, ()):
                monomial, size = term[root]
                alive[monomial] -= size
        for block, live in zip(self.blocks, each, strict=True):
            block.live = [(slot, tuple(now.items())) for slot, now in _largest(live)]
            used = {m for _, now in block.live for m, _ in now}
            block.monomials = tuple(used | set(block.macs) | set(block.activations))


def _largest(live: Sequence[tuple[int, dict[Monomial, int]]]) -> list[tuple[int, dict[Monomial, int]]]:
    """Without those that another one exceeds at every size."""
    kept: list[tuple[int, dict[Monomial, int]]] = []
    for slot, now in sorted(live, key=lambda item: -sum(item[1].values())):
        if not any(other in (-1, slot) and all(more.get(m, 0) >= n for m, n in now.items()) for other, more in kept):
            kept.append((slot, now))
    return kept


Hold: TypeAlias = tuple[int, int, int]


def _paddable(
    space: Space,
) -> tuple[dict[tuple[int, int], tuple[Hold, int]], dict[tuple[int, int], list[Hold]]]:
    """For each (site's grid, axis) on a way to a join where some window may fall short: (the way, positions it may be
    given itself); and the ways of each (join, axis)."""
    sites: dict[tuple[int, int], tuple[Hold, int]] = {}
    ways: dict[tuple[int, int], list[Hold]] = {}
    for axis in range(space.graph.axes):
        for join, chains in meetings(space.graph, axis).items():
            for i, chain in enumerate(chains):
                most = {g: _most_short(space, g, axis) for g in chain}
                if any(most.values()):
                    ways.setdefault((join, axis), []).append((join, i, axis))
                    sites.update({(g, axis): ((join, i, axis), most[g]) for g in chain})
    return sites, ways


def _most_short(space: Space, grid: int, axis: int) -> int:
    """Positions that a site's window falls short at most, at any of its changed steps."""
    move = space.moves[grid]
    windows = {move.windows(space.graph, step)[axis] for step in move.options if step != move.today}
    return max(
        (short(w, w.span * w.stride * 2 + r) for w in windows if isinstance(w, Window) for r in range(w.stride)),
        default=0,
    )
