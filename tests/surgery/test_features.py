"""Maps at chosen cumulative strides: the right sizes and values, from any network, nothing left behind."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from stridewise.errors import PlanError
from stridewise.surgery.features import features


class Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.step = nn.Conv2d(2 * channels, out, 3, stride, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.step(self.act(self.expand(x))))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.parts = nn.ModuleList([Block(4, 8, 2), Block(8, 8, 1), Block(8, 12, 2), Block(12, 12, 1)])
        self.head = nn.Linear(12 * 16, 3)

    def forward(self, x):
        x = self.stem(x)
        maps = []
        for part in self.parts:
            x = part.forward(x)  # past the hooks, as some networks do
            maps.append(x)
        self.seen = maps
        return self.head(x.flatten(1))


def test_maps_are_those_of_the_last_block_at_each_stride():
    net = Net().eval()
    found = features(net, (2, 4, 8), input=(3, 32, 32))
    assert found.names == ("stem", "parts.1", "parts.3")
    assert found.channels == (4, 8, 12)
    x = torch.randn(2, 3, 32, 32)
    before = set(net.parts[1].__dict__)
    maps = found(x)
    assert set(net.parts[1].__dict__) == before
    net(x)
    assert torch.equal(maps[1], net.seen[1])
    assert torch.equal(maps[2], net.seen[3])
    assert torch.equal(maps[0], net.stem(x))


def test_the_head_is_not_run_so_other_sizes_work():
    maps = features(Net(), (8,), input=(3, 32, 32))(torch.randn(1, 3, 64, 48))
    assert maps[0].shape == (1, 12, 8, 6)


def test_a_stride_that_is_not_there_lists_those_that_are():
    with pytest.raises(PlanError, match="no map at cumulative stride 64; there are 2, 4, 8"):
        features(Net(), (64,), input=(3, 32, 32))


def test_strides_per_axis():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, (1, 2), 1), nn.Conv2d(2, 2, 3, (1, 2), 1), nn.Conv2d(2, 2, 3, 2, 1))
    found = features(net, ((1, 4), (2, 8)), input=(1, 16, 64))
    assert [tuple(m.shape[2:]) for m in found(torch.randn(1, 1, 16, 64))] == [(16, 16), (8, 8)]


class Called(nn.Module):
    """Steps by calls alone; `tapped` gives each map out by a module."""

    def __init__(self, tapped: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.taps = nn.ModuleList([nn.Identity(), nn.Identity()]) if tapped else None

    def forward(self, x):
        for turn in range(2):
            x = F.conv2d(x, self.weight, None, 2, 1) if turn == 0 else F.max_pool2d(x, 2)
            if self.taps is not None:
                x = self.taps[turn](x)
        return x


def test_a_map_that_a_call_makes_is_refused_with_what_to_do_and_that_helps():
    said = r"stride 4 is what the call max_pool2d makes, .* nn\.Identity\(\) .* there are none"
    with pytest.raises(PlanError, match=said):
        features(Called(tapped=False), (4,), input=(3, 32, 32))
    found = features(Called(tapped=True), (2, 4), input=(3, 32, 32))
    assert [tuple(m.shape[1:]) for m in found(torch.randn(1, 3, 32, 32))] == [(4, 16, 16), (4, 8, 8)]
