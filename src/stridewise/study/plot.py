"""A study as charts: accuracy against cost with intervals, and the front, the default and the chosen plan marked.

Of a shortlist the parallel coordinates too: an axis for each place where its plans differ, with each plan's step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from stridewise.plans import Plan, Setting
from stridewise.report.document import Chart, Scale, Series
from stridewise.study.candidates import common_name
from stridewise.study.rows import Row, Writing
from stridewise.study.verdict import Verdict

Front: TypeAlias = Sequence[tuple[int, int, int]]
Level: TypeAlias = Literal["plain", "strong", "base", "pale"]


def charts(rows: Sequence[Row], front: Front, verdict: Verdict, metric: str, writing: Writing) -> tuple[Chart, ...]:
    """What was trained, and where the plans lie among all on the front; the first row is the network as it is."""
    groups = _grouped(rows, verdict)
    named = _labelled(rows, verdict)
    share = writing.times == 100
    trained = [_series(name, level, found, named, writing) for (name, level), found in groups.items()]
    costs = Scale(label="multiply-adds of one picture (exact)")
    count = sum(len(series.points) for series in trained)
    words = f"{metric} of {count} plans against their multiply-adds"
    out = []
    if count:
        unit = "" if share else f", {writing.unit}"
        scale = Scale(label=f"{metric}{unit} (measured, 95 % interval)", share=share)
        out.append(Chart(title=f"{metric} against cost", words=words, x=costs, y=scale, series=tuple(trained)))
    every = Series(
        name="the front", kind="points", level="pale", points=tuple((float(m), float(a)) for m, a, _ in front)
    )
    placed = [
        Series(name=name, kind="points", level=level, points=tuple(_cost(row) for row in found))
        for (name, level), found in groups.items()
    ]
    activations = Scale(label="activations (exact)")
    words = f"{len(front)} plans on the front, activations against multiply-adds, and the shortlist among them"
    # What is in both charts has its place, and so its colour, in both.
    return (*out, Chart(title="the front of all plans", words=words, x=costs, y=activations, series=(*placed, every)))


def _cost(row: Row) -> tuple[float, float]:
    return float(row.candidate.macs), float(row.candidate.activations)


def _grouped(rows: Sequence[Row], verdict: Verdict) -> dict[tuple[str, Level], list[Row]]:
    groups: dict[tuple[str, Level], list[Row]] = {}
    for row in rows:
        groups.setdefault(_look(row, row is rows[0], verdict), []).append(row)
    return groups


def _look(row: Row, default: bool, verdict: Verdict) -> tuple[str, Level]:
    """Legend text and stress of a plan."""
    if default:
        return "the network as it is", "base"
    if row.candidate.rival:
        return "another network", "plain"
    if row.candidate.name == verdict.plan:
        return f"recommended ({verdict.kind})", "strong"
    if row.final:
        return "several seeds", "plain"
    return "left early: one seed, or fewer epochs", "pale"


def _labelled(rows: Sequence[Row], verdict: Verdict) -> frozenset[str]:
    """The plans whose names have room in the picture, the most important first: where two would stand in each other's
    way the table names the other."""
    known = [(row, row.accuracy.mean) for row in rows if row.accuracy is not None]
    if not known:
        return frozenset()
    costs, scores = [float(row.candidate.macs) for row, _ in known], [score for _, score in known]
    wide, tall = (max(costs) - min(costs)) or 1.0, (max(scores) - min(scores)) or 1.0
    order = sorted(
        known, key=lambda one: (one[0].candidate.name != verdict.plan, one[0] is not rows[0], not one[0].final)
    )
    boxes: list[tuple[float, float, float]] = []
    out = set()
    for row, score in order:
        x, y = (row.candidate.macs - min(costs)) / wide, (score - min(scores)) / tall
        reach = _LETTER * len(row.candidate.name)
        if all(abs(y - b) > _LINE or x > a + c or a > x + reach for a, b, c in boxes):
            boxes.append((x, y, reach))
            out.add(row.candidate.name)
    return frozenset(out)


_LETTER, _LINE = 0.016, 0.08  # a letter's width, a line's height, as shares of the plot


def _series(name: str, level: Level, rows: Sequence[Row], named: frozenset[str], writing: Writing) -> Series:
    known = [(row, row.accuracy) for row in rows if row.accuracy is not None]
    return Series(
        name=name,
        kind="points",
        level=level,
        points=tuple((float(row.candidate.macs), accuracy.mean) for row, accuracy in known),
        labels=tuple(row.candidate.name if row.candidate.name in named else "" for row, _ in known),
        spread=tuple(None if a.low is None or a.high is None else writing.between(a.low, a.high) for _, a in known),
    )


def plan_axes(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Plain values, an entry a place: its name, the sites that always step alike there, each plan's step.

    A plan that does not name a site leaves it as it was; slots are written with a plus.
    """
    every = [{**plan.sites, **{f"+{key}": setting for key, setting in plan.insert.items()}} for plan in plans]
    columns: dict[tuple[bool, tuple[tuple[int, ...], ...]], list[str]] = {}
    for key in dict.fromkeys(key for settings in every for key in settings):
        was = next(settings[key].was for settings in every if key in settings)
        column = tuple(_step(settings.get(key), was) for settings in every)
        columns.setdefault((key.startswith("+"), column), []).append(key)  # a slot is another place than a site
    ordered = sorted(columns.items(), key=lambda entry: _natural(entry[1][0]))
    return [
        {"name": _name(sites), "sites": sites, "strides": [list(step) for step in column]}
        for (_, column), sites in ordered
    ]


def _natural(key: str) -> list[tuple[int, int, str]]:
    """Names in the order of their numbers, layer2 before layer10: a plan does not say which site runs first."""
    parts = re.findall(r"\d+|\D+", key.removeprefix("+"))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _step(setting: Setting | None, was: tuple[int, ...]) -> tuple[int, ...]:
    return was if setting is None or not setting.stride else setting.stride


def _name(sites: Sequence[str]) -> str:
    return sites[0] if len(sites) == 1 else common_name(tuple(sites))
