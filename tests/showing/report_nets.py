"""The small networks that reports are made of."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


class Small(nn.Module):
    """A stem, two stages of blocks, a gate, an upsampled skip and two outputs; unequal axes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.stage1 = nn.Sequential(*(Block(8) for _ in range(4)))
        self.down = nn.Conv2d(8, 16, 3, (1, 2), 1)
        self.short = nn.Conv2d(8, 16, 1, (1, 2))
        self.gate = nn.Conv2d(16, 16, 1)
        self.up = nn.ConvTranspose2d(16, 8, (1, 3), (1, 2), (0, 1), output_padding=(0, 1))
        self.head, self.fc = nn.Conv2d(8, 2, 1), nn.Linear(16, 5)

    def forward(self, x):
        a = self.stage1(self.stem(x))
        b = self.down(a) + self.short(a)
        b = b * torch.sigmoid(self.gate(b.mean((2, 3), keepdim=True)))
        return {"map": self.head(self.up(b) + a), "classes": self.fc(b.mean((2, 3)))}


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return self.pool(self.c(torch.relu(self.b(torch.relu(self.a(x))))))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.embed = nn.Conv1d(2, 4, 3, 2, 1), nn.Linear(3, 4)

    def forward(self, x, t):
        return self.conv(x) + self.embed(t)[..., None]


class ClassToken(nn.Module):
    """Patches to tokens behind a class token, attention; the head reads the class token alone."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = self.mix(torch.cat([self.token.expand(len(x), -1, -1), x], 1))
        x = x + (x @ x.transpose(1, 2)).softmax(-1) @ x
        return self.head(x[:, 0])
