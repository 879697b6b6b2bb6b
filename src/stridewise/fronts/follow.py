"""Follows one plan through a program: sizes, strides and costs of a block, or None where it does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, TypeAlias

from stridewise.axis import AxisMap, Window
from stridewise.errors import GeometryError
from stridewise.fronts.program import Block, Floored, Mapped, Pinned, Program, Same, Site, Total
from stridewise.fronts.space import Move, Step
from stridewise.fronts.watch import Wanted, Watcher

Stride: TypeAlias = int | Fraction


@dataclass(frozen=True, slots=True)
class Spent:
    """What a block costs: multiply-adds, highest bytes alive, activations; and how many sites differ from today."""

    macs: int
    peak: int
    activations: int
    changes: int


@dataclass(slots=True)
class _Stepping:
    """A site made ready: what it steps by, from which strides, and the output sizes of each window met so far.

    beyond: today's step is larger than the map it steps over already.
    """

    site: Site
    move: int
    today: Step
    options: tuple[Step, ...]
    index: dict[Step, int]
    source: tuple[tuple[int, Stride] | None, ...]
    target: tuple[tuple[int, Stride] | None, ...]
    tables: tuple[tuple[dict[int, int], ...], ...]
    windows: tuple[tuple[AxisMap, ...], ...]
    stride: tuple[Step, ...]
    beyond: bool


class Follower:
    """Runs blocks over a scratch of sizes and strides. `smallest`: a map may measure no fewer positions on an axis."""

    def __init__(self, program: Program, smallest: int = 1, wanted: Wanted | None = None) -> None:
        self.program = program
        self.watcher = Watcher(program.space.graph, wanted) if wanted else None
        self.smallest = smallest
        self.sizes = list(program.sizes)
        self.unknowns: list[Any] = [None if u is None else _plain(u) for u in program.unknowns]
        self.steps: list[Step] = [m.today for m in program.moves]
        self.ready = [[self._ready(i) for i in block.instructions] for block in program.blocks]
        self.every = 1 if not program.space.same_axes else program.space.graph.axes
        self.move_of = {m.grid: i for i, m in enumerate(program.moves)}
        self.seen: dict[tuple[AxisMap, int], int] = {}

    def _ready(self, instruction: Any) -> Any:
        if not isinstance(instruction, Site):
            return instruction
        move = self.program.moves[instruction.move]
        windows = tuple(move.windows(self.program.space.graph, step) for step in move.options)
        return _Stepping(
            site=instruction,
            move=instruction.move,
            today=move.today,
            options=move.options,
            index={step: i for i, step in enumerate(move.options)},
            source=tuple(s and (s[0], _plain(s[1])) for s in instruction.source),
            target=tuple(t and (t[0], _plain(t[1])) for t in instruction.target),
            tables=tuple(tuple({} for _ in instruction.axes) for _ in windows),
            windows=tuple(tuple(w[a] for a in instruction.axes) for w in windows),
            stride=tuple(tuple(getattr(m, "stride", 1) for m in w) for w in windows),
            beyond=self._beyond(move),
        )

    def _beyond(self, move: Move) -> bool:
        grids = self.program.space.graph.grids
        made = grids[move.grid]
        sizes = zip(move.today, grids[made.sources[0]].sizes, made.local, strict=True)
        return any(step > size for step, size, local in sizes if local)

    def load(self, block: Block, key: Sequence[Any]) -> None:
        """Put the open sizes and strides of a state back."""
        for variable, size in zip(block.open_sizes, key, strict=False):
            self.sizes[variable] = size
        offset = len(block.open_sizes)
        for i, unknown in enumerate(block.open_unknowns):
            self.unknowns[unknown] = key[offset + i]
        if self.watcher is not None:
            self.watcher.load(key[offset + len(block.open_unknowns) :], block.open_grids)

    def key(self, block: Block) -> tuple[Any, ...]:
        """The state behind a block: every size and stride that a later block reads."""
        sizes, unknowns = self.sizes, self.unknowns
        rest = self.watcher.key(block.open_grids) if self.watcher is not None else ()
        return (*[sizes[v] for v in block.open_sizes], *[unknowns[u] for u in block.open_unknowns], *rest)

    def options(self, number: int) -> list[int]:
        """The options of a block that its first site can take in the loaded state, each padded in every way in which
        its windows fall short. Its own site alone decides: what lies behind it may refuse them yet."""
        block = self.program.blocks[number]
        first = self.ready[number][0] if self.ready[number] else None
        if type(first) is not _Stepping:
            return list(range(block.options * block.guesses))
        out: list[int] = []
        before = [self.unknowns[u] for u in block.settles]
        for option in range(block.options):
            for unknown in block.settles:
                self.unknowns[unknown] = None
            chosen = self._step(first, option)
            if chosen >= 0 and self._sized(first, chosen):
                out += [option * block.guesses + guess for guess in self._guesses(first, chosen)]
        for unknown, value in zip(block.settles, before, strict=True):
            self.unknowns[unknown] = value
        return out

    def _guesses(self, ready: _Stepping, chosen: int) -> list[int]:
        """How a site may be padded: each pad's positions (the first counts by one, the next by all before it)."""
        out, unit = [0], 1
        for pad in ready.site.pads:
            short = -(-self.sizes[pad.before] // ready.stride[chosen][pad.axis]) - self.sizes[pad.after]
            rows = range(min(pad.most, short if ready.options[chosen] != ready.today else 0) + 1)
            out = [guess + unit * n for n in rows or (0,) for guess in out]
            unit *= pad.most + 1
        return out

    def run(self, number: int, option: int) -> Spent | None:
        """Run a block whose first site takes its option of that number. None where the plan is not consistent."""
        changes = 0
        sizes = self.sizes
        guesses = self.program.blocks[number].guesses
        for unknown in self.program.blocks[number].settles:
            self.unknowns[unknown] = None
        for instruction in self.ready[number]:
            kind = type(instruction)
            if kind is _Stepping:
                chosen = self._step(instruction, option // guesses)
                if chosen < 0 or not self._sized(instruction, chosen):
                    return None
                if instruction.site.pads and not self._padded(instruction, chosen, option % guesses):
                    return None
                option = 0
                step = instruction.options[chosen]
                self.steps[instruction.move] = step
                changes += step != instruction.today
            elif kind is Mapped:
                if not self._mapped(instruction):
                    return None
            elif kind is Same:
                first = sizes[instruction.parts[0]]
                if any(sizes[p] != first for p in instruction.parts):
                    return None
                if instruction.held and all(sizes[h] for h in instruction.held):
                    return None
            elif kind is Pinned:
                if sizes[instruction.at] != instruction.size:
                    return None
            elif kind is Floored:
                sizes[instruction.after] = int(instruction.scale * prod([sizes[p] for p in instruction.parts]))
            else:
                assert isinstance(instruction, Total)
                sizes[instruction.after] = sum(sizes[p] for p in instruction.parts)
        block = self.program.blocks[number]
        if self.watcher is not None and not self._watched(self.watcher, block):
            return None
        if any(cap.broken(sizes) and (cap.slot < 0 or any(s > 1 for s in self.steps[cap.slot])) for cap in block.caps):
            return None
        return self._spent(block, changes)

    def _watched(self, watcher: Watcher, block: Block) -> bool:
        """Whether the plan still keeps what is wanted beside its cost."""
        for ends in block.ends:
            watcher.meet([self.unknowns[end[0]] * end[1] for end in ends if end])
        for grid in block.grids:
            made = self.program.space.graph.grids[grid]
            sizes = {s: tuple(self.sizes[v] for v in self.program.grids[s]) for s in made.sources}
            at = self.move_of.get(grid)
            maps = (
                {} if at is None else {grid: self.program.moves[at].windows(self.program.space.graph, self.steps[at])}
            )
            if not watcher.reach(grid, sizes, maps):
                return False
        return block is not self.program.blocks[-1] or watcher.finish()

    def _step(self, ready: _Stepping, option: int) -> int:
        """The number of the site's step: what strides already settled force, else `option`. -1: they contradict it."""
        unknowns = self.unknowns
        forced: list[int | None] = []
        for axis, (source, target) in enumerate(zip(ready.source, ready.target, strict=True)):
            if source is None or target is None:
                forced.append(ready.today[axis])
                continue
            if unknowns[target[0]] is None:
                forced.append(None)
                continue
            through = _whole(unknowns[target[0]] * target[1], unknowns[source[0]] * source[1])
            if through < 1:
                return -1
            forced.append(through)
        if None not in forced:
            known = tuple(forced) * self.every
            return ready.index.get(known, -1)  # type: ignore[arg-type]
        step_of = ready.options[option]
        for axis, (step, source, target) in enumerate(zip(forced, ready.source, ready.target, strict=True)):
            if step is not None:
                if step_of[axis] != step:
                    return -1
            elif source is not None and target is not None:
                unknowns[target[0]] = _over(unknowns[source[0]] * source[1] * step_of[axis], target[1])
        return option

    def _sized(self, ready: _Stepping, chosen: int) -> bool:
        sizes, site = self.sizes, ready.site
        for table, window, before, after in zip(
            ready.tables[chosen], ready.windows[chosen], site.before, site.after, strict=True
        ):
            size = sizes[before]
            out = table.get(size)
            if out is None:
                # A step larger than the map it steps over reads the same as a smaller one: no plan of its own, but
                # where the network as it is steps so, what is tied to it may have no other.
                today = ready.beyond and ready.options[chosen] == ready.today
                fits = today or not isinstance(window, Window) or window.stride <= size
                out = table[size] = self._out_size(window, size) if fits else 0
            if out < self.smallest:
                return False
            sizes[after] = out
        return True

    def _padded(self, ready: _Stepping, chosen: int, guess: int) -> bool:
        """Add the positions that end padding gives (digits of `guess`) where the site falls short by as many."""
        sizes, step = self.sizes, ready.stride[chosen]
        changed = ready.options[chosen] != ready.today
        for pad in ready.site.pads:
            held = 0 if pad.first else sizes[pad.held]
            guess, rows = divmod(guess, pad.most + 1)
            if held and (changed or step[pad.axis] != 1):
                return False
            if rows:
                if not changed or -(-sizes[pad.before] // step[pad.axis]) - sizes[pad.after] < rows:
                    return False
                sizes[pad.after] += rows
                held = rows
            sizes[pad.held] = held
        return guess == 0

    def _mapped(self, instruction: Mapped) -> bool:
        size = self.sizes[instruction.before]
        key = (instruction.map, size)
        out = self.seen.get(key)
        if out is None:
            out = self.seen[key] = self._out_size(instruction.map, size)
        self.sizes[instruction.after] = out
        return out >= (self.smallest if instruction.local else 1)

    @staticmethod
    def _out_size(change: AxisMap, size: int) -> int:
        """The output's size, 0 where nothing fits."""
        try:
            return change.out_size(size)
        except GeometryError:
            return 0

    def _spent(self, block: Block, changes: int) -> Spent:
        sizes = self.sizes
        area = {m: prod([sizes[v] for v in m]) for m in block.monomials}
        peak = 0
        for slot, live in block.live:
            if slot < 0 or any(s > 1 for s in self.steps[slot]):
                peak = max(peak, sum([n * area[m] for m, n in live]))
        return Spent(
            sum([n * area[m] for m, n in block.macs.items()]),
            peak,
            sum([n * area[m] for m, n in block.activations.items()]),
            changes,
        )


def _plain(value: Fraction) -> Stride:
    return int(value) if value.denominator == 1 else value


def _whole(over: Stride, under: Stride) -> int:
    """over / under where that is whole, else 0."""
    if type(over) is int and type(under) is int:
        quotient, rest = divmod(over, under)
        return 0 if rest else quotient
    found = Fraction(over) / under
    return int(found) if found.denominator == 1 else 0


def _over(value: Stride, by: Stride) -> Stride:
    if by == 1:
        return value
    return _plain(Fraction(value) / by)
