"""A data set as tensors: pictures as bytes, what is to be learnt of each, and the batches of one epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from stridewise.data import Dataset, hold_out
from stridewise.data.grids import Grid
from stridewise.data.picture import Size
from stridewise.data.records import Values
from stridewise.errors import DataError, by

_MEMORY_LIMIT = 16 << 30  # bytes of pictures held at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standard:
    """Mean and deviation of each channel, of values as they are given (pictures: 0..255), by which they are
    standardised. white: 255 of pictures, 1 of numbers that are taken as they are."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    white: float = 255.0

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, channels, *sizes) as standardised float32."""
        mean, deviation = (
            torch.tensor(v, dtype=torch.float32, device=pixels.device).reshape(-1, *(1,) * (pixels.dim() - 2))
            for v in (self.mean, self.deviation)
        )
        return (pixels.float() - mean) / deviation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """A split. pixels: (N, channels, *sizes), of pictures uint8; standard: how a network is given them.

    y: what is to be learnt, one row a picture: (N,) class indices, (N, height, width) masks, or (N, most, 5) boxes
    x0, y0, x1, y1, class, filled up with class -1. full: masks at the size they were drawn in, where they were resized.
    """

    pixels: torch.Tensor
    y: torch.Tensor
    standard: Standard
    classes: tuple[str, ...]
    full: tuple[npt.NDArray[np.uint8], ...] | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def x(self) -> torch.Tensor:
        """All pictures as a network is given them, float32."""
        return self.standard(self.pixels)

    def batches(self, size: int, order: torch.Tensor | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(x, y) of `size` pictures each: in the given order without a rest, or all as they come."""
        if order is None:
            for pixels, y in zip(self.pixels.split(size), self.y.split(size), strict=True):
                yield self.standard(pixels), y
            return
        for begin in range(0, len(order) - size + 1, size):
            chosen = order[begin : begin + size]
            yield self.standard(self.pixels[chosen]), self.y[chosen]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splits:
    """What a training reads: the pictures to learn from, the held-out ones, and the names of the classes.

    notes: what was left out of the data, for the user.
    """

    name: str
    classes: tuple[str, ...]
    train: Pictures
    held_out: Pictures
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, and the sizes of a picture, a signal or a volume."""
        return tuple(self.train.pixels.shape[1:])

    def under(self, standard: Standard) -> Splits:
        """The same pictures, given to a network by another standard: that of its training."""
        train, held_out = (replace(part, standard=standard) for part in (self.train, self.held_out))
        return replace(self, train=train, held_out=held_out)


def divided(dataset: Dataset, layout: str) -> tuple[Dataset, str]:
    """The data set with a split to learn from, and the name of the held-out one: `val`, else `test`.

    One that has no splits gives up a seeded fifth. layout: what such data look like, for the message.
    Raises: DataError where a split is missing or empty.
    """
    if not dataset.samples:
        raise DataError(f"{dataset.name}: holds no pictures: give {layout}")
    if len(dataset.splits) == 1:
        dataset = hold_out(dataset)
    held = "val" if "val" in dataset.splits else "test"
    for split in ("train", held):
        if not dataset.splits.get(split):
            raise DataError(
                f"{dataset.name}: no pictures in '{split}' (there are {', '.join(dataset.splits)}): training wants a "
                "'train' and a 'val' split, or one split to divide"
            )
    return dataset, held


def common_size(dataset: Dataset, split: str, size: Size | None) -> Size:
    """The size pictures are brought to: the given one, or the one they all have.

    Raises: DataError where they have several sizes and none is given, or would not fit in memory.
    """
    sizes = {sample.size for sample in dataset.split(split)}
    if size is None and len(sizes) > 1:
        raise DataError(f"{dataset.name}: pictures of {len(sizes)} sizes: name one to bring them to (--size HxW)")
    chosen = size or next(iter(sizes))
    if len(chosen) != dataset.axes:
        raise DataError(
            f"{dataset.name}: size {by(chosen)}: the data have {dataset.axes} axes: give one number for each"
        )
    grids = any(isinstance(sample.picture, Grid) for sample in dataset.split(split))
    wanted = len(dataset.split(split)) * math.prod(chosen) * dataset.channels * (4 if grids else 1)
    if wanted > _MEMORY_LIMIT:
        raise DataError(
            f"{dataset.name}: its pictures at {by(chosen)} take {wanted / 2**30:.1f} GiB, the limit is "
            f"{_MEMORY_LIMIT >> 30}: choose a smaller --size"
        )
    return chosen


def standard_of(pixels: Values) -> Standard:
    """The standard that gives these pictures, (N, *sizes, channels), mean 0 and deviation 1 in each channel."""
    channels = pixels.shape[-1]
    sums, squares = np.zeros(channels), np.zeros(channels)
    for picture in pixels:  # one at a time: float64 copies of all of them would be eight times as large
        values = picture.reshape(-1, channels).astype(np.float64)
        sums += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    count = pixels[..., 0].size
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    least = 1.0 if pixels.dtype == np.uint8 else 1e-6 * float(np.abs(mean).max()) + 1e-12
    white = 255.0 if pixels.dtype == np.uint8 else 1.0
    return Standard(mean=tuple(mean.tolist()), deviation=tuple(np.maximum(deviation, least).tolist()), white=white)


def as_pictures(
    pixels: Values,
    y: npt.NDArray[np.generic],
    standard: Standard,
    classes: tuple[str, ...],
    full: Sequence[npt.NDArray[np.uint8]] | None = None,
) -> Pictures:
    """Pictures (N, *sizes, channels) and their targets as tensors; channels stay last in memory."""
    x = torch.from_numpy(pixels).movedim(-1, 1)
    return Pictures(
        pixels=x, y=torch.from_numpy(y), standard=standard, classes=classes, full=None if full is None else tuple(full)
    )
