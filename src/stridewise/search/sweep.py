"""The dynamic programming behind a front: states from block to block, and of each state the points that none beats.

A state holds every size and cumulative stride that something later reads, so that two plans in one state have the same
future. Multiply-adds and activations of the future add the same to both, and a peak is the larger of past and future:
what is beaten in a state stays beaten. Nothing else is dropped, so the front is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stridewise.errors import PlanError
from stridewise.search.follow import Follower
from stridewise.search.pareto import Ints, undominated
from stridewise.search.program import Program

# Beyond these a front is refused, for it would take minutes and gigabytes: inception_v3 and NASNet-A are; GoogLeNet's
# 337,000 plans take five seconds.
MOST_POINTS = 4_000_000
MOST_STATES = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan may cost and must keep, in whole numbers; None where nothing is asked."""

    macs: int | None = None
    activations: int | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """The kept points behind one block: of which point of the block before, and by which option."""

    parent: Ints
    option: Ints


@dataclass(slots=True)
class Rows:
    """Points in columns; the rows of a state lie together, at `states[key]` = (first, past the last)."""

    states: dict[tuple[Any, ...], tuple[int, int]]
    macs: Ints
    peak: Ints
    activations: Ints
    changes: Ints


def swept(program: Program, follower: Follower, limits: Limits) -> tuple[list[Layer], Rows]:
    """All blocks from first to last: the kept points of each, and those of the last."""
    points = Rows({(): (0, 1)}, *(np.zeros(1, dtype=np.int64) for _ in range(4)))
    layers = []
    for number in range(len(program.blocks)):
        states, arrivals = _outgoing(program, follower, number, points)
        rest = None if limits.activations is None else _rest(program, follower, number, states)
        layer, points = _merged(states, arrivals, points, limits, rest, final=number == len(program.blocks) - 1)
        layers.append(layer)
        if len(points.macs) > MOST_POINTS or len(points.states) > MOST_STATES:
            raise PlanError(
                f"{program.space.graph.model}: too many plans for a whole front ({len(points.macs)} kept half-way); "
                "name the sites that may change, an output stride or a budget"
            )
        if not len(points.macs):
            break
    return layers, points


def _outgoing(program: Program, follower: Follower, number: int, points: Rows) -> tuple[list[tuple[Any, ...]], Ints]:
    """The states behind the block, and one row for each (state before, option) that leads to one: state, first and past
    the last of its points, option, multiply-adds, peak, activations, changes."""
    block = program.blocks[number]
    before = program.blocks[number - 1] if number else None
    options = range(block.options * block.guesses)
    states: dict[tuple[Any, ...], int] = {}
    rows = []
    for key, (first, last) in points.states.items():
        for option in options:
            if before is not None:
                follower.load(before, key)
            spent = follower.run(number, option)
            if spent is not None:
                at = states.setdefault(follower.key(block), len(states))
                rows.append((at, first, last, option, spent.macs, spent.peak, spent.activations, spent.changes))
    return list(states), np.array(rows, dtype=np.int64).reshape(-1, 8)


def _merged(
    states: Sequence[tuple[Any, ...]], arrivals: Ints, points: Rows, limits: Limits, rest: Ints | None, *, final: bool
) -> tuple[Layer, Rows]:
    """Per state the points that none beats, and where each came from. rest: activations that may come, by state."""
    state, first, last, option, macs, peak, made, changes = arrivals.T
    many = last - first
    state, option = np.repeat(state, many), np.repeat(option, many)
    parent = np.arange(many.sum()) + np.repeat(first - (np.cumsum(many) - many), many)
    macs = points.macs[parent] + np.repeat(macs, many)
    peak = np.maximum(points.peak[parent], np.repeat(peak, many))
    made = points.activations[parent] + np.repeat(made, many)
    changes = points.changes[parent] + np.repeat(changes, many)
    within = np.ones(len(state), dtype=bool)
    for column, limit in ((macs, limits.macs), (made, limits.activations), (peak, limits.peak_bytes)):
        if limit is not None:
            within &= column <= limit
    kept = np.flatnonzero(within)
    if len(kept):
        # A point that may come to exceed the activations wanted at most must not beat one that does not.
        sure = None if rest is None else made[kept] + rest[state[kept]] <= limits.activations
        rows = (state[kept], macs[kept], peak[kept], made[kept], changes[kept])
        kept = kept[undominated(*rows, final=final, sure=sure)]
    starts = np.searchsorted(state[kept], np.arange(len(states) + 1))
    found = {key: (int(starts[i]), int(starts[i + 1])) for i, key in enumerate(states) if starts[i] < starts[i + 1]}
    columns = (macs[kept], peak[kept], made[kept], changes[kept])
    return Layer(parent[kept], option[kept]), Rows(found, *columns)


def _rest(program: Program, follower: Follower, number: int, states: Sequence[tuple[Any, ...]]) -> Ints:
    """Per state the activations that the blocks behind it add at most."""
    rest = np.zeros(len(states), dtype=np.int64)
    for at, key in enumerate(states):
        follower.load(program.blocks[number], key)
        rest[at] = follower.rest(number)
    return rest
