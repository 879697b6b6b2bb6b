"""One plan of a study: its cost, its trainings, what they say; and how it reads in a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stridewise.study.candidates import Candidate
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
                    "seconds": o.seconds,
                    "curve": o.detail.get("curve", []),
                    "error": o.error or None,
                }
                for job, o in self.trainings
            ],
        }


def headings(metric: str) -> tuple[str, ...]:
    """Of the table's columns."""
    return "plan", "multiply-adds", "", metric, "95 % interval", "epochs", "seeds", "latency", "steps"


def cells(row: Row, default: Row) -> tuple[str, ...]:
    """One row of the table."""
    found, cost, base = row.accuracy, row.candidate.macs, default.candidate.macs
    interval = (
        f"{found.low:.1%} to {found.high:.1%}" if found and found.low is not None and found.high is not None else ""
    )
    return (
        row.candidate.name,
        f"{cost / 1e6:,.1f} M",
        f"{cost / base:.2f}x",
        f"{found.mean:.1%}" if found else "failed" if row.error else "not trained",
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
