"""A fit as one page that draws itself, and as a fragment for notebooks: tables, object sizes, what was left out."""

from stridewise.datafit.result import FitResult
from stridewise.datafit.tables import headline, lost_lines, size_line, tables, verdict
from stridewise.report.assets import whole_page
from stridewise.report.tables import fragment


def as_html(result: FitResult) -> str:
    """The page as text."""
    shown = result.to_json() | {
        "lead": headline(result),
        "verdict": verdict(result),
        "size_line": size_line(result),
        "tables": [table.to_json() for table in tables(result)],
        "left_out": _left_out(result),
    }
    return whole_page(f"Strides for {result.data}", {"kind": "fit", "report": shown}, plain(result))


def plain(result: FitResult) -> str:
    """The tables alone."""
    lead = [headline(result), verdict(result), *([size_line(result) or ""] if result.sizes else [])]
    lines = [*lost_lines(result, names=5), *_left_out(result)]
    return fragment(f"Strides for {result.data}", lead, tables(result), lines)


def _left_out(result: FitResult) -> list[str]:
    return str(result.report).splitlines() if result.report.dropped or result.report.notes else []
