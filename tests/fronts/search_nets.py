"""Networks for the search's tests: drawn ones, and small ones of every kind."""

from __future__ import annotations

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from stridewise.analyses.strides import components
from stridewise.errors import TraceError
from stridewise.ir import Graph
from stridewise.tracing.trace import trace

CHANNELS = 4


def conv(kernel: int, stride: int = 1, padding: int | None = None, out: int = CHANNELS) -> nn.Conv2d:
    """A convolution on the common number of channels, padded to keep the size at step 1 unless said otherwise."""
    return nn.Conv2d(CHANNELS, out, kernel, stride, kernel // 2 if padding is None else padding, bias=False)


class Residual(nn.Module):
    """A path and a shortcut, added."""

    def __init__(self, path: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.path, self.shortcut = path, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.path(x) + self.shortcut(x))


class Branches(nn.Module):
    """Paths side by side, concatenated and brought back to the common channels."""

    def __init__(self, *paths: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)
        self.mix = nn.Conv2d(CHANNELS * len(paths), CHANNELS, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(torch.cat([path(x) for path in self.paths], 1))


class Hourglass(nn.Module):
    """Down, up by a fixed factor, and the map from before added; `follow`: up to that map's size, whatever it is."""

    def __init__(self, down: nn.Module, *, follow: bool) -> None:
        super().__init__()
        self.down, self.follow = down, follow

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.down(x)
        y = functional.interpolate(y, size=x.shape[-2:]) if self.follow else functional.interpolate(y, scale_factor=2)
        return torch.cat([x, y], 1)[:, :CHANNELS]


class Gate(nn.Module):
    """Squeeze-excite: channels scaled by what the whole map holds."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))


class Drawn(nn.Module):
    """A stem, drawn parts one after the other, and a classifier (or, without one, the map itself)."""

    def __init__(self, parts: list[nn.Module], *, classes: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1, bias=False)
        self.parts = nn.Sequential(*parts)
        self.fc = nn.Linear(CHANNELS, 2) if classes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.parts(self.stem(x))
        return self.fc(x.mean((2, 3))) if self.fc else x


_STRIDES = st.sampled_from([1, 2])


@st.composite
def paths(draw: st.DrawFn, stride: int, most: int = 2) -> nn.Module:
    """A path of the given stride: windows with and without enough padding, pools of every rounding."""
    kind = draw(st.sampled_from(["conv", "valid", "pool", "mean", "ceil", "pair"] if most > 1 else ["conv", "mean"]))
    if kind == "valid":
        return nn.Sequential(conv(3, stride, 0), conv(3, 1, 2)) if draw(st.booleans()) else conv(2, stride, 0)
    if kind == "pool":
        return nn.MaxPool2d(3, stride, 1)
    if kind == "mean":
        return nn.Sequential(nn.AvgPool2d(2, stride), conv(1)) if stride == 2 else conv(1)
    if kind == "ceil":
        return nn.Sequential(nn.AvgPool2d(stride, stride, ceil_mode=True), conv(1))
    if kind == "pair":
        return nn.Sequential(conv(3, stride), nn.ReLU(inplace=True), conv(3))
    return conv(draw(st.sampled_from([1, 3])), stride)


@st.composite
def parts(draw: st.DrawFn) -> nn.Module:
    """One part of a network."""
    kind = draw(st.sampled_from(["conv", "pool", "residual", "branches", "hourglass", "gate"]))
    stride = draw(_STRIDES)
    if kind == "residual":
        return Residual(draw(paths(stride)), draw(paths(stride, 1)))
    if kind == "branches":
        return Branches(draw(paths(stride)), draw(paths(stride)))
    if kind == "hourglass":
        return Hourglass(draw(paths(2)), follow=draw(st.booleans()))
    if kind == "gate":
        return Gate()
    if kind == "pool":
        return nn.MaxPool2d(2, 2)
    return conv(3, stride)


@st.composite
def networks(draw: st.DrawFn) -> tuple[Drawn, int, int]:
    """A network and the size of its input."""
    found = draw(st.lists(parts(), min_size=1, max_size=4))
    return Drawn(found, classes=draw(st.booleans())), draw(st.integers(8, 17)), draw(st.integers(8, 17))


def graph_of(drawn: tuple[nn.Module, int, int], most: int = 6) -> Graph:
    """A drawn network traced; another is drawn for one that does not run, or steps at more than `most` places."""
    model, *size = drawn
    try:
        graph = trace(model, (3, *size))
    except TraceError:
        assume(False)
    assume(not graph.unknown and sum(e.site for e in components(graph).edges) <= most)
    return graph
