"""Small networks for the downsampling kinds: each has its step in another place of code."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class Residual(nn.Module):
    """Convolution, norm, activation used twice, and a 1x1 shortcut; `padding_mode` for the tests of shift."""

    def __init__(self, axes: int = 2, mode: str = "zeros", stride: int = 2, classes: int = 5) -> None:
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
        norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[axes]
        self.stem = conv(3, 4, 3, stride, 1, padding_mode=mode)
        self.norm = norm(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = conv(4, 6, 3, stride, 1, padding_mode=mode, bias=False)
        self.norm1 = norm(6)
        self.conv2 = conv(6, 6, 3, 1, 1, padding_mode=mode, bias=False)
        self.norm2 = norm(6)
        self.down = nn.Sequential(conv(4, 6, 1, stride, bias=False), norm(6))
        self.head = nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.stem(x)))
        y = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(y)) + self.down(x))
        return self.head(x.flatten(2).mean(2))


class Bare(nn.Module):
    """Functions where others have modules: convolution, activation and pools have no module of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3) / 5)
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.last = nn.Conv2d(12, 5, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.conv2d(x, self.weight, None, 2, 1))
        x = self.conv(x)
        x = x * torch.sigmoid(x)
        a, b = F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, kernel_size=3, stride=2, padding=1)
        return self.last(torch.cat([a, b], 1))


class Tokens(nn.Module):
    """Patches, a norm over channels that come last, and a second step whose sum is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.norm = nn.LayerNorm(8)
        self.deep = nn.Conv2d(8, 8, 3, 2, 1, groups=8)
        self.group = nn.GroupNorm(2, 8)
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x)
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = F.gelu(self.group(self.deep(x)))
        return self.out(x + x.mean((2, 3), keepdim=True))


class Turns(nn.Module):
    """One activation module for all, behind a step whose map is read twice: no module tells which call it is."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.one = nn.Conv2d(3, 4, 3, 2, 1)
        self.two = nn.Conv2d(4, 4, 3, 1, 1)
        self.three = nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.one(x))
        x = self.act(self.two(x)) + x
        return self.act(self.three(x))


NETS = {
    "residual": lambda: Residual(),
    "residual 1d": lambda: Residual(1),
    "residual 3d": lambda: Residual(3),
    "bare": Bare,
    "tokens": Tokens,
    "turns": Turns,
}
SHAPES = {"residual 1d": (3, 40), "residual 3d": (3, 12, 16, 8)}
