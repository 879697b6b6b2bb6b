"""The pictures networks are measured on: photographs that come with scikit-learn, or a data set's, brought to size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from stridewise.data import Dataset, Picture, PictureError, open_dataset
from stridewise.data.builtin import digits
from stridewise.data.picture import Bytes, white_of
from stridewise.data.records import Sample, Values, loaded
from stridewise.data.report import Report, Tally
from stridewise.data.scans import photographs
from stridewise.errors import DataError, UsageError
from stridewise.measuring.matching import Found

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of 0..1 values that torchvision's and timm's networks are trained with."""

Standard = str | tuple[tuple[float, ...], tuple[float, ...]]
"""imagenet, own, or mean and deviation of 0..1 values."""

PHOTOGRAPHS = "builtin:photographs"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Pictures with their margin, (N, channels, *sizes) float32, standardised; class indices and boxes where known.

    pixels: the same as they were read, (N, *sizes, channels); of pictures uint8. `inner(size)`: the middle
    of each, as networks take them.
    """

    name: str
    x: torch.Tensor
    pixels: Values
    labels: npt.NDArray[np.int64] | None
    boxes: tuple[Found, ...] | None
    classes: tuple[str, ...]
    report: Report

    def inner(self, size: Sequence[int]) -> torch.Tensor:
        """The middle of every picture, (N, channels, *size)."""
        return self.x[(slice(None), slice(None), *_middle(self.x.shape[2:], size))]


def load_pictures(
    data: Dataset | str | Path | None,
    size: Sequence[int],
    count: int,
    *,
    channels: int = 3,
    standard: Standard = "own",
    split: str | None = None,
    seed: int = 0,
) -> Pictures:
    """`count` pictures of `size` (height, width), drawn from the data; None: windows of the built-in photographs.

    Signals (one size) and volumes (three) of any number of channels likewise; without data, rows of the photographs,
    and windows that move a pixel a slice.

    Of a data set the validation split is taken, else the test split, else all. Pictures are enlarged or reduced until
    they cover the size, aspect kept, and their middle is cut out. standard: as `Standard` says, "own" by these
    pictures. Raises: DataError where nothing is left, UsageError, MissingExtraError.
    """
    if count < 1 or min(size) < 1:
        raise UsageError(f"pictures: {count} pictures of {tuple(size)}: one or more are wanted")
    rng = np.random.default_rng(seed)
    target = tuple(int(n) for n in size)
    if data is None or data == PHOTOGRAPHS:
        return _photographs(target, count, channels, standard, rng)
    dataset = data if isinstance(data, Dataset) else _open(data, target)
    if dataset.axes != len(target):
        raise UsageError(f"{dataset.name}: the data have {dataset.axes} axes, the network reads {len(target)}")
    samples = _split(dataset, split)
    tally = Tally(dataset.report)
    tally.found, tally.kept = min(count, len(samples)), 0
    chosen = [samples[i] for i in sorted(rng.permutation(len(samples))[:count].tolist())]
    pixels, kept, boxes = [], [], []
    for sample in chosen:
        try:
            image, placed = _covering(sample, target, channels, tally)
        except PictureError as error:
            tally.drop("picture", error.reason, error.name)
            continue
        pixels.append(image)
        kept.append(sample)
        boxes.append(placed)
    tally.kept = len(kept)
    if not kept:
        why = "; ".join(str(entry) for entry in tally.report().dropped) or "it holds none"
        raise DataError(f"{dataset.name}: no pictures to measure on: {why}")
    labels = [sample.label for sample in kept]
    return Pictures(
        name=dataset.name,
        x=_standardised(np.stack(pixels), standard),
        pixels=np.stack(pixels),
        labels=None if any(label is None for label in labels) else np.array(labels, np.int64),
        boxes=None if any(b is None for b in boxes) else tuple(b for b in boxes if b is not None),
        classes=dataset.classes,
        report=tally.report(),
    )


def _with_channels(pixels: Bytes, channels: int) -> Bytes:
    """Pixels (..., 3) with another number of channels: their mean, or the three over and over."""
    if channels == 1:
        grey: Bytes = pixels.mean(axis=-1, keepdims=True).round().astype(np.uint8)
        return grey
    return pixels if channels == 3 else pixels[..., np.arange(channels) % 3]


def _photographs(
    size: tuple[int, ...], count: int, channels: int, standard: Standard, rng: np.random.Generator
) -> Pictures:
    """Windows of the two photographs at drawn places, each photograph in turn; enlarged where they are too small."""
    images = [np.concatenate([a, b], axis=1) for a, b in zip(*(photographs(s) for s in ("train", "val")), strict=True)]
    pixels = []
    depth = size[0] if len(size) == 3 else 1
    plane = (1, *size) if len(size) == 1 else tuple(n + depth - 1 for n in size[-2:])
    for number in range(count):
        image = images[number % len(images)]
        scale = max(plane[0] / image.shape[0], plane[1] / image.shape[1], 1.0)
        if scale > 1:
            image = _resized(image, (int(np.ceil(scale * image.shape[0])), int(np.ceil(scale * image.shape[1]))))
        top, left = (int(rng.integers(have - want + 1)) for have, want in zip(image.shape, plane, strict=False))
        window = image[top : top + plane[0], left : left + plane[1]]
        if len(size) == 3:
            window = np.stack([window[z : z + size[-2], z : z + size[-1]] for z in range(depth)])
        pixels.append(_with_channels(window if len(size) > 1 else window[0], channels))
    found = np.stack(pixels)
    what = {1: "rows", 2: "windows", 3: "moving windows"}[len(size)]
    note = f"{count} {what} of two photographs, which overlap: intervals over them are too narrow"
    report = Report(found=count, kept=count, notes=(note,))
    return Pictures(
        name=PHOTOGRAPHS,
        x=_standardised(found, standard),
        pixels=found,
        labels=None,
        boxes=None,
        classes=(),
        report=report,
    )


def _open(data: str | Path, size: tuple[int, ...]) -> Dataset:
    if str(data) == "builtin:digits" and 16 <= max(size) <= 128:
        return digits(size=max(size))  # made at the size, not enlarged
    return open_dataset(data)


def _split(dataset: Dataset, split: str | None) -> tuple[Sample, ...]:
    if split is not None and split != "all":
        return dataset.split(split)
    named = next((name for name in ("val", "test") if dataset.splits.get(name)), None) if split is None else None
    samples = dataset.split(named)
    if not samples:
        raise DataError(f"{dataset.name}: holds no pictures to measure on")
    return samples


def _covering(sample: Sample, size: tuple[int, ...], channels: int, tally: Tally) -> tuple[Values, Found | None]:
    """The picture's middle at `size`, and its boxes there."""
    scale = max(want / have for want, have in zip(size, sample.size, strict=True))
    if scale > 1:
        tally.change("picture", "enlarged to the size measured at", sample.name)
    covering = tuple(max(round(scale * have), want) for have, want in zip(sample.size, size, strict=True))
    image = loaded(sample, covering, channels)
    middle = _middle(covering, size)
    placed = None
    if sample.boxes is not None:
        top, left = (part.start for part in middle)
        down, right = (new / old for new, old in zip(covering, sample.size, strict=True))
        corners = sample.boxes.corners * np.array([right, down] * 2) - np.array([left, top] * 2)
        placed = Found(corners=corners, classes=sample.boxes.classes, scores=np.ones(len(corners)))
    return image[middle], placed


def _middle(have: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    begins = [(h - want) // 2 for h, want in zip(have, size, strict=True)]
    return tuple(slice(begin, begin + want) for begin, want in zip(begins, size, strict=True))


def _resized(image: Bytes, size: tuple[int, int]) -> Bytes:
    return Picture(name="", source=image).load(size)


def _standardised(pixels: Values, standard: Standard) -> torch.Tensor:
    scale = 255 if pixels.dtype == np.uint8 else 1
    return standardised(torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, 1).float() / scale, standard)


def standardised(x: torch.Tensor, standard: Standard) -> torch.Tensor:
    """Pictures (N, channels, *sizes) of 0..1 as networks want them: by the means of "imagenet", or their "own"."""
    if standard == "imagenet" and x.shape[1] == len(IMAGENET[0]):
        standard = IMAGENET
    if isinstance(standard, tuple):
        mean, deviation = (torch.tensor(v).view(1, -1, *(1,) * (x.dim() - 2)) for v in standard)
    else:
        axes = (0, *range(2, x.dim()))
        mean, deviation = x.mean(axes, keepdim=True), x.std(axes, keepdim=True).clamp(min=1e-3)
    out: torch.Tensor = (x - mean) / deviation
    return out.contiguous()


def photograph(path: str | Path) -> Any:
    """One picture file as uint8 (height, width, 3); of 16 bits, as `white_of` takes it alone.

    Raises: PictureError (a DataError) in one line.
    """
    picture = Picture(name=str(path), source=Path(path))
    return replace(picture, white=white_of([picture])[0]).load()


def as_image(pixels: Bytes) -> Image.Image:
    """A Pillow image of pixels (height, width, 3)."""
    return Image.fromarray(np.ascontiguousarray(pixels))
