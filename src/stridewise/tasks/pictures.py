"""Pictures with their targets as tensors, standardised, in batches; and batches changed by a draw a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from stridewise.data import Dataset, hold_out
from stridewise.data.grids import Grid
from stridewise.data.mask import IGNORE
from stridewise.data.picture import WHITE, Size
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

    notes: what was left out of the data, for the user. white: the 16-bit number that became 255.
    """

    name: str
    classes: tuple[str, ...]
    train: Pictures
    held_out: Pictures
    notes: tuple[str, ...] = ()
    white: int = WHITE

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


_SHIFT = 8  # a picture moves by up to an eighth of its size, as 4 of 32 pixels in He et al. 2016
_SCALE, _TURN, _SLANT = 0.25, 0.2, 0.2  # of the size; radians; pixels across a pixel down
_BEND, _BENDS = 0.04, 4  # of the size: the deviation of the displacements, at so many points an axis, smooth between
_LIGHT = 0.4  # contrast by up to this share, brightness by up to this many deviations

Draw = torch.Generator


def augmented(
    x: torch.Tensor, y: torch.Tensor, kinds: tuple[str, ...], generator: Draw
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (N, C, *sizes) and their targets, changed together.

    shift, flip (the last axis: left to right), scale (height and width, turned and slanted a little), bend (elastic
    distortion), light (contrast and brightness), invert (to the negative). scale and bend are for classes of pictures.
    Source of bend: Simard, Steinkraus and Platt 2003, "Best practices for convolutional neural networks", section 2.
    """
    if "light" in kinds:
        each = (len(x), *(1,) * (x.dim() - 1))
        contrast, level = ((2 * torch.rand(each, generator=generator) - 1) * _LIGHT for _ in range(2))
        x = x * (1 + contrast.to(x.device)) + level.to(x.device)
    if "invert" in kinds:
        negative = (torch.rand(len(x), generator=generator) < 0.5).to(x.device)
        x = torch.where(_beside(negative, x), -x, x)
    if "flip" in kinds:
        mirrored = (torch.rand(len(x), generator=generator) < 0.5).to(x.device)
        x = torch.where(_beside(mirrored, x), x.flip(-1), x)
        y = _flipped(y, mirrored, x.shape[-1])
    if y.dim() == 1 and x.dim() == 4 and ("scale" in kinds or "bend" in kinds):
        x = _warped(x, kinds, generator)
    if "shift" in kinds:
        reach = [max(1, n // _SHIFT) for n in x.shape[2:]]
        offsets = [torch.randint(-r, r + 1, (len(x),), generator=generator).tolist() for r in reach]
        x = _moved(x, reach, offsets, "replicate")
        y = _moved_target(y, reach, offsets, x.shape[2:])
    return (x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.contiguous()), y


def _beside(flags: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One flag a picture, (N,), in the form that meets all of its values."""
    return flags.reshape(-1, *(1,) * (x.dim() - 1))


def _flipped(y: torch.Tensor, mirrored: torch.Tensor, width: int) -> torch.Tensor:
    if y.dim() == 1:
        return y
    if y.is_floating_point():
        x0, y0, x1, y1, kind = y.unbind(-1)
        other = torch.stack([width - x1, y0, width - x0, y1, kind], -1)
    else:
        other = y.flip(-1)
    return torch.where(_beside(mirrored, y), other, y)


def _warped(x: torch.Tensor, kinds: tuple[str, ...], generator: Draw) -> torch.Tensor:
    rows = _scaled(len(x), generator) if "scale" in kinds else torch.eye(2, 3).expand(len(x), 2, 3)
    places = functional.affine_grid(rows.to(x.device), list(x.shape), align_corners=False)
    if "bend" in kinds:  # places run from -1 to 1: twice the share of the size
        drawn = 2 * _BEND * torch.randn(len(x), 2, _BENDS, _BENDS, generator=generator)
        smooth = functional.interpolate(drawn.to(x.device), x.shape[2:], mode="bicubic", align_corners=True)
        places = places + smooth.permute(0, 2, 3, 1)
    return functional.grid_sample(x, places, padding_mode="border", align_corners=False)


def _scaled(count: int, generator: Draw) -> torch.Tensor:
    """Affine maps (count, 2, 3) that scale each axis, turn and slant."""
    tall, wide, turn, slant = (2 * torch.rand(4, count, generator=generator) - 1).unbind()
    across, down, angle = torch.exp(wide * _SCALE), torch.exp(tall * _SCALE), turn * _TURN
    none = torch.zeros(count)
    return torch.stack(
        [
            torch.stack([across * angle.cos(), across * (slant * _SLANT - angle.sin()), none], -1),
            torch.stack([down * angle.sin(), down * angle.cos(), none], -1),
        ],
        1,
    )


def _moved(x: torch.Tensor, reach: list[int], offsets: list[list[int]], mode: str) -> torch.Tensor:
    """Each picture's content moved by its offset on each axis; what is uncovered repeats the edge, or is ignored."""
    padding = [r for r in reversed(reach) for _ in range(2)]
    if mode == "replicate":
        padded = functional.pad(x, padding, mode="replicate")
    else:
        padded = functional.pad(x, padding, value=IGNORE)
    sizes = x.shape[-len(reach) :]
    return torch.stack(
        [
            p[(..., *(slice(r - o, r - o + n) for r, o, n in zip(reach, moves, sizes, strict=True)))]
            for p, *moves in zip(padded, *offsets, strict=True)
        ]
    )


def _moved_target(y: torch.Tensor, reach: list[int], offsets: list[list[int]], size: torch.Size) -> torch.Tensor:
    if y.dim() == 1:
        return y
    if not y.is_floating_point():
        return _moved(y, reach, offsets, "ignore")
    down, right = offsets
    by = torch.tensor([right, down, right, down], dtype=y.dtype, device=y.device).T[:, None]
    bound = torch.tensor([size[1], size[0]] * 2, dtype=y.dtype, device=y.device)
    corners = torch.minimum((y[..., :4] + by).clamp(min=0), bound)
    gone = ((corners[..., 2:] - corners[..., :2]) < 0.3 * (y[..., 2:4] - y[..., :2])).any(-1)
    kind = torch.where(gone, torch.full_like(y[..., 4], -1), y[..., 4])
    return torch.cat([corners, kind[..., None]], -1)
