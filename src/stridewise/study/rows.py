"""One plan of a study: its cost, its trainings, what they say; and how it reads in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stridewise.report.document import Table
from stridewise.study.candidates import Candidate
from stridewise.study.curve import Mark
from stridewise.study.interval import Estimate
from stridewise.study.jobs import Job, Outcome

if TYPE_CHECKING:
    from stridewise.measuring.latency import Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One plan of the shortlist. trainings: (job, outcome) in the order of budget and seed; accuracy: at `budget`, the
    largest it reached; final: whether that is the full one with all seeds; against: its difference to the default."""

    candidate: Candidate
    trainings: tuple[tuple[Job, Outcome], ...]
    budget: int
    accuracy: Estimate | None
    final: bool
    against: Estimate | None
    latency: Latency | None
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.candidate.to_json(),
            "budget": self.budget,
            "final": self.final,
            "accuracy": estimate_json(self.accuracy),
            "against_default": estimate_json(self.against),
            "latency": self.latency.to_json() if self.latency else None,
            "error": self.error or None,
            "trainings": [
                {
                    "budget": job.budget,
                    "seed": job.seed,
                    "accuracy": None if o.failed else o.value,
                    "low": o.low,
                    "high": o.high,
                    "curve": o.detail.get("curve", []),
                    "error": o.error or None,
                }
                for job, o in self.trainings
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a score is written: as a share in percent, its differences in points, or in a unit of its own."""

    times: float = 100.0
    unit: str = "points"

    def score(self, value: float) -> str:
        """A score."""
        return f"{value:.1%}" if self.times == 100 else f"{value:.4g} {self.unit}"

    def between(self, low: float, high: float) -> tuple[float, float]:
        """An interval of a score; a share's ends where shares do."""
        return (max(0.0, low), min(1.0, high)) if self.times == 100 else (low, high)

    def difference(self, value: float) -> str:
        """A difference, with its sign."""
        return f"{value * self.times:+.1f}".replace("-", "−")


def curve_table(curve: Sequence[Mark], knee: str, cost: str, writing: Writing) -> tuple[Table, ...]:
    """What each cost buys, a row a mark; no table where nothing is known yet."""
    if not curve:
        return ()
    bends = [f"The curve bends at {knee}: beyond it more {cost} buy less."] if knee else []
    head = ("at most", "plan", "cost", f"against the default, {writing.unit}", "95 % interval", "seeds", "")
    rows = tuple(_mark(mark, writing) for mark in curve)
    return (Table(title=f"What {cost} buy", head=head, rows=rows, notes=tuple(bends), left=frozenset({1, 6})),)


def _mark(mark: Mark, writing: Writing) -> tuple[str, ...]:
    name, by = f"{mark.mark:g}x", mark.against
    if mark.beyond or not mark.plan:
        return name, "", "", "", "", "", "beyond the limits: not looked at" if mark.beyond else "no plan is that cheap"
    if by is None:
        return name, mark.plan, f"{mark.cost:.2f}x", "", "", "", "the network as it is"
    known = by.low is not None and by.high is not None
    interval = f"{writing.difference(by.low or 0.0)} to {writing.difference(by.high or 0.0)}" if known else ""
    settled = "settled" if mark.settled else "not settled"
    return name, mark.plan, f"{mark.cost:.2f}x", writing.difference(by.mean), interval, str(by.seeds), settled


def headings(metric: str) -> tuple[str, ...]:
    """Of the table's columns."""
    return "plan", "multiply-adds", "", metric, "95 % interval", "epochs", "seeds", "latency", "steps"


def cells(row: Row, default: Row, writing: Writing) -> tuple[str, ...]:
    """One row of the table."""
    found, cost, base = row.accuracy, row.candidate.macs, default.candidate.macs
    known = found is not None and found.low is not None and found.high is not None
    ends = writing.between(found.low or 0.0, found.high or 0.0) if found is not None and known else ()
    interval = " to ".join(map(writing.score, ends))
    return (
        row.candidate.name,
        f"{cost / 1e6:,.1f} M",
        f"{cost / base:.2f}x",
        writing.score(found.mean) if found else "failed" if row.error else "not trained",
        interval,
        str(row.budget) if found else "",
        str(found.seeds if found else ""),
        f"{row.latency.ratio:.2f}x" if row.latency else "",
        row.candidate.steps,
    )


def estimate_json(found: Estimate | None) -> dict[str, Any] | None:
    """Plain values."""
    if found is None:
        return None
    return {"kind": "measured", "mean": found.mean, "low": found.low, "high": found.high, "seeds": found.seeds}
