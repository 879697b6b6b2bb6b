"""What a study trains: jobs, their outcomes, and the rungs that decide which jobs there are. No torch here."""

from __future__ import annotations

import inspect
import json
import math
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from stridewise.data.records import Progress
from stridewise.errors import StridewiseError, UsageError, staying
from stridewise.files import write_text
from stridewise.plans import Plan
from stridewise.tasks.record import from_bits, to_bits

Score = Callable[..., Any]
"""score(plan, budget, seed) -> float, or a TrainRecord; larger is better. Where it takes them it is also given
`progress`, to call with steps done and in all, and `checkpoint`, a file it may write and take up again."""


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """One training: the plan by its number in the shortlist, the budget (epochs; 0: the weights it begins with are
    judged as they are), the seed."""

    plan: int
    budget: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job gave: a value, or the error it ended with. low, high: the value's own interval where it has one;
    correct: one entry a held-out picture where they are known. detail: plain values to keep; trace: the traceback of an
    error in a person's own code."""

    value: float = math.nan
    low: float | None = None
    high: float | None = None
    correct: tuple[bool, ...] = field(default=(), repr=False)
    seconds: float = 0.0
    error: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    trace: str = field(default="", repr=False)

    @property
    def failed(self) -> bool:
        """Whether there is an error and no value."""
        return bool(self.error)

    def to_json(self) -> dict[str, Any]:
        """Plain values, all of them."""
        return {
            "value": None if self.failed else self.value,
            "low": self.low,
            "high": self.high,
            "pictures": len(self.correct),
            "correct": to_bits(self.correct),
            "seconds": self.seconds,
            "error": self.error,
            "detail": dict(self.detail),
            "trace": self.trace,
        }

    @staticmethod
    def from_json(kept: Mapping[str, Any]) -> Outcome:
        """Read again what `to_json` wrote."""
        value = kept.get("value")
        return Outcome(
            value=math.nan if value is None else float(value),
            low=kept["low"],
            high=kept["high"],
            correct=from_bits(kept["correct"], kept["pictures"]),
            seconds=kept["seconds"],
            error=kept.get("error", ""),
            detail=kept["detail"],
            trace=kept.get("trace", ""),
        )


ENDED = ".ended"
"""The ending of the file in which a training leaves its outcome until it is recorded."""
_FREE: AbstractContextManager[Any] = nullcontext()
SHORTEST = 9
"""No training is shorter than this part of the budget: 1/27 was measured to rank plans the wrong way round
(docs/results.md)."""
# Lengths of trainings as parts of the budget, and each one's share of what a selection may cost.
_SHARES = ((SHORTEST, Fraction(4, 15)), (3, Fraction(1, 3)), (1, Fraction(2, 5)))


_MOST = 1e6
_JUDGED = 0.25  # epochs that judging a network without training it counts as, where work is estimated


def work(budget: int, macs: float) -> float:
    """About how much a training takes, in epochs times multiply-adds."""
    return (budget or _JUDGED) * macs


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """`plans` plans get a training of `budget`."""

    budget: int
    plans: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """rungs: the selection, one seed each (of budget 0: nothing is trained); then `finalists` plans and every rival get
    `seeds` trainings of `budget`."""

    rungs: tuple[Rung, ...]
    finalists: int
    budget: int
    seeds: int

    @staticmethod
    def within(
        plans: int, *, budget: int, cost: float = 5.0, seeds: int = 3, finalists: int = 3, untrained: bool = False
    ) -> Schedule:
        """Rungs of 1/9, 1/3 and the whole of the budget that together cost `cost` full trainings at most.

        untrained: before them one of budget 0, which judges every plan with the weights it begins with.
        Each rung is trained anew, so that every training ends its own learning-rate schedule. What a rung leaves of its
        share goes to the next. Where the cost is enough for all plans, the whole budget is the only rung; no rungs
        where every plan is a finalist. Source: the split of benchmarks/choose.py.
        """
        if min(budget, seeds, finalists) < 1 or not 1 <= cost <= _MOST:
            raise UsageError(
                f"a study wants budget, seeds, finalists and cost from 1, not {budget}, {seeds}, {finalists}, {cost:g}"
            )
        rungs: dict[int, int] = {}
        left = Fraction(0)
        shares = _SHARES if plans > cost else ((1, Fraction(1)),)
        for part, share in shares if plans > finalists else ():
            length = math.ceil(budget / part)
            left += Fraction(cost).limit_denominator(1000) * share
            count = min(plans - rungs.get(length, 0), left * budget // length)
            if count > 0:
                rungs[length] = rungs.get(length, 0) + int(count)
                left -= Fraction(int(count) * length, budget)
        first = (Rung(budget=0, plans=plans),) if untrained else ()
        steps = tuple(Rung(budget=length, plans=count) for length, count in rungs.items())
        return Schedule(rungs=(*first, *steps), finalists=finalists, budget=budget, seeds=seeds)

    def trainings(self, plans: int, rivals: int = 0) -> list[int]:
        """The budget of every training of a study of `plans` plans in which none fails."""
        last = [self.budget] * (min(plans, self.finalists) + rivals) * self.seeds  # fewer where it is settled early
        return [rung.budget for rung in self.rungs for _ in range(min(plans, rung.plans))] + last

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "rungs": [asdict(rung) for rung in self.rungs]}


class Watcher(Protocol):
    """What a runner tells while jobs run."""

    def __call__(self, job: Job, done: int, total: int) -> None:
        """`job` has done so many of its steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Another network to train on the same data: a name as for `load` or a function that makes it, and the size its
    pictures are brought to (None: the study's). weights: whether it begins with the study's; plan: where it steps."""

    name: str
    model: Any
    size: tuple[int, int] | None = None
    weights: bool = True
    plan: Plan = field(default_factory=Plan)


Target = Plan | Rival


def checkpoint_of(folder: Path, job: Job) -> str:
    """The file a job's training may write to go on after a stop."""
    return str(folder / f"plan{job.plan}-{job.budget}-{job.seed}.ckpt")


def ended(checkpoint: str) -> Outcome | None:
    """The outcome that the end of a training left beside its checkpoint; None where there is none."""
    try:
        return Outcome.from_json(json.loads(_end_of(checkpoint).read_bytes()))
    except (OSError, ValueError, KeyError):
        return None


def forget(checkpoint: str) -> None:
    """Delete what a training left: it is recorded."""
    for left in (_end_of(checkpoint), Path(checkpoint)):
        left.unlink(missing_ok=True)


def _end_of(checkpoint: str) -> Path:
    return Path(checkpoint).with_suffix(ENDED)


def carry_out(
    score: Score,
    target: Target,
    job: Job,
    *,
    progress: Progress | None = None,
    checkpoint: str | None = None,
    ending: AbstractContextManager[Any] = _FREE,
) -> Outcome:
    """Call the score; an error becomes part of the outcome, so that the study goes on. Interrupts pass through.

    The outcome is left beside the checkpoint at once: whoever dies before it is recorded does not train again. ending:
    held from the training's end until it is left.
    """
    begin = time.monotonic()
    found: Any = None
    raised: Exception | None = None
    try:
        if isinstance(target, Rival):  # only scores of the tasks' own have rivals
            score, target = score.of(target), target.plan  # type: ignore[attr-defined]
        taken = inspect.signature(score).parameters
        extra = {k: v for k, v in (("progress", progress), ("checkpoint", checkpoint)) if k in taken}
        with staying():
            found = score(target, job.budget, job.seed, **extra)
    except Exception as error:  # noqa: BLE001  a person's own training code may raise anything
        raised = error
    with ending:
        outcome = replace(_outcome(found) if raised is None else _failed(raised), seconds=time.monotonic() - begin)
        if checkpoint is not None:
            with suppress(StridewiseError):  # a full disk: the coordinator is told it all the same
                write_text(_end_of(checkpoint), json.dumps(outcome.to_json()))
    return outcome


def _outcome(found: Any) -> Outcome:
    """Of what a score gave."""
    try:
        value = float(found)
    except Exception as error:  # noqa: BLE001  it may be anything
        return _failed(error)
    if not math.isfinite(value):
        return Outcome(error=f"the score is {value}")
    detail = found.to_json() if hasattr(found, "to_json") else {}
    detail.pop("correct", None)
    return Outcome(
        value=value,
        low=getattr(found, "low", None),
        high=getattr(found, "high", None),
        correct=tuple(getattr(found, "correct", ())),
        detail=detail,
    )


def _failed(error: Exception) -> Outcome:
    if isinstance(error, StridewiseError):
        return Outcome(error=str(error))
    return Outcome(error=_said(error), trace="".join(traceback.format_exception(error)))


def _said(error: BaseException) -> str:
    """An error of a person's own code in one line: what, and the file and line where it arose there."""
    line = (str(error).strip() or "no message").splitlines()[0]
    frames = traceback.extract_tb(error.__traceback__)
    here = str(Path(__file__).resolve().parent.parent)
    own = [f for f in frames if not f.filename.startswith((here, "<"))]
    # The last line of the person's own, which may have called a library that raised.
    libraries = ("site-packages", "dist-packages", str(Path(traceback.__file__).parent))
    theirs = [f for f in own if not any(part in f.filename for part in libraries)] or own
    where = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {line}{where}"
