"""Networks that come with Stridewise, small enough to train on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from stridewise.errors import LoadError
from stridewise.tracing.steps import Step


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut; a 1x1 projection where the channels change (He et al. 2016, figure 2)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) -> (N, out, H, W)."""
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))  # type: ignore[no-any-return]


class ResNet20(nn.Module):
    """The ten-layer ResNet of the published pooling table: a stem and nine blocks, channels fixed by the layer.

    `steps` are the layers a 2x2 maximum pool stands before (1 to 9; a layer may be named twice). Default 4 and 7: four
    layers at full size, three at a half, three at a quarter. The pools sit at slots, so a plan moves or removes them.
    """

    def __init__(self, width: int = 16, classes: int = 10, channels: int = 3, steps: Sequence[int] = (4, 7)) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        sizes = [width] * 4 + [2 * width] * 3 + [4 * width] * 3
        self.layers = nn.Sequential(stem, *(Block(a, b) for a, b in pairwise(sizes)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, classes)
        for before in sorted(set(steps)):
            step = 2 ** list(steps).count(before)
            self.layers[before - 1].register_forward_hook(Step.at_slot("max", (step, step), f"layers.{before - 1}"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) -> (N, classes)."""
        return self.fc(torch.flatten(self.pool(self.layers(x)), 1))  # type: ignore[no-any-return]


_MODELS: dict[str, tuple[Callable[..., nn.Module], dict[str, int], tuple[int, int, int]]] = {
    "resnet20": (ResNet20, {}, (3, 32, 32)),
    "resnet20-narrow": (ResNet20, {"width": 8}, (3, 32, 32)),
    "resnet20-wide": (ResNet20, {"width": 32}, (3, 32, 32)),
}


def names() -> list[str]:
    """The names after `builtin:`."""
    return list(_MODELS)


def input_of(name: str) -> tuple[int, int, int]:
    """Channels and sizes a built-in network is meant for."""
    return _find(name)[2]


def build(name: str, **kwargs: int) -> nn.Module:
    """A built-in network, weights random. kwargs: width, classes, channels. Raises LoadError for an unknown name."""
    factory, settings, _ = _find(name)
    return factory(**{**settings, **kwargs})


def factory(name: str) -> tuple[Callable[..., nn.Module], dict[str, int]]:
    """What makes a built-in network, and the arguments it is given."""
    return _find(name)[:2]


def _find(name: str) -> tuple[Callable[..., nn.Module], dict[str, int], tuple[int, int, int]]:
    if name not in _MODELS:
        raise LoadError(f"builtin:{name}: there is no such network; there are {', '.join(_MODELS)}")
    return _MODELS[name]
