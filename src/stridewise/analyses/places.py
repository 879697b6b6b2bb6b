"""Where a map's cells lie in the picture, and which cells see a pixel: at any layer, any jump and phase.

Positions are indices: pixel 0 is the first, and its middle lies at 0. Published detectors count from the pixel's corner
instead, so that the first pixel's middle lies at 0.5; `Cells` says both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from stridewise.analyses.fields import evaluate
from stridewise.analyses.lengths import grid_of
from stridewise.axis import Field
from stridewise.errors import UsageError, by
from stridewise.ir import Graph, Sizes, check_graph
from stridewise.report.document import Document, Table
from stridewise.report.scale import Scale, Value
from stridewise.report.values import of_fields
from stridewise.shown import Shown

_MOST_CELLS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Places(Shown):
    """Where points lie. to: "pixels" or "cells"; an entry a point, in each an entry an axis.

    To pixels: `centres` of the cells' fields, `boxes` (first, last) of the pixels they read, negative in the padding.
    To cells: `boxes` (first, last) of the cells whose fields hold it, None where none does, `centres` the middle.
    approximate: boxes are upper bounds there, as behind a resize that does not divide.
    """

    layer: str
    to: str
    points: tuple[tuple[int, ...], ...]
    centres: tuple[tuple[float | None, ...], ...]
    boxes: tuple[tuple[tuple[int, int] | None, ...], ...]
    approximate: bool
    scale: Scale | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.places/1"; with a scale what lies in the picture also in its unit."""
        plain = {"schema": "stridewise.places/1", **of_fields(self, "scale")}
        return plain if self.scale is None else {**plain, "scale": self.scale.to_json(), "scaled": self._scaled()}

    def _scaled(self) -> dict[str, Any]:
        """Positions of the picture in the unit: indices times what a position measures."""
        scale = self.scale
        assert scale is not None
        if self.to == "cells":
            return {"points": [scale.plain(point) for point in self.points]}
        boxes = [[b and scale.along(axis, b) for axis, b in enumerate(box)] for box in self.boxes]
        return {"centres": [scale.plain(centre) for centre in self.centres], "boxes": boxes}

    def document(self) -> Document:
        """A line a point."""
        to_pixels, scale = self.to == "pixels", self.scale
        head: tuple[str, ...] = ("pixel", "middle", "cells that see it")
        if to_pixels:
            head = ("cell", "centre", "reads pixels")
        rows: list[tuple[str, ...]] = [
            (by(point), ", ".join("–" if c is None else f"{c:g}" for c in centre), ", ".join(map(_span, box)))
            for point, centre, box in zip(self.points, self.centres, self.boxes, strict=True)
        ]
        if scale is not None:
            head += (f"{'centre' if to_pixels else 'pixel'}, {scale.unit}",)
            measured = [_listed(scale, values) for values in (self.centres if to_pixels else self.points)]
            rows = [(*row, said) for row, said in zip(rows, measured, strict=True)]
        notes = ("upper bounds: behind a resize that does not divide",) if self.approximate else ()
        return Document(
            title=self.layer, parts=(Table(title="", head=head, rows=tuple(rows)),), notes=notes, quiet=True
        )

    def _records(self) -> list[dict[str, Any]]:
        return [
            {"point": list(p), "centre": list(c), "box": list(b)}
            for p, c, b in zip(self.points, self.centres, self.boxes, strict=True)
        ]


def _listed(scale: Scale, values: Sequence[Value]) -> str:
    """Positions in the unit with commas between, as positions are."""
    found = scale.of(values) or ()
    return ", ".join("–" if v is None else f"{float(v):g}" for v in found)


def _span(box: tuple[int, int] | None) -> str:
    return "none" if box is None else f"{box[0]} to {box[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells(Shown):
    """The cells of a map: an entry an axis. stride: pixels between them; size: how many; field: pixels each reads.

    first: the centre of cell 0 as an index of a pixel. `corner` and `middle` are what detectors publish, in coordinates
    in which pixel 0 ends at 1: RetinaNet's anchors (i * stride) and FCOS's points (i * stride + stride / 2, floored);
    `off_corner`, `off_middle` say by how many pixels those lie before the real centres.
    """

    layer: str
    size: tuple[int, ...]
    stride: tuple[Fraction, ...]
    first: tuple[Fraction, ...]
    field: tuple[int, ...]
    centres_by_axis: tuple[tuple[float, ...], ...]
    scale: Scale | None = None

    @property
    def centres(self) -> list[tuple[float, ...]]:
        """Every cell's centre, row by row. Raises: UsageError beyond a million of them."""
        if math.prod(self.size) > _MOST_CELLS:
            raise UsageError(f"cells: {math.prod(self.size):,} are too many to list; take centres_by_axis")
        return list(product(*self.centres_by_axis))

    @property
    def off_corner(self) -> tuple[Fraction, ...]:
        """How far i * stride lies before the real centre, which is half a pixel further in such coordinates."""
        return tuple(first + Fraction(1, 2) for first in self.first)

    @property
    def off_middle(self) -> tuple[Fraction, ...]:
        """How far i * stride + floor(stride / 2) lies before it. Source: Tian et al. 2019, arXiv:1904.01355, 3.1."""
        half = (s // 2 for s in self.stride)
        return tuple(first + Fraction(1, 2) - h for first, h in zip(self.first, half, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.cells/1"."""
        more = {"off_corner": self.off_corner, "off_middle": self.off_middle}
        plain = {"schema": "stridewise.cells/1", **of_fields(self, "scale", **more)}
        scale = self.scale
        if scale is None:
            return plain
        scaled = scale.json(stride=self.stride, first=self.first, field=self.field)
        along = [scale.along(axis, centres) for axis, centres in enumerate(self.centres_by_axis)]
        return {**plain, "scale": scale.to_json(), "scaled": {**scaled, "centres_by_axis": along}}

    def document(self) -> Document:
        """The grid, and how published conventions lie beside it."""
        rows: tuple[tuple[str, ...], ...] = tuple(
            (str(axis), *(_number(n) for n in row))
            for axis, row in enumerate(
                zip(self.size, self.stride, self.first, self.field, self.off_corner, self.off_middle, strict=True)
            )
        )
        head: tuple[str, ...] = (
            "axis",
            "cells",
            "stride",
            "centre of cell 0",
            "field",
            "i*stride is before",
            "i*stride+stride/2 is before",
        )
        scale = self.scale
        if scale is not None:
            head += tuple(f"{name}, {scale.unit}" for name in ("stride", "centre of cell 0", "field"))
            ours = zip(self.stride, self.first, self.field, strict=True)
            rows = tuple(
                (*row, *(scale.said(axis, value) for value in values))
                for axis, (row, values) in enumerate(zip(rows, ours, strict=True))
            )
        notes = (
            "Centres are pixel indices. The last two columns: by how many pixels the points of RetinaNet (i*stride) "
            "and FCOS (i*stride + stride/2) lie before the real centres; negative: behind.",
        )
        return Document(title=self.layer, parts=(Table(title="", head=head, rows=rows),), notes=notes, quiet=True)


def _number(value: Fraction | int) -> str:
    return f"{float(value):g}"


def cells(
    graph: Graph, layer: str = "", size: Sequence[int] | None = None, *, scale: str | Scale | None = None
) -> Cells:
    """The cells of a layer's map: strides, centres and fields, beside what detectors publish.

    layer: "" is the last map. size: the input's sizes, as traced where none are given. scale: what a position
    measures, "0.3m" or "1x1x3mm": lengths in that unit too. Raises: UsageError, GeometryError.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> grid = sw.cells(graph, "layers.9")
    >>> [float(s) for s in grid.stride], grid.size, grid.centres[0]
    ([4.0, 4.0], (8, 8), (1.5, 1.5))
    """
    fields, sizes = _fields(graph, layer, size)
    measured = None if scale is None else Scale.read(scale).over(graph.axes)
    return Cells(
        layer=layer or graph.model,
        size=sizes,
        stride=tuple(f.jump for f in fields),
        first=tuple(_centre(f, 0) for f in fields),
        field=tuple(f.size for f in fields),
        centres_by_axis=tuple(
            tuple(float(_centre(f, i)) for i in range(n)) for f, n in zip(fields, sizes, strict=True)
        ),
        scale=measured,
    )


def map_points(
    graph: Graph,
    layer: str,
    points: Any,
    *,
    to: str = "pixels",
    size: Sequence[int] | None = None,
    scale: str | Scale | None = None,
) -> Places:
    """Cells of a layer's map as pixels (their field's centre and box), or pixels as the cells that see them.

    points: whole numbers, an entry an axis, one point or many. to: "pixels" (points are cells) or "cells" (points are
    pixels). size: the input's sizes, as traced where none are given. Each position's own field is meant, whatever its
    phase. scale: what a position measures, "0.3m": pixels in that unit too. Raises: UsageError where a point lies
    outside or has other axes, GeometryError for sizes that don't run.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> place = sw.map_points(graph, "layers.9", (2, 3))
    >>> place.centres[0], place.boxes[0]
    ((9.5, 13.5), ((-35, 54), (-31, 58)))
    """
    check_graph(graph, "map_points")
    if to not in ("pixels", "cells"):
        raise UsageError(f"map_points: to='pixels' or to='cells', not {to!r}")
    measured = None if scale is None else Scale.read(scale).over(graph.axes)
    fields, sizes = _fields(graph, layer, size)
    bounds = sizes if to == "pixels" else tuple(size) if size else graph.grids[0].sizes
    many = _points(points, bounds, "cell" if to == "pixels" else "pixel")
    if to == "pixels":
        boxes = tuple(tuple(f.at(n) for f, n in zip(fields, point, strict=True)) for point in many)
    else:
        boxes = tuple(
            tuple(_seeing(f, n, count) for f, n, count in zip(fields, point, sizes, strict=True)) for point in many
        )
    return Places(
        layer=layer or graph.model,
        to=to,
        points=many,
        centres=tuple(tuple(None if b is None else (b[0] + b[1]) / 2 for b in box) for box in boxes),
        boxes=boxes,
        approximate=any(f.approximate for f in fields),
        scale=measured,
    )


def _fields(graph: Graph, layer: str, size: Sequence[int] | None) -> tuple[tuple[Field, ...], Sizes]:
    """The field of a layer's map an axis, and its sizes."""
    check_graph(graph, "cells")
    grid = grid_of(graph, layer)
    if size is not None and (len(size) != graph.axes or any(n < 1 for n in size)):
        raise UsageError(f"size: {graph.axes} sizes from 1 are wanted, not {by(size)}")
    state = evaluate(graph, inputs=None if size is None else tuple(size), smallest=False)
    return state.fields.full[grid], state.sizes[grid]


def _centre(field: Field, position: int) -> Fraction:
    """The centre of the field of that position; of one that reads nothing, where its neighbours say."""
    span = field.at(position)
    return field.centre + position * field.jump if span is None else Fraction(span[0] + span[1], 2)


def _points(points: Any, bounds: Sizes, what: str) -> tuple[tuple[int, ...], ...]:
    """One point or many as tuples. Raises: UsageError."""
    listed = points.tolist() if hasattr(points, "tolist") else list(points)
    listed = [listed] if listed and isinstance(listed[0], int) else listed
    found = []
    for point in listed:
        whole = tuple(point)
        if len(whole) != len(bounds) or any(not isinstance(n, int) for n in whole):
            raise UsageError(f"map_points: a {what} is {len(bounds)} whole numbers, not {by(whole)}")
        if any(not 0 <= n < most for n, most in zip(whole, bounds, strict=True)):
            raise UsageError(f"map_points: {what} {by(whole)} lies outside, there are {by(bounds)}")
        found.append(whole)
    return tuple(found)


def _seeing(field: Field, pixel: int, count: int) -> tuple[int, int] | None:
    """The first and last of `count` cells whose span holds a pixel."""
    seen = []
    for phase, span in enumerate(field.spans):
        if span is None:
            continue
        # span[0] + turn * advance <= pixel <= span[1] + turn * advance
        least = max(-(-(pixel - span[1]) // field.advance), 0)
        most = min((pixel - span[0]) // field.advance, (count - 1 - phase) // field.period)
        if least <= most:
            seen += [phase + least * field.period, phase + most * field.period]
    return (min(seen), max(seen)) if seen else None
