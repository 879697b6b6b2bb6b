"""The answer of a study from its records: a row a plan, the verdict, what it all cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stridewise.study.candidates import CostFront
from stridewise.study.interval import difference, estimate
from stridewise.study.jobs import Job, Outcome
from stridewise.study.result import SearchResult
from stridewise.study.rows import Row
from stridewise.study.run import Coordinator
from stridewise.study.settings import LIMITS
from stridewise.study.verdict import Contender, Verdict, verdict

if TYPE_CHECKING:
    from stridewise.measuring.latency import Latency

_SAME = 1e-3
"""Scores no further apart than this share of the largest are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a study was asked. settings: its arguments; folder: where it is kept, "" for nowhere; metric: what the score
    is, in words."""

    model: str
    settings: Mapping[str, Any]
    front: CostFront
    folder: str
    metric: str


def answer(question: Question, study: Coordinator, latencies: Mapping[str, Latency], state: str) -> SearchResult:
    """What is known by now. latencies: measured, by plan; state: "finished" or "interrupted"."""
    settings = question.settings
    contenders = {plan: _contender(study, plan) for plan in study.finalists()}
    return SearchResult(
        model=question.model,
        task=settings["task"],
        data=settings["data"],
        input=tuple(settings["input"]),
        limits={key: settings[key] for key in LIMITS if settings[key] not in (None, [], 0)},
        schedule=study.schedule,
        rows=tuple(_row(study, plan, contenders, latencies) for plan in range(len(study.candidates))),
        front=question.front.points,
        known=question.front.known,
        refused=question.front.refused,
        weights=settings["weights"] or "",
        verdict=_verdict(study, contenders),
        state=state,
        seconds=sum(o.seconds for o in study.store.outcomes.values()),
        folder=question.folder,
        metric=question.metric,
    )


def _full(study: Coordinator, plan: int) -> tuple[Outcome, ...]:
    """The outcomes of a plan's full trainings that did not fail."""
    seeds = range(1, study.schedule.seeds + 1)
    found = (study.store.outcomes.get(Job(plan, study.schedule.budget, seed)) for seed in seeds)
    return tuple(o for o in found if o is not None and not o.failed)


def _contender(study: Coordinator, plan: int) -> Contender:
    chosen = study.candidates[plan]
    return Contender(name=chosen.name, macs=chosen.macs, outcomes=_full(study, plan), within=chosen.within)


def _verdict(study: Coordinator, contenders: Mapping[int, Contender]) -> Verdict:
    others = [(study.candidates[plan].rival, found) for plan, found in contenders.items() if plan]
    found = verdict(
        contenders.get(0),
        [found for rival, found in others if not rival],
        rivals=[found for rival, found in others if rival],
    )
    return replace(found, reasons=(*found.reasons, *_told_nothing(study.store.outcomes)))


def _told_nothing(outcomes: Mapping[Job, Outcome]) -> tuple[str, ...]:
    """A sentence on the lengths at which all plans scored the same, so that nothing learnt led the choice."""
    scores: dict[int, list[float]] = {}
    for job, outcome in outcomes.items():
        if job.seed == 0 and not outcome.failed:  # a selection's; finalists have the seeds from 1 on
            scores.setdefault(job.budget, []).append(outcome.value)
    flat = sorted(
        b for b, found in scores.items() if len(found) > 2 and max(found) - min(found) <= _SAME * max(map(abs, found))
    )
    if not flat:
        return ()
    lengths = ", ".join(map(str, flat[:-1])) + (" and " if len(flat) > 1 else "") + str(flat[-1])
    return (
        f"All plans scored the same after trainings of length {lengths}: those told nothing, and what was trained "
        "further was chosen by cost and place alone. A longer budget would tell more.",
    )


def _row(study: Coordinator, plan: int, contenders: Mapping[int, Contender], latencies: Mapping[str, Latency]) -> Row:
    """One plan's row; its accuracy is over the largest budget that it was trained with."""
    outcomes, chosen = study.store.outcomes, study.candidates[plan]
    trained = tuple((job, outcomes[job]) for job in sorted(outcomes) if job.plan == plan)
    good = [(job, o) for job, o in trained if not o.failed]
    top = max((job.budget for job, _ in good), default=0)
    at_top: Sequence[Outcome] = _full(study, plan) or [o for job, o in good if job.budget == top]
    compared = plan and plan in contenders and 0 in contenders
    return Row(
        candidate=chosen,
        trainings=trained,
        budget=top,
        accuracy=estimate(at_top) if at_top else None,
        final=plan in contenders,
        against=difference(contenders[plan].outcomes, contenders[0].outcomes) if compared else None,
        latency=latencies.get(chosen.name),
        error=next((o.error for _, o in trained if o.failed), ""),
    )
