"""What predictions of the same pictures at several offsets have in common: NumPy alone, one row a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stridewise.measuring.intervals import Floats, Interval, ratio
from stridewise.measuring.offsets import Offsets, Step

Labels = npt.NDArray[np.int64]
Sums = tuple[Floats, Floats]
"""What counts and how much could, one entry a picture: a figure is the ratio of their sums."""


def pair_agreement(predicted: Labels) -> Sums:
    """Per picture the share of pairs of offsets that are given the same class. predicted: (pictures, offsets)."""
    counts = predicted.shape[1]
    equal = (predicted[:, :, None] == predicted[:, None, :]).sum(axis=(1, 2)) - counts
    return equal / (counts * (counts - 1)), np.ones(len(predicted))


def never_changed(predicted: Labels) -> Sums:
    """Per picture 1 where all offsets are given one class. It falls with the number of offsets: say how many."""
    return (predicted == predicted[:, :1]).all(axis=1).astype(np.float64), np.ones(len(predicted))


def accuracy(predicted: Labels, labels: Labels) -> Sums:
    """Per picture the share of offsets that are given the right class."""
    return (predicted == labels[:, None]).mean(axis=1), np.ones(len(predicted))


def stays_right(predicted: Labels, labels: Labels) -> Sums:
    """Among views that are classified correctly, how many of the picture's other views are too: sums over pairs."""
    right = (predicted == labels[:, None]).sum(axis=1).astype(np.float64)
    return right * (right - 1), right * (predicted.shape[1] - 1)


def distances(outputs: Floats) -> Floats:
    """Squared distance between the outputs at every two offsets, (pictures, offsets, offsets), 0 where they are equal.

    outputs: (pictures, offsets, features).
    """
    return np.stack([((row[:, None] - row[None]) ** 2).sum(axis=-1) for row in outputs])


def output_change(outputs: Floats, apart: Floats) -> Sums:
    """Squared change of the output when the picture moves, and when it is another picture: the root of the ratio is
    how much of a change of picture a move amounts to (0: no change at all).

    apart: `distances(outputs)`. Per picture: the mean over pairs of offsets; over pairs with other pictures at the same
    offset (twice the variance over pictures).
    """
    count, times = outputs.shape[:2]
    moved = apart.sum(axis=(1, 2)) / (times * (times - 1))
    centred = outputs - outputs.mean(axis=0, keepdims=True)
    other = 2 * (centred**2).sum(axis=2).mean(axis=1) * count / max(count - 1, 1)
    return moved, other


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Pairs of offsets whose difference is a multiple of `multiple_of` and of no further cumulative stride.

    Every step up to that one meets the picture in the same phase; what still changes comes from `next`, the cumulative
    stride that the difference does not divide, or later (None: only borders are left). disagree: share of the pairs
    given different classes; change: of the output, squared, 1 = another picture; added: more disagreement than at the
    next level, which is what the step to `next` brings in (more change, where no class ever differs).
    """

    multiple_of: Step
    next: Step | None
    pairs: int
    disagree: Interval
    change: Interval
    added: float | None = None


def levels(
    predicted: Labels, apart: Floats, other: Floats, offsets: Offsets, ladder: Sequence[Step], seed: int = 0
) -> tuple[Level, ...]:
    """What changes, by offset modulo the cumulative strides, finest first. ladder: the strides, finest first.

    apart, other: as of `output_change`.
    """
    first, second = np.triu_indices(predicted.shape[1], 1)
    between = offsets[:, first] - offsets[:, second]
    differ = predicted[:, first] != predicted[:, second]
    scale = float(other.mean())  # 0 where every picture gives the same output: then no change has a size
    moved = apart[:, first, second] / (scale or 1.0)
    rung = np.full(between.shape[:2], -1)
    for place, step in enumerate(ladder):
        rung[(between % np.array(step) == 0).all(axis=-1)] = place
    rung[(between == 0).all(axis=-1)] = -1  # twice the same view says nothing
    found = []
    for place, step in enumerate(ladder):
        chosen = rung == place
        count = chosen.sum(axis=1)
        found.append(
            Level(
                multiple_of=step,
                next=ladder[place + 1] if place + 1 < len(ladder) else None,
                pairs=int(chosen.sum()),
                disagree=ratio((differ & chosen).sum(axis=1), count, seed=seed),
                change=ratio((moved * chosen).sum(axis=1), count * bool(scale), seed=seed),
            )
        )
    by_class = bool(differ.any())
    return tuple(_with_added(found, place, by_class) for place in range(len(found)))


def _with_added(found: Sequence[Level], place: int, by_class: bool) -> Level:
    """The level with what it adds to the next one that has pairs; beyond the last step nothing changes."""
    values = [(level.disagree if by_class else level.change).value for level in found]
    now = values[place]
    if now is None or found[place].next is None:
        return found[place]
    after = next((value for value in values[place + 1 :] if value is not None), 0.0)
    return replace(found[place], added=now - after)


def guilty(found: Sequence[Level], least_pairs: int = 30) -> Level | None:
    """The level that adds most, among those with enough pairs; None where nothing is added."""
    rated = [level for level in found if level.added is not None and level.pairs >= least_pairs]
    worst = max(rated, key=lambda level: level.added or 0.0, default=None)
    return worst if worst is not None and (worst.added or 0.0) > 1e-9 else None
