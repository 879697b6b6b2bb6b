"""Small networks that rearrange positions: tokens, windows, blocks."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


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
