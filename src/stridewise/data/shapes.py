"""Shapes of objects (polygons, run lengths) drawn as a label mask when it is asked for: small to keep, any number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stridewise.data.picture import Bytes, Size

Polygon = tuple[tuple[float, float], ...]
"""Corners x, y in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """One object: the index it is drawn with, its polygons, or its runs as COCO counts: 0s first, down the columns."""

    index: int
    polygons: tuple[Polygon, ...] = ()
    runs: tuple[int, ...] = ()

    def area(self) -> float:
        """Its pixels, about: that of its polygons, or of its runs."""
        return float(sum(self.runs[1::2])) + sum(_area(polygon) for polygon in self.polygons)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shapes:
    """The objects of one picture of `size` (height, width), over a ground of index 0; small ones lie on top."""

    size: Size
    shapes: tuple[Shape, ...]

    def drawn(self) -> Bytes:
        """The mask, (height, width) uint8: a pixel belongs to the shape that its middle lies in."""
        mask = np.zeros(self.size, np.uint8)
        for shape in sorted(self.shapes, key=lambda s: -s.area()):
            mask[shape_pixels(shape, self.size)] = shape.index
        return mask


def shape_pixels(shape: Shape, size: Size) -> npt.NDArray[np.bool_]:
    """The pixels of a shape, (height, width)."""
    if shape.runs:
        flat = np.repeat(np.arange(len(shape.runs)) % 2 == 1, shape.runs)
        padded = np.zeros(size[0] * size[1], bool)
        padded[: len(flat)] = flat[: len(padded)]
        return padded.reshape(size[1], size[0]).T
    inside = np.zeros(size, bool)
    for polygon in shape.polygons:
        inside |= _filled(np.array(polygon, np.float64), size)
    return inside


def _filled(corners: npt.NDArray[np.float64], size: Size) -> npt.NDArray[np.bool_]:
    """The pixels with their middle inside a polygon (N, 2) of x, y: an odd number of its sides lies to their left."""
    sides = np.zeros((size[0], size[1] + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        low, high = np.clip(np.ceil(np.sort([y0, y1]) - 0.5), 0, size[0]).astype(int)
        if low < high:
            rows = np.arange(low, high)
            crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            sides[rows, np.clip(np.ceil(crossing - 0.5), 0, size[1]).astype(int)] += 1
    inside: npt.NDArray[np.bool_] = sides.cumsum(axis=1)[:, :-1] % 2 == 1
    return inside


def run_lengths(counts: object, size: Size) -> tuple[int, ...] | None:
    """The runs of a COCO `counts`, a list of numbers or its compressed text; None where they do not fill the picture.

    Source: the COCO API, maskApi.c: six bits a character from '0' on, five of them number, the lowest first; from the
    third run on the difference to the run before the last.
    """
    if isinstance(counts, str):
        counts = _uncompressed(counts)
    if not isinstance(counts, list) or not all(isinstance(n, int) and n >= 0 for n in counts):
        return None
    return tuple(counts) if sum(counts) == size[0] * size[1] else None


def _uncompressed(text: str) -> list[int]:
    runs: list[int] = []
    number, shift = 0, 0
    for letter in text:
        code = ord(letter) - 48
        number |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    return runs


def _area(polygon: Sequence[tuple[float, float]]) -> float:
    x, y = np.array(polygon, np.float64).T
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))
