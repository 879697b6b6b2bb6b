"""How sure a mean over seeds and pictures is: 95 % intervals of an accuracy and of the difference of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from stridewise.study.jobs import Outcome
from stridewise.tasks.record import wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with its 95 % interval, from `seeds` trainings; low and high are None where nothing is known of it."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


def estimate(outcomes: Sequence[Outcome]) -> Estimate:
    """The mean score of one plan's trainings.

    Two sources of chance add: the seed (variance between trainings / seeds) and, where they are known, the held-out
    pictures (variance of a picture's mean correctness / pictures). Student's t with seeds - 1 degrees. One training
    with pictures has its Wilson interval.
    """
    values = [o.value for o in outcomes]
    mean, seeds = fmean(values), len(values)
    pictures = shares(outcomes)
    if seeds == 1:
        low, high = (
            wilson(round(mean * len(pictures)), len(pictures)) if pictures else (outcomes[0].low, outcomes[0].high)
        )
        return Estimate(mean=mean, low=low, high=high, seeds=1)
    spread = variance(values) / seeds + of_pictures(pictures)
    half = _t975(seeds - 1) * math.sqrt(spread)
    return Estimate(mean=mean, low=mean - half, high=mean + half, seeds=seeds)


def difference(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Estimate:
    """The mean score of one plan less another's, compared picture by picture where both know their pictures.

    Source: Welch 1947 for the seeds' part and its degrees of freedom; the pictures' part is that of a paired mean.
    """
    a, b = [o.value for o in ours], [o.value for o in theirs]
    mean, seeds = fmean(a) - fmean(b), min(len(a), len(b))
    if seeds < 2:
        return Estimate(mean=mean, low=None, high=None, seeds=seeds)
    first, second = variance(a) / len(a), variance(b) / len(b)
    over = first**2 / (len(a) - 1) + second**2 / (len(b) - 1)
    degrees = (first + second) ** 2 / over if over > 0 else float(len(a) + len(b) - 2)
    apart = [x - y for x, y in zip(shares(ours), shares(theirs), strict=False)]
    half = _t975(degrees) * math.sqrt(first + second + of_pictures(apart))
    return Estimate(mean=mean, low=mean - half, high=mean + half, seeds=seeds)


def shares(outcomes: Sequence[Outcome]) -> list[float]:
    """For each held-out picture the share of trainings that got it right; empty where pictures are not known."""
    if any(len(o.correct) != len(outcomes[0].correct) for o in outcomes):
        return []
    return [fmean(column) for column in zip(*(o.correct for o in outcomes), strict=True)]


def of_pictures(shares: Sequence[float]) -> float:
    return variance(shares) / len(shares) if len(shares) > 1 else 0.0


def _t975(degrees: float) -> float:
    """The 97.5 % point of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))
