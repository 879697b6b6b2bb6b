"""Small networks, each with one feature that tools get wrong. `NETS` maps a name to (factory, input)."""

import torch
import torch.nn.functional as F  # noqa: N812
from token_nets import (
    Biased,
    BlockMaximum,
    DepthToSpace,
    PatchMerging,
    Pooled,
    Relative,
    Rows,
    SpaceToDepth,
    Tokens,
    TwoScales,
    Windows,
)
from torch import nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, 2, 3)
        self.conv1 = nn.Conv2d(8, 16, 3, 2, 1)
        self.bn = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, 1, 1)
        self.short = nn.Conv2d(8, 16, 1, 2)

    def forward(self, x):
        x = F.relu(self.stem(x))
        return F.relu(self.conv2(F.relu_(self.bn(self.conv1(x)))) + self.short(x))


def ceil_pools():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(4, 4, 1)
    )


def same_even():
    return nn.Sequential(nn.Conv2d(3, 4, (4, 2), padding="same"), nn.Conv2d(4, 4, 4, padding="same", dilation=3))


def dilated():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, dilation=(4, 2), padding=(4, 2)))


def transposed():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.ConvTranspose2d(4, 6, 4, 2, 1),
        nn.ConvTranspose2d(6, 4, 3, 3, output_padding=1, groups=2),
    )


class Padded(nn.Module):
    """Padding on one side, and of other kinds; negative padding crops."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, 2)
        self.b = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.c = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
        self.d = nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate")

    def forward(self, x):
        return F.pad(self.d(self.c(self.b(self.a(F.pad(x, (0, 1, 2, 0)))))), (-1, 0, 0, -2))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 4, 3, 2, 1)
        self.depth = nn.Conv2d(1, 4, 3, 2, 1)
        self.time = nn.Linear(5, 4)

    def forward(self, x, depth, t):
        return self.image(x) + self.depth(depth) + self.time(t)[..., None, None]


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 2, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(self.conv(self.conv(x)))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = FunctionalBlock()

    def forward(self, x):
        return F.avg_pool2d(self.block(x), 2)


class FunctionalBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.weight = nn.Parameter(torch.ones(4, 4, 2, 2))

    def forward(self, x):
        x = F.max_pool2d(self.conv(x), 3, 2, 1)
        return F.max_pool2d(F.conv2d(x, self.weight, stride=2), 2, 1)


class Gate(nn.Module):
    """Squeeze-excite, with a convolution behind it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.after = nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        x = self.conv(x)
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.after(x * gate)


class Coordinate(nn.Module):
    """Coordinate attention: means over one axis at a time, gates along the other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.rows, self.columns = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.after = nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x):
        x = self.conv(x)
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True)
        return self.after(x * self.rows(rows).sigmoid() * self.columns(columns).sigmoid())


def group_norm():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3, 2, 1))


class Resized(nn.Module):
    """`how`: factor, number, follow (the size of another tensor), odd (a factor that does not divide)."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.a = nn.Conv2d(3, 4, 3, 2, 1)
        self.b = nn.Conv2d(4, 4, 3, 2, 1)
        self.c = nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x):
        fine = self.a(x)
        coarse = self.b(fine)
        if self.how == "factor":
            return self.c(F.interpolate(coarse, scale_factor=2, mode="bilinear"))
        if self.how == "odd":
            return self.c(F.interpolate(coarse, scale_factor=1.5))
        if self.how == "number":
            return self.c(F.interpolate(coarse, size=(14, 14)))
        return self.c(fine + F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False))


class Flattened(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.fixed = False
        self.fc = nn.Linear(4 * 16 * 16, 10)

    def forward(self, x):
        return self.fc(torch.flatten(self.conv(x), 1))


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, 4)
        self.table = nn.Parameter(torch.zeros(1, 4, 8, 8))

    def forward(self, x):
        return self.conv(x) + self.table


def audio():
    return nn.Sequential(nn.Conv1d(1, 4, 9, 4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(3, 2), nn.Conv1d(4, 4, 5))


def volume():
    return nn.Sequential(nn.Conv3d(1, 4, (3, 5, 3), (1, 2, 2), (1, 2, 1)), nn.MaxPool3d((1, 2, 2)), nn.Conv3d(4, 2, 1))


def strided_slice():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 1, 1)
            self.after = nn.Conv2d(4, 4, 3)

        def forward(self, x):
            return self.after(self.conv(x)[:, :, ::2, 1::3])

    return Net()


class Pyramid(nn.Module):
    """Atrous pyramid pooling: a pooled branch spread out again and concatenated."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.branch = nn.Conv2d(4, 4, 3, padding=3, dilation=3)
        self.pooled = nn.Conv2d(4, 4, 1)
        self.project = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        x = self.conv(x)
        pooled = F.interpolate(self.pooled(F.adaptive_avg_pool2d(x, 1)), size=x.shape[2:], mode="bilinear")
        return self.project(torch.cat([x, self.branch(x), pooled], 1))


class Hidden(nn.Module):
    """Modules, buffers and methods that are held in lists, dicts and attributes instead of being registered."""

    def __init__(self):
        super().__init__()
        self.convs = [nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)]
        self.by_name = {"act": nn.ReLU(), "pool": (nn.MaxPool2d(2),)}
        self.run = self.convs_then_pool
        self.scale = torch.full((1, 4, 1, 1), 2.0)
        self.register_buffer("shift", torch.ones(4, 1, 1))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long), persistent=False)

    def convs_then_pool(self, x):
        for conv in self.convs:
            x = self.by_name["act"](conv(x))
        self.steps += 1
        self.last = x
        return self.by_name["pool"][0](x)

    def forward(self, x):
        return self.run(x) * self.scale + self.shift


NETS = {
    "residual": (Residual, (3, 64, 64)),
    "ceil pools": (ceil_pools, (3, 31, 40)),
    "same, even kernel": (same_even, (3, 20, 21)),
    "dilated": (dilated, (3, 32, 32)),
    "transposed": (transposed, (3, 32, 24)),
    "padded": (Padded, (3, 33, 32)),
    "two inputs": (TwoInputs, {"x": (3, 32, 32), "depth": (1, 32, 32), "t": (5,)}),
    "shared": (Shared, (3, 32, 32)),
    "functional": (Functional, (3, 64, 64)),
    "gate": (Gate, (3, 32, 32)),
    "space to depth, view": (lambda: SpaceToDepth("view"), (3, 32, 32)),
    "space to depth, slices": (lambda: SpaceToDepth("slices"), (3, 32, 32)),
    "space to depth, shuffle": (lambda: SpaceToDepth("shuffle"), (3, 32, 32)),
    "patch merging": (PatchMerging, (3, 32, 48)),
    "patch merging, norm after": (lambda: PatchMerging("after"), (3, 32, 48)),
    "maximum of blocks": (BlockMaximum, (3, 32, 48)),
    "rows": (Rows, (3, 24, 32)),
    "class tokens of two maps": (TwoScales, (3, 32, 32)),
    "depth to space": (DepthToSpace, (3, 32, 32)),
    "windows": (Windows, (3, 64, 64)),
    "tokens": (Tokens, (3, 64, 64)),
    "tokens, plain attention": (lambda: Tokens(fused=False), (3, 64, 64)),
    "bias from a table": (Biased, (3, 32, 32)),
    "relative positions": (Relative, (3, 64, 64)),
    "pooled tokens": (lambda: Pooled(fused=True), (3, 64, 64)),
    "pooled tokens, plain attention": (lambda: Pooled(fused=False), (3, 64, 64)),
    "coordinate attention": (Coordinate, (3, 32, 48)),
    "group norm": (group_norm, (3, 32, 32)),
    "resized by a factor": (lambda: Resized("factor"), (3, 32, 32)),
    "resized by an odd factor": (lambda: Resized("odd"), (3, 32, 32)),
    "resized to a number": (lambda: Resized("number"), (3, 32, 32)),
    "resized to another's size": (lambda: Resized("follow"), (3, 32, 32)),
    "flattened": (Flattened, (3, 32, 32)),
    "table": (Table, (3, 32, 32)),
    "audio": (audio, (1, 400)),
    "volume": (volume, (1, 8, 32, 24)),
    "strided slice": (strided_slice, (3, 32, 32)),
    "pyramid": (Pyramid, (3, 32, 32)),
    "hidden": (Hidden, (3, 32, 32)),
}


def build(name):
    """The network called `name`, in eval mode, and its input."""
    factory, shape = NETS[name]
    torch.manual_seed(0)
    return factory().eval(), shape
