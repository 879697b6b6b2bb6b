"""A classification data set as tensors: standardised pictures and class indices, and the batches of one epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from stridewise.data import Dataset, hold_out
from stridewise.data.picture import Size
from stridewise.errors import DataError

AUGMENTATIONS = ("shift", "flip")
_SHIFT = 8  # a picture moves by up to an eighth of its size, as 4 of 32 pixels in He et al. 2016


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """A split. x: (N, 3, height, width) float32, standardised by the training pictures; y: (N,) class indices."""

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, size: int, order: torch.Tensor | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(x, y) of `size` pictures each: in the given order without a rest, or all as they come."""
        if order is None:
            yield from zip(self.x.split(size), self.y.split(size), strict=True)
            return
        for begin in range(0, len(order) - size + 1, size):
            chosen = order[begin : begin + size]
            yield self.x[chosen], self.y[chosen]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splits:
    """What a training reads: the pictures to learn from, the held-out ones, and the names of the classes."""

    name: str
    classes: tuple[str, ...]
    train: Pictures
    held_out: Pictures

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width


def to_tensors(dataset: Dataset, size: Size | None = None) -> Splits:
    """The training and held-out split of a data set as tensors; a set without splits gives up a seeded fifth.

    Held out is `val`, else `test`. Raises: DataError where there are no pictures, or only one class.
    """
    if not dataset.samples:
        raise DataError(f"{dataset.name}: holds no pictures: give a folder with one sub-folder of pictures a class")
    if len(dataset.splits) == 1:
        dataset = hold_out(dataset)
    held = "val" if "val" in dataset.splits else "test"
    for split in ("train", held):
        if not dataset.splits.get(split):
            raise DataError(
                f"{dataset.name}: no pictures in '{split}' (there are {', '.join(dataset.splits)}): training wants a "
                "'train' and a 'val' split, or one split to divide"
            )
    pixels, labels = dataset.arrays("train", size=size)
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"{dataset.name}: all {len(labels)} training pictures are of one class: a classifier wants two or more"
        )
    height, width = pixels.shape[1:3]
    held_pixels, held_labels = dataset.arrays(held, size=(height, width))
    mean, deviation = pixels.mean((0, 1, 2), dtype=np.float64), pixels.std((0, 1, 2), dtype=np.float64)

    def standardised(values: np.ndarray, y: np.ndarray) -> Pictures:
        scaled = (values.astype(np.float32) - mean.astype(np.float32)) / np.maximum(deviation, 1.0).astype(np.float32)
        x = torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return Pictures(x=x, y=torch.from_numpy(y))

    return Splits(
        name=dataset.name,
        classes=dataset.classes,
        train=standardised(pixels, labels),
        held_out=standardised(held_pixels, held_labels),
    )


def augmented(x: torch.Tensor, kinds: tuple[str, ...], generator: torch.Generator) -> torch.Tensor:
    """A batch with each picture shifted (edges repeated) or mirrored by its own draw."""
    if "flip" in kinds:
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(mirrored.to(x.device)[:, None, None, None], x.flip(-1), x)
    if "shift" in kinds:
        reach = [max(1, n // _SHIFT) for n in x.shape[-2:]]
        padded = functional.pad(x, [reach[1]] * 2 + [reach[0]] * 2, mode="replicate")
        starts = [torch.randint(2 * r + 1, (len(x),), generator=generator).tolist() for r in reach]
        rows, columns = x.shape[-2:]
        moved = [p[:, top : top + rows, left : left + columns] for p, top, left in zip(padded, *starts, strict=True)]
        x = torch.stack(moved).contiguous(memory_format=torch.channels_last)
    return x
