"""A study as one page that draws itself, and as a fragment for notebooks: the answer first, then every plan."""

from __future__ import annotations

from stridewise.report.assets import whole_page
from stridewise.report.tables import Table, fragment
from stridewise.study.result import (
    CURVE_HEAD,
    SearchResult,
    cells,
    curve_cells,
    headings,
    knee_line,
    method,
    notes,
)


def page(result: SearchResult) -> str:
    """The page as text: the same numbers as result.json, the plot drawn from them."""
    return whole_page(f"Strides for {result.model}", {"kind": "search", "report": result.to_json()}, plain(result))


def plain(result: SearchResult) -> str:
    """The answer, the table and the recommended plan."""
    chosen = result.verdict.plan
    at = frozenset(i for i, row in enumerate(result.rows) if row.candidate.name == chosen)
    rows = tuple(cells(row, result) for row in result.rows)
    buys = Table(
        title=f"What {result.cost} buy",
        head=CURVE_HEAD,
        rows=tuple(curve_cells(result)),
        notes=tuple(knee_line(result)),
    )
    table = Table(
        title="Every plan of the shortlist", head=headings(result), rows=rows, notes=tuple(notes(result)), strong=at
    )
    state = [] if result.state == "finished" else ["Interrupted: the same command goes on."]
    lead = [*state, f"{chosen}: {result.verdict.kind}", *result.verdict.reasons]
    lines = [*method(result), *(str(result.plan).splitlines() if result.plan else [])]
    return fragment(
        f"Strides for {result.model}, {result.task} on {result.data}",
        lead,
        [*([buys] if result.curve else []), table],
        lines,
    )
