"""Measurements as one page that draws itself, and as a fragment for notebooks: the tables of the terminal, and bars."""

from __future__ import annotations

from stridewise.measuring.result import Measured
from stridewise.measuring.text import curves, headline, said, tables
from stridewise.report.assets import whole_page
from stridewise.report.tables import fragment


def as_html(result: Measured) -> str:
    """The page as text."""
    shown = {
        "model": result.model,
        "lead": headline(result),
        "tables": [table.to_json() for table in tables(result)],
        "bars": [
            {"title": title, "rows": [{"name": name, "share": share} for name, share in bars]}
            for title, bars in curves(result)
        ],
        "said": said(result),
        "report": result.to_json(),
    }
    return whole_page(f"{result.model}, measured", {"kind": "measure", "report": shown}, plain(result))


def plain(result: Measured) -> str:
    """The tables alone."""
    return fragment(f"{result.model}, measured", [headline(result)], tables(result), said(result))
