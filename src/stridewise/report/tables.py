"""Tables of text cells, and what a browser without JavaScript or a notebook shows of them. Knows no result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

STYLE = """
.stridewise{font:15px/1.5 system-ui,sans-serif;color-scheme:light dark;max-width:75rem;margin:auto;padding:1rem}
.stridewise pre{overflow-x:auto;line-height:1.25}
.stridewise table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.stridewise th,.stridewise td{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #8884}
.stridewise th:first-child,.stridewise td:first-child{text-align:left}
.stridewise tr.strong{font-weight:600}
.stridewise .note{font-size:.9rem;opacity:.8}
.stridewise .warning::before{content:"\\26A0  "}.stridewise .error{font-weight:600}
.stridewise .wide{overflow-x:auto}
""".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A title, column heads and rows of text; the first is a name. `notes` go below; `strong`: rows to stress."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    strong: frozenset[int] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "title": self.title,
            "head": list(self.head),
            "rows": [list(row) for row in self.rows],
            "notes": list(self.notes),
            "strong": sorted(self.strong),
        }


def table_html(table: Table) -> str:
    """The table with its title and notes; every cell is escaped."""
    head = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in table.head)
    body = "".join(
        f"<tr{' class=strong' if at in table.strong else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for at, row in enumerate(table.rows)
    )
    title = f"<h2>{escape(table.title)}</h2>" if table.title else ""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    heads = f"<thead><tr>{head}</tr></thead>" if table.head else ""
    return f'{title}<div class="wide"><table>{heads}<tbody>{body}</tbody></table></div>{notes}'


def fragment(title: str, lead: Sequence[str], tables: Sequence[Table], lines: Sequence[str] = ()) -> str:
    """A result as one element: title, sentences, tables, a list of lines."""
    parts = [f"<style>{STYLE}</style><h1>{escape(title)}</h1>", *(f"<p>{escape(line)}</p>" for line in lead)]
    parts += [table_html(table) for table in tables]
    parts += [f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"] if lines else []
    return f'<div class="stridewise">{"".join(parts)}</div>'
