"""From a space of plans to its program: one walk over the grids in executed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import prod
from typing import TypeAlias

from stridewise.analyses.targets import Target
from stridewise.axis import AxisMap, Whole, Window
from stridewise.errors import PlanError
from stridewise.fronts.chip import caps, padded_at_most
from stridewise.fronts.program import Block, Ends, Line, Mapped, Pad, Pinned, Program, Same, Site, Total
from stridewise.fronts.space import Space
from stridewise.fronts.tally import tally
from stridewise.fronts.watch import Wanted
from stridewise.ir import Graph, Grid
from stridewise.rewrites.reconciliation import keeps_size, paddable_windows, shortfall


def compiled(
    space: Space,
    given: Mapping[int, Fraction] | None = None,
    wanted: Wanted | None = None,
    target: Target | None = None,
) -> Program:
    """The program of a space. given: unknowns that are fixed beforehand (an output stride); wanted: what to watch;
    target: whose limits to keep."""
    return _Compiler(space, given or {}, wanted or Wanted(), target).program()


def unknown_of(space: Space, axis: int, grid: int) -> tuple[int, Fraction] | None:
    """(unknown, factor) of a grid's cumulative stride along an axis; unknowns of all axes are counted through."""
    component = space.parts[axis].of[grid]
    if component < 0:
        return None
    index, by = space.tied[axis].of[component]
    return index + sum(p.count for p in space.parts[:axis]), by


class _Compiler:
    """Holds what is known while grids are read in order."""

    def __init__(self, space: Space, given: Mapping[int, Fraction], wanted: Wanted, target: Target | None) -> None:
        self.space, self.graph = space, space.graph
        self.axes = (0,) if space.same_axes else tuple(range(space.graph.axes))
        self.moves = tuple(space.moves.values())
        self.move_of = {m.grid: i for i, m in enumerate(self.moves)}
        self.line = Line()
        self.vars: list[tuple[int, ...]] = []
        count = sum(p.count for p in space.parts)
        self.unknowns: list[Fraction | None] = [None] * count
        self.settled: dict[int, int] = {}
        self.pads, self.holds = _paddable(space, target)
        self.target = target
        self.held: dict[tuple[int, int, int], int] = {}
        self.wanted = wanted
        self.fielded = _before_last(self.graph) if wanted.min_field > 1 else frozenset()
        self.met: set[Ends] = set()
        self.read_at: dict[int, int] = {}
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

    # -- grids -------------------------------------------------------------------------------------------------

    def program(self) -> Program:
        """The finished program."""
        pins: dict[int, list[tuple[int, ...]]] = {}
        for pin in self.graph.pins:
            if pin.anew:
                continue
            pins.setdefault(pin.grid, []).append(pin.sizes)
        for stop in self.graph.unknown:  # what reaches an op without a rule must reach it as it is
            for tensor in self.graph.nodes[stop.node].inputs:
                at = self.graph.tensors[tensor].grid
                if at is not None:
                    pins.setdefault(at, []).append(self.graph.grids[at].sizes)
        for grid in self.graph.grids:
            self.vars.append(self._grid(grid))
            self._watch(grid)
            for wanted in pins.get(grid.index, ()):
                self._pin(grid, wanted)
        tally(self.graph, self.moves, self.line, self.vars)
        for cap in caps(self.graph, self.moves, self.vars, self.target):
            self.line.blocks[self.line.settled((*cap.before, *cap.after))].caps.append(cap)
        last = self._last()
        for unknown in last:
            if unknown:
                self.asked[unknown[0]] = len(self.line.blocks)
        for b, block in enumerate(self.line.blocks):
            block.open_sizes = self.line.open(b)
            block.open_grids = tuple(
                g for before in self.line.blocks[: b + 1] for g in before.grids if self.read_at.get(g, -1) > b
            )
            block.settles = tuple(u for u, at in self.settled.items() if at == b)
            block.open_unknowns = tuple(u for u, at in sorted(self.settled.items()) if at <= b < self.asked.get(u, -1))
        return Program(
            space=self.space,
            moves=self.moves,
            blocks=tuple(self.line.blocks),
            sizes=tuple(self.line.sizes),
            unknowns=tuple(self.unknowns),
            last=last,
            grids=tuple(self.vars),
        )

    def _watch(self, grid: Grid) -> None:
        """Note what a pyramid or a field wants to know of a grid."""
        block = len(self.line.blocks) - 1
        if self.wanted.pyramid and grid.node is not None and all(grid.local):
            ends = tuple(unknown_of(self.space, axis, grid.index) for axis in self.axes)
            if ends not in self.met:
                self.met.add(ends)
                self.line.blocks[-1].ends.append(ends)
                for end in filter(None, ends):
                    self.asked[end[0]] = max(self.asked.get(end[0], -1), block)
        if grid.index in self.fielded:
            self.line.blocks[-1].grids.append(grid.index)
            for source in grid.sources:
                self.read_at[source] = block
                self.line.use(*self.vars[source])

    def _last(self) -> tuple[tuple[int, Fraction] | None, ...]:
        if self.graph.last is None:
            return ()
        grid = self.graph.tensors[self.graph.last].grid
        assert grid is not None
        return tuple(unknown_of(self.space, axis, grid) for axis in self.axes)

    def _pin(self, grid: Grid, wanted: Sequence[int]) -> None:
        for var, size in zip(self.vars[grid.index], wanted, strict=True):
            if not self.line.sizes[var]:
                self.line.use(var)
                self.line.emit(Pinned(var, size))

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
            return tuple(self.vars[grid.followed(axis)][axis] for axis in range(len(grid.sizes)))
        if grid.kind == "concat":
            parts = tuple(self.vars[s][grid.axis] for s in grid.sources)
            total, new = self.line.var(("sum", tuple(sorted(parts))))
            if new:
                self.line.use(*parts)
                self.line.emit(Total(total, parts))
            first = self.vars[grid.sources[0]]
            return tuple(total if a == grid.axis else v for a, v in enumerate(first))
        return tuple(self.line.constant(size) for size in grid.sizes)

    def _mapped(self, change: AxisMap, before: int, local: bool) -> int:
        if keeps_size(change):
            return before
        if isinstance(change, Whole):
            return self.line.constant(1)
        if self.line.sizes[before]:
            return self.line.constant(change.out_size(self.line.sizes[before]))
        after, new = self.line.var(("map", change, before))
        if new:
            self.line.use(before)
            self.line.emit(Mapped(after, before, change, local))
        return after

    def _join(self, grid: Grid) -> tuple[int, ...]:
        first = self.vars[grid.sources[0]]
        if grid.mixes:
            return first
        out = []
        for axis, local in enumerate(grid.local):
            found = [self.vars[s][axis] for s in grid.sources if self.graph.grids[s].local[axis]]
            if not local or not found:
                out.append(self.line.constant(1))
                continue
            parts = tuple(dict.fromkeys(found))
            held = tuple(self.held[h] for h in self.holds.get((grid.index, axis), ()) if h in self.held)
            if len(parts) > 1 or held:
                self.line.use(*parts, *held)
                self.line.emit(Same(parts, held if len(held) == len(found) else ()))
            out.append(next((p for p in parts if self.line.sizes[p]), parts[0]))
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
            self.line.blocks.append(Block())
            self.line.blocks[-1].options = len(move.options) if new else 1
            self.line.blocks[-1].guesses = prod(m + 1 for m in most)
        self.settled.update(dict.fromkeys(new, len(self.line.blocks) - 1))
        for part in filter(None, (*source, *target)):
            self.asked[part[0]] = len(self.line.blocks) - 1
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
            var, made = self.line.var(key, 0 if grid.local[axis] else 1)
            after.append(var)
            if made and grid.local[axis]:
                fresh.append(axis)
        self.line.use(*before)
        at = fresh or [0]
        self.line.emit(
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
            self.held[hold] = self.line.var(("held", hold))[0]
        self.line.use(self.held[hold])
        return Pad(axis, self.held[hold], most, before, after, first)


def _before_last(graph: Graph) -> frozenset[int]:
    """The last feature map's grid and all that its field follows from."""
    found: set[int] = set()
    todo = [] if graph.last is None else [graph.tensors[graph.last].grid]
    while todo:
        at = todo.pop()
        if at is not None and at not in found:
            found.add(at)
            todo += graph.grids[at].sources
    return frozenset(found)


Hold: TypeAlias = tuple[int, int, int]


def _paddable(
    space: Space, target: Target | None
) -> tuple[dict[tuple[int, int], tuple[Hold, int]], dict[tuple[int, int], list[Hold]]]:
    """For each (site's grid, axis) on a way to a join where some window may fall short: (the way, positions it may be
    given itself); and the ways of each (join, axis)."""
    sites: dict[tuple[int, int], tuple[Hold, int]] = {}
    ways: dict[tuple[int, int], list[Hold]] = {}
    for axis in range(space.graph.axes):
        for join, chains in paddable_windows(space.graph, axis).items():
            for i, chain in enumerate(chains):
                most = {
                    g: padded_at_most(space.graph, space.moves[g], axis, _most_short(space, g, axis), target)
                    for g in chain
                }
                if any(most.values()):
                    ways.setdefault((join, axis), []).append((join, i, axis))
                    sites.update({(g, axis): ((join, i, axis), most[g]) for g in chain})
    return sites, ways


def _most_short(space: Space, grid: int, axis: int) -> int:
    """Positions that a site's window falls short at most, at any of its changed steps."""
    move = space.moves[grid]
    windows = {move.windows(space.graph, step)[axis] for step in move.options if step != move.today}
    return max(
        (shortfall(w, w.span * w.stride * 2 + r) for w in windows if isinstance(w, Window) for r in range(w.stride)),
        default=0,
    )
