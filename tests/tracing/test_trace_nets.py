"""Small networks with one difficulty each: sizes, strides, costs at two input sizes, and what is said of each."""

import pytest
import torch
from small_nets import NETS, Flattened, Resized, Shared, build
from token_nets import Relative, Tokens
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stridewise.analyses.cost import macs
from stridewise.analyses.fields import fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.tracing.trace import trace

FIXED = {"flattened", "rows", "table", "resized to a number", "relative positions"}
PLAIN = {"tokens": "tokens, plain attention", "pooled tokens": "pooled tokens, plain attention"}


def named(shape):
    return dict(shape) if isinstance(shape, dict) else {"": shape}


def larger(shape, by=32):
    grown = {k: (s[0], *(n + by for n in s[1:])) for k, s in named(shape).items()}
    return grown if isinstance(shape, dict) else grown[""]


def run(model, shape):
    """(output, multiply-adds) of a real forward; attention is computed from plain products so that it is counted."""
    inputs = {k: torch.rand(1, *s) for k, s in named(shape).items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = model(inputs[""]) if "" in inputs else model(**inputs)
    return out, counter.get_total_flops() // 2


def sizes_at(graph, shape):
    """Grid sizes when the inputs measure `shape`."""
    given = {graph.tensors[t].grid: named(shape)[name if name in named(shape) else ""][1:] for name, t in graph.inputs}
    return grid_sizes(graph, {grid: sizes for grid, sizes in given.items() if grid is not None})


def at_last(graph):
    """(jumps, fields, everything) of the last feature map."""
    grid = graph.tensors[graph.last].grid
    found = fields(graph, grid_sizes(graph))
    full = found.full[grid]
    return tuple(f.jump for f in full), tuple(f.size for f in full), found.everything[grid]


@pytest.mark.parametrize("name", NETS)
class TestEvery:
    def test_the_traced_sizes_follow_from_the_geometry(self, name):
        model, shape = build(name)
        graph = trace(model, shape)
        assert [tuple(s) for s in grid_sizes(graph)] == [g.sizes for g in graph.grids]
        assert graph.tensors[graph.outputs[0]].shape == tuple(run(model, shape)[0].shape)
        assert not graph.unknown

    def test_multiply_adds_are_half_of_the_flop_counters(self, name):
        model, shape = build(name)
        graph = trace(model, shape)
        counted = build(PLAIN.get(name, name))[0]
        assert macs(graph, grid_sizes(graph)) == run(counted, shape)[1]

    def test_another_input_size_is_a_walk_over_the_geometry(self, name):
        if name in FIXED:
            pytest.skip("takes no other size")
        model, shape = build(name)
        graph, again = trace(model, shape), trace(model, larger(shape))
        sizes = sizes_at(graph, larger(shape))
        assert [tuple(s) for s in sizes] == [g.sizes for g in again.grids]
        if name.startswith("pooled tokens"):
            return  # work on tokens whose order is not followed is counted as traced
        assert macs(graph, sizes) == macs(again, grid_sizes(again))
        for mine, theirs in zip(graph.tensors, again.tensors, strict=True):
            if mine.storage != mine.index:
                continue  # a view measures nothing of its own
            if (
                name == "pyramid"
                and theirs.shape[1] == 4
                and mine.grid is not None
                and not graph.grids[mine.grid].local[0]
            ):
                continue  # a pooled value spread out again counts at its traced size
            assert mine.volume.at(sizes) == theirs.volume.at(grid_sizes(again)) == torch.Size(theirs.shape).numel()


# name -> (cumulative stride, receptive field, whether everything is let in)
LAST = {
    "residual": ((4, 4), (19, 19), False),
    "ceil pools": ((4, 4), (7, 7), False),
    "same, even kernel": ((1, 1), (13, 11), False),
    "dilated": ((1, 1), (11, 7), False),
    "functional": ((8, 8), (15, 15), False),
    "gate": ((2, 2), (7, 7), True),
    "space to depth, view": ((2, 2), (8, 8), False),
    "space to depth, slices": ((2, 2), (8, 8), False),
    "space to depth, shuffle": ((2, 2), (8, 8), False),
    "patch merging": ((2, 2), (8, 8), False),
    "patch merging, norm after": ((2, 2), (8, 8), False),
    "maximum of blocks": ((4, 4), (13, 13), False),
    "rows": ((2, 2), (3, 3), True),
    "windows": ((8, 8), (8, 8), True),
    "tokens": ((8, 8), (24, 24), True),
    "relative positions": ((8, 8), (24, 24), True),
    "pooled tokens": ((8, 8), (12, 12), True),
    "pooled tokens, plain attention": ((8, 8), (12, 12), True),
    "coordinate attention": ((4, 4), (7, 7), True),
    "group norm": ((4, 4), (7, 7), True),
    "resized by a factor": ((2, 2), (15, 15), False),
    "audio": ((8,), (49,), False),
    "volume": ((1, 4, 4), (3, 7, 5), False),
    "strided slice": ((2, 3), (7, 9), False),
    "pyramid": ((2, 2), (15, 15), True),
    "hidden": ((8, 8), (11, 11), False),
}


@pytest.mark.parametrize("name", LAST)
def test_the_last_feature_map(name):
    assert at_last(trace(*build(name))) == LAST[name]


def keys(name):
    return [node.key for node in trace(*build(name)).sites]


def test_sites_are_named_by_module_call_and_function():
    assert keys("shared") == ["conv", "conv#2", "pool"]
    assert keys("functional") == [
        "block.conv",
        "block/max_pool2d",
        "block/conv2d",
        "block/max_pool2d#2",
        "avg_pool2d",
    ]
    assert keys("residual") == ["stem", "conv1", "conv2", "short"]
    assert keys("resized by a factor") == ["a", "b", "interpolate", "c"]
    assert keys("gate") == ["conv", "after"], "the two 1x1 convolutions of a gate have no positions to step over"
    graph = trace(Shared(), (3, 32, 32))
    assert graph.node_named("conv#1") is graph.node_named("conv")


def kinds(graph):
    return {p.kind for p in graph.pins}


def test_a_size_that_follows_another_tensor_is_free():
    graph = trace(*build("resized to another's size"))
    follow = [g for g in graph.grids if g.kind == "follow"]
    assert len(follow) == 1
    assert graph.nodes[graph.grids[follow[0].sources[-1]].node].key == "a"
    assert not graph.pins


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("resized to a number", "size", "resized to 14x14, a constant"),
        ("flattened", "flatten", "flattened into 1024 features"),
        ("rows", "flatten", "flattened into 64 features"),
        ("table", "position table", "a parameter of shape 1x4x8x8"),
        ("windows", "window", "split into parts (4x4 on axis 0)"),
        ("relative positions", "window", "put in an order of their own, made for this many of them"),
    ],
)
def test_what_fixes_the_size_is_pinned(name, kind, words):
    pins = trace(*build(name)).pins
    assert {p.kind for p in pins} == {kind}
    assert any(words in p.message for p in pins)


@pytest.mark.parametrize(
    "name", ["tokens", "tokens, plain attention", "gate", "residual", "depth to space", "pyramid", "pooled tokens"]
)
def test_what_fixes_nothing_is_not_pinned(name):
    assert not trace(*build(name)).pins


@pytest.mark.parametrize("ends", ["returned", "convolved"])
def test_positions_whose_order_was_lost_are_reported_where_their_place_matters(ends):
    graph = trace(Relative(ends), (3, 64, 64))
    assert [u.op for u in graph.unknown] == ["aten.constant_pad_nd.default"]
    assert graph.last is None


def test_fused_attention_costs_what_plain_attention_costs():
    fused, plain = trace(Tokens(), (3, 64, 64)), trace(Tokens(fused=False), (3, 64, 64))
    assert macs(fused, grid_sizes(fused)) == macs(plain, grid_sizes(plain))


def test_a_transposed_convolution_counts_at_its_input_positions():
    graph = trace(torch.nn.Sequential(torch.nn.ConvTranspose2d(3, 5, 4, 2, 1)), (3, 10, 7))
    assert macs(graph, grid_sizes(graph)) == 10 * 7 * 3 * 5 * 16


def test_two_inputs_by_name_keep_their_names():
    graph = trace(*build("two inputs"))
    assert [name for name, _ in graph.inputs] == ["x", "depth", "t"]
    assert [graph.tensors[t].shape for _, t in graph.inputs] == [(1, 3, 32, 32), (1, 1, 32, 32), (1, 5)]


class TestDynamicSame:
    """Padding that the forward works out from the incoming size, as TensorFlow's SAME."""

    class Conv(torch.nn.Conv2d):
        def forward(self, x):
            pads = []
            for n, k, s in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
                total = max((-(-n // s) - 1) * s + k - n, 0)
                pads += [total // 2, total - total // 2]
            if any(pads):
                x = torch.nn.functional.pad(x, pads)
            return super().forward(x)

    def test_it_is_told_from_constant_padding(self):
        net = torch.nn.Sequential(self.Conv(3, 4, 3, 2), self.Conv(4, 4, 2, 2), self.Conv(4, 4, 5, 2))
        graph = trace(net, (3, 64, 48))
        for shape in ((3, 64, 48), (3, 65, 51), (3, 37, 100)):
            assert (
                sizes_at(graph, shape)[-1] == trace(net, shape).grids[-1].sizes == net(torch.zeros(1, *shape)).shape[2:]
            )
        same = [m.same for site in graph.sites for m in graph.grids[site.grid].maps]
        assert same == ["end"] * 6

    def test_constant_padding_that_looks_alike_stays_constant(self):
        net = torch.nn.Sequential(torch.nn.ZeroPad2d((0, 1, 0, 1)), torch.nn.Conv2d(3, 4, 3, 2))
        graph = trace(net, (3, 64, 48))
        assert [m.same for m in graph.grids[-1].maps] == ["", ""]
        for shape in ((3, 64, 48), (3, 65, 51)):
            assert sizes_at(graph, shape)[-1] == net(torch.zeros(1, *shape)).shape[2:]

    def test_a_site_met_at_an_odd_size_is_settled_by_a_trace_further_off(self):
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 4, 1), self.Conv(4, 4, 3, 2))
        graph = trace(net, (3, 36, 36))  # the second convolution meets 9 positions, as it does at 33 to 35
        for size in (36, 40, 44):
            assert sizes_at(graph, (3, size, size))[-1] == net(torch.zeros(1, 3, size, size)).shape[2:]


def test_a_flattened_head_refuses_another_size_in_one_line():
    from stridewise.errors import TraceError

    with pytest.raises(TraceError, match=r"Flattened: the forward failed at input 3x40x40 in 'fc': ") as caught:
        trace(Flattened(), (3, 40, 40))
    assert "\n" not in str(caught.value)


def test_a_resize_by_a_number_is_told_from_a_resize_by_a_factor():
    number, factor = trace(Resized("number"), (3, 32, 32)), trace(Resized("factor"), (3, 32, 32))
    assert [n.op for n in factor.sites] == ["conv", "conv", "resize", "conv"]
    assert [n.op for n in number.sites] == ["conv", "conv", "conv"]


class TestWriting:
    """Tensors that are made in the forward and filled part by part."""

    class Net(torch.nn.Module):
        def __init__(self, way, axes=2):
            super().__init__()
            conv = torch.nn.Conv3d if axes == 3 else torch.nn.Conv2d
            self.way, self.conv, self.after = way, conv(3, 8, 3, 2, 1), conv(8, 4, 1)
            self.wide = conv(4, 4, 5, 1, 2)

        def forward(self, x):
            return self.after(self.way(self, self.conv(x)))

    @staticmethod
    def pad(net, x):
        out = torch.zeros(x.shape[0], x.shape[1], x.shape[2] + 2, x.shape[3] + 3)
        out[:, :, 1:-1, 3:] = x
        return out

    @staticmethod
    def channels(net, x):
        out = x.new_empty(x.shape)
        for i in range(8):
            out[:, i] = x[:, 7 - i]
        return out

    @staticmethod
    def shift(net, x):
        out = torch.zeros_like(x)
        out[:, :2, :-1], out[:, 2:4, 1:], out[:, 4:] = x[:, :2, 1:], x[:, 2:4, :-1], x[:, 4:]
        return out

    @staticmethod
    def part(net, x):
        x[:, :4] += net.wide(x[:, 4:])
        x[:, :2].relu_()
        return x

    @staticmethod
    def stuffed(net, x):
        out = x.new_zeros(1, 8, 2 * x.shape[2], 2 * x.shape[3])
        out[:, :, ::2, ::2] = x
        return out

    @pytest.mark.parametrize(
        ("way", "field", "start"),
        [
            ("pad", (3, 3), (-3, -7)),
            ("channels", (3, 3), (-1, -1)),
            ("part", (11, 11), (-5, -5)),
            ("shift", (7, 3), (-3, -1)),
        ],
    )
    def test_positions_are_followed_into_the_part(self, way, field, start):
        graph = trace(self.Net(getattr(self, way)), (3, 32, 32))
        found = fields(graph, grid_sizes(graph)).full[graph.tensors[graph.last].grid]
        assert not graph.unknown
        assert (tuple(f.size for f in found), tuple(f.start for f in found)) == (field, start)

    def test_a_block_with_steps_is_reported(self):
        graph = trace(self.Net(self.stuffed), (3, 32, 32))
        assert [u.op for u in graph.unknown] == ["stridewise.write"]
        assert graph.last is None


class TestCuts:
    @pytest.mark.parametrize(
        "cut",
        [
            lambda x: x[..., 1:-1],
            lambda x: x[..., :3],
            lambda x: x[..., -3:],
            lambda x: x[..., 2:],
            lambda x: x[..., -5:-2],
            lambda x: x[..., :-5:2],
            lambda x: x[..., : x.shape[-2] - 2],
        ],
    )
    def test_a_slice_is_counted_from_the_side_it_was_written_from(self, cut):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = torch.nn.Conv2d(3, 4, 3, 2, 1)
                self.after = torch.nn.Conv2d(4, 4, 1)

            def forward(self, x):
                return self.after(cut(self.conv(x)))

        net = Net()
        graph = trace(net, (3, 20, 20))
        for size in (20, 30, 84):
            found = sizes_at(graph, (3, size, size))[graph.tensors[graph.last].grid]
            assert found == net(torch.zeros(1, 3, size, size)).shape[2:]

    def test_a_crop_to_another_tensors_size_follows_it(self):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = torch.nn.Conv2d(3, 4, 5), torch.nn.Conv2d(4, 4, 3, 2)
                self.up = torch.nn.ConvTranspose2d(4, 4, 3, 2)

            def forward(self, x):
                x = self.a(x)
                up = self.up(self.b(x))
                return x[:, :, : up.shape[2], : up.shape[3]] + up

        net = Net()
        graph = trace(net, (3, 40, 40))
        for size in (40, 41, 60, 63):
            found = sizes_at(graph, (3, size, size))[graph.tensors[graph.last].grid]
            assert found == net(torch.zeros(1, 3, size, size)).shape[2:]


@pytest.mark.parametrize(
    ("size", "forwards"),
    [(4, 1), ((4, 2), 1), ((None, 4), 2), ("in words", 2)],
    ids=str,
)
def test_a_size_that_its_layer_states_needs_no_second_forward(size, forwards):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2, 1)
            self.pool = nn.Identity() if size == "in words" else nn.AdaptiveAvgPool2d(size)

        def forward(self, x):
            ran.append(x)
            x = self.pool(self.conv(x))
            return nn.functional.adaptive_avg_pool2d(x, 4) if size == "in words" else x

    ran = []
    trace(Pooled(), (3, 32, 32))
    assert len(ran) == forwards


def test_an_empty_part_that_is_written_changes_nothing():
    """As torchvision's Swin3D fills the mask of a window that is not shifted along an axis: mask[-8:-0] = count."""

    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            mask = x.new_zeros((8, 8))
            mask[-4:-0, 0:4] = 1
            return x + mask.sum()

    graph = trace(Masked(), (3, 16, 16))
    assert graph.unknown == ()
    assert graph.tensors[graph.outputs[0]].grid is not None


def test_channels_that_are_picked_by_a_list_stay_where_they_are():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, x):
            return self.conv(x[:, [2, 1, 0]])

    graph = trace(Turned(), (3, 16, 16))
    assert graph.unknown == ()
    assert graph.grids[graph.tensors[graph.outputs[0]].grid].sizes == (8, 8)
