"""What finished trainings say about the plans: a Gaussian process over the plans' places, costs and budgets.

A training is taken as the plan's final score, plus an offset that all trainings of its budget share, a part that
follows the cost, and a draw that shrinks as the budget grows. Before any training the score is believed to grow with
the logarithm of the cost, by 0.6 deviations for one of the logarithm; a slope that the trainings can overrule. How far
a plan tells of its neighbours, how noisy trainings are and what the unit of the scores is are not fitted but averaged
over, each choice weighted by how likely it makes the scores (a few trainings cannot settle them).

Source of the averages: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2.2 and 5.2. The constants were
set on four columns of StrideBench, and judged on the others (docs/search.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from stridewise.fronts.shortlist import Place
from stridewise.study.jobs import SHORTEST, Job

Floats: TypeAlias = npt.NDArray[np.float64]

# In deviations of the scores, where the plans' places and their costs have mean square 1 each.
_SLOPE, _SLOPE_OPEN = 0.6, 0.4  # of the score along the logarithm of the cost: what is expected, and its deviation
_REACHES = (1.0, 2.0, 4.0)  # how far what neighbours share reaches
_NOISES = (0.05, 0.3)  # deviation of a full training; it grows as full / budget
_UNITS = (0.5, 0.8, 1.2, 2.0, 3.5)  # the scores' deviation, times what the scores so far show of it
_OWN = 0.02  # variance of what a plan shares with none
_OFFSET, _ALONG_COST = 10.0, 0.1  # variances of a budget's offset and of its slope along the cost
_CURIOUS = 0.3  # deviations by which an unsure plan is raised


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """For each plan the mean and the deviation of the score to expect at the full budget, up to an offset of all."""

    mean: Floats
    deviation: Floats

    @property
    def wanted(self) -> Floats:
        """By which to choose the next training: the mean, raised a little where it is unsure."""
        raised: Floats = self.mean + _CURIOUS * self.deviation
        return raised


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trainings:
    """Finished trainings in columns: the plan, its budget (0: with the weights it begins with), the score."""

    plan: npt.NDArray[np.int64]
    budget: Floats
    score: Floats
    full: int

    @property
    def lower(self) -> Floats:
        """1 for a training of less than the largest budget among them."""
        below: Floats = (self.budget < self.budget.max(initial=0)).astype(np.float64)
        return below

    def noise(self) -> Floats:
        """Deviation of each, in that of a full one. Weights judged untrained say no more than the shortest does."""
        return np.minimum(self.full / np.maximum(self.budget, 1e-9), SHORTEST)

    def spread(self) -> float:
        """The deviation within a budget, of all where no budget has two; 1 where nothing differs."""
        deviations = [float(self.score[self.budget == b].std()) for b in np.unique(self.budget)]
        return max(deviations, default=0.0) or float(self.score.std() if len(self.score) else 0.0) or 1.0


def beliefs(places: Sequence[Place], costs: Sequence[float], scores: Mapping[Job, float], budget: int) -> Belief:
    """What to expect of each plan after the trainings in `scores`, none for a start.

    places: one a plan, in whatever unit; their last coordinate, which follows the cost, is left to `costs`.
    """
    jobs = sorted(scores)
    told = _Trainings(
        plan=np.array([job.plan for job in jobs], dtype=np.int64),
        budget=np.array([float(job.budget) for job in jobs]),
        score=np.array([scores[job] for job in jobs]),
        full=budget,
    )
    cost = _standard(np.log2(np.maximum(np.asarray(costs, dtype=float), 1e-12)))
    at = np.column_stack([_unit(np.asarray(places, dtype=float)[:, :-1]), cost])
    if not jobs:
        return Belief(mean=_SLOPE * cost, deviation=np.ones(len(cost)))
    return _averaged(*_each(at, cost, told))


def _each(at: Floats, cost: Floats, told: _Trainings) -> tuple[Floats, Floats, Floats]:
    """(log likelihood, means, deviations), a row for each choice of reach, noise and unit."""
    apart = _squares(at, at[told.plan])
    along = np.outer(cost, cost[told.plan])
    linear = _SLOPE_OPEN**2 * along + _OFFSET
    same = (told.budget[:, None] == told.budget[None]) * np.outer(told.lower, told.lower)
    extra = same * (_OFFSET + _ALONG_COST * along[told.plan])
    extra = extra + _OWN * (told.plan[:, None] == told.plan[None])
    prior = 1 + _SLOPE_OPEN**2 * cost**2 + _OFFSET + _OWN
    centre, unit, count = float(told.score.mean()), told.spread(), len(told.score)
    likely, means, deviations = [], [], []
    for reach in _REACHES:
        shared = np.exp(-apart / (2 * reach**2)) + linear
        own = shared + _OWN * (np.arange(len(cost))[:, None] == told.plan[None])
        for noise in _NOISES:
            lower = np.linalg.cholesky(shared[told.plan] + extra + np.diag((noise * told.noise()) ** 2))
            reached = np.linalg.solve(lower, own.T)
            left = np.sqrt(np.maximum(prior - (reached**2).sum(0), 1e-12))
            volume = float(np.log(np.diag(lower)).sum())
            for times in _UNITS:
                scale = times * unit
                rest = np.linalg.solve(lower, (told.score - centre) / scale - _SLOPE * cost[told.plan])
                likely.append(-0.5 * float(rest @ rest) - volume - count * np.log(scale))
                means.append(scale * (reached.T @ rest + _SLOPE * cost) + centre)
                deviations.append(scale * left)
    return np.array(likely), np.array(means), np.array(deviations)


def _averaged(likely: Floats, means: Floats, deviations: Floats) -> Belief:
    """One belief out of many by their weights: the moments of the mixture."""
    weights = np.exp(likely - likely.max())
    weights /= weights.sum()
    mean = weights @ means
    return Belief(mean=mean, deviation=np.sqrt(np.maximum(weights @ (deviations**2 + means**2) - mean**2, 0.0)))


def _squares(a: Floats, b: Floats) -> Floats:
    """Squared distances of every row of one to every row of the other."""
    found: Floats = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0.0)
    return found


def _unit(at: Floats) -> Floats:
    """Places about their centre, at a mean square distance of 1 from it."""
    moved = at - at.mean(0)
    scaled: Floats = moved / (float(np.sqrt((moved**2).sum(1).mean())) or 1.0)
    return scaled


def _standard(values: Floats) -> Floats:
    moved = values - values.mean()
    scaled: Floats = moved / (float(moved.std()) or 1.0)
    return scaled
