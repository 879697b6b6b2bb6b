"""Networks and data small enough to train in a test."""

import numpy as np
import torch
from torch import nn

from stridewise.data import Dataset, Picture, Sample


class Small(nn.Module):
    """Two stepping convolutions, a mean, a linear layer."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.fc(x.mean((2, 3)))


class Features(nn.Module):
    """A backbone that ends in a map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x))


class Exploding(Small):
    """Its loss is not a number from the first step on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * float("nan") if self.training else super().forward(x)


def gratings(train: int = 256, val: int = 64, classes: int = 4, size: int = 16, seed: int = 0) -> Dataset:
    """Gratings of `classes` directions under noise: easy to learn, and only from more than one pixel."""
    rng = np.random.default_rng(seed)
    at = np.mgrid[0:size, 0:size].astype(float)
    splits = {}
    for split, count in (("train", train), ("val", val)):
        samples = []
        for number in range(count):
            label = number % classes
            angle = np.pi * label / classes
            wave = np.cos(2 * np.pi / 5 * (at[0] * np.sin(angle) + at[1] * np.cos(angle)) + rng.uniform(0, 2 * np.pi))
            grey = 128 + 60 * wave[..., None] + rng.normal(0, 20, (size, size, 3))
            pixels = grey.clip(0, 255).astype(np.uint8)
            samples.append(
                Sample(picture=Picture(name=f"{split}/{number}", source=pixels), size=(size, size), label=label)
            )
        splits[split] = tuple(samples)
    return Dataset(task="classify", name="gratings", classes=tuple("abcdefgh"[:classes]), splits=splits)
