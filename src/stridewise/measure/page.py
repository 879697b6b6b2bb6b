"""Measurements as one HTML page without scripts: the tables of the terminal, and bars."""

from __future__ import annotations

from html import escape

from stridewise.measure.result import Measured
from stridewise.measure.text import Table, curves, headline, tables

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 65rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0; }
th, td { padding: 0.2rem 0.8rem; text-align: right; border-bottom: 1px solid #8884; }
td { font-variant-numeric: tabular-nums; white-space: pre; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
.note { font-size: 0.9rem; opacity: 0.8; }
svg { max-width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
"""
_WIDTH, _NAME, _BAR = 640, 220, 22


def as_html(result: Measured) -> str:
    """The page as text; every name in it is escaped."""
    parts = [f"<h1>{escape(result.model)}</h1>", f"<p>{escape(headline(result))}</p>"]
    parts += [_table(table) for table in tables(result)]
    parts += [_bars(title, bars) for title, bars in curves(result)]
    said = [f"{f.rule} {f.severity}: {f.message}" for row in result.rows for f in row.findings]
    said += [f"note: {note}" for note in result.notes]
    if said:
        parts.append(f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in said)}</ul>")
    title = escape(f"{result.model}, measured")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    title = f"<h2>{escape(table.title)}</h2>" if table.title else ""
    return f'{title}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{notes}'


def _bars(title: str, bars: tuple[tuple[str, float], ...]) -> str:
    """Shares as horizontal bars, one a name."""
    parts = []
    for place, (name, share) in enumerate(bars):
        top = place * _BAR
        long = (_WIDTH - _NAME - 60) * share
        shown = name if len(name) < 34 else f"{name[:16]}…{name[-16:]}"
        parts.append(f'<text x="0" y="{top + 15}">{escape(shown)}</text>')
        parts.append(
            f'<rect x="{_NAME}" y="{top + 3}" width="{long:.1f}" height="{_BAR - 6}" fill="currentColor" '
            f'fill-opacity="0.6"><title>{escape(name)}: {100 * share:.1f} %</title></rect>'
        )
        parts.append(f'<text x="{_NAME + long + 4:.1f}" y="{top + 15}">{100 * share:.1f} %</text>')
    box = f'viewBox="0 0 {_WIDTH} {_BAR * len(bars)}"'
    return f'<h2>{escape(title)}</h2><svg role="img" aria-label="{escape(title)}" {box}>{"".join(parts)}</svg>'
