"""Reports as HTML: a readable page that needs no other file, and the fragment that a notebook shows."""

from __future__ import annotations

from html import escape

from stridewise.report.tables import STYLE, Table, table_html
from stridewise.report.units import by
from stridewise.showing.fold import folded
from stridewise.showing.page import page_html
from stridewise.showing.rows import View
from stridewise.showing.show import Report
from stridewise.showing.text import HEADS, cells, facts, ladder_lines


def page(report: Report) -> str:
    """The page in one file, drawn by the same code that is served; without JavaScript the plain tables. Nothing is
    fetched."""
    return page_html(report, fragment(report))


def fragment(report: Report) -> str:
    """The report as one element."""
    shapes = ", ".join(f"{name} {by(shape)}" for name, shape in report.inputs)
    parts = [
        f"<style>{STYLE}</style>",
        f"<h1>{escape(report.model)}</h1>",
        f"<p>{escape(shapes)}</p>",
        _totals(report),
    ]
    for view in report.views:
        parts.append(_view(report, view))
    if report.unknown:
        items = "".join(f"<li>{escape(message)}</li>" for _, _, message in report.unknown)
        parts.append(f"<h2>Unknown</h2><ul>{items}</ul>")
    if report.notes:
        parts.append("".join(f"<p>{escape(note)}</p>" for note in report.notes))
    return f'<div class="stridewise">{"".join(parts)}</div>'


def _totals(report: Report) -> str:
    tables = [facts(report, view.totals) for view in report.views]
    rows = [[name, *(table[i][1] for table in tables)] for i, (name, _) in enumerate(tables[0])]
    heads = ["", *(view.plan or "as it is" for view in report.views)] if len(tables) > 1 else []
    return table_html(Table(title="", head=tuple(heads), rows=tuple(map(tuple, rows))))


def _view(report: Report, view: View) -> str:
    title = f": {view.plan or 'as it is'}" if len(report.views) > 1 else ""
    ladder = "\n".join("".join(text for text, _ in line).rstrip() for line in ladder_lines(report, view, 110))
    rows = folded(view.layers)
    named = [(f"{row.name} ×{row.repeats}" if row.repeats > 1 else row.name, *cells(row)) for row in rows]
    steps = frozenset(at for at, row in enumerate(rows) if any(s != 1 for s in row.first.stride))
    table = Table(title=f"Layers{title}", head=("layer", *HEADS), rows=tuple(named), strong=steps)
    found = "".join(
        f'<li class="{f.severity}"><b>{f.rule}</b> {f.severity}: {escape(f.message)}</li>' for f in view.findings
    )
    return (
        f"<h2>Stride ladder{escape(title)}</h2><pre>{escape(ladder)}</pre>"
        f"{table_html(table)}"
        f"<h2>Findings{escape(title)}</h2>{f'<ul>{found}</ul>' if found else '<p>None.</p>'}"
    )
