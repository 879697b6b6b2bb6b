"""Moved views of pictures. The view at offset o shows at position y what the picture has at y + o."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from stridewise.errors import DataError, UsageError, by

Mode = Literal["crop", "roll", "pad"]
MODES: tuple[Mode, ...] = ("crop", "roll", "pad")


def check_room(pictures: torch.Tensor, size: Sequence[int], reach: Sequence[int], mode: str) -> None:
    """Refuse what cannot be moved. reach: the largest offset an axis; size: of a view, in pixels.

    Raises: UsageError for an unknown mode, DataError where a crop would leave the picture.
    """
    if mode not in MODES:
        raise UsageError(f"shift: mode '{mode}' is none of {', '.join(MODES)}")
    have = tuple(pictures.shape[2:])
    want = tuple(n + (r if mode == "crop" else 0) for n, r in zip(size, reach, strict=True))
    if mode == "crop" and any(h < w for h, w in zip(have, want, strict=True)):
        raise DataError(
            f"shift: pictures of {by(have)} leave no margin for crops of {by(size)} moved by up to {by(reach)}: "
            f"{by(want)} are needed; give larger pictures, a smaller --input, or --mode roll"
        )
    if mode != "crop" and have != want:
        raise DataError(f"shift: mode {mode} moves pictures of the input's size {by(size)}, these are {by(have)}")


def with_margin(pictures: torch.Tensor, reach: Sequence[int], mode: str) -> torch.Tensor:
    """The pictures (N, channels, *sizes), longer by `reach` an axis, so that a moved view is a crop in every mode.

    crop: as they are, real content lies there; roll: they begin again (circular); pad: zeros.
    """
    for axis, more in enumerate(reach):
        if mode == "crop" or not more:
            continue
        tail = pictures.narrow(axis + 2, 0, min(more, pictures.shape[axis + 2]))
        pictures = torch.cat([pictures, tail if mode == "roll" else torch.zeros_like(tail)], dim=axis + 2)
    return pictures


def views(
    pictures: Iterable[torch.Tensor], offsets: Iterable[Sequence[Sequence[int]]], size: Sequence[int]
) -> torch.Tensor:
    """Every picture at every offset of its row, picture by picture: (pictures * offsets, channels, *size).

    pictures: (N, channels, *sizes) with their margin; offsets: per picture its offsets, one entry an axis.
    """
    cut = [
        picture[(slice(None), *(slice(o, o + n) for o, n in zip(offset, size, strict=True)))]
        for picture, row in zip(pictures, offsets, strict=True)
        for offset in row
    ]
    return torch.stack(cut)
