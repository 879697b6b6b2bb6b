"""The states a program can be in behind each block, the ways between them, and what may still come behind each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from stridewise.errors import PlanError
from stridewise.fronts.follow import Follower
from stridewise.fronts.pareto import Ints
from stridewise.fronts.program import Program

State: TypeAlias = tuple[Any, ...]

MOST_STATES = 60_000  # beyond these a front is refused, for it would take minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What the blocks behind each state add, by state: the fewest multiply-adds and activations, the lowest peak and
    the most activations of any way to the end."""

    macs: Ints
    peak: Ints
    activations: Ints
    most_activations: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One block: the states behind it and the ways that lead there, by state reached. Of each way: the state it comes
    `source` (before the block), goes to (`target`), its option and what the block costs along it."""

    states: tuple[State, ...]
    source: Ints
    target: Ints
    option: Ints
    macs: Ints
    peak: Ints
    activations: Ints
    changes: Ints
    ahead: Ahead


def stages(program: Program, follower: Follower) -> list[Stage]:
    """All blocks from first to last, with only those ways that lead to the end; empty where none does."""
    found: list[Stage] = []
    before: tuple[State, ...] = ((),)
    for number, block in enumerate(program.blocks):
        states: dict[State, int] = {}
        ways = []
        for source, key in enumerate(before):
            if number:
                follower.load(program.blocks[number - 1], key)
            for at, option in enumerate(follower.options(number)):
                if number and at:
                    follower.load(program.blocks[number - 1], key)
                spent = follower.run(number, option)
                if spent is not None:
                    target = states.setdefault(follower.key(block), len(states))
                    ways.append((source, target, option, spent.macs, spent.peak, spent.activations, spent.changes))
        if len(states) > MOST_STATES:
            raise PlanError(
                f"{program.space.graph.model}: too many plans for a front ({len(states)} states half-way); name the "
                "sites that may change, or an output stride"
            )
        before = tuple(states)
        columns = np.array(ways, dtype=np.int64).reshape(-1, 7).T
        found.append(_stage(before, tuple(columns)))
    return _whole(found)


def _stage(states: tuple[State, ...], columns: Sequence[Ints]) -> Stage:
    source, target, option, macs, peak, activations, changes = columns
    return Stage(
        states=states,
        source=source,
        target=target.astype(np.int32),  # a column of these is a column of every point: as small as it may be
        option=option.astype(np.min_scalar_type(option.max(initial=0))),
        macs=macs,
        peak=peak,
        activations=activations,
        changes=changes.astype(np.int32),
        ahead=_end(len(states)),
    )


def _end(count: int) -> Ahead:
    nothing = np.zeros(count, dtype=np.int64)
    return Ahead(macs=nothing, peak=nothing, activations=nothing, most_activations=nothing)


def _whole(found: list[Stage]) -> list[Stage]:
    """The stages without states that lead nowhere, the ways by their target, and with what lies ahead."""
    out: list[Stage] = []
    ahead, alive = _end(len(found[-1].states)), np.ones(len(found[-1].states), dtype=bool)
    for number in range(len(found) - 1, -1, -1):
        stage = found[number]
        ways = np.flatnonzero(alive[stage.target])
        if not len(ways):
            return []
        ways = ways[np.argsort(stage.target[ways], kind="stable")]
        columns = (stage.source, stage.target, stage.option, stage.macs, stage.peak, stage.activations, stage.changes)
        source, target, option, macs, peak, made, changes = (column[ways] for column in columns)
        count = len(found[number - 1].states) if number else 1
        before = Ahead(
            macs=_least(count, source, ahead.macs[target] + macs),
            peak=_least(count, source, np.maximum(ahead.peak[target], peak)),
            activations=_least(count, source, ahead.activations[target] + made),
            most_activations=-_least(count, source, -(ahead.most_activations[target] + made)),
        )
        reached = np.zeros(count, dtype=bool)
        reached[source] = True
        kept = _stage(
            tuple(s for s, a in zip(stage.states, alive, strict=True) if a),
            (np.cumsum(reached)[source] - 1, np.cumsum(alive)[target] - 1, option, macs, peak, made, changes),
        )
        left = Ahead(
            macs=ahead.macs[alive],
            peak=ahead.peak[alive],
            activations=ahead.activations[alive],
            most_activations=ahead.most_activations[alive],
        )
        out.append(replace(kept, ahead=left))
        ahead, alive = before, reached
    return out[::-1]


def _least(count: int, at: Ints, values: Ints) -> Ints:
    """The least of the values at each of `count` places; the largest number where there is none."""
    out = np.full(count, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(out, at, values)
    return out
