"""Small networks that step in different ways, and pictures to measure them with."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import nn

import stridewise as sw


class Largest(nn.Module):
    """The largest value of each channel: the same whatever the order of the positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.amax(dim=(-2, -1))


def toy(kind: str, *, circular: bool, seed: int = 0, width: int = 8, stages: int = 3, mean: bool = True) -> nn.Module:
    """Convolution with a step of two and ReLU, `stages` times, then a mean (or maximum) over positions and ten scores.

    kind: "plain", or a downsampling kind that a plan gives every step.
    """
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    channels = 3
    for stage in range(stages):
        out = width * 2**stage
        layers.append(nn.Conv2d(channels, out, 3, 2, 1, padding_mode="circular" if circular else "zeros"))
        layers.append(nn.ReLU())
        channels = out
    head: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if mean else [Largest()]
    net = nn.Sequential(*layers, *head, nn.Linear(channels, 10)).eval()
    if kind != "plain":
        wish = f"2:{kind}:{'circular' if circular else 'reflect'}"
        sw.apply(net, sw.plan(sw.trace(net, (3, 32, 32)), {str(2 * stage): wish for stage in range(stages)}))
    return net


def whole_numbers(net: nn.Module) -> nn.Module:
    """The network in float64 with weights rounded to whole eighths, as whole numbers: sums are exact in any order."""
    net = net.double()
    for parameter in net.parameters():
        parameter.data = (8 * parameter.data).round()
    return net


@lru_cache
def photographs() -> tuple[np.ndarray, ...]:
    """The two photographs that scikit-learn ships, (height, width, 3) in 0..1."""
    return tuple(np.asarray(image, np.float64) / 255 for image in load_sample_images().images)


def windows(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """Windows of the photographs at drawn places, (count, 3, size, size) float32, standardised."""
    rng = np.random.default_rng(seed)
    cut = []
    for number in range(count):
        image = photographs()[number % 2]
        top, left = (int(rng.integers(have - size + 1)) for have in image.shape[:2])
        cut.append(image[top : top + size, left : left + size])
    x = torch.tensor(np.stack(cut)).permute(0, 3, 1, 2).float()
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
