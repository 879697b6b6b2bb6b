"""Reports as text: lines of styled pieces, joined to plain text or drawn by rich in the command line."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

from stridewise.findings import Finding
from stridewise.report.units import binary, by, change, count, once, shortened
from stridewise.showing.fold import Row, folded
from stridewise.showing.ladder import rungs
from stridewise.showing.rows import Layer, Totals, View
from stridewise.showing.show import Report

WIDTH = 100
# A line is pieces of (text, style); styles: "", head, dim, step, warning, error.
Line: TypeAlias = list[tuple[str, str]]


def render(report: Report, width: int = WIDTH) -> str:
    """The whole report as plain text."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines(report, width))


def lines(report: Report, width: int = WIDTH) -> list[Line]:
    """The report line by line: what it is, totals, ladder, layers, findings, what is unknown."""
    shapes = ", ".join(f"{n + ' ' if len(report.inputs) > 1 else ''}{by(s)}" for n, s in report.inputs)
    out: list[Line] = [[(report.model, "head"), (f"   input {shapes}", "")], []]
    if len(report.views) == 1:
        out += _totals(report, report.views[0].totals, width)
    else:
        out += _side_by_side(report, width)
    for view in report.views:
        title = f"Stride ladder, {view.plan or 'as it is'}" if len(report.views) > 1 else "Stride ladder"
        out += [[], [(title, "head")], *ladder_lines(report, view, width)]
    if len(report.views) == 1:
        out += [[], *_layers(report.views[0].layers, width)]
    else:
        out += [[], *_changed_layers(report, width)]
    for view in report.views:
        out += _findings(view, width, len(report.views) > 1)
    for _, _, message in report.unknown:
        out.append([("unknown ", "warning"), (message, "")])
    return out + [[("note ", "dim"), (note, "")] for note in report.notes]


def facts(report: Report, totals: Totals) -> list[tuple[str, str]]:
    """What the totals say, by name."""
    share = [f / n for f, n in zip(totals.receptive_field, report.size, strict=False)]
    facts = [
        ("multiply-adds", count(totals.macs)),
        ("parameters", count(totals.params)),
        ("activations", count(totals.activations)),
        ("peak memory", binary(totals.peak_activation_bytes)),
    ]
    if totals.kept_bytes is not None:
        facts.append(("kept for backward", binary(totals.kept_bytes)))
    facts += [
        ("output stride", once(totals.output_stride)),
        ("last map", by(totals.out_size)),
        ("receptive field", f"{by(totals.receptive_field)} ({max(share, default=0):.2g}× the input)"),
        ("smallest input", by(totals.smallest_input)),
    ]
    return facts


def _totals(report: Report, totals: Totals, width: int) -> list[Line]:
    """The facts in lines, work and memory first; the geometry begins a line of its own."""
    out: list[Line] = []
    used = width + 1
    for name, value in facts(report, totals):
        long = len(name) + len(value) + 1
        if used + 3 + long > width or name == "output stride":
            out.append([])
            used = -3
        out[-1] += [("   " if used >= 0 else "", ""), (f"{name} ", "dim"), (value, "")]
        used += 3 + long
    return out


def _side_by_side(report: Report, width: int) -> list[Line]:
    """The totals of every plan in columns, with the change against the network as it is."""
    names = [view.plan or "as it is" for view in report.views]
    numbers = [_numbers(view.totals) for view in report.views]
    tables = [facts(report, view.totals) for view in report.views]
    rows = [[table[row][1].split(" (")[0] for table in tables] for row in range(len(tables[0]))]
    for row, texts in enumerate(rows[: len(numbers[0])]):
        texts[1:] = [f"{t}  {change(n[row], numbers[0][row])}" for t, n in zip(texts[1:], numbers[1:], strict=True)]
    longest = max(len(text.rstrip()) for texts in rows for text in texts)
    column = max(min((width - 20) // len(names), 30), 14, longest + 2)  # columns never touch, however many
    out: list[Line] = [[(" " * 20, ""), *((f"{shortened(name, column - 1):<{column}}", "head") for name in names)]]
    for (name, value), texts in zip(tables[0], rows, strict=True):
        line: Line = [(f"{name:<20}", "dim")]
        for v, text in enumerate(texts):
            line.append((f"{text:<{column}}", "" if text == value.split(" (")[0] or not v else "step"))
        out.append(line)
    return out


def _numbers(totals: Totals) -> tuple[int, ...]:
    """The facts that can be compared, in the order of `facts`."""
    kept = () if totals.kept_bytes is None else (totals.kept_bytes,)
    return (totals.macs, totals.params, totals.activations, totals.peak_activation_bytes, *kept)


def ladder_lines(report: Report, view: View, width: int) -> list[Line]:
    label = max(width * 36 // 100, 24)
    ladder = rungs(view, report.size, width - label - 22, label)
    stride = max([6, *(len(rung.stride) for rung in ladder)])
    size = max([4, *(len(rung.size) for rung in ladder)])
    out: list[Line] = [[(f"{'stride':>{stride}}  {'size':>{size}}  depth →", "dim")]]
    bar = width - label - 22
    for rung in ladder:
        out.append(
            [
                (f"{rung.stride:>{stride}}", ""),
                (f"  {rung.size:>{size}}  ", "dim"),
                (f"{rung.bar:<{bar}}  ", "step"),
                (rung.steps, ""),
            ]
        )
    return out


# The least width of the column of names.
_NAME = 16
HEADS = ("op", "kernel", "step", "channels", "size", "stride", "field", "MACs", "params")


def cells(row: Row) -> tuple[str, ...]:
    """One row of the layer table, without its name."""
    x = row.first
    dilated = f" d{once(x.dilation)}" if any(d != 1 for d in x.dilation) else ""
    grouped = "" if x.groups == 1 else " dw" if x.channels and x.groups == x.channels[0] else f" g{x.groups}"
    reach = once(x.receptive_field)
    if row.repeats > 1 and row.last.receptive_field != x.receptive_field:
        reach += f"…{once(row.last.receptive_field)}"
    reach = ("~" if x.approximate else "") + reach + (" +all" if x.everything else "")
    return (
        _short_op(x) + grouped,
        (once(x.kernel, "") + dilated),
        "" if all(s == 1 for s in x.stride) else once(x.stride, ""),
        f"{x.channels[0]}→{x.channels[1]}" if x.channels else "",
        by(x.out_size, ""),
        "" if None in x.cumulative_stride else once(x.cumulative_stride, ""),
        "all" if None in x.cumulative_stride else reach,
        count(x.macs) if x.macs else "",
        count(x.params) if x.params else "",
    )


def _short_op(layer: Layer) -> str:
    return {"conv_transpose": "up-conv", "max_pool": "max", "avg_pool": "mean", "matmul": "linear"}.get(
        layer.op, layer.op
    )


def _table(rows: Sequence[tuple[str, ...]], width: int, styles: Sequence[str]) -> list[Line]:
    """The layer table: numbers to the right, names shortened; in too narrow a window the last columns go first."""
    heads = ("layer", *HEADS)
    kept = list(range(len(heads)))
    wide = [max(len(row[c]) for row in (heads, *rows)) for c in kept]
    for column in ("params", "channels", "op"):
        if _NAME + sum(wide[c] + 2 for c in kept[1:]) > width:
            kept.remove(heads.index(column))
    wide[0] = max(min(wide[0], width - sum(wide[c] + 2 for c in kept[1:])), _NAME)

    def line(row: Sequence[str], style: str) -> Line:
        cells = [f"{row[c]:<{wide[c]}}" if heads[c] == "op" else f"{row[c]:>{wide[c]}}" for c in kept[1:]]
        return [("  ".join([f"{shortened(row[0], wide[0]):<{wide[0]}}", *cells]), style)]

    return [line(heads, "dim"), *(line(row, style) for row, style in zip(rows, styles, strict=True))]


def _layers(layers: Sequence[Layer], width: int) -> list[Line]:
    rows = folded(layers)
    table = [(row.name + (f" ×{row.repeats}" if row.repeats > 1 else ""), *cells(row)) for row in rows]
    styles = ["step" if any(s != 1 for s in row.first.stride) else "" for row in rows]
    return _table(table, width, styles)


def _changed_layers(report: Report, width: int) -> list[Line]:
    """The layers whose step, dilation or kernel differs from now: what was and what each plan makes of it."""
    first = {layer.key: layer for layer in report.layers}
    rows: list[tuple[str, ...]] = []
    styles: list[str] = []

    def add(name: str, layer: Layer, style: str) -> None:
        rows.append((name, *cells(Row(name=name, first=layer, last=layer, repeats=1, at=0))))
        styles.append(style)

    for view in report.views[1:]:
        for layer in view.layers:
            before = first.get(layer.key)
            if before is None:
                add(f"{layer.key}, new in {view.plan}", layer, "step")
            elif (before.stride, before.dilation, before.kernel) != (layer.stride, layer.dilation, layer.kernel):
                add(layer.key, before, "dim")
                add(f"  {view.plan}", layer, "step")
        here = {layer.key for layer in view.layers}
        for layer in report.layers:
            if layer.key not in here:
                add(f"{layer.key}, gone in {view.plan}", layer, "dim")
    if not rows:
        return [[("No layer's step, dilation or kernel differs.", "")]]
    return [[("Layers that differ", "head")], *_table(rows, width, styles)]


def _findings(view: View, width: int, named: bool) -> list[Line]:
    """The findings about one view under a heading."""
    if not view.findings:
        return []
    title = f"Findings, {view.plan or 'as it is'}" if named else "Findings"
    return [[], [(title, "head")], *finding_lines(view.findings, width)]


def finding_lines(findings: Sequence[Finding], width: int) -> list[Line]:
    """Findings line by line, the most severe first; of many of one rule the first is written out, the rest named."""
    out: list[Line] = []
    ranked = sorted(findings, key=lambda f: ({"error": 0, "warning": 1}.get(f.severity, 2), f.rule))
    for (severity, rule), group in groupby(ranked, key=lambda f: (f.severity, f.rule)):
        found = list(group)
        shown = found if severity == "error" or len(found) < 3 else found[:1]
        style = severity if severity != "info" else "dim"
        for finding in shown:
            for at, piece in enumerate(_wrapped(finding.message, width - 15)):
                out.append([(f"{rule} {severity:<7} " if not at else " " * 14, style), (piece, "")])
        if len(found) > len(shown):
            rest = [f.key for f in found[1:]]
            alike = len({f.message.removeprefix(f.key) for f in found}) == 1
            lead = f"likewise {len(rest)} more" if alike else f"{len(rest)} more, each with its own figures"
            text = f"{lead}: {', '.join(rest)}"
            out.append([(" " * 14, ""), (text if len(text) <= width - 15 else text[: width - 16] + "…", "dim")])
    return out


def _wrapped(text: str, width: int) -> list[str]:

    return textwrap.wrap(text, width, break_long_words=False) or [""]
