"""What a study found, as text, JSON and a page. Every number says whether it is exact, estimated or measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stridewise.errors import StudyError
from stridewise.files import write_bytes, write_text
from stridewise.plans import Plan
from stridewise.report.document import Document, Remark, Remarks, Table
from stridewise.shown import Shown
from stridewise.study.curve import Mark
from stridewise.study.jobs import Schedule
from stridewise.study.plot import charts, plan_axes
from stridewise.study.rows import Row, Writing, cells, curve_table, headings
from stridewise.study.verdict import Verdict

SCHEMA = "stridewise.search/1"
PLAN, RESULT, PICTURE, PAGE = "plan.toml", "result.json", "front.png", "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult(Shown):
    """A study's answer. rows: the shortlist, the default first; front: (multiply-adds, activations, peak bytes) of
    every plan on the front, which is known exactly or, as `known` then says, to within a share; state: "finished" or
    "interrupted"; seconds: of all trainings together; metric: what `accuracy` is in this task, in words, writing: how
    it is written; weights: the file that trainings began with, "" for random ones; curve, knee: what each cost buys,
    and the plan at which that bends."""

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
    weights: str = ""
    known: str = "exact"
    refused: tuple[str, ...] = ()
    aim: str = "curve"
    cost: str = "multiply-adds"
    writing: Writing = field(default_factory=Writing)
    curve: tuple[Mark, ...] = ()
    knee: str = ""

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
            "unit": self.writing.unit,
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
            # All that differs where the same study is run again, but for latency.
            "times": {
                "seconds": self.seconds,
                "trainings": {row.candidate.name: [o.seconds for _, o in row.trainings] for row in self.rows},
            },
        }

    def document(self) -> Document:
        """The answer, every plan of the shortlist, the front with them on it, and how it was found."""
        chosen = self.verdict.plan
        at = frozenset(i for i, row in enumerate(self.rows) if row.candidate.name == chosen)
        cut = [] if self.state == "finished" else ["Interrupted: the same command goes on."]
        table = Table(
            title="Every plan of the shortlist",
            head=headings(self.metric),
            rows=tuple(cells(row, self.default, self.writing) for row in self.rows),
            notes=tuple(notes(self)),
            strong=at,
            left=frozenset({8}),
        )
        took = f"All trainings together took {self.seconds:.0f} seconds of work (measured)."
        told = [*method(self), took, *(str(self.plan).splitlines() if self.plan else [])]
        return Document(
            title=f"Strides for {self.model}, {self.task} on {self.data}",
            lead=(*cut, f"Recommended: {chosen} ({self.verdict.kind})", *self.verdict.reasons),
            parts=(
                *curve_table(self.curve, self.knee, self.cost, self.writing),
                table,
                *charts(self.rows, self.front, self.verdict, self.metric, self.writing),
                Remarks(title="How it was found", remarks=tuple(Remark(text=line) for line in told)),
            ),
        )

    def _page(self) -> dict[str, Any]:
        return {"kind": "search", "report": self.to_json()}

    def _records(self) -> list[dict[str, Any]]:
        return [row.to_json() for row in self.rows]


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
            + "chosen by what cost and the trainings before let expect of them"
            if r.budget
            else "judged with the weights they begin with, not trained"
        )
        for n, r in enumerate(schedule.rungs)
    ]
    plans = sum(not row.candidate.rival for row in result.rows)
    limits = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in result.limits.items() if value is not None
    )
    if result.front:
        chosen = [
            f"{len(result.front)} plans lie on the {'exact ' if result.known == 'exact' else ''}front of "
            f"multiply-adds, activations and peak memory{f' within {limits}' if limits else ''}."
            + ("" if result.known == "exact" else f" {_thinned(result)}."),
            f"{plans} plans, far from each other, make the shortlist, the default always among them.",
        ]
    else:
        chosen = [f"{plans} plans to choose from: the default and those that were given."]
    return [
        *chosen,
        *([f"{len(result.refused)} others would not serve, the first: {result.refused[0]}."] if result.refused else []),
        *(f"Rung {n}: {text}." for n, text in enumerate(rungs, 1)),
        f"The finalists: {schedule.budget} epochs with two fresh seeds each, the default and the rivals always among "
        f"them; then more where the answer hangs, at most {schedule.seeds} each on average, until it is settled.",
        "A difference is settled with three seeds or more of both and an interval that holds at every look, the seeds' "
        "variance drawn towards that of all finalists.",
        _began(result),
    ]


def write_files(result: SearchResult, folder: Path) -> None:
    """Write what a person opens. Raises: StudyError where a file cannot be written."""
    from stridewise.report.figure import png

    write_text(folder / PLAN, result.plan.to_toml(), error=StudyError)
    write_text(folder / RESULT, json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n", error=StudyError)
    write_bytes(folder / PICTURE, png(result.document().pictures), error=StudyError)
    write_text(folder / PAGE, result.to_html(), error=StudyError)
