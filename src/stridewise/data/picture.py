"""A picture that is decoded only when it is asked for, within bounds, and never by anything that runs code."""

import io
import struct
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from stridewise.errors import DataError

Size = tuple[int, ...]
"""Height and width, in pixels; of signals and volumes the positions on their axes."""

Bytes = npt.NDArray[np.uint8]

PIXEL_LIMIT = 64_000_000
"""A picture with more pixels than this is refused before it is decoded."""

WHITE = 65535
"""The value of a picture of 16-bit numbers that becomes 255, where nothing else is known."""

_WHITES = (255, 1023, 4095, 16383, WHITE)  # numbers of 8, 10, 12, 14 and 16 bits, all stored in 16
_LOOKED_AT = 64

_UNREAD = frozenset({".heic", ".heif", ".jxl", ".jp2", ".raw", ".dng", ".cr2", ".nef"})
"""Pictures that Pillow alone does not read: counted as such."""

SUFFIXES = _UNREAD | {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".avif"}

# A closed list: Pillow would hand some of its other formats (EPS) to an outside program.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF")

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns the stored rows upright, by EXIF orientation. Source: Exif 2.32, tag 0x0112."""


class PictureError(DataError):
    """A picture that cannot be used; `reason` says why without naming it, so that equal cases can be counted."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}. Replace it or take it out of the data set")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type["PictureError"], tuple[str, str]]:
        return PictureError, (self.name, self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a picture's header says: `size` as it is displayed, and the EXIF orientation it is stored in (1: upright).

    deep: more than 8 bits a channel. pages: pictures in the file. channels: as the file has them. spacing: between
    positions, an entry an axis, in the file's units (mm, s); empty where it says none.
    """

    size: Size
    orientation: int = 1
    deep: bool = False
    pages: int = 1
    channels: int = 3
    spacing: tuple[float, ...] = ()

    @property
    def stored(self) -> Size:
        """Height and width as the rows lie in the file."""
        return self.size[::-1] if self.orientation >= 5 else self.size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A picture by its path, its encoded bytes, or its pixels; `load` decodes it, upright as EXIF says.

    white: what becomes 255 where it holds numbers of more than 8 bits; `white_of` finds it for a data set.
    """

    name: str
    source: Path | bytes | Bytes
    white: int = WHITE

    def header(self) -> Header:
        """Size and orientation from the header alone.

        Raises: PictureError when it is missing, no picture, or over `PIXEL_LIMIT`.
        """
        if isinstance(self.source, np.ndarray):
            return Header(size=(self.source.shape[0], self.source.shape[1]))
        with opened(self.name, self.source) as image:
            return header_of(image)

    def size(self) -> Size:
        """Height and width as displayed, from the header alone. Raises: PictureError."""
        return self.header().size

    def load(self, size: Size | None = None, channels: int = 3) -> Bytes:
        """The pixels, (height, width, 3) RGB or (height, width, 1) grey, uint8, brought to `size` when given
        (antialiased, aspect not kept).

        Of sixteen bits, `white` and what lies above become 255; floats run from 0 to 1, or from 0 to 255.

        Raises: PictureError when it cannot be decoded to the end.
        """
        if channels not in (1, 3):
            raise PictureError(self.name, f"a picture of 1 or 3 channels where {channels} are wanted")
        pixels = _three_channels(self.source) if isinstance(self.source, np.ndarray) else self._decoded()
        if channels == 1:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        if size is not None and tuple(size) != pixels.shape[:2]:
            pixels = np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))
        return pixels if pixels.ndim == 3 else pixels[:, :, None]

    def _decoded(self) -> Bytes:
        with opened(self.name, self.source) as image:  # type: ignore[arg-type]
            if self.white == WHITE or not _deep_colours(image):
                return _rgb(upright(image), self.name, self.white)
        numbers = self.numbers()
        assert numbers is not None
        return _three_channels(_eight_bits(numbers, self.white))

    def numbers(self) -> npt.NDArray[Any] | None:
        """What a picture of whole numbers of more than 8 bits holds, (height, width[, 3]); None of any other picture.

        Raises: PictureError.
        """
        if isinstance(self.source, np.ndarray):
            return None
        with opened(self.name, self.source) as image:
            if image.mode[0] == "I":
                return np.asarray(upright(image))
            kind, _, order = _deep_colours(image).partition(";")
        if not kind:
            return None
        if kind == "LA":  # read as four bytes: those of the grey value come first
            pair = self._bytes_as("RGBA").astype(np.uint16)
            return pair[..., 0] << 8 | pair[..., 1]
        # Pillow keeps the upper byte of a colour: read in the other byte order, it keeps the lower one.
        big = order == "16B" or (order == "16N" and sys.byteorder == "big")
        orders = ("16B", "16L") if big else ("16L", "16B")
        high, low = (self._bytes_as(f"{kind};{each}")[..., :3].astype(np.uint16) for each in orders)
        return high << 8 | low

    def _bytes_as(self, raw: str) -> Bytes:
        """The decoded bytes taken as Pillow's raw mode `raw`."""
        with opened(self.name, self.source) as image:  # type: ignore[arg-type]
            tiles: Any = image.tile  # type: ignore[attr-defined]
            image.tile = [  # type: ignore[attr-defined]
                tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:])) for tile in tiles
            ]
            return np.asarray(upright(image))


def white_of(pictures: Sequence[Picture]) -> tuple[int, int]:
    """The value that is to become 255 in all of these, and the largest one that was met.

    The least of 255, 1023, 4095, 16383 and 65535 (8 to 16 bits) that no value is above, of up to 64 pictures spread
    evenly over those that hold whole numbers of more than 8 bits: cameras and scanners store 10 to 14 bits in 16.
    """
    count = min(len(pictures), _LOOKED_AT)
    largest = 0
    for place in range(count):
        try:
            numbers = pictures[place * (len(pictures) - 1) // max(count - 1, 1)].numbers()
        except PictureError:  # counted where it is used
            continue
        if numbers is not None and numbers.size:
            largest = max(largest, int(numbers.max()))
    return next((white for white in _WHITES if 0 < largest <= white), WHITE), largest


@contextmanager
def opened(name: str, source: Path | bytes) -> Iterator[Image.Image]:
    """The Pillow image behind `source`, header read and size checked; whatever goes wrong inside is a PictureError.

    Raises: PictureError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata and large sizes; the limit is ours
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=_readable()) as image:
                if image.width * image.height > PIXEL_LIMIT:
                    raise PictureError(name, f"over the limit of {PIXEL_LIMIT:,} pixels")
                yield image
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError(name, "the file is missing") from error
    except UnidentifiedImageError as error:
        suffix = source.suffix.lower() if isinstance(source, Path) else ""
        kind = f"{suffix[1:].upper()}, which is not read: convert it to PNG" if suffix in _UNREAD else ""
        raise PictureError(name, kind or "not a picture of a known kind") from error
    except Image.DecompressionBombError as error:
        raise PictureError(name, f"over the limit of {PIXEL_LIMIT:,} pixels") from error
    except Exception as error:  # decoders of broken files raise nearly anything
        raise PictureError(name, "truncated or broken") from error


@lru_cache(maxsize=1)
def _readable() -> tuple[str, ...]:
    """The formats of the closed list that this Pillow was built with (AVIF is new in 11.3)."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def header_of(image: Image.Image) -> Header:
    """The header of an image that is not decoded yet."""
    size: Size = (image.height, image.width)
    deep = image.mode[0] in "IF" or bool(_deep_colours(image))  # asking for EXIF may decode the image
    orientation = _orientation(image)
    if image.format == "TIFF":  # Pillow names the displayed size from version 12 on, before that the stored one
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        size = (tags[257], tags[256])
        size = size[::-1] if orientation >= 5 else size
    elif orientation >= 5:
        size = size[::-1]
    pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    channels = 1 if image.mode in {"1", "L", "F"} or image.mode[0] == "I" else 3
    return Header(size=size, orientation=orientation, deep=deep, pages=pages, channels=channels)


def upright(image: Image.Image) -> Image.Image:
    """The image decoded and turned as its EXIF orientation says."""
    wanted = header_of(image)
    image.load()
    turn = _UPRIGHT.get(wanted.orientation)
    if turn is None or (image.format == "TIFF" and _orientation(image) == 1):  # Pillow turns TIFF while decoding
        return image
    return image.transpose(turn)


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """An image in stored rows, turned upright as its picture is."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def turned_corners(corners: npt.NDArray[np.float64], stored: Size, orientation: int) -> npt.NDArray[np.float64]:
    """Boxes (N, 4) x0, y0, x1, y1 drawn on the stored rows of a picture, on the upright one.

    >>> turned_corners(np.array([[0.0, 0, 3, 1]]), (10, 20), 6).tolist()
    [[9.0, 0.0, 10.0, 3.0]]
    """
    left, top, right, bottom = corners.T
    height, width = stored
    if orientation in (2, 3, 7, 8):  # what was left is right (7, 8: what becomes the bottom)
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    if orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    return np.stack([left, top, right, bottom], axis=1)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, IndexError, OSError, struct.error):
        return 1  # metadata that cannot be read say nothing; the picture may still be fine
    return found if found in _UPRIGHT else 1


def _deep_colours(image: Image.Image) -> str:
    """Pillow's raw mode of colours of 16 bits an image is stored in, before it is decoded; empty of any other image."""
    tiles: Any = getattr(image, "tile", ())
    args = tiles[0].args if tiles else ""
    raw = args if isinstance(args, str) else args[0] if args else ""
    kind, _, order = str(raw).partition(";")
    return str(raw) if kind in {"RGB", "RGBA", "RGBX", "LA"} and order in {"16B", "16L", "16N"} else ""


def _rgb(image: Image.Image, name: str, white: int) -> Bytes:
    if image.mode.startswith("I") or image.mode == "F":
        return _three_channels(_to_bytes(np.asarray(image), name, None if image.mode == "F" else white))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"))


def _to_bytes(values: npt.NDArray[Any], name: str, white: int | None) -> Bytes:
    """One rule for every picture, so that a dark one stays darker than a bright one. white: None of floats."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if white is not None:  # Pillow itself would clip sixteen bits to white
        if low < 0 or high > 65535:
            raise PictureError(name, "whole numbers outside 0..65535")
        return _eight_bits(values, white)
    if not (low >= 0.0 and high <= 255.0):  # also where one is no number
        raise PictureError(name, "floats outside 0..255")
    return np.round(values * (255.0 if high <= 1.0 else 1.0)).astype(np.uint8)


def _eight_bits(numbers: npt.NDArray[Any], white: int) -> Bytes:
    return (numbers.clip(max=white).astype(np.uint32) * np.uint32(255) // np.uint32(white)).astype(np.uint8)


def _three_channels(pixels: Bytes) -> Bytes:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 3:
        return pixels
    repeated: Bytes = np.repeat(pixels[:, :, :1], 3, axis=2)
    return repeated
