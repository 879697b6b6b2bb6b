"""What to train next, as pure functions of the scores so far: a study and the simulator of benchmarks/ run the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from stridewise.fronts.shortlist import Place, farthest
from stridewise.study.jobs import Job, Schedule
from stridewise.study.surrogate import Belief, Floats, beliefs

Scores: TypeAlias = Mapping[Job, float | None]
"""What jobs gave; None for one that failed."""
Rank: TypeAlias = Callable[[Sequence[Place], Sequence[float], Mapping[Job, float], int], Belief]


WAVE = 2
"""Trainings that are asked for at once: what they say decides on the next. Not the number of workers, so that a study
goes on alike on any machine."""


def selection(
    schedule: Schedule, places: Sequence[Place], costs: Sequence[float], rank: Rank = beliefs
) -> Generator[list[Job], Scores, list[int]]:
    """Yields the jobs of one rung after the other, wants their scores sent, and returns the plans, best first.

    Plan 0 is the first of the first rung; every other training is of the plan of which most is wanted then, whether it
    was trained before or not. Of the two in a wave the second is chosen as if the first had given what is expected of
    it (a "kriging believer", Ginsbourger et al. 2010). A plan that failed is left out. Plans that reached the last rung
    come before the others.
    """
    scores: dict[Job, float] = {}
    failed: set[int] = set()
    for number, rung in enumerate(schedule.rungs):
        done: set[int] = set()
        while len(done) < rung.plans:
            wave: list[Job] = []
            imagined = dict(scores)
            room = min(rung.plans if rung.plans >= len(places) else WAVE, rung.plans - len(done))
            while len(wave) < room:
                belief = rank(places, costs, imagined, schedule.budget)
                left = [p for p in _best_first(belief.wanted, costs) if p not in failed and p not in done]
                if not left:
                    break
                plan = 0 if not number and not done and 0 in left else left[0]
                done.add(plan)
                wave.append(Job(plan, rung.budget, 0))
                imagined[wave[-1]] = _expected(belief, imagined, wave[-1])
            if not wave:
                break
            for job, score in (yield wave).items():
                if score is None:
                    failed.add(job.plan)
                else:
                    scores[job] = score
    last = schedule.rungs[-1].budget if schedule.rungs else 0
    reached = {job.plan for job in scores if job.budget == last}
    means = rank(places, costs, scores, schedule.budget).mean
    order = [plan for plan in _best_first(means, costs) if plan not in failed]
    return [p for p in order if p in reached] + [p for p in order if p not in reached]


def finalists(
    ranked: Sequence[int], costs: Mapping[int, float], within: Collection[int], *, aim: str, count: int, today: float
) -> list[int]:
    """The plans whose seeds decide: plan 0 (where it did not fail), and of the others within the limits the best at
    each of the costs that the answer speaks of, then the best of all. ranked: by what is expected of them; today: what
    plan 0 costs, which takes a place of the `count` only where it keeps the limits itself.

    "cheapest" has the costs below today's first, "curve" all of them in turn, "best" none.
    """
    alive = [plan for plan in ranked if plan and plan in within]
    room = max(1, count - (0 in ranked and 0 in within)) if alive else 0
    marks = {"best": (), "curve": (1.0, 0.5, math.inf, 0.75, 1.5, 2.0), "cheapest": (0.5, 0.75, 1.0)}[aim]
    chosen: list[int] = []
    for mark in marks:
        least = _LEAST * mark if mark < math.inf else _DEAREST
        best = next((p for p in alive if least * today < costs[p] <= mark * today * _ROUND), None)
        if best is not None and best not in chosen:
            chosen.append(best)
    chosen += [plan for plan in alive if plan not in chosen]
    return [*([0] if 0 in ranked else []), *chosen[:room]]


_LEAST, _ROUND = 0.6, 1 + 1e-9  # of a mark: a plan cheaper than that answers another one
_DEAREST = 1.5  # times today's cost, from which on a plan stands for the dear end of the curve


def by_score(places: Sequence[Place], costs: Sequence[float], scores: Mapping[Job, float], budget: int) -> Belief:
    """Each plan's score at the largest budget it had; plans of a larger budget above the others, those without a score
    far from each other. The `rank` of plain successive halving."""
    least = min(scores.values(), default=0.0)
    above = max(scores.values(), default=0.0) - least + 1.0
    out = np.full(len(places), least - 1.0)
    for place, plan in enumerate(farthest(places, [0], len(places) - 1)):
        out[plan] += 1 / (2 + place)
    for job in sorted(scores):
        out[job.plan] = scores[job] + above * job.budget
    return Belief(mean=out, deviation=np.zeros(len(places)))


def _expected(belief: Belief, scores: Mapping[Job, float], job: Job) -> float:
    """What a training is expected to give: the plan's mean, and what its budget adds to those of all that had it."""
    added = [score - belief.mean[other.plan] for other, score in scores.items() if other.budget == job.budget]
    return float(belief.mean[job.plan] + (np.mean(added) if added else 0.0))


def _best_first(values: Floats, costs: Sequence[float]) -> list[int]:
    """Plans by falling value, dearer ones behind cheaper ones of the same."""
    return np.lexsort((np.asarray(costs), -values)).tolist()  # type: ignore[no-any-return]
