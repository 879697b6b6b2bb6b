"""A fit as plain text."""

from stridewise.datafit.result import FitResult
from stridewise.datafit.tables import column_widths, headline, lost_lines, size_line, tables, verdict
from stridewise.report.tables import Table


def as_text(result: FitResult) -> str:
    """The whole result, lines of at most about 120 characters."""
    parts = [line for line in (headline(result), size_line(result)) if line]
    for table in tables(result):
        parts += ["", *_lines(table)]
    parts += ["", verdict(result), *lost_lines(result)]
    if result.report.dropped or result.report.notes:
        parts += ["", str(result.report)]
    return "\n".join(parts)


def _lines(table: Table) -> list[str]:
    widths = column_widths(table)
    lines = [table.title] if table.title.startswith("by class") else []
    for row in (table.head, *table.rows):
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return [*lines, *(f"  {note}" for note in table.notes)]
