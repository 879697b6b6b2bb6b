"""What fit found: a result with its tables, and the sets of strides that pass limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stridewise.datafit.figures import BoxRow, FitFigures, Limits, MaskRow
from stridewise.datafit.strides import StrideSet, Wanted, stride_set, written
from stridewise.datafit.tables import headline, lost_lines, percent, size_line, tables, verdict
from stridewise.errors import UsageError
from stridewise.findings import Finding
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


def findings(result: FitResult, strides: str | Sequence[Wanted]) -> tuple[Finding, ...]:
    """SW301 for a network whose outputs have these strides, from a fit that looked at them.

    A warning when all outputs together lose more than `result.limits` allow. When they do not, but the coarsest alone
    does, an info: a finer output catches what it misses. Nothing for classification.
    Raises: UsageError when the fit did not look at these strides.

    Boxes: objects without a cell, or with too few. Masks: mean IoU of labels rounded to the finest stride.
    """
    wanted = stride_set(strides)
    if result.task == "classify":
        return ()
    every = _row(result, wanted if result.task == "detect" else wanted[:1])
    if not every.passes(result.limits):
        text = f"{_loss(every, result.limits)} at every output stride ({written(wanted)})"
        return (_finding("warning", wanted, text),)
    coarsest = _row(result, wanted[-1:])
    if not coarsest.passes(result.limits):
        loss = _loss(coarsest, result.limits)
        text = f"{loss} at the coarsest output stride, {written(wanted[-1:])}; a finer one keeps them"
        return (_finding("info", wanted, text),)
    return ()


def _row(result: FitResult, strides: StrideSet) -> BoxRow | MaskRow:
    row = result.row(strides)
    if not isinstance(row, BoxRow | MaskRow):
        raise UsageError(
            f"the fit of {result.data} did not look at {written(strides)}: pass strides='{written(strides)}'"
        )
    return row


def _loss(row: BoxRow | MaskRow, limits: Limits) -> str:
    if isinstance(row, MaskRow):
        return f"rounded labels keep a mean IoU of {percent(row.miou)} ({percent(limits.miou, 0)} wanted)"
    figures = row.overall
    reachable = figures.reachable or 0.0
    if reachable < limits.reachable:
        allowed = percent(1 - limits.reachable)
        return f"{percent(1 - reachable)} of {figures.objects:,} objects contain no cell centre ({allowed} allowed)"
    few = f"{figures.cells_p5 or 0:g} cell centre{'' if figures.cells_p5 == 1 else 's'} or fewer"
    return f"the smallest 5 % of {figures.objects:,} objects contain {few} ({limits.cells} wanted)"


def _finding(severity: str, strides: StrideSet, message: str) -> Finding:
    return Finding(rule="SW301", severity=severity, key=f"strides {written(strides)}", message=message)
