"""Receptive fields against torch: position by position, per phase, on small known cases and on drawn graphs."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from reach import by_change, by_gradient, positive
from torch import nn

from stridewise.analyses.cost import macs
from stridewise.analyses.fields import fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.tracing.trace import trace


def conv(*arguments, channels=2, **more):
    """A convolution with `channels` in and out."""
    return nn.Conv2d(channels, channels, *arguments, **more)


class Branches(nn.Module):
    def __init__(self, *branches, join="sum"):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.join = join

    def forward(self, x):
        found = [branch(x) for branch in self.branches]
        return torch.cat(found, 1) if self.join == "concat" else sum(found[1:], found[0])


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def fields_of(model, shape):
    graph = trace(model, shape)
    assert not graph.unknown
    return fields(graph, grid_sizes(graph)).full[graph.tensors[graph.last].grid]


def middle(size, period):
    """Positions around the middle, one of each phase."""
    start = max((size - period) // 2, 0)
    return range(start, min(start + period, size))


def assert_fields(model, shape, gradient=True, approximate=False):
    """Every phase's span in the middle is where the gradient lands, and what changes the output."""
    model = positive(model)
    found = fields_of(model, shape)
    out = model(torch.ones(1, *shape, dtype=torch.float64)).shape[2:]
    for axis, field in enumerate(found):
        assert field.approximate == approximate
        changed = by_change(model, shape, axis)
        for position in middle(out[axis], field.period):
            expected = field.at(position)
            assert expected is None or (expected[0] >= 0 and expected[1] < shape[1 + axis]), "draw a larger input"
            assert changed[position] == expected, (axis, position)
            if gradient:
                assert by_gradient(model, shape, axis, position) == expected, (axis, position)
    return found


def sizes(found):
    return tuple(f.size for f in found)


class TestKnownCases:
    """The small cases whose exact answer is known; input 64x64."""

    @pytest.mark.parametrize(
        ("net", "field"),
        [
            (lambda: nn.Sequential(conv(3, 2, 1), conv(3, 1, 1)), (7, 7)),
            (lambda: nn.Sequential(conv(3, 1, 1), conv(3, 1, 4, 4)), (11, 11)),
            (lambda: nn.Sequential(conv((1, 7)), conv((3, 1))), (3, 7)),
            (lambda: nn.Sequential(conv(3, (1, 2), 1), conv(3, 1, 1)), (5, 7)),
            (lambda: Branches(conv(5, 1, 2), nn.Sequential(*(conv(3, 1, 1) for _ in range(3)))), (7, 7)),
            (lambda: Branches(nn.Sequential(conv(3, 1, 1), conv(3, 1, 1)), nn.Identity()), (5, 5)),
            (lambda: nn.Sequential(conv(3, 1, 1), Apply(lambda x: x[:, :, ::2, ::2])), (3, 3)),
            (lambda: nn.Sequential(conv(3, 2, 1), nn.ConvTranspose2d(2, 2, 4, 2, 1)), (5, 5)),
            (lambda: nn.Sequential(conv(3, 1, 1), nn.PixelUnshuffle(2), conv(1, channels=8)), (4, 4)),
            (lambda: nn.Sequential(conv(4, 1, "same"), conv(2, 1, "same")), (5, 5)),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Using padding='same'")
    def test_the_field_is_where_the_gradient_lands(self, net, field):
        assert sizes(assert_fields(nn.Sequential(net()), (2, 64, 64))) == field

    def test_a_functional_pool_is_a_window_like_any_other(self):
        net = nn.Sequential(conv(3, 1, 1), Apply(lambda x: F.max_pool2d(x, 3, 2, 1)))
        assert sizes(assert_fields(net, (2, 64, 64), gradient=False)) == (5, 5)

    @pytest.mark.filterwarnings("ignore:Using padding='same'")
    def test_same_padding_of_an_even_kernel_pads_one_more_at_the_end(self):
        found = assert_fields(conv(4, 1, "same"), (2, 64, 64))
        assert [f.start for f in found] == [-1, -1]
        graph = trace(conv(4, 1, "same"), (2, 64, 64))
        assert grid_sizes(graph)[-1] == (64, 64)

    def test_a_transposed_convolution_has_its_phases_and_counts_at_its_input(self):
        net = nn.Sequential(conv(3, 2, 1), nn.ConvTranspose2d(2, 2, 4, 2, 1))
        found = assert_fields(net, (2, 64, 64))
        assert [(f.period, f.jump) for f in found] == [(2, 1), (2, 1)]
        graph = trace(net, (2, 64, 64))
        assert graph.nodes[-1].macs.at(grid_sizes(graph)) == 32 * 32 * 2 * 2 * 16
        assert macs(graph, grid_sizes(graph)) == 32 * 32 * (2 * 2 * 9 + 2 * 2 * 16)


RESIZES = {
    "nearest": {"mode": "nearest"},
    "nearest-exact": {"mode": "nearest-exact"},
    "bilinear": {"mode": "bilinear"},
    "bicubic": {"mode": "bicubic"},
}


class TestResizing:
    @pytest.mark.parametrize("mode", RESIZES)
    @pytest.mark.parametrize("factor", [2, 3, 0.5, 1.5, 2.5])
    def test_by_a_factor_per_phase(self, mode, factor):
        net = nn.Sequential(conv(3, 2, 1), Apply(lambda x: F.interpolate(x, scale_factor=factor, **RESIZES[mode])))
        found = assert_fields(net, (2, 80, 80))
        assert [f.jump for f in found] == [2 / Fraction(factor).limit_denominator()] * 2

    @pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
    def test_aligned_corners_are_a_hull_and_marked(self, mode):
        net = positive(
            nn.Sequential(
                conv(3, 2, 1), Apply(lambda x: F.interpolate(x, scale_factor=2, mode=mode, align_corners=True))
            )
        )
        for axis, field in enumerate(fields_of(net, (2, 48, 48))):
            assert field.approximate
            for position, span in enumerate(by_change(net, (2, 48, 48), axis)):
                first, last = field.at(position)
                assert first <= span[0]
                assert span[1] <= last

    def test_to_the_size_of_another_tensor(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = conv(3, 2, 1), conv(3, 2, 1)

            def forward(self, x):
                fine = self.a(x)
                return fine + F.interpolate(self.b(fine), size=fine.shape[2:], mode="bilinear")

        found = assert_fields(Net(), (2, 64, 64))
        assert [f.jump for f in found] == [2, 2]

    def test_depth_to_space_repeats(self):
        net = nn.Sequential(nn.Conv2d(2, 8, 3, 2, 1), nn.PixelShuffle(2), conv(3, 1, 1))
        assert_fields(net, (2, 64, 64))

    def test_adaptive_pools_of_several_cells(self):
        net = nn.Sequential(conv(3, 1, 1), nn.AdaptiveAvgPool2d((6, 4)))
        assert_fields(net, (2, 60, 62))


class TestPadding:
    @pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
    def test_other_modes_reach_as_far_in_the_middle(self, mode):
        assert_fields(nn.Sequential(conv(5, 2, 2, padding_mode=mode), conv(3)), (2, 64, 64))

    def test_one_sided_and_negative(self):
        net = nn.Sequential(nn.ZeroPad2d((3, 0, 0, 2)), conv(3, 2), nn.ZeroPad2d((-2, 1, 1, -3)), conv(3, 1, 1))
        assert_fields(net, (2, 64, 60))


class TestMisaligned:
    def test_branches_with_other_centres_are_told(self):
        net = positive(Branches(conv(3, 2, 1), nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 2))))
        assert_fields(net, (2, 64, 64))
        graph = trace(net, (2, 64, 64))
        found = fields(graph, grid_sizes(graph)).misaligned
        assert [(axis, centres) for _, axis, centres in found] == [(0, (0, 1)), (1, (0, 1))]

    def test_branches_that_agree_are_not(self):
        net = positive(Branches(conv(3, 2, 1), conv(1, 2), conv(5, 2, 2)))
        graph = trace(net, (2, 64, 64))
        assert not fields(graph, grid_sizes(graph)).misaligned

    def test_the_smallest_field_is_that_of_the_shortest_path(self):
        net = Branches(nn.Sequential(conv(3, 1, 1), conv(5, 1, 2)), conv(3, 1, 1), nn.Identity())
        graph = trace(net, (2, 64, 64))
        found = fields(graph, grid_sizes(graph))
        assert [f.size for f in found.full[-1]] == [7, 7]
        assert [f.size for f in found.least[-1]] == [1, 1]


_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_MEAN = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


@st.composite
def stages(draw, axes):
    """One stage of a network, and whether its gradient shows everything it reads (a maximum pool's does not)."""
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    kind = draw(st.sampled_from(["conv", "conv", "mean", "max", "pad", "slice", "branch", "concat", "up", "resize"]))
    if kind == "conv":
        kernel, stride, dilation = each(1, 4), each(1, 2), each(1, 2)
        return _CONVS[axes - 1](2, 2, kernel, stride, each(0, 2), dilation), True
    if kind in ("mean", "max"):
        kernel = each(1, 3)
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
        pool = (_MEAN if kind == "mean" else _MAX)[axes - 1]
        return pool(kernel, each(1, 2), padding, ceil_mode=draw(st.booleans())), kind == "mean"
    if kind == "pad":
        pads = [draw(st.integers(-1, 2)) for _ in range(2 * axes)]
        return Apply(lambda x: F.pad(x, pads)), True
    if kind == "slice":
        steps, starts = each(1, 2), each(0, 2)
        cut = tuple(slice(start, None, step) for start, step in zip(starts, steps, strict=True))
        return Apply(lambda x: x[(slice(None), slice(None), *cut)]), True
    if kind in ("branch", "concat"):
        stride = each(1, 2)
        wide = tuple(draw(st.sampled_from([1, 3, 5])) for _ in range(axes))
        one = _CONVS[axes - 1](2, 2, 3, stride, 1)
        two = _CONVS[axes - 1](2, 2, wide, stride, tuple(k // 2 for k in wide))
        if kind == "branch":
            return Branches(one, two), True
        return nn.Sequential(Branches(one, two, join="concat"), _CONVS[axes - 1](4, 2, 1)), True
    if kind == "up":
        stride = each(1, 2)
        kernel = tuple(draw(st.integers(s, s + 2)) for s in stride)
        return _TRANSPOSED[axes - 1](2, 2, kernel, stride, each(0, 1)), True
    mode = draw(st.sampled_from(["nearest", ("linear", "bilinear", "trilinear")[axes - 1]]))
    return Apply(lambda x: F.interpolate(x, scale_factor=2, mode=mode)), True


@st.composite
def networks(draw):
    """(network, input, whether gradients show everything) of one to three axes, unequal ones the normal case."""
    axes = draw(st.sampled_from([1, 2, 2, 2, 3]))
    count = draw(st.integers(1, (5, 4, 2)[axes - 1]))
    drawn = [(_CONVS[axes - 1](2, 2, 2), True), *(draw(stages(axes)) for _ in range(count))]
    size = (120, 48, 26)[axes - 1]
    shape = (2, *(size + draw(st.integers(0, 7)) for _ in range(axes)))
    return nn.Sequential(*(module for module, _ in drawn)), shape, all(shows for _, shows in drawn)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(networks())
def test_drawn_networks(drawn):
    net, shape, gradient = drawn
    model = positive(net)
    with torch.no_grad():
        out = model(torch.ones(1, *shape, dtype=torch.float64)).shape[2:]
    graph = trace(model, shape)
    assert not graph.unknown
    assert tuple(grid_sizes(graph)[graph.tensors[graph.outputs[0]].grid]) == tuple(out)
    found = fields(graph, grid_sizes(graph)).full[graph.tensors[graph.outputs[0]].grid]
    for axis, field in enumerate(found):
        changed = by_change(model, shape, axis)
        for position in middle(out[axis], field.period):
            expected = field.at(position)
            if expected is not None and (expected[0] < 0 or expected[1] >= shape[1 + axis]):
                continue  # the border cuts it
            assert changed[position] == expected, (axis, position, field)
        if gradient and len(shape) < 4:
            position = out[axis] // 2
            expected = field.at(position)
            if expected is None or (expected[0] >= 0 and expected[1] < shape[1 + axis]):
                assert by_gradient(model, shape, axis, position) == expected
