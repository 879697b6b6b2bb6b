"""From a backbone's maps to a class for every pixel: an atrous pyramid on the coarsest map, or a decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from stridewise.surgery.features import Features
from stridewise.tasks.pyramid import CONVOLUTIONS, NORMS, Pyramid

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
