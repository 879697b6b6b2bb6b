"""Repeated blocks folded: `layer3.1` to `layer3.5` with the same layers are one row, five times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from stridewise.showing.rows import Layer


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
