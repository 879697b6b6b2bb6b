"""Boxes against strides: pure arithmetic on true grid positions. A cell centre of stride s lies at (i + 0.5) * s."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stridewise.data.picture import Size
from stridewise.datafit.figures import BoxRow, Lost, ObjectFigures, Sizes
from stridewise.datafit.strides import Stride, StrideSet, grid

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LOST_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objects:
    """All boxes: `corners` (N, 4) x0, y0, x1, y1; `classes` (N,); `picture` (N,), an index into `names` and `sizes`."""

    corners: Floats
    classes: Ints
    picture: Ints
    names: tuple[str, ...]
    sizes: tuple[Size, ...]

    @property
    def extents(self) -> Floats:
        """Height and width of every object, (N, 2), pixels."""
        sides: Floats = self.corners[:, [3, 2]] - self.corners[:, [1, 0]]
        return sides


def centres_inside(begin: Floats, end: Floats, stride: int) -> Ints:
    """How many cell centres (i + 0.5) * stride lie in each half-open interval [begin, end) of one axis; begin >= 0.

    A box of width w that may lie anywhere contains one with chance min(1, w / stride).
    """
    last = int(np.ceil(end.max(initial=0.0) / stride)) + 1
    centres = (np.arange(last) + 0.5) * stride
    inside: Ints = np.searchsorted(centres, end, "left") - np.searchsorted(centres, begin, "left")
    return inside


def cells_of(corners: Floats, stride: Stride) -> Ints:
    """Cell centres inside every box, (N,)."""
    high, wide = stride
    rows, columns = (
        centres_inside(corners[:, axis], corners[:, axis + 2], step) for axis, step in ((1, high), (0, wide))
    )
    return rows * columns


def shared_cells(objects: Objects, stride: Stride) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Per object: whether its centre lies in one cell with another object's, and with one of another class."""
    centres = (objects.corners[:, [1, 0]] + objects.corners[:, [3, 2]]) / 2
    cells = np.floor(centres / np.array(stride, np.float64)).astype(np.int64)
    _, cell, count = np.unique(_one_key(objects.picture, *cells.T), return_inverse=True, return_counts=True)
    lowest, highest = np.full(len(count), objects.classes.max(initial=0)), np.zeros(len(count), np.int64)
    np.minimum.at(lowest, cell, objects.classes)
    np.maximum.at(highest, cell, objects.classes)
    return count[cell] > 1, (lowest < highest)[cell]


def _one_key(*columns: Ints) -> Ints:
    """One number for every row of several columns of whole numbers: np.unique of rows is ten times slower."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        key = key * (column.max(initial=0) + 1) + column
    return key


def box_row(objects: Objects, strides: StrideSet, classes: Sequence[str], field: Size | None) -> BoxRow:
    """The figures of one stride set, overall and for every class of `classes`."""
    cells = np.max([cells_of(objects.corners, stride) for stride in strides], axis=0)
    shared, other = shared_cells(objects, strides[0])
    ratios = None if field is None else (np.array(field) / objects.extents).min(axis=1)
    table = (cells, shared, other, ratios)
    every = np.ones(len(cells), bool)
    return BoxRow(
        strides=strides,
        positions=mean_positions(objects.sizes, strides),
        overall=_figures("all", every, *table),
        classes=tuple(_figures(name, objects.classes == index, *table) for index, name in enumerate(classes)),
        lost=_lost(objects, cells == 0),
    )


def mean_positions(sizes: Sequence[Size], strides: StrideSet) -> float:
    """Cells of all maps of a set, mean over pictures of these sizes."""
    counted = Counter(sizes)
    cells = [sum(math.prod(grid(size, stride)) for stride in strides) for size in counted]
    return float(np.average(cells, weights=list(counted.values())))


def object_sizes(areas: Floats) -> Sizes | None:
    """Percentiles and histogram of the root of these areas; None without objects."""
    if not len(areas):
        return None
    sides = np.sqrt(areas)
    low, high = (int(np.floor(4 * np.log2(side))) for side in (sides.min(), sides.max()))
    edges = 2.0 ** (np.arange(low, high + 2) / 4)
    places = np.clip(np.searchsorted(edges, sides, "right") - 1, 0, len(edges) - 2)
    p5, median, p95 = np.percentile(sides, (5, 50, 95)).tolist()
    counts = np.bincount(places, minlength=len(edges) - 1)
    return Sizes(p5=p5, median=median, p95=p95, edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _figures(
    name: str,
    chosen: npt.NDArray[np.bool_],
    cells: Ints,
    shared: npt.NDArray[np.bool_],
    other: npt.NDArray[np.bool_],
    ratios: Floats | None,
) -> ObjectFigures:
    count = int(chosen.sum())
    if count == 0:
        return ObjectFigures(
            name=name, objects=0, reachable=None, cells_median=None, cells_p5=None, shared=None, shared_classes=None
        )
    own = cells[chosen]
    seen = None if ratios is None else ratios[chosen]
    return ObjectFigures(
        name=name,
        objects=count,
        reachable=float((own > 0).mean()),
        cells_median=float(np.median(own)),
        cells_p5=float(np.percentile(own, 5, method="inverted_cdf")),
        shared=float(shared[chosen].mean()),
        shared_classes=float(other[chosen].mean()),
        field_median=None if seen is None else float(np.median(seen)),
        field_p5=None if seen is None else float(np.percentile(seen, 5)),
        larger_than_field=None if seen is None else float((seen < 1).mean()),
    )


def _lost(objects: Objects, missed: npt.NDArray[np.bool_]) -> tuple[Lost, ...]:
    counts = np.bincount(objects.picture[missed], minlength=len(objects.names))
    worst = np.argsort(-counts, kind="stable")[:LOST_SHOWN]
    return tuple(Lost(name=objects.names[index], count=int(counts[index])) for index in worst if counts[index])
