"""A study as charts: accuracy against cost with intervals, and the front, the default and the chosen plan marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from stridewise.report.document import Chart, Scale, Series
from stridewise.study.jobs import Schedule
from stridewise.study.rows import Row
from stridewise.study.verdict import Verdict

Front: TypeAlias = Sequence[tuple[int, int, int]]
Level: TypeAlias = Literal["plain", "strong", "base", "pale"]


def charts(rows: Sequence[Row], front: Front, verdict: Verdict, schedule: Schedule, metric: str) -> tuple[Chart, ...]:
    """What was trained, and where the plans lie among all on the front; the first row is the network as it is."""
    groups = _grouped(rows, verdict, schedule)
    trained = [_series(name, level, found) for (name, level), found in groups.items()]
    costs = Scale(label="multiply-adds of one picture (exact)")
    found = [series for series in trained if series.points]
    words = f"{metric} of {sum(len(s.points) for s in found)} plans against their multiply-adds"
    out = []
    if found:
        scale = Scale(label=f"{metric} (measured, 95 % interval)", share=True)
        out.append(Chart(title=f"{metric} against cost", words=words, x=costs, y=scale, series=tuple(found)))
    every = Series(
        name="the front", kind="points", level="pale", points=tuple((float(m), float(a)) for m, a, _ in front)
    )
    placed = [
        Series(name=name, kind="points", level=level, points=tuple(_cost(row) for row in found))
        for (name, level), found in groups.items()
    ]
    activations = Scale(label="activations (exact)")
    words = f"{len(front)} plans on the front, activations against multiply-adds, and the shortlist among them"
    return (*out, Chart(title="the front of all plans", words=words, x=costs, y=activations, series=(every, *placed)))


def _cost(row: Row) -> tuple[float, float]:
    return float(row.candidate.macs), float(row.candidate.activations)


def _grouped(rows: Sequence[Row], verdict: Verdict, schedule: Schedule) -> dict[tuple[str, Level], list[Row]]:
    groups: dict[tuple[str, Level], list[Row]] = {}
    for row in rows:
        groups.setdefault(_look(row, row is rows[0], verdict, schedule), []).append(row)
    return groups


def _look(row: Row, default: bool, verdict: Verdict, schedule: Schedule) -> tuple[str, Level]:
    """Legend text and stress of a plan."""
    if default:
        return "as it is", "base"
    if row.candidate.rival:
        return "rival", "plain"
    if row.candidate.name == verdict.plan:
        return f"recommended ({verdict.kind})", "strong"
    if row.final:
        return f"finalist: {schedule.seeds} seeds", "plain"
    return "left early", "pale"


def _series(name: str, level: Level, rows: Sequence[Row]) -> Series:
    known = [(row, row.accuracy) for row in rows if row.accuracy is not None]
    return Series(
        name=name,
        kind="points",
        level=level,
        points=tuple((float(row.candidate.macs), accuracy.mean) for row, accuracy in known),
        labels=tuple(row.candidate.name for row, _ in known),
        spread=tuple(None if a.low is None or a.high is None else (a.low, a.high) for _, a in known),
    )
