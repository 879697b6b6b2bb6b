"""Data without a download: `builtin:digits` and `builtin:digit-scenes`, made from real scans and photographs.

Made on first use, seeded, and kept in the cache folder; the same arguments give the same pixels.
"""

import contextlib
import os
import zipfile
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stridewise.data.mask import Mask
from stridewise.data.picture import Bytes, Picture
from stridewise.data.records import Boxes, Dataset, Sample, Task
from stridewise.data.report import Report
from stridewise.data.scans import SPLITS, Floats, Sources, backdrop, glyph, paste, sources, to_bytes
from stridewise.errors import StridewiseError, UsageError
from stridewise.files import whole

Arrays = Mapping[str, npt.NDArray[Any]]


def cache_folder() -> Path:
    """Where made data is kept: `STRIDEWISE_CACHE`, else `XDG_CACHE_HOME/stridewise`, else `~/.cache/stridewise`."""
    if named := os.environ.get("STRIDEWISE_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "stridewise"


def cached(name: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays kept under `name`, made and kept when they are not there or broken.

    The file is written beside its place and renamed, so a reader never meets half of it.
    """
    path = cache_folder() / f"{name}.npz"
    broken = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)
    # np.load is given an open file: of a broken one that it opened itself it would not let go
    with contextlib.suppress(*broken), path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
        return {key: kept[key] for key in kept.files}
    made = make()
    with contextlib.suppress(OSError, StridewiseError):  # no cache, no harm: it is made again next time
        _keep(path, made)
    return made


def _keep(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as place, place.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


DIGITS = tuple(str(digit) for digit in range(10))
_RECIPE = 1  # raise it when the same seed gives other pixels, so that an old cache is not taken for new


def digits(*, size: int = 32, train: int = 6000, val: int = 1200, seed: int = 0) -> Dataset:
    """Classification: one handwritten digit a picture, (size, size, 3), at a drawn scale, place, colour and background.

    Each digit is 9/32 to 28/32 of the picture high. No scan, and no part of a photograph, is in both splits.
    Raises: UsageError for a size outside 16..128 or an empty split; MissingExtraError without scikit-learn.
    """
    counts = _counts("digits", size, (16, 128), train, val)
    name = f"digits-{_RECIPE}-{size}-{train}-{val}-{seed}"
    arrays = cached(name, lambda: _made(counts, seed, lambda part, count, rng: _digits(part, count, size, rng)))
    splits = {
        split: tuple(
            Sample(picture=Picture(name=f"{split}/{number}", source=pixels), size=(size, size), label=int(label))
            for number, (pixels, label) in enumerate(zip(arrays[f"{split}_x"], arrays[f"{split}_y"], strict=True))
        )
        for split in SPLITS
    }
    return _dataset("classify", "builtin:digits", splits)


def digit_scenes(*, size: int = 96, train: int = 1200, val: int = 300, seed: int = 0, task: Task = "detect") -> Dataset:
    """Detection and segmentation: scenes (size, size, 3) over photographs with one to eight digits of 6 to 48 pixels.

    Every sample has boxes and a mask: class 0 is the background in masks, so masks have 11 classes and boxes 10;
    `task` decides which class names the data set carries. Heights are log-uniform; digits do not overlap.
    Raises: UsageError for a size outside 64..256, an empty split or another task; MissingExtraError without
    scikit-learn.
    """
    if task == "classify":
        raise UsageError("builtin:digit-scenes is for detect and segment; builtin:digits is for classify")
    counts = _counts("digit-scenes", size, (64, 256), train, val)
    name = f"digit-scenes-{_RECIPE}-{size}-{train}-{val}-{seed}"
    arrays = cached(name, lambda: _made(counts, seed, lambda part, count, rng: _scenes(part, count, size, rng)))
    splits = {split: tuple(_scene_samples(arrays, split, size)) for split in SPLITS}
    return _dataset(task, "builtin:digit-scenes", splits)


def _counts(name: str, size: int, allowed: tuple[int, int], train: int, val: int) -> dict[str, int]:
    low, high = allowed
    if not low <= size <= high:
        raise UsageError(f"builtin:{name}: size {size} is outside {low} to {high} pixels")
    if min(train, val) < 1:
        raise UsageError(f"builtin:{name}: {train} train and {val} val pictures: each split needs at least one")
    return {"train": train, "val": val}


def _made(counts: Mapping[str, int], seed: int, make: Callable[[Sources, int, np.random.Generator], Arrays]) -> Arrays:
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for number, (split, count) in enumerate(counts.items()):
        made = make(sources(split), count, np.random.default_rng([seed, number]))
        arrays.update({f"{split}_{key}": value for key, value in made.items()})
    return arrays


def _digits(part: Sources, count: int, size: int, rng: np.random.Generator) -> Arrays:
    pictures = np.empty((count, size, size, 3), np.uint8)
    chosen = _in_turn(len(part.digits), count, rng)
    for number, scan in enumerate(chosen):
        canvas = backdrop(part.photographs, (size, size), rng)
        opacity = glyph(part.ink[scan], int(rng.integers(size * 9 // 32, size * 28 // 32 + 1)))[:, :size]
        top, left = (int(rng.integers(size - extent + 1)) for extent in opacity.shape)
        paste(canvas, opacity, (top, left), rng)
        pictures[number] = to_bytes(canvas, rng)
    return {"x": pictures, "y": part.digits[chosen], "scan": chosen}


def _scenes(part: Sources, count: int, size: int, rng: np.random.Generator) -> Arrays:
    pictures, masks = np.empty((count, size, size, 3), np.uint8), np.zeros((count, size, size), np.uint8)
    boxes: list[tuple[int, int, int, int, int, int, int]] = []
    scans = iter(_in_turn(len(part.digits), 8 * count, rng))
    for number in range(count):
        canvas = backdrop(part.photographs, (size, size), rng)
        for _ in range(int(rng.integers(1, 9))):
            scan = int(next(scans))
            opacity = glyph(part.ink[scan], round(float(np.exp(rng.uniform(np.log(6), np.log(48))))))[:, :size]
            corner = _free_corner(masks[number], opacity, rng)
            if corner is not None:
                paste(canvas, opacity, corner, rng)
                box = _mark(masks[number], opacity, corner, int(part.digits[scan]))
                boxes.append((number, *box, int(part.digits[scan]), scan))
        pictures[number] = to_bytes(canvas, rng)
    return {"x": pictures, "m": masks, "b": np.array(boxes, np.int64).reshape(-1, 7)}


def _free_corner(mask: Bytes, opacity: Floats, rng: np.random.Generator) -> tuple[int, int] | None:
    for _ in range(20):
        top, left = (int(rng.integers(have - want + 1)) for have, want in zip(mask.shape, opacity.shape, strict=True))
        if not mask[top : top + opacity.shape[0], left : left + opacity.shape[1]].any():
            return top, left
    return None


def _mark(mask: Bytes, opacity: Floats, corner: tuple[int, int], digit: int) -> tuple[int, int, int, int]:
    """Write the digit's class into the mask where ink covers at least 40 %; the box around it, x0, y0, x1, y1."""
    ink = opacity >= min(0.4, float(opacity.max()))
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    top, left = corner
    mask[top : top + ink.shape[0], left : left + ink.shape[1]][ink] = digit + 1
    return (left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1)


def _scene_samples(arrays: Arrays, split: str, size: int) -> list[Sample]:
    rows, pictures, masks = arrays[f"{split}_b"], arrays[f"{split}_x"], arrays[f"{split}_m"]
    cuts = np.searchsorted(rows[:, 0], np.arange(len(pictures) + 1))
    samples = []
    for number, (begin, end) in enumerate(pairwise(cuts)):
        name, part = f"{split}/{number}", rows[begin:end]
        samples.append(
            Sample(
                picture=Picture(name=name, source=pictures[number]),
                size=(size, size),
                boxes=Boxes(corners=part[:, 1:5].astype(np.float64), classes=part[:, 5]),
                mask=Mask(name=name, source=masks[number]),
            )
        )
    return samples


def _in_turn(scans: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """`count` scan numbers, each scan as often as every other (or once more), in a drawn order."""
    rounds = [rng.permutation(scans) for _ in range(-(-count // scans))]
    return np.concatenate(rounds)[:count]


def _dataset(task: Task, name: str, splits: Mapping[str, tuple[Sample, ...]]) -> Dataset:
    count = sum(len(part) for part in splits.values())
    classes = ("background", *DIGITS) if task == "segment" else DIGITS
    return Dataset(task=task, name=name, classes=classes, splits=splits, report=Report(found=count, kept=count))
