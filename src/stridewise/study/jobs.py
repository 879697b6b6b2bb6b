"""What a study trains: jobs, their outcomes, and the rungs that decide which jobs there are. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from stridewise.data.records import Progress
from stridewise.errors import StridewiseError, UsageError
from stridewise.plans import Plan

Score = Callable[..., Any]
"""score(plan, budget, seed) -> float, or a TrainRecord; larger is better. Where it takes them it is also given
`progress`, to call with steps done and in all, and `checkpoint`, a file it may write and take up again."""


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """One training: the plan by its number in the shortlist, the budget (epochs), the seed."""

    plan: int
    budget: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job gave: a value, or the error it ended with. low, high: the value's own interval where it has one;
    correct: one entry a held-out picture where they are known. detail: plain values to keep."""

    value: float = math.nan
    low: float | None = None
    high: float | None = None
    correct: tuple[bool, ...] = field(default=(), repr=False)
    seconds: float = 0.0
    error: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether there is an error and no value."""
        return bool(self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Every plan still in gets `budget`; the best `keep` go on."""

    budget: int
    keep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """rungs: halvings with one seed each; then `finalists` plans get `seeds` trainings of `budget`."""

    rungs: tuple[Rung, ...]
    finalists: int
    budget: int
    seeds: int

    @staticmethod
    def halving(plans: int, *, budget: int, seeds: int = 3, finalists: int = 3) -> Schedule:
        """Budgets that double up to `budget` while the plans halve down to `finalists`.

        Source: successive halving, Jamieson and Talwalkar 2016, each rung trained anew so that every training ends its
        own learning-rate schedule.
        """
        if min(budget, seeds, finalists) < 1:
            raise UsageError(f"a study wants budget, seeds and finalists from 1, not {budget}, {seeds}, {finalists}")
        rounds = math.ceil(math.log2(plans / finalists)) if plans > finalists else 0
        rungs = []
        for left in range(rounds, 0, -1):
            plans = max(finalists, math.ceil(plans / 2))
            rungs.append(Rung(budget=math.ceil(budget / 2**left), keep=plans))
        return Schedule(rungs=tuple(rungs), finalists=finalists, budget=budget, seeds=seeds)

    def trainings(self, plans: int) -> list[int]:
        """The budget of every training of a study of `plans` plans in which none fails."""
        out: list[int] = []
        for rung in self.rungs:
            out += [rung.budget] * plans
            plans = min(plans, rung.keep)
        return out + [self.budget] * min(plans, self.finalists) * self.seeds

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "rungs": [asdict(rung) for rung in self.rungs]}


class Watcher(Protocol):
    """What a runner tells while jobs run."""

    def __call__(self, job: Job, done: int, total: int) -> None:
        """`job` has done so many of its steps."""


def carry_out(
    score: Score, plan: Plan, job: Job, *, progress: Progress | None = None, checkpoint: str | None = None
) -> Outcome:
    """Call the score; an error becomes part of the outcome, so that the study goes on. Interrupts pass through."""
    import inspect
    import time

    begin = time.monotonic()
    try:
        taken = inspect.signature(score).parameters
        extra = {k: v for k, v in (("progress", progress), ("checkpoint", checkpoint)) if k in taken}
        found = score(plan, job.budget, job.seed, **extra)
        value = float(found)
    except StridewiseError as error:
        return Outcome(error=str(error), seconds=time.monotonic() - begin)
    except Exception as error:  # noqa: BLE001  a person's own training code may raise anything
        line = (str(error).strip() or "no message").splitlines()[0]
        return Outcome(error=f"{type(error).__name__}: {line}", seconds=time.monotonic() - begin)
    if not math.isfinite(value):
        return Outcome(error=f"the score is {value}", seconds=time.monotonic() - begin)
    detail = found.to_json() if hasattr(found, "to_json") else {}
    detail.pop("correct", None)
    return Outcome(
        value=value,
        low=getattr(found, "low", None),
        high=getattr(found, "high", None),
        correct=tuple(getattr(found, "correct", ())),
        seconds=time.monotonic() - begin,
        detail=detail,
    )
