"""Maps of several strides brought together: each learns from the coarser ones above it."""

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
