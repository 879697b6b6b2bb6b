"""A picture that is decoded only when it is asked for, within bounds, and never by anything that runs code."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from stridewise.errors import DataError

Size = tuple[int, int]
"""Height and width, in pixels."""

Bytes = npt.NDArray[np.uint8]

PIXEL_LIMIT = 64_000_000
"""A picture with more pixels than this is refused before it is decoded."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

# A closed list: Pillow would hand some of its other formats (EPS) to an outside program.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")


class PictureError(DataError):
    """A picture that cannot be used; `reason` says why without naming it, so that equal cases can be counted."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}. Replace it or take it out of the data set")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type["PictureError"], tuple[str, str]]:
        return PictureError, (self.name, self.reason)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A picture by its path, its encoded bytes, or its pixels; `load` decodes it. EXIF rotation is ignored."""

    name: str
    source: Path | bytes | Bytes

    def size(self) -> Size:
        """Height and width from the header alone.

        Raises: PictureError when it is missing, no picture, or over `PIXEL_LIMIT`.
        """
        if isinstance(self.source, np.ndarray):
            return (self.source.shape[0], self.source.shape[1])
        with opened(self.name, self.source) as image:
            return (image.height, image.width)

    def load(self, size: Size | None = None) -> Bytes:
        """The pixels, (height, width, 3) RGB, uint8, resized (antialiased, aspect not kept) to `size` when given.

        Raises: PictureError when it cannot be decoded to the end.
        """
        if isinstance(self.source, np.ndarray):
            pixels = _three_channels(self.source)
        else:
            with opened(self.name, self.source) as image:
                pixels = _rgb(image)
        if size is None or size == pixels.shape[:2]:
            return pixels
        return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))


@contextmanager
def opened(name: str, source: Path | bytes) -> Iterator[Image.Image]:
    """The Pillow image behind `source`, header read and size checked; whatever goes wrong inside is a PictureError.

    Raises: PictureError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata and large sizes; the limit is ours
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as image:
                if image.width * image.height > PIXEL_LIMIT:
                    raise PictureError(name, f"over the limit of {PIXEL_LIMIT:,} pixels")
                yield image
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError(name, "the file is missing") from error
    except UnidentifiedImageError as error:
        raise PictureError(name, "not a picture of a known kind") from error
    except Image.DecompressionBombError as error:
        raise PictureError(name, f"over the limit of {PIXEL_LIMIT:,} pixels") from error
    except Exception as error:  # decoders of broken files raise nearly anything
        raise PictureError(name, "truncated or broken") from error


def _rgb(image: Image.Image) -> Bytes:
    if image.mode.startswith("I") or image.mode == "F":
        return _three_channels(_to_bytes(np.asarray(image)))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"))


def _to_bytes(values: npt.NDArray[Any]) -> Bytes:
    # 16-bit pictures keep their upper byte; Pillow itself would clip them to white.
    top = values.max(initial=0)
    scaled: Bytes = (np.clip(values, 0, 65535) / (257.0 if top > 255 else 1.0)).astype(np.uint8)
    return scaled


def _three_channels(pixels: Bytes) -> Bytes:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 3:
        return pixels
    repeated: Bytes = np.repeat(pixels[:, :, :1], 3, axis=2)
    return repeated
