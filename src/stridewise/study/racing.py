"""Seeds where the answer hangs: which finalist is trained once more, and how sure the answer then is.

The bound may be looked at after every training. Of the error that a pair may make, looks up to a share t of those
that it can have spend t squared (the power family of Kim and DeMets 1987). What a look has, given those before it, is
worked out from their joint distribution (Lan and DeMets 1983; Armitage, McPherson and Rowe 1969): means of many seeds
repeat most of what the means of fewer said, and a sum of the looks' errors would count that twice. Three seeds alone
say little of a plan's variance, and plans differ: an early step's may be three times as noisy. So each plan's variance
is its own, drawn towards the one that is pooled over all finalists as if that were `_BORROWED` more seeds (as the
moderated t of Smyth 2004), and two are compared by Welch's t with the degrees of both, at most those of all plans. The
pairs of a study share an error of 5 % that any is called better and is not. benchmarks/racing.py simulates it, also
where the plans' variances differ. A study that is lengthened later has another 5 % to spend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, variance

import numpy as np

from stridewise.study.interval import Estimate, estimate, of_pictures, shares
from stridewise.study.jobs import Outcome

FIRST = 2
"""Seeds that every finalist gets before any is raced."""
SURE = 3
"""Seeds from which on anything is called settled."""
MARKS = (0.5, 0.75, 1.0, 1.5, 2.0)
"""The costs that a curve speaks of, as shares of that of the network as it is."""
_ROUND = 1 + 1e-9
_SIDE = 0.975  # of the 95 % of a mean
_DEVIATIONS, _MESH = 6.0, 0.02  # of the integration
_BORROWED = 2
# Two-sided, of a pair and of all of a study: half of it is that of "better". Of the 5 % some is kept back, for plans
# whose noise differs (benchmarks/racing.py).
_ERROR, _TOGETHER = 0.027, 0.085


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A finalist: its name, cost and full trainings. within: it keeps the limits; rival: another network, with which
    plans are compared and that is never recommended."""

    name: str
    cost: float
    outcomes: tuple[Outcome, ...]
    within: bool = True
    rival: bool = False

    @property
    def mean(self) -> float:
        """Of its scores."""
        return fmean(o.value for o in self.outcomes) if self.outcomes else -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The variance of a training over seeds, pooled, with its degrees of freedom (0: nothing is known). pairs: that are
    compared; reach: seeds that a pair can have at most."""

    variance: float
    degrees: int
    pairs: int = 1
    reach: int = SURE

    @staticmethod
    def of(contenders: Sequence[Contender], trainings: int = 0) -> Noise:
        """Pooled over contenders of two seeds or more. trainings: that all of them may have together."""
        several = [[o.value for o in c.outcomes] for c in contenders if len(c.outcomes) > 1]
        degrees = sum(len(values) - 1 for values in several)
        pooled = sum((len(values) - 1) * variance(values) for values in several) / degrees if degrees else 0.0
        reach = FIRST + (trainings - FIRST * len(contenders)) // 2
        pairs = sum(not c.rival and c.within for c in contenders[1:])
        return Noise(variance=pooled, degrees=degrees, pairs=max(1, pairs), reach=max(SURE, reach))

    def mean(self, outcomes: Sequence[Outcome]) -> Estimate:
        """The mean score of one plan, with its 95 % interval.

        With two seeds its own variance alone has one degree of freedom, and an interval wider than any score.
        """
        mean, seeds = fmean(o.value for o in outcomes), len(outcomes)
        if not self.degrees or seeds < FIRST:
            return estimate(outcomes)
        spread, degrees = self._of_mean(outcomes)
        half = _t(_SIDE, degrees) * math.sqrt(spread + of_pictures(shares(outcomes)))
        return Estimate(mean=mean, low=mean - half, high=mean + half, seeds=seeds)

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Estimate:
        """The mean score of one plan less another's, with an interval that holds at every look.

        Where both know their held-out pictures, those are compared one by one and their chance is added.
        """
        seeds = min(len(ours), len(theirs))
        mean = fmean(o.value for o in ours) - fmean(o.value for o in theirs)
        if not self.degrees or seeds < FIRST:
            return Estimate(mean=mean, low=None, high=None, seeds=seeds)
        (one, of_one), (other, of_other) = self._of_mean(ours), self._of_mean(theirs)
        over = one**2 / of_one + other**2 / of_other
        degrees = min(self.degrees, (one + other) ** 2 / over) if over > 0 else self.degrees
        apart = [x - y for x, y in zip(shares(ours), shares(theirs), strict=False)]
        half = _t(1 - self.level(seeds) / 2, degrees) * math.sqrt(one + other + of_pictures(apart))
        return Estimate(mean=mean, low=mean - half, high=mean + half, seeds=seeds)

    def _of_mean(self, outcomes: Sequence[Outcome]) -> tuple[float, float]:
        """(variance of a plan's mean over seeds, its degrees of freedom), some of both borrowed from all plans."""
        own = len(outcomes) - 1
        borrowed = min(_BORROWED, self.degrees - own) if self.degrees > own else 0
        pooled = borrowed * self.variance + own * variance(o.value for o in outcomes)
        return pooled / (borrowed + own) / len(outcomes), borrowed + own

    def level(self, seeds: int) -> float:
        """The error of an interval at so many seeds (two-sided), of the pair's own; more seeds than were reckoned with
        have that of the last look."""
        own = levels(self.reach, min(_ERROR, _TOGETHER / self.pairs))
        return own[min(max(seeds - SURE, 0), len(own) - 1)]


@cache
def levels(reach: int, error: float) -> tuple[float, ...]:
    """The two-sided error of each look from `SURE` seeds to `reach`, with which the chance that any look finds a
    difference where there is none is `error`. By integration over the sums that no look before has ended."""
    if reach <= SURE:
        return (error,)
    from scipy.special import ndtr
    from scipy.stats import norm

    half = math.ceil(_DEVIATIONS * math.sqrt(reach) / _MESH)
    x = np.arange(-half, half + 1) * _MESH
    density, step = norm.pdf(x, scale=math.sqrt(SURE)), norm.pdf(x)
    looks, out = reach - SURE + 1, []
    for look in range(1, looks + 1):
        if look > 1:
            density = np.convolve(density, step, mode="same") * _MESH
        tail = 2 * _MESH * (np.cumsum(density[::-1]) - density[::-1] / 2)  # beyond +-x, x falling
        bound = float(np.interp((2 * look - 1) / looks**2 * error, tail[:half], x[::-1][:half]))
        out.append(float(2 * ndtr(-bound / math.sqrt(SURE + look - 1))))
        density = np.where(np.abs(x) < bound, density, 0.0)
    return tuple(out)


def above(found: Estimate, line: float) -> bool | None:
    """Whether a difference surely lies above a line (True), surely below (False), or may do either (None)."""
    if found.low is None or found.high is None or found.seeds < SURE:
        return None
    return True if found.low > line else False if found.high < line else None


def best_at(contenders: Sequence[Contender], mark: float) -> Contender | None:
    """The best mean at a cost of at most `mark` times that of the first, the network as it is; rivals are left out."""
    first = contenders[0]
    here = [
        c
        for c in contenders
        if not c.rival and c.outcomes and (c.within or c is first) and c.cost <= mark * first.cost * _ROUND
    ]
    return max(here, key=lambda c: (c.mean, -c.cost), default=None)


def next_pair(contenders: Sequence[Contender], trainings: int, *, line: float = 0.0, aim: str = "best") -> list[int]:
    """Which contenders to train once more, none where the answer is settled or `trainings`, that all of them may have
    together, are spent. The first is the network as it is.

    aim: as a study's. "cheapest": the answer is the cheapest plan whose difference lies above `line`; "best": the best
    of those that do; "curve": the best plan at each cost, surely above the network as it is or below. The plan on which
    that hangs and the network as it is, whichever has fewer seeds, both where they have as many.
    """
    left = trainings - sum(len(c.outcomes) for c in contenders)
    if len(contenders) < 2 or left < 1:
        return []
    noise, first = Noise.of(contenders, trainings), contenders[0]
    state: dict[int, bool | None] = {}
    for number, one in enumerate(contenders[1:], 1):
        if one.within and not one.rival and one.outcomes:
            state[number] = above(noise.difference(one.outcomes, first.outcomes), line)
    wanted = _nearest(contenders, state, noise) if aim == "curve" else _decides(contenders, state, aim == "cheapest")
    if wanted is None:
        return []
    ours, theirs = len(contenders[wanted].outcomes), len(first.outcomes)
    return [0, wanted][:left] if ours == theirs else [0] if theirs < ours else [wanted]


def _nearest(contenders: Sequence[Contender], state: dict[int, bool | None], noise: Noise) -> int | None:
    """The open plan of the curve that seems nearest to being settled: for its difference, its interval is short."""
    shown = [best_at(contenders, mark) for mark in (*MARKS, math.inf)]
    first = contenders[0].outcomes

    def sure(number: int) -> float:
        by = noise.difference(contenders[number].outcomes, first)
        return abs(by.mean) / (by.high - by.mean) if by.high is not None and by.high > by.mean else math.inf

    still = [number for number, found in state.items() if found is None and contenders[number] in shown]
    return max(still, key=sure, default=None)


def _decides(contenders: Sequence[Contender], state: dict[int, bool | None], cheapest: bool) -> int | None:
    """The open plan on which the answer hangs."""
    still = [number for number, sure in state.items() if sure is None]
    if cheapest:
        settled = min((contenders[n].cost for n, sure in state.items() if sure), default=math.inf)
        ahead = [n for n in still if contenders[n].cost < settled]
        # The cheapest that may yet do; one whose mean is far off is looked at last.
        return max(ahead, key=lambda n: (contenders[n].mean, -contenders[n].cost), default=None)
    if any(state.values()):
        return None
    return max(still, key=lambda n: contenders[n].mean, default=None)


def _t(share: float, degrees: float) -> float:
    """That quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, share))
