"""The smallest input that works and the sizes without remainder: the network itself runs there and not below."""

import pytest
import torch
from analysis_nets import Fn, chain, zoo
from torch import nn

from stridewise.analyses.limits import lossless_inputs, smallest_input
from stridewise.analyses.sizes import grid_sizes
from stridewise.errors import GeometryError
from stridewise.tracing.trace import trace


def unet() -> nn.Module:
    def forward(net, x):
        a = net.a(x)
        b = net.b(net.pool(a))
        return net.head(torch.cat([a, net.up(net.c(net.pool(b)))], 1))

    conv = {name: nn.Conv2d(i, 4, 3, padding=1) for name, i in (("a", 3), ("b", 4), ("c", 4), ("head", 8))}
    return Fn(forward, pool=nn.MaxPool2d(2), up=nn.ConvTranspose2d(4, 4, 4, 4), **conv)


def cut_to(net, x):
    """Beside what a branch makes of it, as much of what came in, cut from the middle."""
    y = net.a(x)
    (top, left), (high, wide) = [[(n - m) // 2 for n, m in zip(x.shape[2:], y.shape[2:], strict=True)], y.shape[2:]]
    return torch.cat([y, x[..., top : top + high, left : left + wide]], 1)


class Same(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 5, 2)

    def forward(self, x):
        n = x.shape[-1]
        total = max((-(-n // 2) - 1) * 2 + 5 - n, 0)
        x = nn.functional.pad(x, (total // 2, total - total // 2) * 2)
        return self.conv(x)


NETS = {
    "valid": lambda: chain(nn.Conv2d(3, 4, 7, 2), nn.Conv2d(4, 4, 3), nn.MaxPool2d(3, 2)),
    "dilated": lambda: chain(nn.Conv2d(3, 4, 3, dilation=5), nn.AvgPool2d(2)),
    "reflect": lambda: chain(nn.MaxPool2d(2), nn.ReflectionPad2d(3), nn.Conv2d(3, 4, 7)),
    "reflect conv": lambda: chain(nn.Conv2d(3, 4, 9, padding=4, padding_mode="reflect")),
    "replicate": lambda: chain(nn.ReplicationPad2d(3), nn.Conv2d(3, 4, 7, 2)),
    "padded": lambda: chain(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)),
    "u-net": unet,
    "twice": lambda: Fn(
        lambda net, x: torch.cat([net.a(x), net.up(net.b(x))], 1),
        a=nn.Conv2d(3, 4, 3, padding=1),
        b=nn.Conv2d(3, 4, 3, 2, 1),
        up=nn.Upsample(scale_factor=2),
    ),
    "cut": lambda: Fn(lambda net, x: (y := net.a(x)) + x[..., : y.shape[2], : y.shape[3]], a=nn.Conv2d(3, 3, 3, 2, 3)),
    "cut from the middle": lambda: Fn(cut_to, a=nn.Conv2d(3, 4, 4, 3, 5)),
    "flat": lambda: chain(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.LazyLinear(3)),
    "adaptive": lambda: chain(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 2)),
    "ceil": lambda: chain(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(3, 4, 4)),
    "unshuffle": lambda: chain(nn.PixelUnshuffle(4), nn.Conv2d(48, 4, 3)),
}


def runs(net: nn.Module, size: int, channels: int = 3) -> bool:
    try:
        with torch.no_grad():
            net(torch.zeros(1, channels, size, size))
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("name", list(NETS))
def test_it_runs_at_the_smallest_input_and_at_none_below(name):
    net, size = NETS[name]().eval(), 48
    runs(net, size)  # settles lazy layers
    smallest = smallest_input(trace(net, (3, size, size)))
    first = next(n for n in range(1, size + 1) if runs(net, n))
    assert smallest == (first, first)


def test_each_axis_has_its_own():
    net = chain(nn.Conv2d(3, 4, (3, 7), (1, 2)))
    assert smallest_input(trace(net, (3, 20, 30))) == (3, 7)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("alexnet", 63),
        ("vgg11", 32),
        ("squeezenet1_0", 21),
        ("squeezenet1_1", 17),
        ("densenet121", 29),
        ("resnet18", 1),
    ],
)
def test_published_smallest_inputs_are_met_and_run(name, published):
    net = zoo(name)
    smallest = smallest_input(trace(net, (3, 224, 224)))
    assert max(smallest) <= published
    with torch.device("meta"):
        net(torch.zeros(1, 3, *smallest))
        if smallest[0] > 1:
            with pytest.raises(RuntimeError):
                net(torch.zeros(1, 3, smallest[0] - 1, smallest[1] - 1))


@pytest.mark.parametrize("size", [30, 32, 33, 47, 48, 49])
def test_the_nearest_lossless_sizes_are_found_among_all(size):
    """By brute force: a size is lossless when padding one more row behind changes the size of the output."""

    def net():
        return chain(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 5, 2, 2), nn.Conv2d(4, 4, 3, 2, 1))

    def lossless(n: int) -> bool:
        for _ in range(3):
            if (n - 1) % 2:
                return False
            n = (n - 1) // 2 + 1
        return True

    below = max(n for n in range(1, size + 1) if lossless(n))
    above = min(n for n in range(size, size + 20) if lossless(n))
    assert lossless_inputs(trace(net(), (3, size, size))) == ((below, above),) * 2


def test_sizes_of_other_axes_are_refused_in_a_line():
    graph = trace(nn.Conv2d(3, 4, 3), (3, 16, 16))
    with pytest.raises(GeometryError, match="has 2 axes of positions as it was traced, not 3"):
        grid_sizes(graph, (16, 16, 16))


def test_parts_are_counted_where_only_a_smaller_input_shows_them():
    """A table holds for three positions, which ten inputs leave as twelve do."""
    net = Fn(
        lambda net, x: net.table(net.pool(x.unflatten(2, (x.shape[2] // 2, 2)).transpose(2, 3).flatten(1, 2))),
        pool=nn.MaxPool1d(1, 2),
        table=nn.Linear(3, 3),
    )
    assert smallest_input(trace(net, (3, 12))) == (10,)


def test_parts_are_counted_where_other_inputs_copy_once_more():
    """One row repeated is a view at 4 rows, and a copy at more."""

    def windows(net, x):
        y = net.a(x)
        y = y.unsqueeze(3).expand(-1, -1, -1, 2, -1).flatten(2, 3)
        return y.unflatten(3, (y.shape[3] // 2, 2)).amax(-1)

    net = Fn(windows, a=nn.Conv2d(3, 4, (4, 2)))
    assert smallest_input(trace(net, (3, 4, 9))) == (4, 3)


def test_what_takes_too_few_positions_is_tried_on_each_axis_by_itself():
    """`narrow` wants two rows, and the norm more than one position; two rows and one column are enough."""
    net = Fn(lambda net, x: net.norm(net.a(x).narrow(2, 0, 2)), a=nn.Conv2d(3, 4, 1), norm=nn.InstanceNorm2d(4))
    assert smallest_input(trace(net, (3, 6, 6))) == (2, 1)
