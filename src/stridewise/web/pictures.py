"""The person's picture: decoded within limits, kept as numbers, cut to what a network reads."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stridewise.convolution.reading import fitted, middle, read_shrunk
from stridewise.errors import DataError

Pixels = NDArray[np.float64]

Levels = NDArray[np.uint8]

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
        return fitted(middle(self.levels(), sizes) / 255.0, (channels, *sizes))


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
