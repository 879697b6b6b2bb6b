"""Masks against strides: what is left of the labels when every cell of a stride gets one label, the most frequent one.

Rounding takes the majority of the pixels that count (ties: the smaller class index) and writes it over the whole cell.
It bounds what a map of that stride can say when nothing refines it; a decoder that interpolates scores can do better.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from stridewise.data.mask import IGNORE
from stridewise.data.picture import Bytes, Size
from stridewise.datafit.boxes import LOST_SHOWN, mean_positions
from stridewise.datafit.figures import Lost, MaskRow, RegionFigures
from stridewise.datafit.strides import Stride, grid
from stridewise.errors import MissingExtraError

_CACHED = 1 << 18  # pixels of a mask up to which its cells are kept for the next one
_FEW = 4  # every fourth pixel of an axis is looked at first

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Cell = TypeVar("Cell", np.bool_, np.uint8)


def rounded(mask: Bytes, stride: Stride, classes: int) -> Bytes:
    """The mask after majority rounding to `stride` and back, of its sizes; ignored pixels stay ignored."""
    codes, labels = _coded(mask)
    if set(stride) == {1} or not len(labels):
        return mask
    winner = labels[_votes(codes, stride, len(labels))[:-1].argmax(axis=0)]
    return np.where(mask != IGNORE, _spread(winner, stride, mask.shape), np.uint8(IGNORE))


def _coded(mask: Bytes) -> tuple[Bytes, Bytes]:
    """Every pixel's place among the classes that are there (behind the last one where none counts), and these."""
    there = np.bincount(mask.ravel(), minlength=IGNORE + 1) > 0
    there[IGNORE] = False
    labels = np.flatnonzero(there).astype(np.uint8)
    table = np.full(IGNORE + 1, len(labels), np.uint8)
    table[labels] = np.arange(len(labels))
    return table[mask], labels


def _votes(codes: Bytes, stride: Stride, labels: int) -> Ints:
    """Pixels of every label in every cell, (labels + 1, *grid): the last ones do not count."""
    cell = _cached_cells(codes.shape, stride) if codes.size <= _CACHED else _cells(codes.shape, stride)
    cells = grid(codes.shape, stride)
    table = np.bincount((codes * np.int64(math.prod(cells)) + cell).ravel(), minlength=math.prod(cells) * (labels + 1))
    return table.reshape(-1, *cells)


def _merged(votes: Ints, factors: Sequence[int]) -> Ints:
    """The votes in cells `factors` times as large, per axis."""
    for axis, factor in enumerate(factors, 1):
        before = (slice(None),) * axis
        total = votes[(*before, slice(0, None, factor))].copy()
        for offset in range(1, min(factor, votes.shape[axis])):
            part = votes[(*before, slice(offset, None, factor))]
            total[(*before, slice(part.shape[axis]))] += part
        votes = total
    return votes


def _spread(cells: npt.NDArray[Cell], stride: Sequence[int], size: Sequence[int]) -> npt.NDArray[Cell]:
    """What cells hold, at every pixel; the last axis first, for then whole rows are copied."""
    for axis in reversed(range(cells.ndim)):
        if stride[axis] > 1:
            cells = cells.take(np.arange(size[axis]) // stride[axis], axis=axis)
    return cells


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


def _cell_boundary(winner: Bytes, stride: Stride, counted: Bools) -> Bools:
    """`boundary` of the mask that these cells spell: it runs along their borders alone."""
    edge = np.zeros(counted.shape, bool)
    for axis, step in enumerate(stride):
        before = (slice(None),) * axis
        differ = winner[(*before, slice(1, None))] != winner[(*before, slice(-1))]
        far = (*before, slice(step, None, step))
        near = (*before, slice(step - 1, (winner.shape[axis] - 1) * step, step))
        only = [1 if other == axis else s for other, s in enumerate(stride)]
        wide = _spread(differ, only, counted.shape) & counted[near] & counted[far]
        edge[near] |= wide
        edge[far] |= wide
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
    wide = _widened(true, tolerance) if wide is None else wide
    precision = np.count_nonzero(wide & other) / np.count_nonzero(other)
    recall = np.count_nonzero(_widened(other, tolerance) & true) / np.count_nonzero(true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def components(mask: Bytes) -> tuple[npt.NDArray[np.int32], Ints, Ints]:
    """Connected components (8 neighbours; 26 in volumes) of every class: number of each pixel (0: ignored), classes
    (N,), areas (N,).

    Raises: MissingExtraError without scipy.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise MissingExtraError("scipy", "train", "fit of masks") from error
    numbers = np.zeros(mask.shape, np.int32)
    classes: list[int] = []
    near = np.ones((3,) * mask.ndim, bool)
    for index, place in enumerate(ndimage.find_objects(mask + np.uint8(1))):  # ignored ones wrap to 0: no object
        if place is not None:
            part, count = ndimage.label(mask[place] == index, structure=near)
            np.add(part, len(classes), out=numbers[place], where=part > 0)
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
        self._finest_first = sorted(zip(self._strides, count()), key=lambda entry: (math.prod(entry[0]), entry))
        shape = (len(self._strides), len(self._classes))
        self._overlap, self._union = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._vanished, self._components = np.zeros(shape, np.int64), np.zeros(len(self._classes), np.int64)
        self._boundary: list[list[float]] = [[] for _ in self._strides]
        self._lost: list[list[Lost]] = [[] for _ in self._strides]
        self._sizes: list[Size] = []
        self._areas: list[Ints] = []

    def add(self, name: str, mask: Bytes) -> None:
        """Count one mask, (height, width) of class indices."""
        first = int(mask.flat[0]) if mask.size else IGNORE
        if first != IGNORE and (mask == first).all():  # no stride loses anything of it
            self._overlap[:, first] += mask.size
            self._union[:, first] += mask.size
            self._components[first] += 1
            self._sizes.append(mask.shape)
            self._areas.append(np.array([mask.size], np.int64))
        else:
            self._add_mixed(name, mask)

    def _add_mixed(self, name: str, mask: Bytes) -> None:
        numbers, kinds, areas = components(mask)
        codes, labels = _coded(mask)
        self._components += np.bincount(kinds, minlength=len(self._classes))
        self._sizes.append(mask.shape)
        self._areas.append(areas)
        if not len(labels):
            return
        edge, tolerance = boundary(mask), boundary_tolerance(mask.shape)
        wide, counted = _widened(edge, tolerance), mask != IGNORE
        large = np.append(True, areas >= mask.size // _FEW**2)
        small = np.flatnonzero(~large[numbers])
        votes: dict[Stride, Ints] = {}
        for stride, place in self._finest_first:
            winner = self._add_overlap(place, _of_strides(codes, stride, votes, len(labels)), labels)
            f1 = boundary_f1(edge, _cell_boundary(winner, stride, counted), tolerance, wide)
            if f1 is not None:
                self._boundary[place].append(f1)
            kept = _survivors(numbers, small, large, mask == _spread(winner, stride, mask.shape))
            self._vanished[place] += np.bincount(kinds[~kept], minlength=len(self._classes))
            if not kept.all():
                worst = [*self._lost[place], Lost(name=name, count=int((~kept).sum()))]
                self._lost[place] = sorted(worst, key=lambda lost: -lost.count)[:LOST_SHOWN]

    def _add_overlap(self, place: int, votes: Ints, labels: Bytes) -> Bytes:
        """Count the pixels that keep their class, and those of either; the class that every cell gets."""
        votes = votes[:-1]
        winner, there = votes.argmax(axis=0), len(labels)
        both = _sums(winner, votes.max(axis=0), there)
        self._overlap[place, labels] += both
        self._union[place, labels] += (
            votes.reshape(there, -1).sum(axis=1) + _sums(winner, votes.sum(axis=0), there) - both
        )
        classes: Bytes = labels[winner]
        return classes

    def merge(self, later: "MaskTotals") -> None:
        """Add what another one counted on the masks that follow, of the same strides and classes."""
        self._overlap += later._overlap
        self._union += later._union
        self._vanished += later._vanished
        self._components += later._components
        self._sizes += later._sizes
        self._areas += later._areas
        for place in range(len(self._strides)):
            self._boundary[place] += later._boundary[place]
            worst = [*self._lost[place], *later._lost[place]]
            self._lost[place] = sorted(worst, key=lambda lost: -lost.count)[:LOST_SHOWN]

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


def _of_strides(codes: Bytes, stride: Stride, earlier: dict[Stride, Ints], labels: int) -> Ints:
    """The votes of a stride, from the coarsest of the `earlier` ones that divides it, and kept among them."""
    for finer in reversed(earlier):
        if not any(step % part for step, part in zip(stride, finer, strict=True)):
            factors = [step // part for step, part in zip(stride, finer, strict=True)]
            return earlier.setdefault(stride, _merged(earlier[finer], factors))
    return earlier.setdefault(stride, _votes(codes, stride, labels))


def _sums(winner: Ints, pixels: Ints, labels: int) -> Ints:
    """Pixels by the class that their cell gets. Exact: bincount adds doubles, whole numbers to 2**53."""
    return np.bincount(winner.ravel(), pixels.ravel(), labels).astype(np.int64)


def _survivors(numbers: npt.NDArray[np.int32], small: Ints, large: Bools, same: Bools) -> Bools:
    """Which components keep one of their pixels. A few pixels tell for most of the `large` ones (number 0 is none of
    them, and counts as one); small: the pixels of the others."""
    kept: Bools = np.arange(len(large)) == 0
    few = (slice(None, None, _FEW),) * numbers.ndim
    kept[numbers[few][same[few]]] = True
    kept[numbers.ravel()[small[same.ravel()[small]]]] = True
    if not kept[large].all():
        kept[numbers[same]] = True
    return kept[1:]


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
