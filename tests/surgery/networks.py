"""Small networks that between them have every kind of op a kept weight must survive."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


def everything(model: nn.Module) -> list[object]:
    """The whole module tree: names, types, attributes, hooks, weights by identity and by value."""
    out: list[object] = []
    for path, module in model.named_modules():
        out.append((path, type(module)))
        for key, value in sorted(vars(module).items()):
            if key in ("_parameters", "_buffers", "_modules"):
                out.append((path, key, [(k, id(v)) for k, v in value.items()]))
            elif "hooks" in key:
                out.append((path, key, list(value.items()) if value else None))
            else:
                out.append((path, key, repr(value)))
    out += [(name, v._version, v.dtype, v.double().sum().item()) for name, v in model.state_dict().items()]
    return out


class Branches(nn.Module):
    """Two paths to a sum: strided convolution, and average pooling with a 1x1 behind it (ResNet-D)."""

    def __init__(self, pool: nn.Module | None = None, stride: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.main = nn.Conv2d(6, 6, 3, stride=stride, padding=1)
        self.pool = pool if pool is not None else nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        self.side = nn.Conv2d(6, 6, 1)
        self.after = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        return self.after(F.relu(self.main(x) + self.side(self.pool(x))))


class Blur(nn.Module):
    """A blur pool: border, then a fixed low-pass that steps."""

    def __init__(self, border: str = "reflect") -> None:
        super().__init__()
        self.border = border
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("taps", (taps[:, None] * taps).expand(6, 1, 3, 3).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, [1, 1, 1, 1], mode=self.border), self.taps, stride=2, groups=6)


class Same(nn.Conv2d):
    """A convolution with TensorFlow's padding, computed from the incoming size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads = []
        for size, k, s in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            pads = [total // 2, total - total // 2, *pads]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride)


class Straight(nn.Module):
    """Layers one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Functional(nn.Module):
    """Pooling, padding, slicing without modules, beside a child that calls the same functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.child = Straight(nn.MaxPool2d(3, 1, 1), nn.Conv2d(6, 6, 3, padding=1))
        self.last = nn.Conv2d(12, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        x = self.child(x)
        a = F.max_pool2d(F.pad(x, [1, 2, 0, 1]), 3, 2)
        b = F.avg_pool2d(F.pad(x, [1, 2, 0, 1]), 3, 2)
        return self.last(torch.cat([a, b], 1))


class Pyramid(nn.Module):
    """A step down and a resize back up by a fixed factor, joined with what was there."""

    def __init__(self, mode: str = "bilinear") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.down = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.mode = mode
        self.last = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.down(x)
        align = None if self.mode == "nearest" else False
        return self.last(x + F.interpolate(y, scale_factor=2, mode=self.mode, align_corners=align))


class Painted(nn.Module):
    """A U-Net that comes back up by transposed convolutions, of kernels as large as the step and larger."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.down1 = nn.Conv2d(6, 8, 3, 2, 1)
        self.pool = nn.MaxPool2d(2)
        self.deep = nn.Conv2d(8, 8, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(8, 8, 2, 2)
        self.up1 = nn.ConvTranspose2d(16, 6, 4, 2, 1)

    def forward(self, x):
        fine = self.first(x)
        half = self.down1(fine).relu()
        x = self.up2(self.deep(self.pool(half)).relu())
        return torch.cat([fine, self.up1(torch.cat([half, x], 1))], 1)


class Line(nn.Module):
    """One axis: a pool with a module and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(3, 6, 3, 2, 1)
        self.pool = nn.MaxPool1d(3, 2, 1)
        self.last = nn.Conv1d(6, 6, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x))
        return self.last(F.max_pool1d(x, 2) + F.avg_pool1d(x, 2))


class Gated(nn.Module):
    """Squeeze-excite between two steps, a linear head behind the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.gate = nn.Conv2d(6, 6, 1)
        self.down = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.head = nn.Linear(6, 4)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(self.stem(x))
        return self.norm(x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.forward_features(x).mean((2, 3)))
