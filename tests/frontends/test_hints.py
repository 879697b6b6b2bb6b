"""An input that a network does not take: the error says what would work, and that does work."""

import pytest
import torch
from torch import nn

from stridewise.errors import TraceError
from stridewise.frontends.torch import trace


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
