"""What a study found, as text, JSON and a page. Every number says whether it is exact, estimated or measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stridewise.plans import Plan
from stridewise.study.axes import plan_axes
from stridewise.study.candidates import Candidate
from stridewise.study.curve import Mark
from stridewise.study.interval import Estimate
from stridewise.study.jobs import Job, Outcome, Schedule
from stridewise.study.verdict import Verdict

if TYPE_CHECKING:
    from stridewise.measuring.latency import Latency

SCHEMA = "stridewise.search/1"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A study's answer. rows: the shortlist, the default first; front: (multiply-adds, activations, peak bytes) of
    every plan on the front, which is known exactly or, as `known` then says, to within a share; state: "finished" or
    "interrupted"; seconds: of all trainings together; metric: what `accuracy` is in this task, in words; weights: the
    file that trainings began with, "" for random ones."""

    model: str
    task: str
    data: str
    input: tuple[int, ...]
    limits: Mapping[str, Any]
    schedule: Schedule
    rows: tuple[Row, ...]
    front: tuple[tuple[int, int, int], ...]
    verdict: Verdict
    state: str
    seconds: float
    folder: str = ""
    metric: str = "accuracy"
    aim: str = "curve"
    cost: str = "multiply-adds"
    times: float = 100.0
    unit: str = "points"
    curve: tuple[Mark, ...] = ()
    knee: str = ""
    weights: str = ""
    known: str = "exact"
    refused: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        """The recommended plan; it changes nothing where the default stays."""
        return next((r.candidate.plan for r in self.rows if r.candidate.name == self.verdict.plan), Plan())

    @property
    def default(self) -> Row:
        """The network as it is."""
        return self.rows[0]

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.search/1"."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "input": [1, *self.input],
            "task": self.task,
            "data": self.data,
            "metric": self.metric,
            "weights": self.weights or None,
            "state": self.state,
            "limits": {name: list(v) if isinstance(v, tuple) else v for name, v in self.limits.items()},
            "aim": self.aim,
            "cost": self.cost,
            "unit": self.unit,
            "curve": [mark.to_json() for mark in self.curve],
            "knee": self.knee or None,
            "schedule": self.schedule.to_json(),
            "recommended": {
                "plan": self.verdict.plan,
                "kind": self.verdict.kind,
                "reasons": list(self.verdict.reasons),
                "toml": self.plan.to_toml(),
            },
            "plans": [row.to_json() for row in self.rows],
            "axes": plan_axes([row.candidate.plan for row in self.rows]),
            "notes": notes(self),
            "method": method(self),
            "front": {
                "known": self.known,
                "kind": {"macs": "exact", "activations": "exact", "peak_activation_bytes": "estimated"},
                "points": [
                    {"macs": macs, "activations": made, "peak_activation_bytes": peak}
                    for macs, made, peak in self.front
                ],
            },
            "seconds": self.seconds,
        }

    def to_html(self) -> str:
        """One self-contained page that draws itself, by the same code as `stridewise serve`."""
        from stridewise.study.page import page

        return page(self)

    def _repr_html_(self) -> str:
        from stridewise.study.page import plain

        return plain(self)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Sequence[str]:
        """The answer, a table and what its numbers are."""
        head = f"{self.model} for {self.task} on {self.data}"
        if self.state != "finished":
            head += " (interrupted; the same command goes on)"
        out = [head, ""]
        if self.curve:
            out += [f"What {self.cost} buy", *_aligned([CURVE_HEAD, *curve_cells(self)]), *knee_line(self), ""]
        out += [*_aligned([headings(self), *(cells(row, self) for row in self.rows)]), ""]
        out += [f"Recommended: {self.verdict.plan} ({self.verdict.kind})", *(f"  {r}" for r in self.verdict.reasons)]
        return [*out, "", *notes(self)]


def headings(result: SearchResult) -> tuple[str, ...]:
    """Of the table's columns."""
    return "plan", "multiply-adds", "", result.metric, "95 % interval", "epochs", "seeds", "latency", "steps"


CURVE_HEAD = ("at most", "plan", "cost", "against the default", "95 % interval", "seeds", "")


def curve_cells(result: SearchResult) -> list[tuple[str, ...]]:
    """The curve as rows of a table."""
    rows: list[tuple[str, ...]] = []
    for mark in result.curve:
        by = mark.against
        if mark.beyond or not mark.plan:
            said = "beyond the limits: not looked at" if mark.beyond else "no plan is that cheap"
            rows.append((f"{mark.mark:g}x", "", "", "", "", "", said))
            continue
        known = by is not None and by.low is not None and by.high is not None
        rows.append(
            (
                f"{mark.mark:g}x",
                mark.plan,
                f"{mark.cost:.2f}x",
                signed(by.mean, result) if by else "",
                f"{signed(by.low or 0.0, result)} to {signed(by.high or 0.0, result)}" if by and known else "",
                str(by.seeds) if by else "",
                "the network as it is" if by is None else "settled" if mark.settled else "not settled",
            )
        )
    return rows


def knee_line(result: SearchResult) -> list[str]:
    """Where the curve bends, where it does."""
    if not result.knee:
        return []
    return [f"The curve bends at {result.knee}: beyond it more {result.cost} buy less."]


def signed(value: float, result: SearchResult) -> str:
    """A difference with its sign, in the score's unit."""
    return f"{value * result.times:+.1f}".replace("-", "−")


def written(value: float, result: SearchResult) -> str:
    """A score: a share in percent, one with a unit of its own as it is."""
    return f"{value:.1%}" if result.times == 100 else f"{value:.4g} {result.unit}"


def cells(row: Row, result: SearchResult) -> tuple[str, ...]:
    """One row of the table."""
    found, cost, base = row.accuracy, row.candidate.macs, result.default.candidate.macs
    interval = (
        f"{written(found.low, result)} to {written(found.high, result)}"
        if found and found.low is not None and found.high is not None
        else ""
    )
    return (
        row.candidate.name,
        f"{cost / 1e6:,.1f} M",
        f"{cost / base:.2f}x",
        written(found.mean, result) if found else "failed" if row.error else "not trained",
        interval,
        str(row.budget) if found else "",
        str(found.seeds if found else ""),
        f"{row.latency.ratio:.2f}x" if row.latency else "",
        row.candidate.steps,
    )


def notes(result: SearchResult) -> list[str]:
    """What the numbers are and were measured on; which plans failed and why."""
    out = [
        f"Multiply-adds are exact; {result.metric} and latency are measured; intervals hold the draw of seeds and "
        "pictures."
    ]
    final = [row for row in result.rows if row.final]
    if len(final) < len(result.rows):
        out.append(
            "Plans with fewer epochs or one seed left the study early: their accuracies compare only with those of "
            "equal epochs."
        )
    if result.known != "exact":
        out.append(f"{_thinned(result)}.")
    timed = result.default.latency
    if timed:
        out.append(
            f"Latency: median ratio to the default over {timed.rounds} interleaved rounds, batch {timed.batch}, "
            f"{timed.threads} thread{'s' if timed.threads > 1 else ''}, {timed.device}; the default takes "
            f"{1e3 * timed.median:.2f} ms."
        )
    out += [f"{row.candidate.name} failed: {row.error}" for row in result.rows if row.error]
    return out


def _thinned(result: SearchResult) -> str:
    """What it means that the front is not exact."""
    return f"The front was too large to be whole: each plan left out is {result.known} of one on it in every cost"


def _began(result: SearchResult) -> str:
    """What trainings began with, and which plans keep what those weights mean."""
    if not result.weights:
        return "Every training starts from random weights."
    plans = [row.candidate for row in result.rows if row.candidate.plan and not row.candidate.rival]
    kept = [c.name for c in plans if c.plan.keep_weights]
    other = [c.name for c in plans if not c.plan.keep_weights]
    said = f"Every training starts from {result.weights}, its batch norms measured anew under the plan."
    if kept:
        said += f" {', '.join(kept)} keep what the weights mean by dilation."
    if other:
        said += f" {', '.join(other)} cannot (they step further, or between modules) and take the weights as they are."
    random = [row.candidate.name for row in result.rows if row.candidate.name.endswith("(random weights)")]
    return said + (f" The weights do not fit {', '.join(random)}." if random else "")


def method(result: SearchResult) -> list[str]:
    """How the answer was found, a sentence a step."""
    schedule = result.schedule
    rungs = [
        f"{r.plans} plans, "
        + (
            (f"{r.budget} epoch{'s' if r.budget > 1 else ''} each, ")
            + ("chosen by what the trainings before say about plans like them" if n else "far from each other")
            if r.budget
            else "judged with the weights they begin with, not trained"
        )
        for n, r in enumerate(schedule.rungs)
    ]
    plans = sum(not row.candidate.rival for row in result.rows)
    limits = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in result.limits.items() if value is not None
    )
    return [
        f"{len(result.front)} plans lie on the {'exact ' if result.known == 'exact' else ''}front of multiply-adds, "
        f"activations and peak memory{f' within {limits}' if limits else ''}."
        + ("" if result.known == "exact" else f" {_thinned(result)}."),
        f"{plans} plans, far from each other, make the shortlist, the default always among them.",
        *([f"{len(result.refused)} others would not serve, the first: {result.refused[0]}."] if result.refused else []),
        *(f"Rung {n}: {text}." for n, text in enumerate(rungs, 1)),
        f"The finalists: {schedule.budget} epochs with two fresh seeds each, the default and the rivals always among "
        f"them; then more where the answer hangs, at most {schedule.seeds} each on average, until it is settled.",
        "A difference is settled with three seeds or more of both and an interval that holds at every look, the seeds' "
        "variance pooled over the finalists.",
        _began(result),
        f"All trainings together took {result.seconds:.0f} seconds of work (measured).",
    ]


def estimate_json(found: Estimate | None) -> dict[str, Any] | None:
    """Plain values."""
    if found is None:
        return None
    return {"kind": "measured", "mean": found.mean, "low": found.low, "high": found.high, "seeds": found.seeds}


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell if i == last else cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
