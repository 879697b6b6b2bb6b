"""Real scans that scikit-learn ships, photographs that ship with Stridewise, and how one is pasted onto the other.

1,797 handwritten digits of 8x8 pixels (UCI Optical Recognition of Handwritten Digits) and two photographs of 427x640.
The last fifth of the scans, and the right third of each photograph, belong to `val`: nothing is in both splits.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stridewise.data.picture import Bytes, Picture, Size
from stridewise.errors import MissingExtraError

Floats = npt.NDArray[np.float32]
SPLITS = ("train", "val")
PHOTOGRAPHS = tuple(Path(__file__).parents[1] / "pictures" / f"{name}.jpg" for name in ("china", "flower"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sources:
    """What one split is made of: ink (N, 8, 8) in 0..1, the digit of each, and photographs (height, width, 3) uint8."""

    ink: Floats
    digits: npt.NDArray[np.int64]
    photographs: tuple[Bytes, ...]


@lru_cache(maxsize=2)
def sources(split: str) -> Sources:
    """The scans and photographs of `train` or `val`. Raises: MissingExtraError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train", "the built-in data") from error
    scans = load_digits()
    cut = len(scans.images) * 4 // 5
    rows = slice(0, cut) if split == "train" else slice(cut, None)
    return Sources(
        ink=(scans.images[rows] / 16.0).astype(np.float32),
        digits=scans.target[rows].astype(np.int64),
        photographs=photographs(split),
    )


def photographs(split: str) -> tuple[Bytes, ...]:
    """The part of the two photographs that belongs to `train` or `val`; they ship with Stridewise."""
    return tuple(_own_part(Picture(name=path.stem, source=path).load(), split) for path in PHOTOGRAPHS)


def backdrop(photographs: tuple[Bytes, ...], size: Size, rng: np.random.Generator) -> Floats:
    """A patch of a photograph at a drawn scale, place and contrast, (height, width, 3) in 0..255."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    zoom = rng.uniform(1.0, min(3.0, *(have / want for have, want in zip(photograph.shape, size, strict=False))))
    extent = [int(zoom * want) for want in size]
    top, left = (int(rng.integers(have - want + 1)) for have, want in zip(photograph.shape, extent, strict=False))
    patch = Image.fromarray(photograph[top : top + extent[0], left : left + extent[1]])
    pixels = np.asarray(patch.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float32)
    contrast = np.float32(rng.uniform(0.4, 1.0))
    return pixels * contrast + np.float32(rng.uniform(0.0, 255.0)) * (1 - contrast)


def glyph(ink: Floats, height: int) -> Floats:
    """The scan cut to its ink and enlarged to `height` pixels, aspect kept: opacity (height, width) in 0..1."""
    rows, columns = (np.flatnonzero(ink.max(axis=axis) > 0.2) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width = max(2, round(height * cut.shape[1] / cut.shape[0]))
    enlarged = Image.fromarray(cut).resize((width, height), Image.Resampling.BICUBIC)
    # faint ink would show as a haze around the digit
    opacity: Floats = np.clip((np.asarray(enlarged, np.float32) - 0.15) / 0.7, 0.0, 1.0)
    return opacity


def paste(canvas: Floats, opacity: Floats, corner: Size, rng: np.random.Generator) -> None:
    """Paint a glyph onto `canvas`, in place, in a colour at least 90 grey levels from what lies under it."""
    top, left = corner
    under = canvas[top : top + opacity.shape[0], left : left + opacity.shape[1]]
    level = float(under.mean())
    dark, light = level - 90.0, level + 90.0
    lighter = dark < 0 or (light <= 255 and rng.random() < 0.5)
    target = rng.uniform(light, max(light, 255.0)) if lighter else rng.uniform(0.0, dark)
    colour = np.clip(target + rng.uniform(-30.0, 30.0, 3), 0.0, 255.0).astype(np.float32)
    under += opacity[:, :, None] * (colour - under)


def to_bytes(canvas: Floats, rng: np.random.Generator) -> Bytes:
    """The canvas with a little sensor noise, as uint8."""
    return np.clip(canvas + rng.normal(0.0, 4.0, canvas.shape), 0.0, 255.0).astype(np.uint8)


def _own_part(image: Bytes, split: str) -> Bytes:
    cut = image.shape[1] * 2 // 3
    return image[:, :cut] if split == "train" else image[:, cut:]
