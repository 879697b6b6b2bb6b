"""What `fit` returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from stridewise.datafit.figures import FitFigures
from stridewise.datafit.tables import headline, lost_lines, size_line, tables, verdict
from stridewise.report.document import Chart, Document, Remark, Remarks, bars
from stridewise.report.scale import Scale
from stridewise.report.values import of_fields, plain
from stridewise.shown import Shown

SCHEMA = "stridewise.fit/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult(FitFigures, Shown):
    """A data set against stride sets, with what they permit. The figures are those of `FitFigures`."""

    def scaled(self, scale: str | Scale) -> FitResult:
        """The same with strides, fields and sizes of objects in a unit too: "0.3m" is what a pixel measures, after
        `resize` where pictures were resized. Raises: UsageError for no such unit, or one of other axes."""
        return replace(self, scale=Scale.read(scale).over(len(self.picture_size)))

    def document(self) -> Document:
        """What was looked at, the tables, the recommendation, the pictures that lose most, what was left out."""
        told = [verdict(self), *lost_lines(self)]
        sizes = size_line(self)
        return Document(
            title=f"Strides for {self.data}",
            lead=tuple(line for line in (headline(self), sizes) if line),
            parts=(*tables(self), *self._charts(), Remarks(remarks=tuple(Remark(text=line) for line in told))),
            notes=tuple(self._left_out()),
            quiet=True,
        )

    def _charts(self) -> list[Chart]:
        if self.sizes is None or not sum(self.sizes.counts):
            return []
        total = sum(self.sizes.counts)
        ends = zip(self.sizes.edges, self.sizes.edges[1:], self.sizes.counts, strict=False)
        rows = [(f"{low:.0f} to {high:.0f} px", count / total) for low, high, count in ends]
        return [bars("object sizes (root of the area), share of all", rows)]

    def _left_out(self) -> list[str]:
        return str(self.report).splitlines() if self.report.dropped or self.report.notes else []

    def to_json(self) -> dict[str, Any]:
        """Plain values under the schema `stridewise.fit/1`; strides and sizes are arrays, one entry an axis."""
        return {
            "schema": SCHEMA,
            **of_fields(self, "rows", "singles", "recommended", "report", "scale"),
            "sets": plain(self.rows),
            "singles": plain(self.singles),
            "recommended": plain(self.recommended),
            "data_report": self.report.to_json(),
            **({} if self.scale is None else self._in_unit(self.scale)),
        }

    def _in_unit(self, scale: Scale) -> dict[str, Any]:
        sizes = self.sizes
        return {
            "scale": scale.to_json(),
            "scaled": {
                "sets": [[scale.plain(stride) for stride in row.strides] for row in self.rows],
                "recommended": self.recommended and [scale.plain(stride) for stride in self.recommended],
                "receptive_field": self.receptive_field and scale.plain(self.receptive_field),
                "sizes": sizes and {name: getattr(sizes, name) * self.side for name in ("p5", "median", "p95")},
            },
        }

    def _page(self) -> dict[str, Any]:
        shown = self.to_json() | {
            "lead": headline(self),
            "verdict": verdict(self),
            "size_line": size_line(self),
            "tables": [table.to_json() for table in tables(self)],
            "left_out": self._left_out(),
        }
        return {"kind": "fit", "report": shown}

    def _records(self) -> list[dict[str, Any]]:
        return list(plain(self.rows))
