"""The dynamic programming behind a front: states from block to block, and of each state the points that none beats.

A state holds every size and cumulative stride that something later reads, so that two plans in one state have the same
future. Multiply-adds and activations of the future add the same to both, and a peak is the larger of past and future:
what is beaten in a state stays beaten. Nothing else is dropped, so the front is whole.

Where that is too much it is *thinned* to a stated tolerance t: for every plan the points then hold one of the same
output stride with at most 1 + t times its multiply-adds and peak and at least 1 / (1 + t) of its activations. Points
are compared by boxes of their logarithms. Peaks lie in boxes of 1 + t throughout: a larger of two keeps their order,
so that no error adds up. Each thinning makes sums wrong by a factor of its own, and the factors' product is 1 + t.
Source: Papadimitriou and Yannakakis 2000 (shares of a tolerance), Laumanns et al. 2002 (boxes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stridewise.fronts.pareto import Ints, undominated
from stridewise.fronts.paths import Stage, State

THINNED_FROM = 60_000  # points behind a block are thinned where that is allowed
# Late thinning, for networks of very many states: from so many points on, each time by this share of what is left.
_LATE_FROM = 400_000
_LATE_SHARE = 0.2
# A block is passed over, its points not compared, unless there are few states behind it or so many times more points.
_COMPARED_AT = 4
_BETWEEN = 3  # blocks from one thinning to the next, as far as can be foreseen
_PORTION = 30_000  # points that are compared at once, where no state alone has more
_ROUNDING = 1 - 1e-9  # boxes are narrower than they may be by more than floating-point numbers err


class TooManyPointsError(Exception):
    """A sweep was given up; `count` points were there."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


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
    """Points in columns; the rows of state number i lie together, from starts[i] to starts[i + 1]."""

    states: tuple[State, ...]
    starts: Ints
    macs: Ints
    peak: Ints
    activations: Ints
    changes: Ints

    def __len__(self) -> int:
        return len(self.macs)


_NOTHING = np.zeros(0, dtype=np.int64)
NO_ROWS = Rows((), np.zeros(1, dtype=np.int64), _NOTHING, _NOTHING, _NOTHING, _NOTHING)


def swept(
    stages: Sequence[Stage], limits: Limits, *, most: int, tolerance: float = 0.0, late: bool = False
) -> tuple[list[Layer], Rows]:
    """The kept points of each block from first to last, and those of the last; tolerance: 0 for the whole front.

    late: thin few times and coarsely, which keeps fewer points of very many states, and takes longer.

    Raises: TooManyPointsError where a block is reached by more than `most`.
    """
    nothing = np.zeros(1, dtype=np.int64)
    points = Rows(((),), np.array([0, 1]), nothing, nothing, nothing, nothing.astype(np.int32))
    layers: list[Layer] = []
    narrow = _narrow(stages)
    width = left = math.log1p(tolerance) * _ROUNDING
    compared = 1
    for number, stage in enumerate(stages):
        layer, points = _arrived(stage, points, limits, most)
        final = number == len(stages) - 1
        grown = len(points) > _COMPARED_AT * compared
        if final or number in narrow or grown:
            thin = left > 0 and not late and len(points) > THINNED_FROM and (final or grown)
            if final or not thin:
                layer, points = _taken(layer, points, _best(stage, points, limits, width, final=final))
            if late:
                thin = left > 0 and len(points) > _LATE_FROM and not final
            if thin:
                ahead = 1 + math.ceil((len(stages) - 1 - number) / _BETWEEN)
                share = left * _LATE_SHARE if late else left / ahead
                left -= share
                layer, points = _taken(layer, points, _thinned(stage, points, limits, width, share))
            compared = max(len(points), 1)
        layers.append(layer)
        if not len(points):
            break
    return layers, points


def _narrow(stages: Sequence[Stage]) -> frozenset[int]:
    """The blocks behind which there are fewer states than before and after them: there most points can be compared."""
    many = [1, *(len(s.states) for s in stages)]
    return frozenset(n for n in range(len(stages) - 1) if many[n] > many[n + 1] <= many[n + 2])


def _arrived(stage: Stage, points: Rows, limits: Limits, most: int) -> tuple[Layer, Rows]:
    """Every point taken along every way of a block, but for those that must exceed a limit."""
    first, last = points.starts[stage.source], points.starts[stage.source + 1]
    many = last - first
    if many.sum() > most:
        raise TooManyPointsError(int(many.sum()))
    way = np.repeat(np.arange(len(many), dtype=np.int32), many)  # rows are far fewer than 2^31: half the memory
    parent = np.arange(len(way), dtype=np.int32)
    parent += np.repeat((first - (np.cumsum(many) - many)).astype(np.int32), many)
    state, ahead = stage.target[way], stage.ahead
    macs = points.macs[parent]  # added to where they lie: two columns of these rows at once are the peak of a sweep
    macs += stage.macs[way]
    # A peak below any that must come is as good as that one.
    peak = np.maximum(stage.peak, ahead.peak[stage.target])[way]
    np.maximum(peak, points.peak[parent], out=peak)
    made = points.activations[parent]
    made += stage.activations[way]
    changes = points.changes[parent]
    changes += stage.changes[way]
    rows = Rows(stage.states, np.searchsorted(state, np.arange(len(stage.states) + 1)), macs, peak, made, changes)
    layer = Layer(parent, stage.option[way])
    within = np.ones(len(state), dtype=bool)
    if limits.macs is not None:
        within &= macs + ahead.macs[state] <= limits.macs
    if limits.activations is not None:
        within &= made + ahead.activations[state] <= limits.activations
    if limits.peak_bytes is not None:
        within &= peak <= limits.peak_bytes
    return (layer, rows) if within.all() else _taken(layer, rows, np.flatnonzero(within))


def _taken(layer: Layer, points: Rows, rows: Ints) -> tuple[Layer, Rows]:
    """Some of the points, by state."""
    columns = (points.macs, points.peak, points.activations, points.changes)
    starts = np.searchsorted(_states(points)[rows], np.arange(len(points.states) + 1))
    return Layer(layer.parent[rows], layer.option[rows]), Rows(points.states, starts, *(c[rows] for c in columns))


def _states(points: Rows) -> Ints:
    """The number of each point's state."""
    return np.repeat(np.arange(len(points.states), dtype=np.int32), np.diff(points.starts))


def _best(stage: Stage, points: Rows, limits: Limits, width: float, *, final: bool) -> Ints:
    """The points that none of their state beats. width: of a peak's box, 0 where peaks are compared as they are."""
    peak = _boxes(points.peak, width) if width else points.peak
    return _compared(stage, points, limits, points.macs, peak, points.activations, final=final)


def _thinned(stage: Stage, points: Rows, limits: Limits, width: float, share: float) -> Ints:
    """One point of each box that no other box beats: of what each will cost at least, all ways to the end."""
    state = _states(points)
    macs = _boxes(points.macs + stage.ahead.macs[state], share)
    made = _boxes(points.activations + stage.ahead.activations[state], share)
    return _compared(stage, points, limits, macs, _boxes(points.peak, width), made, final=True)


def _compared(stage: Stage, points: Rows, limits: Limits, macs: Ints, peak: Ints, made: Ints, *, final: bool) -> Ints:
    """The points that none of their state beats in these columns, a portion of the states at a time: what is compared
    then stays in the processor's cache."""
    state = _states(points)
    sure = _sure(stage, state, points, limits)
    ends = np.unique(np.searchsorted(points.starts, np.arange(_PORTION, len(points) + _PORTION, _PORTION)))
    out, first = [], 0
    for last in map(int, np.unique(points.starts[np.minimum(ends, len(points.states))])):
        rows = slice(first, last)
        columns = (state[rows], macs[rows], peak[rows], made[rows], points.changes[rows])
        out.append(first + undominated(*columns, final=final, sure=None if sure is None else sure[rows]))
        first = last
    return np.concatenate(out) if out else np.zeros(0, dtype=np.int64)


def _boxes(values: Ints, width: float) -> Ints:
    """The number of the box that each value's logarithm lies in."""
    found = np.log(np.maximum(values, 1))
    found /= width
    return np.floor(found, out=found).astype(np.int64)


def _sure(stage: Stage, state: Ints, points: Rows, limits: Limits) -> Ints | None:
    """The points that cannot come to exceed the activations wanted at most: only they may beat others of fewer."""
    if limits.activations is None:
        return None
    found: Ints = points.activations + stage.ahead.most_activations[state] <= limits.activations
    return found
