"""The person's picture: decoded within limits, kept as numbers, cut to what a network reads."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stridewise.convolution.reading import read_shrunk
from stridewise.errors import DataError

Pixels = NDArray[np.float64]

Levels = NDArray[np.uint8]
Values = TypeVar("Values", NDArray[np.float64], NDArray[np.uint8])

MOST_PIXELS = 16_000_000
SIDE = 1024  # pixels a side of the picture that is kept


class Pictures:
    """The picture in use, eight bits a value and at most 1024 pixels a side. `number` grows with each new one, so that
    a page knows when its copy is old."""

    def __init__(self) -> None:
        self._levels: Levels | None = None
        self._lock = threading.Lock()
        self._decoding = threading.Lock()
        self.number = 1
        self.name = ""

    def levels(self) -> Levels:
        """The picture, from 0 black to 255 white. Shape: (3, rows, columns)."""
        with self._lock:
            if self._levels is None:
                self.name, self._levels = first_picture()
            return self._levels

    def pixels(self) -> Pixels:
        """The picture, numbers from 0 black to 1 white. Shape: (3, rows, columns)."""
        return self.levels() / 255.0

    def replace(self, content: bytes, name: str) -> None:
        """Take another picture from a file's bytes, one at a time. Raises: LoadError where it is none within limits."""
        with self._decoding:
            levels = _coloured(read_shrunk(content, SIDE, MOST_PIXELS))
        with self._lock:
            self._levels, self.name = levels, name
            self.number += 1

    def fitted(self, channels: int, sizes: tuple[int, ...]) -> Pixels:
        """The picture as a network reads it: the largest middle part of that shape, resized. Shape: (channels, *sizes).

        Raises: DataError for a network that reads no two-dimensional pictures.
        """
        if len(sizes) != 2:
            raise DataError(f"the network reads {len(sizes)} axes; pictures have two, so nothing can be run here")
        picture = resized(middle(self.levels(), sizes) / 255.0, sizes)
        if channels == 1:
            grey: Pixels = picture.mean(axis=0, keepdims=True)
            return grey
        shape: tuple[int, ...] = (channels, *sizes)
        return picture if channels == 3 else np.resize(picture, shape)


def middle(pixels: Values, sizes: tuple[int, ...]) -> Values:
    """The largest middle part with the proportions of `sizes`."""
    rows, columns = pixels.shape[1:]
    scale = min(rows / sizes[0], columns / sizes[1])
    height, width = max(1, round(sizes[0] * scale)), max(1, round(sizes[1] * scale))
    top, left = (rows - height) // 2, (columns - width) // 2
    return pixels[:, top : top + height, left : left + width]


def resized(pixels: Pixels, sizes: tuple[int, ...]) -> Pixels:
    """Antialiased, to (rows, columns)."""
    from PIL import Image

    planes = [
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize((sizes[1], sizes[0]), Image.Resampling.BILINEAR))
        for plane in pixels
    ]
    return np.stack(planes).astype(np.float64)


def png(pixels: Pixels) -> bytes:
    """(3 or 1, rows, columns) from 0 to 1 as the bytes of a PNG."""
    from PIL import Image

    levels = np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8)
    image = Image.fromarray(levels[0] if len(levels) == 1 else np.ascontiguousarray(levels[:3].transpose(1, 2, 0)))
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def first_picture() -> tuple[str, Levels]:
    """(name, levels) of the picture a start begins with: a photograph that ships with Stridewise."""
    path = Path(__file__).parents[1] / "pictures" / "flower.jpg"
    return "a flower (photograph)", _coloured(read_shrunk(path.read_bytes(), SIDE))


def _coloured(levels: Levels) -> Levels:
    return np.repeat(levels, 3, axis=0) if len(levels) == 1 else levels
