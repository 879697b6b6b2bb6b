"""An input that a network does not take: the error says what would work, and that does work."""

import re

import pytest
import torch
from torch import nn

from stridewise.errors import TraceError
from stridewise.tracing.trace import trace


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.MaxPool2d(3, 2), nn.Conv2d(4, 4, 3))


def test_a_size_too_small_names_the_layer_and_the_smallest_that_works():
    with pytest.raises(TraceError, match=r"'2'.*the smallest size that works is 17x17") as error:
        trace(net(), (3, 12, 12))
    assert "\n" not in str(error.value)
    net()(torch.zeros(1, 3, 17, 17))
    with pytest.raises(RuntimeError):
        net()(torch.zeros(1, 3, 16, 16))


def test_wrong_channels_and_axes_are_named():
    with pytest.raises(TraceError, match=r"it takes 3 channels, not 1"):
        trace(net(), (1, 32, 32))
    with pytest.raises(TraceError, match=r"it takes 2 axes beside the channels, not 1"):
        trace(net(), (3, 32))


def test_a_forward_that_always_fails_gets_no_hint():
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("boom")

    with pytest.raises(TraceError, match=r"boom$"):
        trace(Broken(), (3, 32, 32))


def test_the_inputs_are_named_where_one_is_missing_or_unknown():
    class Two(nn.Module):
        def forward(self, image: torch.Tensor, depth: torch.Tensor, t: torch.Tensor | None = None) -> torch.Tensor:
            return torch.nn.functional.max_pool2d(image + depth, 2)

    names = r"its inputs are image, depth, t \(may be left out\): give each by its name, as --input image=3x224x224"
    for wrong in ((3, 32, 32), {"image": (3, 32, 32)}, {"depth": (3, 32, 32), "image": (3, 32, 32), "x": (1,)}):
        with pytest.raises(TraceError, match=names):
            trace(Two(), wrong)
    trace(Two(), {"image": (3, 32, 32), "depth": (3, 32, 32)})


def test_a_batch_among_the_sizes_is_told():
    with pytest.raises(TraceError, match=r"sizes are given without the batch, as 3x32x32$"):
        trace(net(), (1, 3, 32, 32))


def test_a_network_whose_forward_asks_for_numbers_at_once_names_the_part_that_can_be_traced():
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(16, 8, 5)
            self.backbone = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU())

        def forward(self, x):
            return self.head(self.backbone(x)) if x.nonzero().numel() else x

    said = r"test_hints\.py:\d+: nonzero asks for values.*there is none yet; its part 'backbone' can be traced: give"
    with pytest.raises(TraceError, match=said):
        trace(Detector(), (3, 32, 32))
    trace(Detector().backbone, (3, 32, 32))
    with pytest.raises(TraceError, match=r"takes 3 channels, not 4$"):
        trace(net(), (4, 32, 32))


def test_a_size_at_which_a_join_fails_names_both_sides_and_the_nearest_that_work():
    class Unet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in ((3, 4), (4, 4), (4, 4), (4, 4), (4, 4)))
            self.up = nn.Upsample(scale_factor=2)

        def forward(self, x):
            maps = [x]
            for layer in self.down:
                maps.append(layer(maps[-1]))
            y = maps.pop()
            for skip in reversed(maps[1:]):
                y = self.up(y) + skip
            return y

    net = Unet()
    with pytest.raises(TraceError) as error:
        trace(net, (3, 350, 525))
    said = str(error.value)
    assert re.search(r"at 350, sizes differ: \d+ from down\.\d, \d+ from up", said), said
    assert "the nearest sizes that work are" in said
    assert "\n" not in said
    for size in said.rpartition("are ")[2].split(" and "):
        net(torch.zeros(1, 3, *map(int, size.split("x"))))
