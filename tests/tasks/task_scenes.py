"""Scenes and a backbone small enough for a test: coloured squares of two sizes on noise, as masks and as boxes."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from stridewise.data import Boxes, Dataset, Mask, Picture, Sample

SIZE = 64


class Stages(nn.Module):
    """Four stages that each step by 2, with a shortcut in the last; maps at strides 2, 4, 8 and 16; a classifier."""

    def __init__(self, num_classes: int = 3, width: int = 8) -> None:
        super().__init__()
        channels = [3, width, 2 * width, 3 * width, 4 * width]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(channels)
        )
        self.fc = nn.Linear(channels[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))


def scenes(task: str, train: int = 48, val: int = 16, seed: int = 0) -> Dataset:
    """Pictures (64, 64) with one to three squares, red or green, of 8 to 12 or 24 to 32 pixels."""
    rng = np.random.default_rng(seed)
    splits = {}
    for split, count in (("train", train), ("val", val)):
        splits[split] = tuple(_scene(f"{split}/{number}", rng) for number in range(count))
    classes = ("ground", "red", "green") if task == "segment" else ("red", "green")
    return Dataset(task=task, name="squares", classes=classes, splits=splits)


def _scene(name: str, rng: np.random.Generator) -> Sample:
    pixels = rng.integers(60, 120, (SIZE, SIZE, 3)).astype(np.uint8)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    corners, classes = [], []
    for _ in range(int(rng.integers(1, 4))):
        side = int(rng.integers(8, 13) if rng.random() < 0.5 else rng.integers(24, 33))
        top, left = rng.integers(0, SIZE - side + 1, 2).tolist()
        if mask[top : top + side, left : left + side].any():
            continue
        kind = int(rng.integers(2))
        mask[top : top + side, left : left + side] = kind + 1
        pixels[top : top + side, left : left + side] = [(220, 40, 40), (40, 220, 40)][kind]
        corners.append([left, top, left + side, top + side])
        classes.append(kind)
    return Sample(
        picture=Picture(name=name, source=pixels),
        size=(SIZE, SIZE),
        boxes=Boxes(corners=np.array(corners, np.float64).reshape(-1, 4), classes=np.array(classes, np.int64)),
        mask=Mask(name=name, source=mask),
    )
