"""The plain rows a report is made of: layers, with repeats folded, outputs, totals, marks on the ladder, slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from stridewise.findings import Finding
from stridewise.ir import Sizes
from stridewise.records import quick

Numbers = tuple[Fraction, ...]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One site, or one op with multiply-adds; geometry an entry an axis, None where no positions are left.

    Units: kernel, stride, dilation, padding, sizes in positions of the layer's input; cumulative_stride,
    receptive_field and start in input positions; share and coverage are fractions of 1; macs multiply-adds.
    """

    key: str
    op: str
    kernel: Sizes
    stride: Numbers
    dilation: Sizes
    padding: tuple[tuple[int, int], ...]
    groups: int
    channels: tuple[int, int] | None
    in_size: Sizes
    out_size: Sizes
    cumulative_stride: tuple[Fraction | None, ...]
    receptive_field: Sizes
    start: Sizes
    everything: bool
    approximate: bool
    field_share: tuple[float, ...]
    macs: int
    params: int
    activations: int
    read_coverage: float
    channel_ceiling: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output of the network: its size, cumulative stride and field, an entry an axis."""

    name: str
    size: Sizes
    cumulative_stride: tuple[Fraction | None, ...]
    receptive_field: Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The network as a whole; geometry is that of the last spatial tensor, of several outputs' the coarsest.

    in_size: positions of the input. every_stride: of all maps that go out, where there are several. kept_bytes: with
    train, else None.
    """

    macs: int
    params: int
    activations: int
    peak_activation_bytes: int
    output_stride: Numbers
    receptive_field: Sizes
    start: Sizes
    smallest_input: tuple[int | None, ...]
    out_size: Sizes
    in_size: Sizes
    every_stride: tuple[Numbers, ...] = ()
    kept_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something on the ladder that is no layer: an op that changes the stride (resize to another tensor's size,
    rearrangement, slice), with the stride it came from, or a join of branches with different centres (`fork`).

    at: layers that run before it.
    """

    at: int
    name: str
    came: Numbers
    stride: Numbers
    size: Sizes
    fork: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The network under one plan ("" is as it came)."""

    plan: str
    totals: Totals
    outputs: tuple[Output, ...]
    layers: tuple[Layer, ...]
    findings: tuple[Finding, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRow:
    """A place where a step can be inserted; `before`: how many layers run before it; `site`: the layer that steps there
    today, or "".
    """

    key: str
    aliases: tuple[str, ...]
    size: Sizes
    cumulative_stride: Numbers
    stride: Sizes
    kind: str
    before: int
    site: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A layer as it stands for `repeats` of them; `last` is the last one, `at` the place of the first in the list."""

    name: str
    first: Layer
    last: Layer
    repeats: int
    at: int


def folded(layers: Sequence[Layer]) -> list[Row]:
    """The layers with repeats folded; layers repeat when their places differ in one number and nothing else does."""
    rows = [Row(name=layer.key, first=layer, last=layer, repeats=1, at=i) for i, layer in enumerate(layers)]
    return _fold(rows, 0)


def _fold(rows: Sequence[Row], depth: int) -> list[Row]:
    """Fold at part `depth` of the names, then deeper."""
    if all(len(row.name.split(".")) <= depth for row in rows):
        return list(rows)
    segments = [list(part) for _, part in groupby(rows, key=lambda row: row.name.split(".")[: depth + 1])]
    out: list[Row] = []
    at = 0
    while at < len(segments):
        same = 1
        while at + same < len(segments) and _follows(segments[at + same - 1], segments[at + same], depth):
            same += 1
        inner = _fold(segments[at], depth + 1)
        out.extend(_merged(inner, segments[at : at + same], depth) if same > 1 else inner)
        at += same
    return out


def _follows(before: Sequence[Row], after: Sequence[Row], depth: int) -> bool:
    """Whether `after` is the next repeat of `before`: the number in one part of the name is one higher."""
    a, b = before[0].name.split("."), after[0].name.split(".")
    if len(a) <= depth or len(b) <= depth or a[:depth] != b[:depth] or len(before) != len(after):
        return False
    (stem, number), (other, next_number) = _numbered(a[depth]), _numbered(b[depth])
    if not number or not next_number or stem != other or int(next_number) != int(number) + 1:
        return False
    return all(_shape(x, depth) == _shape(y, depth) for x, y in zip(before, after, strict=True))


def _numbered(part: str) -> tuple[str, str]:
    """A part of a name as what comes before its last digits, and those: "b12" is ("b", "12")."""
    stem = part.rstrip("0123456789")
    return stem, part[len(stem) :]


def _shape(row: Row, depth: int) -> tuple[object, ...]:
    """What has to be the same for layers to be repeats of each other."""
    x = row.first
    geometry = (x.op, x.kernel, x.stride, x.dilation, x.padding, x.groups, x.channels, x.in_size, x.out_size)
    return (*row.name.split(".")[depth + 1 :], *geometry, x.cumulative_stride, x.macs, x.params)


def _merged(inner: Sequence[Row], segments: Sequence[Sequence[Row]], depth: int) -> list[Row]:
    """The rows of the first of several equal segments, standing for all of them."""
    first, last = segments[0][0].name.split(".")[depth], segments[-1][0].name.split(".")[depth]
    offset = {row.at: i for i, row in enumerate(segments[0])}
    out = []
    for row in inner:
        parts = row.name.split(".")
        parts[depth] = f"{first}-{_numbered(last)[1]}"
        end = segments[-1][offset[row.at]].last if row.repeats == 1 else segments[-1][-1].last
        out.append(Row(name=".".join(parts), first=row.first, last=end, repeats=row.repeats * len(segments), at=row.at))
    return out
