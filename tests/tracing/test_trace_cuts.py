"""Slices whose ends come from the size: the same call at one size, told apart at another."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import stridewise as sw
from stridewise.analyses.fields import fields
from stridewise.analyses.limits import smallest_input
from stridewise.analyses.sizes import grid_sizes


class Cut(nn.Module):
    """A convolution on a part of its input, which `cut` picks by the size."""

    def __init__(self, cut: str) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, stride=2)
        self.cut = cut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[-1]
        parts = {
            "last": x[..., n - 13 : n - 2],
            "first": x[..., 4:15],
            "behind": x[..., n - 13 :],
            "inner": x[..., 4 : n - 5],
        }
        return self.conv(parts[self.cut])


@pytest.mark.parametrize("cut", ["last", "first", "behind", "inner"])
@pytest.mark.parametrize("size", [40, 31, 77])
def test_a_slice_takes_the_same_positions_at_every_size(cut: str, size: int) -> None:
    net = Cut(cut)
    graph, again = sw.trace(net, (2, 20)), sw.trace(net, (2, size))
    sizes = tuple(grid_sizes(graph, (size,)))
    assert sizes[graph.tensors[graph.outputs[0]].grid] == again.grids[again.tensors[again.outputs[0]].grid].sizes
    x = torch.randn(1, 2, size, requires_grad=True)
    net(x)[0, 0, 0].backward()
    first = int(x.grad[0, 0].nonzero()[0])
    assert fields(graph, sizes).full[graph.tensors[graph.outputs[0]].grid][0].start == first


def test_circular_padding_leaves_the_input_free() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 4, 5, stride=4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(functional.pad(x, (3, 2), mode="circular"))

    graph = sw.trace(Net(), (2, 1000))
    assert not graph.unknown
    assert smallest_input(graph)[0] <= 3
    again = sw.trace(Net(), (2, 30))
    assert grid_sizes(graph, (30,))[graph.tensors[graph.outputs[0]].grid] == again.tensors[again.outputs[0]].shape[2:]


def test_same_padding_that_adds_no_row_here_is_found() -> None:
    """At an even size a 2x2/2 window asks for no padding, and the op that pads leaves no grid to see."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 2, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)))

    net = Net()
    graph = sw.trace(net, (3, 32, 32))
    for size in ((33, 32), (35, 37)):
        again = sw.trace(net, (3, *size))
        sizes = grid_sizes(graph, size)
        assert sizes[graph.tensors[graph.outputs[0]].grid] == again.tensors[again.outputs[0]].shape[2:]
