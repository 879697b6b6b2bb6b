"""What `measure` returns: networks beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stridewise.measuring.rows import Row
from stridewise.measuring.text import curves, headline, remarked, said, tables
from stridewise.report.document import Document, bars
from stridewise.report.values import of_fields, plain
from stridewise.rules import terms
from stridewise.shown import Shown

SCHEMA = "stridewise.measure/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Shown):
    """Networks measured beside each other, the first one is what the others are compared with."""

    model: str
    input: tuple[int, ...]
    what: tuple[str, ...]
    rows: tuple[Row, ...]
    conditions: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def document(self) -> Document:
        """The tables, bars of what was measured as shares, and what there is to say about it."""
        charts = tuple(bars(title, rows) for title, rows in curves(self.rows))
        found = remarked(self.rows)
        return Document(
            title=f"{self.model}, measured",
            lead=(headline(self.model, self.input, self.conditions),),
            parts=(*tables(self.rows), *charts, found, terms(f for row in self.rows for f in row.findings)),
            notes=tuple(f"note: {note}" for note in self.notes),
            quiet=True,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values under the schema `stridewise.measure/1`."""
        return {"schema": SCHEMA, **of_fields(self, "rows", "notes", input=[1, *self.input])} | {
            "plans": plain(self.rows),
            "notes": list(self.notes),
        }

    def _page(self) -> dict[str, Any]:
        shown = {
            "model": self.model,
            "lead": headline(self.model, self.input, self.conditions),
            "tables": [table.to_json() for table in tables(self.rows)],
            "bars": [
                {"title": title, "rows": [{"name": name, "share": share} for name, share in rows]}
                for title, rows in curves(self.rows)
            ],
            "said": said(self.rows, self.notes),
            "report": self.to_json(),
        }
        return {"kind": "measure", "report": shown}

    def _records(self) -> list[dict[str, Any]]:
        return [row.to_json() for row in self.rows]
