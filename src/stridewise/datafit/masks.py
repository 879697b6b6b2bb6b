"""Masks against strides: what is left of the labels when every cell of a stride gets one label, the most frequent one.

Rounding takes the majority of the pixels that count (ties: the smaller class index) and writes it over the whole cell.
It bounds what a map of that stride can say when nothing refines it; a decoder that interpolates scores can do better.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from stridewise.data.mask import IGNORE
from stridewise.data.picture import Bytes, Size
from stridewise.datafit.boxes import LOST_SHOWN, mean_positions
from stridewise.datafit.figures import Lost, MaskRow, RegionFigures
from stridewise.datafit.strides import Stride, grid
from stridewise.errors import MissingExtraError

_CACHED = 1 << 18  # pixels of a mask up to which its cells are kept for the next one

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def rounded(mask: Bytes, stride: Stride, classes: int) -> Bytes:
    """The mask after majority rounding to `stride` and back, of its sizes; ignored pixels stay ignored."""
    if set(stride) == {1}:
        return mask
    cell = _cached_cells(mask.shape, stride) if mask.size <= _CACHED else _cells(mask.shape, stride)
    counted = mask != IGNORE
    votes = cell * classes + mask
    every = bool(counted.all())
    table = np.bincount(
        (votes if every else votes[counted]).ravel(), minlength=math.prod(grid(mask.shape, stride)) * classes
    )
    winner = table.reshape(-1, classes).argmax(axis=1).astype(np.uint8)[cell]
    return winner if every else np.where(counted, winner, np.uint8(IGNORE))


def _cells(size: Size, stride: Stride) -> Ints:
    """The number of the cell that every pixel lies in."""
    places = np.ix_(*(np.arange(extent) // step for extent, step in zip(size, stride, strict=True)))
    cell: Ints = np.zeros((1,) * len(size), np.int64)
    for place, cells in zip(places, grid(size, stride), strict=True):
        cell = cell * cells + place
    return cell


_cached_cells = lru_cache(maxsize=32)(_cells)


def boundary(mask: Bytes) -> Bools:
    """Pixels with a neighbour of another class before or behind them on an axis; ignored neighbours do not count."""
    edge = np.zeros(mask.shape, bool)
    for axis in range(mask.ndim):
        near, far = ((*(slice(None),) * axis, part) for part in (slice(None, -1), slice(1, None)))
        differ = (mask[near] != mask[far]) & (mask[near] != IGNORE) & (mask[far] != IGNORE)
        edge[near] |= differ
        edge[far] |= differ
    return edge


def boundary_f1(true: Bools, other: Bools, tolerance: int, wide: Bools | None = None) -> float | None:
    """F1 of two boundaries: a pixel is met when the other boundary is within `tolerance` (chessboard) pixels.

    wide: the true one widened by the tolerance, where that is at hand. None when neither has a pixel.
    Source: the boundary F1 of Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?", with
    the chessboard distance in place of the Euclidean one.
    """
    if not true.any() and not other.any():
        return None
    if not true.any() or not other.any():
        return 0.0
    precision = float((_widened(true, tolerance) if wide is None else wide)[other].mean())
    recall = float(_widened(other, tolerance)[true].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def components(mask: Bytes) -> tuple[npt.NDArray[np.int32], Ints, Ints]:
    """Connected components (8 neighbours; 26 in volumes) of every class: number of each pixel (0: ignored), classes
    (N,), areas (N,).

    Raises: MissingExtraError without scipy.
    """
    ndimage = _ndimage()
    numbers = np.zeros(mask.shape, np.int32)
    classes: list[int] = []
    shifted = mask.astype(np.int32) + 1
    shifted[mask == IGNORE] = 0
    for index, place in enumerate(ndimage.find_objects(shifted)):
        if place is not None:
            found, count = ndimage.label(mask[place] == index, structure=np.ones((3,) * mask.ndim))
            numbers[place] += np.where(found > 0, found + len(classes), 0).astype(np.int32)
            classes += [index] * count
    areas = np.bincount(numbers.reshape(-1), minlength=len(classes) + 1)[1:]
    return numbers, np.array(classes, np.int64), areas.astype(np.int64)


def boundary_tolerance(size: Size) -> int:
    """0.75 % of the picture's diagonal, at least one pixel. Source: Csurka et al. 2013."""
    return max(1, round(0.0075 * math.hypot(*size)))


class MaskTotals:
    """Sums over masks, one at a time, so that a data set may be larger than memory. `rows` gives the figures."""

    def __init__(self, strides: Sequence[Stride], classes: Sequence[str]) -> None:
        self._strides, self._classes = tuple(strides), tuple(classes)
        shape = (len(self._strides), len(self._classes))
        self._overlap, self._union = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._vanished, self._components = np.zeros(shape, np.int64), np.zeros(len(self._classes), np.int64)
        self._boundary: list[list[float]] = [[] for _ in self._strides]
        self._lost: list[list[Lost]] = [[] for _ in self._strides]
        self._sizes: list[Size] = []
        self._areas: list[Ints] = []

    def add(self, name: str, mask: Bytes) -> None:
        """Count one mask, (height, width) of class indices."""
        numbers, kinds, areas = components(mask)
        edge, tolerance = boundary(mask), boundary_tolerance(mask.shape)
        wide = _widened(edge, tolerance)
        counted, count = mask != IGNORE, len(self._classes)
        true = np.minimum(mask, count).astype(np.int64) * (count + 1)
        self._components += np.bincount(kinds, minlength=len(self._classes))
        self._sizes.append(mask.shape)
        self._areas.append(areas)
        for place, stride in enumerate(self._strides):
            other = rounded(mask, stride, len(self._classes))
            self._add_overlap(place, true, other)
            f1 = boundary_f1(edge, boundary(other), tolerance, wide)
            if f1 is not None:
                self._boundary[place].append(f1)
            kept = np.bincount(numbers[(mask == other) & counted], minlength=len(kinds) + 1)[1:] > 0
            self._vanished[place] += np.bincount(kinds[~kept], minlength=len(self._classes))
            if not kept.all():
                worst = [*self._lost[place], Lost(name=name, count=int((~kept).sum()))]
                self._lost[place] = sorted(worst, key=lambda lost: -lost.count)[:LOST_SHOWN]

    def _add_overlap(self, place: int, true: Ints, other: Bytes) -> None:
        """true: the class of every pixel (the number of classes where none counts) times one more than that number."""
        count = len(self._classes)
        table = np.bincount((true + np.minimum(other, count)).ravel(), minlength=(count + 1) ** 2)
        pairs = table.reshape(count + 1, count + 1)[:count, :count]
        both = pairs.diagonal()
        self._overlap[place] += both
        self._union[place] += pairs.sum(axis=1) + pairs.sum(axis=0) - both

    @property
    def areas(self) -> npt.NDArray[np.float64]:
        """The area of every component, (N,) pixels."""
        return np.concatenate([np.zeros(0), *self._areas])

    def rows(self) -> tuple[MaskRow, ...]:
        """The figures of every stride, in the order given."""
        return tuple(self._row(place, stride) for place, stride in enumerate(self._strides))

    def _row(self, place: int, stride: Stride) -> MaskRow:
        seen = self._union[place] > 0
        iou = self._overlap[place] / np.maximum(self._union[place], 1)
        return MaskRow(
            strides=(stride,),
            positions=mean_positions(self._sizes, (stride,)),
            miou=float(iou[seen].mean()) if seen.any() else 0.0,
            boundary_f1=float(np.mean(self._boundary[place])) if self._boundary[place] else None,
            components=int(self._components.sum()),
            vanished=_share(self._vanished[place].sum(), self._components.sum()),
            classes=tuple(
                RegionFigures(
                    name=name,
                    iou=float(iou[index]) if seen[index] else None,
                    components=int(self._components[index]),
                    vanished=_share(self._vanished[place, index], self._components[index]),
                )
                for index, name in enumerate(self._classes)
            ),
            lost=tuple(self._lost[place]),
        )


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None


def _widened(edge: Bools, by: int) -> Bools:
    """Pixels within `by` of an edge, chessboard distance: axis by axis, the reach doubled by a shift each way."""
    for axis in range(edge.ndim):
        reach = 0
        while reach < by:
            step = min(reach + 1, by - reach, edge.shape[axis])  # more would leave gaps at the borders
            near, far = ((*(slice(None),) * axis, part) for part in (slice(None, -step), slice(step, None)))
            wide = edge.copy()
            wide[near] |= edge[far]
            wide[far] |= edge[near]
            edge, reach = wide, reach + step
    return edge


def _ndimage() -> Any:
    try:
        from scipy import ndimage
    except ImportError as error:
        raise MissingExtraError("scipy", "train", "fit of masks") from error
    return ndimage
