"""The answer of a study from its records: a row a plan, the verdict, what it all cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from stridewise.study.candidates import CostFront
from stridewise.study.curve import curve, knee
from stridewise.study.interval import estimate
from stridewise.study.jobs import Job, Outcome
from stridewise.study.racing import Contender, Noise
from stridewise.study.result import SearchResult
from stridewise.study.rows import Row, Writing
from stridewise.study.run import RIVALS, Coordinator
from stridewise.study.value import Study, name_of
from stridewise.study.verdict import Question, Verdict, verdict

if TYPE_CHECKING:
    from stridewise.measuring.latency import Latency

_SAME = 1e-3
"""Scores no further apart than this share of the largest are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a study was asked. model, input: of the network; folder: where it is kept, "" for nowhere; metric, times,
    unit: what the score is, in words, and how it is written; most: the limit on the cost, as a share of today's."""

    study: Study
    model: str
    input: tuple[int, ...]
    front: CostFront
    folder: str
    metric: str
    times: float
    unit: str
    most: float | None

    def question(self, noise: Noise) -> Question:
        """In which words plans are compared."""
        return Question(
            noise=noise,
            aim=self.study.aim,
            margin=self.study.within / self.times,
            times=self.times,
            unit=self.unit,
            cost=COST_WORDS[self.study.per],
        )


COST_WORDS = {"macs": "multiply-adds", "latency": "latency", "memory": "peak memory"}


def answer(asked: Asked, study: Coordinator, latencies: Mapping[str, Latency], state: str) -> SearchResult:
    """What is known by now. latencies: measured, by plan; state: "finished" or "interrupted"."""
    contenders = {plan: study.contender(plan) for plan in study.finalists()}
    limits = asked.study.limits
    own = [found for plan, found in contenders.items() if plan < RIVALS]
    noise = Noise.of(list(contenders.values()), study.schedule.seeds * len(contenders))
    ask = asked.question(noise)
    return SearchResult(
        model=asked.model,
        task=asked.study.task if asked.study.score is None else "score",
        data=name_of(asked.study.data if asked.study.score is None else asked.study.score),
        input=asked.input,
        aim=asked.study.aim,
        cost=ask.cost,
        writing=Writing(times=asked.times, unit=asked.unit),
        limits={f.name: value for f in fields(limits) if (value := getattr(limits, f.name)) not in (None, (), 0)},
        schedule=study.schedule,
        rows=tuple(_row(study, plan, contenders, latencies, noise) for plan in study.candidates),
        front=asked.front.points,
        known=asked.front.known,
        refused=asked.front.refused,
        weights=asked.study.weights or "",
        verdict=_verdict(study, contenders, ask),
        curve=curve(own, noise, most=asked.most) if 0 in contenders else (),
        knee=knee(own),
        state=state,
        seconds=sum(o.seconds for o in study.store.outcomes.values()),
        folder=asked.folder,
        metric=asked.metric,
    )


def _verdict(study: Coordinator, contenders: Mapping[int, Contender], ask: Question) -> Verdict:
    found = verdict(
        contenders.get(0),
        [found for plan, found in contenders.items() if plan and not found.rival],
        ask,
        rivals=[found for found in contenders.values() if found.rival],
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


def _row(
    study: Coordinator,
    plan: int,
    contenders: Mapping[int, Contender],
    latencies: Mapping[str, Latency],
    noise: Noise,
) -> Row:
    """One plan's row; its accuracy is over the largest budget that it was trained with."""
    outcomes, chosen = study.store.outcomes, study.candidates[plan]
    trained = tuple((job, outcomes[job]) for job in sorted(outcomes) if job.plan == plan)
    good = [(job, o) for job, o in trained if not o.failed]
    top = max((job.budget for job, _ in good), default=0)
    at_top: Sequence[Outcome] = study.full(plan) or [o for job, o in good if job.budget == top]
    compared = plan and plan in contenders and 0 in contenders
    return Row(
        candidate=chosen,
        trainings=trained,
        budget=top,
        accuracy=None if not at_top else noise.mean(at_top) if plan in contenders else estimate(at_top),
        final=plan in contenders,
        against=noise.difference(contenders[plan].outcomes, contenders[0].outcomes) if compared else None,
        latency=latencies.get(chosen.name),
        error=next((o.error for _, o in trained if o.failed), ""),
    )
