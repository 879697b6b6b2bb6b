"""Batches with each picture changed by its own draw, and masks and boxes with it."""

from __future__ import annotations

import torch
from torch.nn import functional

from stridewise.data.mask import IGNORE

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
