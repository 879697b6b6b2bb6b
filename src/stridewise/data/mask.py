"""A label mask, decoded only when it is asked for: class ids or colours in the file, class indices out of `load`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stridewise.data.grids import Grid, nearest
from stridewise.data.picture import Bytes, Header, PictureError, Size, header_of, opened, turned, upright

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


IGNORE = 255
"""The index, in a loaded mask, of pixels that belong to no class and count nowhere."""

_UNKNOWN = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """How a mask file writes its classes: `values[k]` is class k's id, or its colour as 0xRRGGBB when `coloured`."""

    values: tuple[int, ...]
    ignored: tuple[int, ...] = (IGNORE,)
    coloured: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mask:
    """A mask by its path (with the `codes` it is written in), by its class indices, or by the shapes drawn on it.

    orientation: the EXIF orientation of its picture, where the mask was drawn on the stored rows and says none itself.
    """

    name: str
    source: Path | Bytes | Shapes | Grid
    codes: Codes | None = None
    orientation: int = 1

    def header(self) -> Header:
        """Size and orientation from the header alone. Raises: PictureError."""
        if isinstance(self.source, Grid):
            return self.source.header()
        if isinstance(self.source, Shapes):
            size = self.source.size
            return Header(size=size[::-1] if self.orientation >= 5 else size)
        if isinstance(self.source, np.ndarray):
            return Header(size=self.source.shape)
        with opened(self.name, self.source) as image:
            return header_of(image)

    def load(self, size: Size | None = None) -> Bytes:
        """Class index of every pixel, (height, width) uint8, `IGNORE` where none counts; nearest neighbour to `size`.

        Raises: PictureError when it cannot be decoded, or holds an id or colour that no class has.
        """
        indices = self.source if isinstance(self.source, np.ndarray) else self._decoded()
        if size is None or tuple(size) == indices.shape:
            return indices
        if indices.ndim != 2:
            found: Bytes = nearest(indices, size)
            return found
        return np.asarray(Image.fromarray(indices).resize((size[1], size[0]), Image.Resampling.NEAREST))

    def _decoded(self) -> Bytes:
        if isinstance(self.source, Shapes):
            return np.asarray(turned(Image.fromarray(self.source.drawn()), self.orientation))
        codes = self.codes
        if codes is None:
            raise PictureError(self.name, "a mask file of unknown classes")
        raw = raw_codes(self, coloured=codes.coloured)
        table = _table(codes)
        # The last entry of an id table is no id: unknown. A byte cannot lie outside.
        found = table[raw if raw.dtype == np.uint8 else np.clip(raw, -1, len(table) - 1)]
        if (found == _UNKNOWN).any():
            strange = np.unique(raw[found == _UNKNOWN])[:3]
            raise PictureError(self.name, _unknown(strange, coloured=codes.coloured))
        return found.astype(np.uint8)


def raw_codes(mask: Mask, *, coloured: bool) -> npt.NDArray[np.int32] | Bytes:
    """What the file holds at every pixel, (height, width): ids, or 0xRRGGBB. Raises: PictureError."""
    if isinstance(mask.source, Grid):
        return np.round(mask.source.load()[..., 0]).astype(np.int32)
    assert isinstance(mask.source, Path)
    with opened(mask.name, mask.source) as image:
        shown = turned(upright(image), mask.orientation)
        if coloured:
            channels = np.asarray(shown.convert("RGB")).astype(np.int32)
            return channels @ np.array([1 << 16, 1 << 8, 1], np.int32)
        pixels = np.asarray(shown)
    if pixels.ndim == 3:
        if (pixels[:, :, :3] != pixels[:, :, :1]).any():
            raise PictureError(
                mask.name, "a coloured mask where ids were expected: give `R G B name` lines in classes.txt"
            )
        pixels = pixels[:, :, 0]
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.int32)


@lru_cache(maxsize=4)
def _table(codes: Codes) -> npt.NDArray[np.uint16]:
    table = np.full((1 << 24) if codes.coloured else (1 << 16) + 1, _UNKNOWN, np.uint16)
    table[list(codes.ignored)] = IGNORE
    table[list(codes.values)] = np.arange(len(codes.values))
    return table


def _unknown(strange: npt.NDArray[np.int32], *, coloured: bool) -> str:
    shown = ", ".join(f"#{code:06x}" if coloured else str(code) for code in strange)
    return f"{'colour' if coloured else 'id'} {shown} belongs to no class"
