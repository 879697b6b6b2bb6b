"""Heads on a backbone's maps: which levels they read, a pyramid, an atrous head and a decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from stridewise.errors import PlanError
from stridewise.surgery.features import Features, Level, Stride, features, levels, strides_told, told

_USUAL = 4  # the finest stride that is read unasked: one at 2 costs as much as all others together, four times over

CONVOLUTIONS: Mapping[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS: Mapping[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
"""By how many axes the data have."""


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al. 2017, figure 3): 1x1 to `width` channels, the coarser map enlarged and added, 3x3.

    Maps may differ by any factor: the coarser one is brought to the finer one's size.
    """

    def __init__(self, channels: Sequence[int], width: int, *, axes: int = 2) -> None:
        super().__init__()
        convolution, norm = CONVOLUTIONS[axes], NORMS[axes]
        self.lateral = nn.ModuleList(convolution(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(convolution(width, width, 3, padding=1, bias=False), norm(width), nn.ReLU(inplace=True))
            for _ in channels
        )

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Maps (N, C, *sizes), finest first -> as many of `width` channels, same sizes."""
        merged = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        for fine in range(len(merged) - 2, -1, -1):
            size = merged[fine].shape[2:]
            merged[fine] = merged[fine] + functional.interpolate(merged[fine + 1], size=size, mode="nearest")
        return [smooth(m) for smooth, m in zip(self.smooth, merged, strict=True)]


def chosen_levels(
    model: nn.Module,
    shape: tuple[int, ...],
    wanted: Sequence[Stride] | None,
    *,
    name: str,
    least: int = 1,
    coarsest: int = 64,
) -> tuple[Level, ...]:
    """The levels at the wanted strides, finest first; or, of those that the graph reports, all from 4 to `coarsest`,
    and finer ones too where these are fewer than `least`.

    Each must be coarser than the one before on no fewer axes. Raises: PlanError naming the strides there are.
    """
    found = levels(model, shape)
    if wanted is None:
        keys = [key for key in found if min(key) >= _USUAL and max(key) <= coarsest]
        keys = keys if len(keys) >= least else [key for key in found if max(key) <= coarsest]
    else:
        keys = [stride if isinstance(stride, tuple) else (stride,) * (len(shape) - 1) for stride in wanted]
        missing = [told(key) for key in keys if key not in found]
        if missing:
            raise PlanError(
                f"{name}: under this plan there is no map of stride {', '.join(missing)}: there are "
                f"{strides_told(found)}; choose among these or change the plan"
            )
    if not keys:
        raise PlanError(
            f"{name}: under this plan no map has a stride up to {coarsest}: there are {strides_told(found)}"
        )
    ordered = sorted(set(keys))
    for fine, coarse in pairwise(ordered):
        if any(a > b for a, b in zip(fine, coarse, strict=True)):
            raise PlanError(f"{name}: strides {told(fine)} and {told(coarse)} do not nest: choose levels that do")
    return tuple(found[key] for key in ordered)


def maps_of(model: nn.Module, chosen: Sequence[Level], shape: tuple[int, ...]) -> Features:
    """A module that returns the maps of these levels."""
    return features(model, [level.stride for level in chosen], input=shape)


Rates = tuple[tuple[int, ...], ...]


class Atrous(nn.Module):
    """Dilated 3x3 convolutions side by side on one map, beside a 1x1 and the map's mean; then a class a position.

    Source: Chen et al. 2017, "Rethinking atrous convolution for semantic image segmentation", section 3.3.
    """

    def __init__(self, channels: int, classes: int, width: int, rates: Rates, *, axes: int = 2) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[axes]
        self.branches = nn.ModuleList([_unit(channels, width, 1, axes=axes)])
        self.branches.extend(_unit(channels, width, 3, rate, axes=axes) for rate in rates)
        self.overall = nn.Sequential(convolution(channels, width, 1), nn.ReLU(inplace=True))
        self.join = nn.Sequential(_unit(width * (len(rates) + 2), width, 1, axes=axes), nn.Dropout(0.1))
        self.classes = convolution(width, classes, 1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """The coarsest of the maps (N, C, *sizes) -> (N, classes, *sizes)."""
        x = maps[-1]
        found = [branch(x) for branch in self.branches]
        found.append(self.overall(x.mean(tuple(range(2, x.dim())), keepdim=True)).expand_as(found[0]))
        return self.classes(self.join(torch.cat(found, 1)))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """An encoder-decoder: the maps as a pyramid, all brought to the finest one's size and added, a class a position.

    Source: Kirillov et al. 2019, "Panoptic feature pyramid networks", figure 3, with one step for every enlargement.
    """

    def __init__(self, channels: Sequence[int], classes: int, width: int, *, axes: int = 2) -> None:
        super().__init__()
        self.pyramid = Pyramid(channels, width, axes=axes)
        self.join = _unit(width, width, 3, axes=axes)
        self.classes = CONVOLUTIONS[axes](width, classes, 1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps (N, C, *sizes), finest first -> (N, classes, *sizes) of the finest."""
        fine, *coarser = self.pyramid(maps)
        for other in coarser:
            fine = fine + resized(other, fine.shape[2:])
        return self.classes(self.join(fine))  # type: ignore[no-any-return]


class Segmenter(nn.Module):
    """A backbone's maps and a head: scores of every class at every pixel of the input."""

    def __init__(self, features: Features, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, *sizes) -> (N, classes, *sizes)."""
        return resized(self.head(self.features(x)), x.shape[2:])


def atrous_rates(stride: Sequence[int], size: Sequence[int]) -> Rates:
    """Three dilations a branch an axis that reach as far in the picture whatever the map's stride: 3, 6 and 9
    sixteenths of it, DeepLab's 6, 12, 18 at stride 16 on 512 pixels."""
    tops = [(n * 3 / 16) / s for n, s in zip(size, stride, strict=True)]
    rows = [tuple(max(1, round(k * top)) for top in tops) for k in (1, 2, 3)]
    return tuple(rows)


def _unit(channels: int, out: int, kernel: int, rate: tuple[int, ...] = (1,), *, axes: int) -> nn.Sequential:
    rate = rate * axes if len(rate) == 1 else rate
    padding = tuple(r * (kernel // 2) for r in rate)
    return nn.Sequential(
        CONVOLUTIONS[axes](channels, out, kernel, padding=padding, dilation=rate, bias=False),
        NORMS[axes](out),
        nn.ReLU(inplace=True),
    )


def resized(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Maps (N, C, *sizes) brought to other sizes, linearly on each axis."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    mode = ("linear", "bilinear", "trilinear")[len(size) - 1]
    return functional.interpolate(x, size=tuple(size), mode=mode, align_corners=False)
