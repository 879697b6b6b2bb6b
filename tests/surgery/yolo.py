"""A detector as its family is built: CSP blocks, spatial pyramid pooling, a neck that goes up and down, three heads."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


def conv(before: int, after: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after), nn.SiLU()
    )


class Split(nn.Module):
    """Half of the channels go through bottlenecks, all of them are joined again."""

    def __init__(self, before: int, after: int, shortcut: bool = True) -> None:
        super().__init__()
        half = after // 2
        self.first, self.inner = conv(before, 2 * half), nn.Sequential(conv(half, half, 3), conv(half, half, 3))
        self.last, self.shortcut = conv(3 * half, after), shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.first(x).chunk(2, 1)
        c = self.inner(b)
        return self.last(torch.cat([a, b, b + c if self.shortcut else c], 1))


class Pyramid(nn.Module):
    """One maximum pool three times over, all of its maps joined (SPPF)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = conv(width, width // 2), conv(2 * width, width)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.first(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.last(torch.cat(maps, 1))


class Heads(nn.Module):
    """A convolution a level. stride: what later code multiplies cell numbers by."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Sequential(conv(w, w, 3), nn.Conv2d(w, 9, 1)) for w in widths)
        self.stride = torch.tensor([8.0, 16.0, 32.0])

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        return [level(x) for level, x in zip(self.levels, maps, strict=True)]


class Yolo(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        w = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.stem = conv(3, w[0], 3, 2)
        self.stages = nn.ModuleList(nn.Sequential(conv(a, b, 3, 2), Split(b, b)) for a, b in itertools.pairwise(w))
        self.pyramid = Pyramid(w[4])
        self.up4, self.up3 = Split(w[4] + w[3], w[3], False), Split(w[3] + w[2], w[2], False)
        self.down4, self.join4 = conv(w[2], w[2], 3, 2), Split(w[2] + w[3], w[3], False)
        self.down5, self.join5 = conv(w[3], w[3], 3, 2), Split(w[3] + w[4], w[4], False)
        self.heads = Heads((w[2], w[3], w[4]))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        c3, c4, c5 = maps[2], maps[3], self.pyramid(maps[4])
        p4 = self.up4(torch.cat([F.interpolate(c5, scale_factor=2, mode="nearest"), c4], 1))
        p3 = self.up3(torch.cat([F.interpolate(p4, scale_factor=2, mode="nearest"), c3], 1))
        n4 = self.join4(torch.cat([self.down4(p3), p4], 1))
        n5 = self.join5(torch.cat([self.down5(n4), c5], 1))
        return self.heads([p3, n4, n5])
