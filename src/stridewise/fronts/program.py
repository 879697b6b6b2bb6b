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
