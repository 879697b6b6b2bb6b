"""Numbers that a forward works out from sizes are followed exactly: at every size, not at the traced one alone."""

import math
import random
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from stridewise import trace
from stridewise.analyses.fields import fields
from stridewise.analyses.inputs import sizes
from stridewise.analyses.lengths import out_size
from stridewise.analyses.sizes import grid_sizes
from stridewise.axis import Slice
from stridewise.counted import Count, Counted
from stridewise.errors import StridewiseError

WORKED = {
    "half": lambda h, m: h // 2,
    "centre": lambda h, m: (h - m) // 2,
    "rounded down": lambda h, m: h // 8 * 8,
    "rounded up": lambda h, m: math.ceil(h / 2),
    "filled": lambda h, m: (8 - h % 8) % 8,
    "shared": lambda h, m: math.floor(h * 0.5 + 0.5),
    "turned": lambda h, m: 10 - h,
    "nested": lambda h, m: (h // 4 + h // 2) // 3 - m,
}


@pytest.mark.parametrize("f", WORKED.values(), ids=WORKED)
def test_a_number_knows_what_it_was_worked_out_from(f):
    found = f(Counted.of(17, Count.size(0, 0)), Counted.of(9, Count.size(1, 0)))
    (way,) = found.ways
    rng = random.Random(0)
    for _ in range(60):
        h, m = rng.randint(1, 60), rng.randint(1, 60)
        at = {(0, 0): h, (1, 0): m}
        assert way.at(at) == f(h, m)
        assert eval(way.written({(0, 0): "h", (1, 0): "m"}), {"h": h, "m": m}) == f(h, m)
        if way.leaves == {(0, 0)}:
            assert f(h + way.period, m) - f(h, m) == way.slope * way.period
            assert abs(f(h, m) - way.slope * h) <= way.slack


def test_equal_expressions_are_one():
    h, m = Counted.of(17, Count.size(0, 0)), Counted.of(9, Count.size(1, 0))
    begin = (h - m) // 2
    assert (begin + m - begin).ways == (Count.size(1, 0),)
    assert not hasattr(h**2, "ways")


class Net(nn.Module):
    """A step between two convolutions; `skip` is the network's input at half its size."""

    def __init__(self, f):
        super().__init__()
        self.f, self.first, self.last = f, nn.Conv2d(2, 2, 3, 2), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        return self.last(self.f(self.first(x), x[..., ::2, ::2]))


def centred(y, skip):
    begin = [(n - m) // 2 for n, m in zip(skip.shape[2:], y.shape[2:], strict=True)]
    cut = (..., *(slice(b, b + m) for b, m in zip(begin, y.shape[2:], strict=True)))
    return torch.cat([y, skip[cut]], 1)[:, :2]


def filled(y, skip):
    down, right = skip.shape[2] - y.shape[2], skip.shape[3] - y.shape[3]
    return skip + F.pad(y, [right // 2, right - right // 2, down // 2, down - down // 2])


STEPS = {
    "half": lambda y, _: y[..., : y.shape[3] // 2],
    "second half": lambda y, _: y[:, :, y.size(2) // 2 :],
    "middle": lambda y, _: y.narrow(2, y.shape[2] // 4, y.shape[2] // 2),
    "whole blocks": lambda y, _: y[..., : y.shape[2] // 4 * 4, : y.shape[3] // 4 * 4],
    "chunk": lambda y, _: y.chunk(2, 3)[1],
    "a part": lambda y, _: y.split(3, 2)[0],
    "last": lambda y, _: y[..., -8:],
    "last, all of them here": lambda y, _: y[..., -9:],
    "first, by number": lambda y, _: y.narrow(3, 0, 8),
    "first, all of them here": lambda y, _: y[..., :7, :8],
    "crop to another": lambda y, skip: y + skip[..., : y.shape[2], : y.shape[3]],
    "centred": centred,
    "pad to another": filled,
    "rounded up": lambda y, _: F.interpolate(y, [(n + 1) // 2 for n in y.shape[2:]], mode="bilinear"),
    "a share of another": lambda y, skip: F.interpolate(y, [n // 3 for n in skip.shape[2:]]),
    "to another": lambda y, skip: skip + F.interpolate(y, skip.shape[2:], mode="bilinear"),
}


def measured(model, size):
    try:
        with torch.no_grad():
            return tuple(model(torch.rand(1, 2, *size)).shape[2:])
    except RuntimeError:
        return None


@pytest.mark.parametrize("f", STEPS.values(), ids=STEPS)
def test_sizes_that_a_forward_works_out_are_right_at_every_size(f):
    model = Net(f).eval()
    graph = trace(model, (2, 15, 17))
    assert not graph.unknown
    at = graph.tensors[graph.outputs[0]].grid
    rules = [out_size(graph, "last", axis=axis) for axis in (0, 1)]
    for size in product((15, 16, 22, 33), (17, 20, 25)):
        right = measured(model, size)
        try:
            said = grid_sizes(graph, size)[at]
        except StridewiseError:
            said = None
        assert said == right, size
        if right is not None:
            got = {}
            for axis, rule in enumerate(rules):
                exec(rule.python, got)
                assert got["out_length"](size[axis]) == right[axis]


@pytest.mark.parametrize("name", ["half", "centred", "whole blocks", "rounded up", "last"])
def test_the_input_sizes_that_work_are_those_that_work(name):
    model = Net(STEPS[name]).eval()
    (rows, _) = sizes(trace(model, (2, 15, 17))).axes
    for n in range(1, 70):
        assert (n in rows) == (measured(model, (n, 17)) is not None), n


def test_a_crop_to_another_map_begins_where_it_does_at_every_size():
    graph = trace(Net(lambda y, skip: centred(skip[..., 1:, 1:], F.pad(skip, (3, 4, 2, 2)))), (2, 15, 17))
    cut = next(g for g in graph.grids if g.kind == "follow")
    for size in ((15, 17), (21, 30), (30, 21)):
        told = grid_sizes(graph, size)
        n, m = told[cut.sources[0]][0], told[cut.index][0]
        assert cut.maps[0].at(n, m).start == (n - m) // 2
        assert fields(graph, told).full[cut.index][0].start == 2 * ((n - m) // 2) - 4


def test_numbers_written_down_are_no_shares_of_a_size():
    graph = trace(Net(lambda y, _: y[..., :4, -5:]), (2, 15, 17))
    assert [m for g in graph.grids if g.node and g.kind == "map" for m in g.maps if isinstance(m, Slice)][2:4] == [
        Slice(stop=4),
        Slice(start=-5),
    ]


def test_only_networks_that_work_with_sizes_are_asked_where_their_numbers_come_from():
    ran = []

    class Plain(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.f, self.conv = f, nn.Conv2d(2, 2, 3, 2)

        def forward(self, x):
            ran.append(x)
            return self.f(self.conv(x))

    trace(Plain(F.relu), (2, 15, 17))
    assert len(ran) == 1
    trace(Plain(lambda y: y[..., : y.shape[3] // 2]), (2, 15, 17))
    assert len(ran) == 1 + 3  # once more with numbers that know where they come from, and at another size


def test_blocks_of_a_map_with_one_channel_become_channels():
    class Depth(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(2, 1, 3, 1, 1)

        def forward(self, x):
            x = self.conv(x)
            return x.view(1, 1, x.shape[2] // 2, 2).permute(0, 1, 3, 2).reshape(1, 2, x.shape[2] // 2)

    graph = trace(Depth(), (2, 12))
    assert grid_sizes(graph, (20,))[graph.tensors[graph.outputs[0]].grid] == (10,)


@pytest.mark.parametrize(
    "f",
    [
        lambda y, _: y.mean(2, keepdim=True).expand(-1, -1, 2, -1) + torch.arange(2.0)[:, None],
        lambda y, _: torch.stack([F.adaptive_avg_pool2d(y, 1).expand(-1, -1, 2, 2)] * 2, 3).flatten(3),
    ],
    ids=["values made", "stacked"],
)
def test_positions_made_anew_where_none_are_left_are_unknown(f):
    assert trace(Net(f), (2, 15, 17)).unknown


def test_a_layer_that_torch_runs_otherwise_on_one_position_is_unknown_there():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.embed, self.last = nn.Conv2d(2, 4, 3, 2), nn.Linear(4, 4), nn.Conv2d(4, 4, 3, 1, 1)

        def forward(self, x):
            y = self.conv(x)
            return self.last(self.embed(y.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(y.shape))

    graph = trace(Tokens(), (2, 3, 3))
    assert graph.unknown or grid_sizes(graph, (9, 9))[-1] == (4, 4)
