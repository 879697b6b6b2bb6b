"""What to train next, as pure functions of the scores so far: a study and the simulator of benchmarks/ run the same."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TypeAlias

from stridewise.fronts.distance import Place, farthest
from stridewise.study.jobs import Job, Schedule
from stridewise.study.surrogate import LEAST, beliefs

Scores: TypeAlias = Mapping[Job, float | None]
"""What jobs gave; None for one that failed."""
Rank: TypeAlias = Callable[[Sequence[Place], Mapping[Job, float], int], list[float]]


WAVE = 2
"""Trainings of a later rung that are asked for at once: what they say decides on the next. Not the number of workers,
so that a study goes on alike on any machine."""


def selection(
    schedule: Schedule, places: Sequence[Place], macs: Sequence[int], rank: Rank = beliefs
) -> Generator[list[Job], Scores, list[int]]:
    """Yields the jobs of one rung after the other, wants their scores sent, and returns the plans, best first.

    The first rung trains plans far from each other, plan 0 first; later ones those of which most is to be expected,
    whether they were trained before or not. A plan that failed is left out. Plans that reached the last rung come
    before the others.
    """
    scores: dict[Job, float] = {}
    failed: set[int] = set()
    order = [0, *farthest(places, [0], len(places) - 1)]
    order += [plan for plan in range(len(places)) if plan not in order]
    for number, rung in enumerate(schedule.rungs):
        done: set[int] = set()
        while len(done) < rung.plans:
            left = [plan for plan in order if plan not in failed and plan not in done]
            wave = left[: min(rung.plans - len(done), WAVE if number else rung.plans)]
            if not wave:
                break
            done.update(wave)
            for job, score in (yield [Job(plan, rung.budget, 0) for plan in wave]).items():
                if score is None:
                    failed.add(job.plan)
                else:
                    scores[job] = score
            order = _best_first(schedule, places, macs, scores, rank)
    last = schedule.rungs[-1].budget if schedule.rungs else 0
    reached = {job.plan for job in scores if job.budget == last}
    order = [plan for plan in order if plan not in failed]
    return [p for p in order if p in reached] + [p for p in order if p not in reached]


def finals(schedule: Schedule, ranked: Sequence[int], rivals: Sequence[int] = ()) -> list[Job]:
    """Full trainings of plan 0 (where it did not fail), the best of the others and the rivals, seed by seed, so that a
    study stopped early has as many of each as can be. None has seed 0, with which they were selected: the luckiest
    would win."""
    best = [plan for plan in ranked if plan][: schedule.finalists - (0 in ranked)]
    alive = [*([0] if 0 in ranked else []), *best, *rivals]
    return [Job(plan, schedule.budget, seed) for seed in range(1, schedule.seeds + 1) for plan in alive]


def by_score(places: Sequence[Place], scores: Mapping[Job, float], budget: int) -> list[float]:
    """Each plan's score at the largest budget it had; plans of a larger budget above the others. The `rank` of plain
    successive halving."""
    least = min(scores.values(), default=0.0)
    above = max(scores.values(), default=0.0) - least + 1.0
    out = [least - 1.0] * len(places)
    for job in sorted(scores):
        out[job.plan] = scores[job] + above * job.budget
    return out


def _best_first(
    schedule: Schedule, places: Sequence[Place], macs: Sequence[int], scores: Mapping[Job, float], rank: Rank
) -> list[int]:
    """All plans by what is to be expected of them, dearer ones behind cheaper ones of the same."""
    expected = (rank if len(scores) >= LEAST else by_score)(places, scores, schedule.budget)
    return sorted(range(len(places)), key=lambda plan: (-expected[plan], macs[plan]))
