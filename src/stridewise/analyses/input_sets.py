"""The sets of input sizes that a network takes, as results: what works, what refuses the rest, what is near."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stridewise.analyses.progressions import Progression, nearest
from stridewise.errors import UsageError, by
from stridewise.report.document import Document, Facts, Table
from stridewise.report.scale import Scale
from stridewise.report.values import of_fields, plain
from stridewise.shown import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Sizes along an axis that one layer does not take, and why, at the largest of them up to the traced size."""

    layer: str
    why: str
    sizes: tuple[Progression, ...]
    _explain: Callable[[int], str] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisInputs:
    """The sizes along one axis: those that work, those of them without a remainder, and what refuses the others.

    From `since` on they repeat after `period` (0: none works there); not proven: looked at up to `since` only.
    divisor: what every size that works is a multiple of, from the first on, where that says it all.
    """

    axis: int
    traced: int
    works: tuple[Progression, ...]
    no_remainder: tuple[Progression, ...]
    divisor: int | None
    refused: tuple[Refusal, ...]
    since: int
    period: int
    proven: bool = True

    def __contains__(self, size: int) -> bool:
        return any(size in each for each in self.works)

    def nearest(self, size: int) -> tuple[int | None, int | None]:
        """The nearest sizes that work, at most and at least `size`."""
        return nearest(self.works, size)

    def why(self, size: int) -> str:
        """What refuses a size, with the layer; "" where it works."""
        if size in self:
            return ""
        found = next((r for r in self.refused if any(size in each for each in r.sizes)), None)
        return f"{found.layer}: {found._explain(size)}" if found else "beyond what was looked at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """The sizes around one picture's: an entry an axis, None where there is none.

    below, above: the nearest that work; crop, pad: positions to take away or to add for them.
    """

    size: tuple[int, ...]
    works: bool
    below: tuple[int | None, ...]
    above: tuple[int | None, ...]
    even: tuple[int | None, ...]
    why: tuple[str, ...]

    @property
    def pad(self) -> tuple[int | None, ...]:
        """Positions to add."""
        return tuple(None if a is None else a - n for a, n in zip(self.above, self.size, strict=True))

    @property
    def crop(self) -> tuple[int | None, ...]:
        """Positions to take away."""
        return tuple(None if b is None else n - b for b, n in zip(self.below, self.size, strict=True))

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return of_fields(self, pad=self.pad, crop=self.crop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs(Shown):
    """The input sizes that a network takes. ties: what makes axes depend on each other; notes: what isn't known.

    disproved: those notes on sizes at which the model itself, tried on shapes, does otherwise than the sets say. Then
    the sets are not known beside the traced sizes, and `near` says what the model does at that size.
    """

    model: str
    input: object
    axes: tuple[AxisInputs, ...]
    ties: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    disproved: tuple[str, ...] = ()
    near: Near | None = None
    scale: Scale | None = None

    def around(self, size: Sequence[int]) -> Near:
        """The sizes around a picture's. Raises: UsageError where it has other axes, or a size below 1."""
        if len(size) != len(self.axes) or any(not isinstance(n, int) or n < 1 for n in size):
            wanted = by(axis.traced for axis in self.axes)
            raise UsageError(f"near: {len(self.axes)} sizes from 1 are wanted, as {wanted}, not {by(size)}")
        pairs = [axis.nearest(n) for axis, n in zip(self.axes, size, strict=True)]
        even = [nearest(axis.no_remainder, n) for axis, n in zip(self.axes, size, strict=True)]
        return Near(
            size=tuple(size),
            works=all(n in axis for axis, n in zip(self.axes, size, strict=True)),
            below=tuple(below for below, _ in pairs),
            above=tuple(above for _, above in pairs),
            even=tuple(above for _, above in even),
            why=tuple(axis.why(n) for axis, n in zip(self.axes, size, strict=True)),
        )

    def to_json(self) -> dict[str, object]:
        """Plain values, schema "stridewise.sizes/1"."""
        return {
            "schema": "stridewise.sizes/1",
            "model": self.model,
            "input": self.input,
            "axes": [plain(axis) for axis in self.axes],
            "ties": list(self.ties),
            "notes": list(self.notes),
            "near": plain(self.near),
            **({} if self.scale is None else self._in_unit(self.scale)),
        }

    def _in_unit(self, scale: Scale) -> dict[str, object]:
        """The sets, divisors and the picture's sizes in the unit."""
        axes = [
            {
                "works": [scale.along(i, run.to_json()) for run in axis.works],
                "no_remainder": [scale.along(i, run.to_json()) for run in axis.no_remainder],
                "divisor": scale.along(i, [axis.divisor])[0],
            }
            for i, axis in enumerate(self.axes)
        ]
        near = self.near
        around = (
            None if near is None else scale.json(size=near.size, above=near.above, below=near.below, even=near.even)
        )
        return {"scale": scale.to_json(), "scaled": {"axes": axes, "near": around}}

    def document(self) -> Document:
        """Each axis in words, what refuses which sizes, and the way to the sizes around a picture."""
        parts: list[Facts | Table] = []
        scale = self.scale
        alike = all(_same(axis, self.axes[0]) for axis in self.axes) and (scale is None or len(set(scale.step)) == 1)
        for axis in self.axes[:1] if alike else self.axes:
            title = "" if len(self.axes) == 1 else "on each axis" if alike else f"axis {axis.axis}"
            parts.append(_facts(axis, title, scale))
            if axis.refused:
                rows = tuple((r.layer, _set(r.sizes, 3), r.why) for r in axis.refused)
                head = ("refused by", "sizes", "why, as an example")
                parts.append(Table(title="", head=head, rows=rows, left=frozenset({0, 1, 2})))
        if self.near is not None:
            parts.append(_near_facts(self.near, scale))
        lead = (f"{self.model}: the input sizes on which it runs", *(f"not known: {why}" for why in self.disproved))
        notes = (*self.ties, *(note for note in self.notes if note not in self.disproved))
        return Document(title="Input sizes", lead=lead, parts=tuple(parts), notes=notes, quiet=True)


def _same(axis: AxisInputs, other: AxisInputs) -> bool:
    return (axis.works, axis.no_remainder, axis.refused) == (other.works, other.no_remainder, other.refused)


def _set(sets: Sequence[Progression], most: int = 6) -> str:
    """Progressions in words, the first `most` of them."""
    said = [str(each) for each in sets[:most]]
    if len(sets) > most:
        said.append(f"and {len(sets) - most} more runs")
    return "; ".join(said) or "none"


def _facts(axis: AxisInputs, title: str, scale: Scale | None) -> Facts:
    rows = [("works", _set(axis.works)), ("no remainder", _set(axis.no_remainder))]
    if scale is not None:
        rows.append((f"works, in {scale.unit}", _measured(axis, scale)))
    if axis.divisor:
        rows.append(("divisor", str(axis.divisor)))
    if not axis.proven:
        rows.append(("looked at", f"sizes up to {axis.since}; they repeat later than that"))
    every = frozenset(name for name, _ in rows)
    return Facts(title=title, rows=tuple(rows), breaks=every)


def _measured(axis: AxisInputs, scale: Scale, most: int = 6) -> str:
    """The sizes that work in the unit: where each run begins, how far apart they are, where it ends."""
    said = []
    for run in axis.works[:most]:
        first, step, last = (None if n is None else scale.said(axis.axis, n) for n in run.to_json())
        said.append(
            f"{first}" if run.last == run.first else f"from {first}{f' to {last}' if last else ''} every {step}"
        )
    return "; ".join(said) or "none"


def _near_facts(near: Near, scale: Scale | None) -> Facts:
    def beside(sizes: Sequence[int | None]) -> str:
        return "" if scale is None else scale.beside(sizes)

    rows = [("runs", "yes" if near.works else "no: " + "; ".join(dict.fromkeys(filter(None, near.why))))]
    if not near.works:
        if None not in near.above:
            rows.append(
                ("pad", f"by {by(n or 0 for n in near.pad)} to {by(n or 0 for n in near.above)}{beside(near.above)}")
            )
        if None not in near.below:
            rows.append(
                ("crop", f"by {by(n or 0 for n in near.crop)} to {by(n or 0 for n in near.below)}{beside(near.below)}")
            )
    if None not in near.even and near.even != near.above:
        rows.append(("no remainder", by(n or 0 for n in near.even) + beside(near.even)))
    return Facts(
        title=f"near {by(near.size)}{beside(near.size)}", rows=tuple(rows), breaks=frozenset(name for name, _ in rows)
    )
