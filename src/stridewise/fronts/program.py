"""A network as a straight line of small steps over sizes, so that many plans can be followed at once.

Every (grid, axis) has a *variable*: its size. Grids that always measure the same share one, also across axes. The line
runs in executed order and is cut into *blocks*, each opened by a site whose step is a real choice. What a block costs
(multiply-adds, activations, live bytes at each node) depends on the variables alone and is settled in the block where
the last of them gets its size. A variable or unknown that no later block reads is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

from stridewise.axis import AxisMap
from stridewise.fronts.chip import Cap
from stridewise.fronts.space import Move, Space

Monomial: TypeAlias = tuple[int, ...]
Live: TypeAlias = tuple[int, tuple[tuple[Monomial, int], ...]]
# Per axis (unknown, factor) of a cumulative stride; None where there are no positions.
Ends: TypeAlias = tuple[tuple[int, Fraction] | None, ...]


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


@dataclass(frozen=True, slots=True)
class Floored:
    """Variable `after` is scale times the product of the variables `parts`, rounded down."""

    after: int
    scale: Fraction
    parts: Monomial


Instruction: TypeAlias = Site | Mapped | Total | Same | Pinned | Floored


@dataclass(slots=True)
class Block:
    """Instructions from one choice to the next, and what is settled here: `monomials` are products of variables;
    macs, activations: {monomial: factor}; live: bytes alive at a node, as (monomial, factor) pairs, counted only when
    the site of that number steps (-1: always). options: of the site that opens it; guesses: how many ways to pad it.
    open: what later blocks read. ends: cumulative strides of maps first met here; grids: those whose fields are wanted.
    caps: limits on sizes that are settled here.
    """

    instructions: list[Instruction] = field(default_factory=list)
    macs: dict[Monomial, int] = field(default_factory=dict)
    activations: dict[Monomial, int] = field(default_factory=dict)
    live: list[Live] = field(default_factory=list)
    monomials: tuple[Monomial, ...] = ()
    options: int = 1
    guesses: int = 1
    open_sizes: tuple[int, ...] = ()
    open_unknowns: tuple[int, ...] = ()
    ends: list[Ends] = field(default_factory=list)
    grids: list[int] = field(default_factory=list)
    open_grids: tuple[int, ...] = ()
    settles: tuple[int, ...] = ()
    caps: list[Cap] = field(default_factory=list)


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


@dataclass(slots=True)
class Line:
    """Variables by what they describe, and the blocks so far. Per variable: its size where that is a constant (else 0),
    the block in which it gets its size, and the last block that reads it."""

    blocks: list[Block] = field(default_factory=lambda: [Block()])
    sizes: list[int] = field(default_factory=list)
    born: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    known: dict[object, int] = field(default_factory=dict)

    def var(self, key: object, size: int = 0) -> tuple[int, bool]:
        """(variable, whether it is new) of what `key` describes."""
        if key in self.known:
            return self.known[key], False
        self.known[key] = index = len(self.sizes)
        self.sizes.append(size)
        self.born.append(len(self.blocks) - 1)
        self.used.append(len(self.blocks) - 1)
        return index, True

    def constant(self, size: int) -> int:
        """The variable of a size that never changes."""
        index, new = self.var(("constant", size), size)
        if new:
            self.born[index] = 0
        return index

    def use(self, *variables: int) -> None:
        """Note that the newest block reads these."""
        for v in variables:
            self.used[v] = max(self.used[v], len(self.blocks) - 1)

    def emit(self, instruction: Instruction) -> None:
        """Append to the newest block."""
        self.blocks[-1].instructions.append(instruction)

    def settled(self, *monomials: Monomial) -> int:
        """The block in which the last of the variables gets its size; all of them stay open until then."""
        variables = {v for m in monomials for v in m}
        block = max((self.born[v] for v in variables), default=0)
        for v in variables:
            self.used[v] = max(self.used[v], block)
        return block

    def open(self, block: int) -> tuple[int, ...]:
        """Variables that have their size behind a block and are read by a later one."""
        return tuple(v for v, size in enumerate(self.sizes) if not size and self.born[v] <= block < self.used[v])
