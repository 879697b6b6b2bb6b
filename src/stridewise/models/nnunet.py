"""The U-Net that a configuration of nnU-Net's plans describes, with the module names of its own weights.

Source: Isensee et al. 2021, figure 2, and He et al. 2019 for the residual block (its shortcut pools, then projects);
names and order of modules as in dynamic_network_architectures, so that its state dicts load.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from stridewise.configs.nnunet import Network, read_network
from stridewise.ir import Graph
from stridewise.tracing.trace import trace

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_UP = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORM = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_MEAN = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


class Unit(nn.Module):
    """A convolution that keeps the size but for its step, instance norm, and a leaky ReLU where `bent`."""

    def __init__(
        self, channels: tuple[int, int], kernel: Sequence[int], step: Sequence[int], *, bias: bool, bent: bool = True
    ) -> None:
        super().__init__()
        axes = len(kernel) - 1
        pad = [(k - 1) // 2 for k in kernel]
        self.conv = _CONV[axes](*channels, tuple(kernel), tuple(step), tuple(pad), bias=bias)  # type: ignore[arg-type]
        self.norm = _NORM[axes](channels[1], eps=1e-5, affine=True)
        self.nonlin = nn.LeakyReLU(inplace=True) if bent else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in, positions) -> (N, out, positions / step)."""
        return self.nonlin(self.norm(self.conv(x)))  # type: ignore[no-any-return]


class Stack(nn.Module):
    """Units one after the other, the first with the step."""

    def __init__(
        self, count: int, channels: tuple[int, int], kernel: Sequence[int], step: Sequence[int], *, bias: bool
    ) -> None:
        super().__init__()
        rest = [Unit((channels[1], channels[1]), kernel, (1,) * len(step), bias=bias) for _ in range(count - 1)]
        self.convs = nn.Sequential(Unit(channels, kernel, step, bias=bias), *rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in, positions) -> (N, out, positions / step)."""
        return self.convs(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two units and a shortcut, which averages over its step and projects where channels change."""

    def __init__(self, channels: tuple[int, int], kernel: Sequence[int], step: Sequence[int], *, bias: bool) -> None:
        super().__init__()
        one, axes = (1,) * len(step), len(step) - 1
        self.conv1 = Unit(channels, kernel, step, bias=bias)
        self.conv2 = Unit((channels[1], channels[1]), kernel, one, bias=bias, bent=False)
        mean = [_MEAN[axes](tuple(step), tuple(step))] if max(step) > 1 else []  # type: ignore[arg-type]
        project = [Unit(channels, one, one, bias=False, bent=False)] if channels[0] != channels[1] else []
        self.skip = nn.Sequential(*mean, *project)
        self.nonlin2 = nn.LeakyReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in, positions) -> (N, out, positions / step)."""
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))  # type: ignore[no-any-return]


class Blocks(nn.Module):
    """Residual blocks one after the other, the first with the step."""

    def __init__(
        self, count: int, channels: tuple[int, int], kernel: Sequence[int], step: Sequence[int], *, bias: bool
    ) -> None:
        super().__init__()
        rest = [Block((channels[1], channels[1]), kernel, (1,) * len(step), bias=bias) for _ in range(count - 1)]
        self.blocks = nn.Sequential(Block(channels, kernel, step, bias=bias), *rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in, positions) -> (N, out, positions / step)."""
        return self.blocks(x)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """The stages from fine to coarse; a residual one has a stem that does not step."""

    def __init__(self, found: Network) -> None:
        super().__init__()
        axes = len(found.patch)
        before = found.channels
        self.stem: nn.Module = nn.Identity()
        if found.residual:
            first = (before, found.features[0])
            self.stem = Stack(1, first, found.kernels[0], (1,) * axes, bias=found.bias)
            before = found.features[0]
        stages: list[nn.Module] = []
        for s, after in enumerate(found.features):
            kind = Blocks if found.residual else Stack
            stage = kind(found.blocks[s], (before, after), found.kernels[s], found.strides[s], bias=found.bias)
            stages.append(stage if found.residual else nn.Sequential(stage))
            before = after
        self.stages = nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(N, channels, positions) -> the map of every stage."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Decoder(nn.Module):
    """From the coarsest map up: a transposed convolution that undoes a stage's step, the skip beside it, units."""

    def __init__(self, found: Network) -> None:
        super().__init__()
        axes = len(found.patch)
        self.stages, self.transpconvs, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for s in range(1, len(found.features)):
            below, beside, step = found.features[-s], found.features[-s - 1], found.strides[-s]
            self.transpconvs.append(_UP[axes - 1](below, beside, step, step, bias=found.bias))  # type: ignore[arg-type]
            kernel = found.kernels[-s - 1]
            self.stages.append(Stack(found.decoder[s - 1], (2 * beside, beside), kernel, (1,) * axes, bias=found.bias))
            self.seg_layers.append(_CONV[axes - 1](beside, found.classes, 1))

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """The maps of all stages -> (N, classes, positions)."""
        x = maps[-1]
        for s, (up, stage) in enumerate(zip(self.transpconvs, self.stages, strict=True)):
            x = stage(torch.cat((up(x), maps[-s - 2]), 1))
        return self.seg_layers[-1](x)  # type: ignore[no-any-return]


class UNet(nn.Module):
    """An encoder and a decoder; only the finest map is turned into classes, as in inference."""

    def __init__(self, found: Network) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(found), Decoder(found)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, positions) -> (N, classes, positions)."""
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]


def build(path: str) -> nn.Module:
    """The network of `plans.json` or `plans.json:CONFIGURATION`. Raises: UsageError in one line."""
    return UNet(read_network(path))


def graph_of(found: Network) -> Graph:
    """The graph of a network at its patch, drawn on shapes alone."""
    with torch.device("meta"):
        model = UNet(found).eval()
    return trace(model, (found.channels, *found.patch), name=f"nnunet:{found.name}")


def input_of(path: str) -> tuple[int, ...]:
    """Channels and sizes of its patch."""
    found = read_network(path)
    return found.channels, *found.patch
