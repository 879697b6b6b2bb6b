"""Measurements as tables of text: the terminal and the page show the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stridewise.errors import by, once
from stridewise.findings import Finding
from stridewise.measuring.box_shift import BoxShift
from stridewise.measuring.intervals import Interval
from stridewise.measuring.rows import Row
from stridewise.measuring.shift import Shift
from stridewise.report.document import Remark, Remarks, Table
from stridewise.report.units import binary, count


def remarked(rows: Sequence[Row]) -> Remarks:
    """Findings, each once, with the networks it is about where others are beside them."""
    about: dict[Finding, list[str]] = {}
    for row in rows:
        for found in row.findings:
            about.setdefault(found, []).append(row.name)
    return Remarks(
        remarks=tuple(
            Remark(
                label=found.rule,
                level=found.severity,
                text=found.message if len(names) == len(rows) else f"{', '.join(names)}: {found.message}",
                about=found.key,
                link=f"#{found.rule}",
            )
            for found, names in about.items()
        )
    )


def said(rows: Sequence[Row], notes: Sequence[str]) -> list[str]:
    """Findings and notes, a line each."""
    found = [f"{remark.label} {remark.level}: {remark.text}" for remark in remarked(rows).remarks]
    return [*found, *(f"note: {note}" for note in notes)]


def headline(model: str, input: Sequence[int], conditions: Mapping[str, Any]) -> str:
    """What was measured and under which conditions, in one line."""
    return f"{model}, input {by(input)}; {', '.join(f'{key} {value}' for key, value in conditions.items())}"


def tables(rows: Sequence[Row]) -> tuple[Table, ...]:
    """The main table, plans side by side, then what each figure is made of."""
    found = [_main(rows)]
    for row in rows:
        name = f": {row.name}" if len(rows) > 1 else ""
        if isinstance(row.shift, Shift) and any(level.pairs for level in row.shift.levels):
            found.append(_levels(row.shift, name))
        if row.detail is not None:
            found += _detail(row, name)
        if row.fields is not None:
            found.append(_fields(row, name))
    return tuple(found)


def _main(every: Sequence[Row]) -> Table:
    rows: list[tuple[str, ...]] = []

    def add(title: str, badge: str, cell: Callable[[Row], str | None]) -> None:
        cells = [cell(row) for row in every]
        if any(c is not None for c in cells):
            rows.append((title, *(c or "-" for c in cells), badge))

    add("output stride", "exact", lambda r: once(r.exact.output_stride))
    add("multiply-adds", "exact", lambda r: count(r.exact.macs))
    add("parameters", "exact", lambda r: count(r.exact.params))
    add("peak activations", "estimated", lambda r: binary(r.exact.peak_bytes))
    for title, shown in (
        ("latency, ratio", lambda t: f"{t.ratio:.2f}x"),
        ("  quartiles", lambda t: f"{t.ratio_low:.2f} to {t.ratio_high:.2f}x"),
        ("  median", lambda t: f"{1e3 * t.median:.2f} ms"),
    ):
        add(title, "measured", lambda r, shown=shown: None if r.latency is None else shown(r.latency))  # type: ignore[misc]
    add("peak memory", "measured", _bytes)
    for title, figure in (
        ("accuracy", lambda r: r.accuracy),
        ("  versus the first", lambda r: r.accuracy_versus),
        ("shift: pairs that agree", lambda r: getattr(r.shift, "agreement", None)),
        ("  versus the first", lambda r: getattr(r.shift, "versus", None)),
        ("  never changed, worst case", lambda r: getattr(r.shift, "unchanged", None)),
        ("  accuracy over offsets", lambda r: getattr(r.shift, "accuracy", None)),
        ("  stays right when right", lambda r: getattr(r.shift, "stays_right", None)),
        ("  mean IoU of two views", lambda r: getattr(r.shift, "miou", None)),
    ):
        write = _points if "versus" in title else percent
        add(title, "measured", lambda r, figure=figure, write=write: _optional(figure(r), write))  # type: ignore[misc]
    add("  output change (1: another picture)", "measured", _change)
    add("  mAP, worst to best offset", "measured", _precision)
    add("detail lost, most at one step", "measured", _most_lost)
    notes = []
    for row in every[:1]:
        if row.shift is not None:
            reach = once(row.shift.reach)
            preset = f", preset {row.shift.preset}" if isinstance(row.shift, Shift) and row.shift.preset else ""
            notes.append(
                f"shift: mode {row.shift.mode}{preset}, {row.shift.offsets} offsets a picture on a grid of {reach} "
                f"pixels, {row.shift.pictures} pictures; intervals are 95 % over pictures"
            )
    for row in every:
        if isinstance(row.shift, Shift) and row.shift.classes_predicted < 3:
            said = ("no class is", "one class only is", "only two classes are")[row.shift.classes_predicted]
            notes.append(f"shift: {row.name}: {said} ever predicted: agreement says little, look at the output change")
    short = {key: wanted for row in every if row.detail is not None for key, wanted in row.detail.starved}
    if short:
        notes.append(
            f"detail: {len(short)} maps are not judged, the pictures are too few to fit their decoders: "
            f"--images {max(short.values())} would do for all"
        )
    alike = [r.name for r in every[1:] if r.latency is not None and not r.latency.differs]
    if alike:
        notes.append(f"latency: no difference to {every[0].name} is shown for {', '.join(alike)}: quartiles hold 1")
    return Table(title="", head=("", *(row.name for row in every), ""), rows=tuple(rows), notes=tuple(notes))


def _levels(found: Shift, name: str) -> Table:
    rows = tuple(
        (
            once(level.multiple_of),
            "borders" if level.next is None else f"to {once(level.next)}",
            f"{level.pairs:,}",
            percent(level.disagree),
            "-" if level.change.value is None else f"{level.change.value**0.5:.3f}",
        )
        for level in found.levels
        if level.pairs
    )
    notes: tuple[str, ...] = ()
    if found.guilty is not None and found.guilty.next is not None:
        sites = f" ({', '.join(found.sites[:3])}{', ...' if len(found.sites) > 3 else ''})" if found.sites else ""
        notes = (f"most of it comes in with the step to {once(found.guilty.next)}{sites}",)
    head = ("offsets apart by multiples of", "first step to break it", "pairs", "disagree", "output change")
    return Table(title=f"shift by step{name}", head=head, rows=rows, notes=notes)


def _detail(row: Row, name: str) -> list[Table]:
    assert row.detail is not None
    steps = tuple(
        (
            s.path,
            once(s.after),
            _share(s.lost, s.at_most),
            _share(s.total, s.at_most),
            _share(None if s.aliasing is None else s.aliasing.folded),
        )
        for s in row.detail.steps
    )
    judged = "lost: of the detail above the new Nyquist, what no linear decoder of 3x3 cells reads back (at most)"
    notes = [judged, "folds: of the energy where the step is taken, the part above the new Nyquist"]
    if row.detail.without:
        notes.append(f"not judged, they step without a module of their own: {', '.join(row.detail.without)}")
    finer = row.detail.depth[0].finer_than if row.detail.depth else ()
    depth = tuple(
        (d.path, once(d.stride), *(_share(v, d.at_most, sign=">=") for v in d.kept)) for d in row.detail.depth
    )
    return [
        Table(
            title=f"detail lost at each step{name}",
            head=("step", "stride after", "lost", "lost of all", "folds"),
            rows=steps,
            notes=tuple(notes),
        ),
        Table(
            title=f"picture detail still linearly readable, by size{name}",
            head=("map", "stride", *(f"< {p} px" for p in finer)),
            rows=depth,
            notes=("a lower bound on what is kept: other decoders may read more",),
        ),
    ]


def _fields(row: Row, name: str) -> Table:
    assert row.fields is not None
    rows = tuple(
        (f.path, *(once(value) for value in (f.stride, f.theoretical, f.reached, f.effective))) for f in row.fields
    )
    head = ("map", "stride", "receptive field", "gradient reaches", "95 % of it within")
    return Table(title=f"receptive field of the middle position, pixels{name}", head=head, rows=rows)


def percent(interval: Interval) -> str:
    """`85.1 % (83.0 to 87.2)`."""
    if interval.value is None:
        return "-"
    if interval.low is None or interval.high is None:
        return f"{100 * interval.value:.1f} %"
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _points(interval: Interval) -> str:
    if interval.value is None or interval.low is None or interval.high is None:
        return "-" if interval.value is None else f"{100 * interval.value:+.1f} points"
    return f"{100 * interval.value:+.1f} points ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def _optional(value: object, write: Callable[[Interval], str]) -> str | None:
    return write(value) if isinstance(value, Interval) else None


def _change(row: Row) -> str | None:
    if not isinstance(row.shift, Shift) or row.shift.change.value is None:
        return None
    low, high = row.shift.change.low, row.shift.change.high
    return f"{row.shift.change.value:.3f}" + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")


def _precision(row: Row) -> str | None:
    found = row.shift
    if not isinstance(found, BoxShift) or found.ap_worst is None or found.ap_best is None:
        return None
    return f"{100 * found.ap_worst:.1f} to {100 * found.ap_best:.1f} %"


def _most_lost(row: Row) -> str | None:
    known = [s for s in row.detail.steps if s.lost is not None] if row.detail else []
    worst = max(known, key=lambda s: s.lost or 0.0, default=None)
    return None if worst is None else f"{_share(worst.lost, worst.at_most)} at {worst.path}"


def _share(value: float | None, bound: bool = False, sign: str = "<=") -> str:
    if value is None:
        return "-"
    shown = 100 * min(max(value, 0.0), 1.0)
    return f"{sign + ' ' if bound else ''}{shown:.1f} %"


def _bytes(row: Row) -> str | None:
    if not row.memory or row.latency is None:
        return None
    return "-" if row.latency.peak_bytes is None else binary(max(row.latency.peak_bytes, 0))


def curves(rows: Sequence[Row]) -> tuple[tuple[str, tuple[tuple[str, float], ...]], ...]:
    """Bars for a page: (title, (name, share of 1) a plan), what was measured as shares."""
    found: list[tuple[str, tuple[tuple[str, float], ...]]] = []
    agree = [(row.name, None if row.shift is None else row.shift.agreement.value) for row in rows]
    right = [(row.name, None if row.accuracy is None else row.accuracy.value) for row in rows]
    for title, values in (("pairs of offsets that agree", agree), ("accuracy", right)):
        bars = tuple((name, value) for name, value in values if value is not None)
        if bars:
            found.append((title, bars))
    for row in rows:
        if row.detail is not None:
            bars = tuple((s.path, min(max(s.lost, 0.0), 1.0)) for s in row.detail.steps if s.lost is not None)
            found.append((f"detail lost at each step, {row.name}", bars))
    return tuple(found)
