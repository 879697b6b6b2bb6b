"""Small networks, each with one feature that tools get wrong. `NETS` maps a name to (factory, input)."""

import torch
import torch.nn.functional as F  # noqa: N812
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


class SpaceToDepth(nn.Module):
    """The same rearrangement three ways; `way` is view, slices or shuffle."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.first = nn.Conv2d(3, 4, 3, 1, 1)
        self.conv = nn.Conv2d(16, 8, 3, 1, 1)

    def forward(self, x):
        x = self.first(x)
        n, c, h, w = x.shape
        if self.way == "view":
            x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
        elif self.way == "slices":
            x = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        else:
            x = F.pixel_unshuffle(x, 2)
        return self.conv(x)


class PatchMerging(nn.Module):
    """Blocks of 2x2 tokens become channels of one, by views, as in Swin; `norm`: before the linear layer or after."""

    def __init__(self, norm="before"):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 1, 1)
        self.before = nn.LayerNorm(16) if norm == "before" else nn.Identity()
        self.reduction = nn.Linear(16, 8)
        self.after = nn.LayerNorm(8) if norm == "after" else nn.Identity()
        self.conv = nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        x = self.first(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        x = x.reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.conv(self.after(self.reduction(self.before(x))).permute(0, 3, 1, 2))


class BlockMaximum(nn.Module):
    """The maximum of blocks of 2x2 tokens that were put beside each other, as in Hiera."""

    def __init__(self):
        super().__init__()
        self.first, self.after, self.conv = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(4, 8), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        x = self.first(x)
        n, c, h, w = x.shape
        x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 2, 4, 1).reshape(n, 4, h * w // 4, c)
        x = self.after(x.max(1).values).transpose(1, 2).reshape(n, 8, h // 2, w // 2)
        return self.conv(x)


class Rows(nn.Module):
    """A linear layer over the channels and the columns of each row: no block of columns is left to number."""

    def __init__(self):
        super().__init__()
        self.first, self.linear = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(64, 8)

    def forward(self, x):
        return self.linear(self.first(x).permute(0, 2, 3, 1).flatten(2))


class TwoScales(nn.Module):
    """The class tokens of two maps of different sizes, averaged, as in CrossViT."""

    def __init__(self):
        super().__init__()
        self.coarse, self.fine = nn.Conv2d(3, 8, 8, 8), nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x):
        found = []
        for conv in (self.coarse, self.fine):
            t = torch.cat([self.token.expand(len(x), -1, -1), conv(x).flatten(2).transpose(1, 2)], 1)
            found.append(F.scaled_dot_product_attention(t, t, t)[:, 0])
        return torch.stack(found).mean(0)


class DepthToSpace(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, 2, 1)
        self.after = nn.Conv2d(3, 4, 3, 1, 1)

    def forward(self, x):
        return self.after(F.pixel_shuffle(self.conv(x), 2))


class Windows(nn.Module):
    """Attention inside windows of four, shifted by two and back."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Conv2d(8, 8, 2, 2)

    def forward(self, x):
        x = torch.roll(self.stem(x).permute(0, 2, 3, 1), (-2, -2), (1, 2))
        n, h, w, c = x.shape
        x = x.view(n, h // 4, 4, w // 4, 4, c).transpose(2, 3).reshape(-1, 16, c)
        q, k, v = self.qkv(x).chunk(3, -1)
        x = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x.view(n, h // 4, w // 4, 4, 4, c).transpose(2, 3).reshape(n, h, w, c)
        return self.out(torch.roll(x, (2, 2), (1, 2)).permute(0, 3, 1, 2))


class Tokens(nn.Module):
    """Patches to tokens, a class token before them, attention, and back to a map."""

    def __init__(self, fused=True):
        super().__init__()
        self.fused = fused
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.qkv = nn.Linear(8, 24)
        self.conv = nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        x = torch.cat([self.token.expand(n, -1, -1), x.flatten(2).transpose(1, 2)], 1)
        q, k, v = self.qkv(F.layer_norm(x, (c,))).chunk(3, -1)
        if self.fused:
            x = x + F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        else:
            x = x + (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.conv(x[:, 1:].transpose(1, 2).reshape(n, c, h, w))


class Biased(nn.Module):
    """A bias worked out from a table in every forward, without a look at the input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.register_buffer("table", torch.rand(10, 2))
        self.mlp = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, x):
        return self.conv(x) + self.mlp(self.table).mean(0)[:, None, None]


class Relative(nn.Module):
    """Attention with relative positions along one axis, by padding and reshaping until the rows have slid."""

    def __init__(self, ends=""):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.table = nn.Parameter(torch.ones(8, 15))
        self.conv = nn.Conv2d(8, 8, 3, 1, 1)
        self.other = nn.Conv2d(8, 8, 1)
        self.ends = ends

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        q = x.flatten(2).transpose(1, 2)
        rows = q.reshape(n * h, w, c) @ self.table
        rows = F.pad(F.pad(rows, [0, 1]).flatten(1), [0, w - 1]).reshape(-1, w + 1, 2 * w - 1)[:, :w, w - 1 :]
        if self.ends == "returned":
            return rows
        if self.ends == "convolved":
            return self.other(rows)
        rows = rows.reshape(n, h, 1, w, w).expand(-1, -1, h, -1, -1).permute(0, 1, 3, 2, 4).reshape(n, h * w, h * w)
        x = (q @ q.transpose(1, 2) + rows).softmax(-1) @ q
        return self.conv(x.transpose(1, 2).reshape(n, c, h, w))


class Pooled(nn.Module):
    """Attention to tokens that were pooled in the order of the rows, which no window over the map gives."""

    def __init__(self, fused):
        super().__init__()
        self.fused = fused
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.kv = nn.Linear(8, 16)
        self.conv = nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        q = x.flatten(2).transpose(1, 2)
        k, v = self.kv(F.avg_pool1d(x.flatten(2), 16, 16).transpose(1, 2)).chunk(2, -1)
        if self.fused:
            y = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        else:
            y = (q @ k.transpose(1, 2)).softmax(-1) @ v
        return self.conv(x + y.transpose(1, 2).reshape(n, c, h, w))


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
