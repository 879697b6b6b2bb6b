"""A front and its points, as they are printed and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, overload

from stridewise.analyses.targets import Target
from stridewise.fronts.pareto import Ints
from stridewise.fronts.space import Space, Step
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.report.document import Chart, Document, Scale, Series, Table
from stridewise.report.terminal import joined, table_lines
from stridewise.report.units import binary, count, counted, once
from stridewise.report.values import plain
from stridewise.shown import Shown

OutputStride: TypeAlias = tuple[int | Fraction, ...]
SCHEMA = "stridewise.front/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One plan's cost: multiply-adds, bytes alive at most, elements computed (positions times channels).

    output_stride: input pixels between positions of the last feature map, one entry an axis. changes: sites and slots
    that differ from today.
    """

    macs: int
    peak_bytes: int
    activations: int
    output_stride: OutputStride
    changes: int
    make: Callable[[], Plan]

    @property
    def plan(self) -> Plan:
        """The completed plan, as `make_plan` writes it and `restride` takes it."""
        return self.make()

    @property
    def cost(self) -> tuple[int, int, int]:
        """(multiply-adds, peak bytes, activations)."""
        return self.macs, self.peak_bytes, self.activations

    def to_json(self, plan: bool = True) -> dict[str, Any]:
        """The point as plain values; with `plan` what changes: {site or +slot: stride}."""
        row: dict[str, Any] = {
            "macs": self.macs,
            "peak_bytes": self.peak_bytes,
            "activations": self.activations,
            "output_stride": plain(self.output_stride),
            "changes": self.changes,
        }
        if plan:
            made = self.plan
            row["sites"] = {key: list(s.stride) for key, s in made.sites.items()}
            row["insert"] = {key: list(s.stride) for key, s in made.insert.items()}
        return row


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points(Sequence[Point]):
    """Many points in columns, made one by one when they are asked for."""

    macs: Ints
    peak_bytes: Ints
    activations: Ints
    changes: Ints
    stride: Ints
    strides: tuple[OutputStride, ...]
    make: Callable[[int], Plan]

    def __len__(self) -> int:
        return len(self.macs)

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> list[Point]: ...
    def __getitem__(self, index: int | slice) -> Point | list[Point]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        row = index % len(self)
        return Point(
            macs=int(self.macs[row]),
            peak_bytes=int(self.peak_bytes[row]),
            activations=int(self.activations[row]),
            output_stride=self.strides[self.stride[row]],
            changes=int(self.changes[row]),
            make=lambda: self.make(row),
        )

    def __iter__(self) -> Iterator[Point]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Front(Shown):
    """Every plan that no other consistent plan beats, by output stride and rising multiply-adds.

    current: the network as it is. limits: what was asked for, in whole numbers. steps: of the moves of `space`, at a
    point. tolerance: 0 where every plan is there; else plans may be missing that one on the front equals to within this
    share in each cost. target: the chip whose limits every point keeps; breaks: what the network as it is breaks of
    them. `str()` sums it up, one line an output stride.
    """

    graph: Graph
    space: Space
    steps: Callable[[int], tuple[Step, ...]]
    points: Points
    current: Point
    limits: Mapping[str, Any]
    tolerance: float = 0.0
    target: Target | None = None
    breaks: str = ""

    @property
    def known(self) -> str:
        """How the front is known, in words: "exact", or "within 1 %"."""
        return known(self.tolerance)

    @property
    def holds_current(self) -> bool:
        """Whether the network as it is lies on the front."""
        return not self.breaks and any(p.cost == self.current.cost for p in self.at(self.current.output_stride))

    def at(self, output_stride: OutputStride) -> list[Point]:
        """The points of one output stride."""
        return [self.points[i] for i in self._rows(output_stride)]

    def _rows(self, output_stride: OutputStride) -> range:
        """The rows of one output stride: they lie together."""
        if output_stride not in self.points.strides:
            return range(0)
        first, last = self.points.stride.searchsorted(
            [self.points.strides.index(output_stride), self.points.strides.index(output_stride) + 1]
        )
        return range(int(first), int(last))

    def to_json(self, plans: bool = False) -> dict[str, Any]:
        """The front as plain values; with `plans` what each point changes."""
        return {
            "schema": SCHEMA,
            "model": self.graph.model,
            "input": self.graph.input_json(),
            "limits": dict(self.limits),
            "kind": self.known,
            "tolerance": self.tolerance,
            "current": {**self.current.to_json(False), "on_front": self.holds_current},
            **({} if self.target is None else {"target": {"name": self.target.name, "broken_as_it_is": self.breaks}}),
            "points": [p.to_json(plans) for p in self.points],
        }

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def document(self) -> Document:
        """A line an output stride, and activations against multiply-adds."""
        now = self.current
        rows = []
        for stride in self.points.strides:
            at = self._rows(stride)
            here = slice(at.start, at.stop)
            rows.append(
                (
                    ("*" if stride == now.output_stride else " ") + once(stride),
                    str(len(at)),
                    _span(self.points.macs[here], count),
                    _span(self.points.activations[here], count),
                    _span(self.points.peak_bytes[here], binary),
                )
            )
        wide = max([len("output stride"), *(len(row[0]) for row in rows)])
        head = f"{self.graph.model}: {counted(len(self.points), 'plan')} that no other plan beats"
        if self.tolerance:
            head += f", thinned: each plan left out is {self.known} of one of these in every cost"
        place = "on the front" if self.holds_current else "not on the front"
        table = Table(
            title="",
            head=("output stride", "plans", "MACs", "activations", "peak memory"),
            rows=tuple((row[0].rjust(wide), *row[1:]) for row in rows),
        )
        note = (
            f"* as it is: {count(now.macs)} MACs, {count(now.activations)} activations, {binary(now.peak_bytes)} at "
            f"most, {place}"
        )
        notes = [note]
        if self.target is not None:
            notes.append(f"every plan keeps to the limits of {self.target.name}: {self.target.about}")
        if self.breaks:
            notes.append(f"as it is the network does not: {self.breaks}")
        return Document(title=head, parts=(table, *self._charts()), notes=tuple(notes))

    def __str__(self) -> str:
        document = self.document()
        drawn = [line for part in document.parts if isinstance(part, Table) for line in table_lines(part, 200)]
        return "\n".join([document.title, joined(drawn), *document.notes])

    def _charts(self) -> tuple[Chart, ...]:
        if not len(self.points):
            return ()
        series = [
            Series(
                name=f"output stride {once(stride)}",
                kind="points",
                points=tuple(
                    (float(self.points.macs[i]), float(self.points.activations[i])) for i in self._rows(stride)
                ),
            )
            for stride in self.points.strides
        ]
        now = Series(
            name="as it is",
            kind="points",
            level="base",
            points=((float(self.current.macs), float(self.current.activations)),),
        )
        words = f"{len(self.points)} plans, activations against multiply-adds, by output stride"
        macs, activations = Scale(label="multiply-adds (exact)"), Scale(label="activations (exact)")
        return (Chart(title="the front", words=words, x=macs, y=activations, series=(*series, now)),)

    def _records(self) -> list[dict[str, Any]]:
        return [point.to_json(plan=False) for point in self.points]


def known(tolerance: float) -> str:
    """How a front of a tolerance is known.

    >>> known(0.0), known(0.01)
    ('exact', 'within 1 %')
    """
    return f"within {100 * tolerance:g} %" if tolerance else "exact"


def _span(values: Ints, write: Callable[[float], str]) -> str:
    low, high = write(float(values.min())), write(float(values.max()))
    return low if low == high else f"{low} - {high}"
