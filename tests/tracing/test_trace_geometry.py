"""Sizes, fields and smallest inputs of forwards that mix, make, move or repeat positions: held against torch."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from torch import nn

from strategies import network, seeds
from stridewise.analyses.fields import fields
from stridewise.analyses.limits import smallest_input
from stridewise.analyses.sizes import grid_sizes
from stridewise.errors import StridewiseError, TraceError
from stridewise.showing.show import show
from stridewise.tracing.trace import trace


class Between(nn.Module):
    """A function of the map between two convolutions; `f` also gets a table of a given shape."""

    def __init__(self, f, channels=4, table=(1,), step=1):
        super().__init__()
        self.f, self.table = f, nn.Parameter(torch.rand(table))
        self.a, self.b = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(channels, 4, 3, step, 1)

    def forward(self, x):
        return self.b(self.f(self.a(x), self.table))


def output(model, shape):
    return show(trace(model.eval(), shape)).to_json()["outputs"][0]


@pytest.mark.parametrize(
    ("f", "table", "axis"),
    [
        (lambda y, w: torch.einsum("ij,bcjw->bciw", w, y), (40, 40), 0),
        (lambda y, w: y @ w, (24, 24), 1),
        (lambda y, w: w @ y, (40, 40), 0),
    ],
    ids=["einsum", "columns", "rows"],
)
def test_a_product_along_an_axis_sees_it_whole(f, table, axis):
    model = Between(f, table=table, step=2).eval()
    out = output(model, (3, 40, 24))
    assert (out["size"], out["cumulative_stride"]) == ([20, 12], [2, 2])
    assert out["receptive_field"][axis] >= (40, 24)[axis]
    assert out["receptive_field"][1 - axis] == 5


def test_a_product_may_give_another_number_of_positions_and_takes_no_other():
    graph = trace(Between(lambda y, w: y @ w, table=(24, 12)), (3, 40, 24))
    assert grid_sizes(graph, (50, 24))[-1] == (50, 12)
    assert smallest_input(graph) == (1, 24)
    with pytest.raises(StridewiseError, match="table for 24 positions, and 25 come in"):
        grid_sizes(graph, (40, 25))


@pytest.mark.parametrize(
    "f",
    [
        lambda y: y.softmax(3),
        lambda y: y.cumsum(3),
        lambda y: y.cummax(2)[0],
        lambda y: y.sort(3)[0],
        lambda y: y - y.median(3, keepdim=True)[0],
    ],
    ids=["softmax", "cumsum", "cummax", "sort", "median"],
)
def test_what_mixes_along_an_axis_lets_everything_in(f):
    graph = trace(Between(lambda y, _: f(y)), (3, 24, 32))
    assert fields(graph, grid_sizes(graph)).everything[-1]


@pytest.mark.parametrize(
    ("f", "channels", "size", "stride"),
    [
        (lambda y: y.repeat_interleave(2, 2).repeat_interleave(2, 3), 4, [40, 48], ["1/2", "1/2"]),
        (lambda y: y[..., None].expand(-1, -1, -1, -1, 3).flatten(3), 4, [20, 72], [1, "1/3"]),
        (
            lambda y: (
                y.view(1, 1, 2, 2, *y.shape[2:]).permute(0, 1, 4, 2, 5, 3).reshape(1, 1, *(2 * n for n in y.shape[2:]))
            ),
            1,
            [40, 48],
            ["1/2", "1/2"],
        ),
        (
            lambda y: y.view(1, 4, y.shape[2] // 2, 2, y.shape[3]).transpose(2, 3).reshape(1, 8, -1, y.shape[3]),
            8,
            [10, 24],
            [2, 1],
        ),
        (lambda y: y.repeat(1, 2, 1, 1), 8, [20, 24], [1, 1]),
        (lambda y: torch.tile(y, (1, 1, 2, 1)), 4, [40, 24], [1, 1]),
    ],
    ids=["repeat_interleave", "expand", "shuffle", "to depth", "repeat channels", "tile rows"],
)
def test_enlargements_and_rearrangements_by_view(f, channels, size, stride):
    model = Between(lambda y, _: f(y), channels).eval()
    out = output(model, (3, 20, 24))
    assert out["size"] == size == list(model(torch.rand(1, 3, 20, 24)).shape[2:])
    assert out["cumulative_stride"] == stride
    graph = trace(model, (3, 20, 24))
    other = model(torch.rand(1, 3, 26, 30)).shape[2:]
    assert grid_sizes(graph, (26, 30))[-1] == tuple(other)


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda x: x.expand(-1, 3, -1, -1).sort(2)[0].histc(9).expand(1, 3, 9, 9), "aten.histc"),
        (lambda x: torch.fft.rfft2(x.expand(-1, 3, -1, -1)).real, "half a spectrum"),
    ],
    ids=["histogram", "fft"],
)
def test_an_op_without_a_rule_before_the_first_window_is_named(f, said):
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Conv2d(3, 8, 3, 2, 1)

        def forward(self, x):
            return self.c(f(x))

    with pytest.raises(TraceError, match=said):
        trace(First(), (1, 32, 32))


def test_sizes_worked_out_in_a_way_that_is_not_followed_are_unknown():
    graph = trace(Between(lambda y, _: y[..., : len(range(y.shape[3])[::2])]), (3, 24, 32))
    assert [u.op for u in graph.unknown] == ["aten.slice.Tensor"]
    assert "not followed: its sizes follow the input's" in graph.unknown[0].message


def test_a_transposed_convolution_behind_an_unknown_op_counts_at_its_input():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv3d(1, 4, 3, 2, 1), nn.ConvTranspose3d(4, 4, 2, 2)

        def forward(self, x):
            return self.b(torch.fft.fft(self.a(x)).abs())

    found = show(trace(Net(), (1, 16, 16, 16))).to_json()["totals"]["macs"]
    assert found == 4 * 27 * 8**3 + 4 * 4 * 2**3 * 8**3


def first_that_runs(model, channels):
    for n in range(1, 40):
        try:
            model(torch.rand(1, channels, n, n))
        except (RuntimeError, ValueError):
            continue
        return n
    return None


C = nn.Conv2d


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(C(3, 4, 3, 2, 1), C(4, 4, 3, 2, 1), nn.InstanceNorm2d(4)),
        nn.Sequential(C(3, 4, 3, 2, 1), nn.GroupNorm(4, 4)),
        nn.Sequential(C(3, 4, 7, 2, 3, padding_mode="circular")),
        nn.Sequential(C(3, 4, 7, 2, 3, padding_mode="reflect")),
        nn.Sequential(C(3, 4, 3, 2, 1), nn.PixelUnshuffle(2)),
        Between(lambda y, _: y.narrow(2, 0, 6).narrow(3, 0, 6)),
        Between(lambda y, _: y[:, :, 3:-3, 3:-3]),
        Between(lambda y, _: F.interpolate(y[..., ::2, ::2], y.shape[2:]) + y),
        Between(lambda y, _: F.pad(y[..., ::3, ::3], (2, -2, -2, 2))),
    ],
    ids=["instance", "group", "circular", "reflect", "unshuffle", "narrow", "crop", "resize", "pad"],
)
def test_the_smallest_input_is_what_trying_gives(model):
    assert smallest_input(trace(model.eval(), (3, 36, 36))) == (first_that_runs(model, 3),) * 2


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=25, derandomize=True, deadline=None)
@given(seeds())
def test_drawn_networks_have_the_sizes_that_torch_gives(seed):
    drawn = network(seed)
    try:
        graph = trace(drawn.model, drawn.shape)
    except TraceError as error:
        assert "nothing is known" in str(error)
        return
    made = dict(graph.modules)
    x = torch.rand(1, *drawn.shape, dtype=torch.float64)
    for at, step in enumerate(drawn.model.steps):
        x = step(x).detach()
        tensor = graph.tensors[made[f"steps.{at}"]]
        if tensor.known:
            assert tensor.grid is not None
            assert grid_sizes(graph)[tensor.grid] == tuple(x.shape[2:])
        else:
            assert graph.unknown


@pytest.mark.parametrize(
    ("model", "least"),
    [
        (Between(lambda y, w: y.movedim(1, -1).contiguous().movedim(-1, 1) @ w, table=(36, 36)), (1, 36)),
        (Between(lambda y, w: torch.einsum("wi,bchw->bchi", w, y), table=(36, 36)), (1, 1)),
        (Between(lambda y, _: torch.cat([y[..., ::2], y[..., 1::2]], 1), channels=8), (1, 2)),
    ],
    ids=["product", "einsum", "focus"],
)
def test_the_smallest_input_is_found_on_each_axis(model, least):
    assert smallest_input(trace(model.eval(), (3, 36, 36))) == least
    for axis, n in enumerate(least):
        for size, runs in ((n, True), (n - 1, False)):
            try:
                model(torch.rand(1, 3, *(size if a == axis else 36 for a in range(2))))
            except (RuntimeError, ValueError):
                assert not runs
            else:
                assert runs or not size


def sizes_at(model, shape, *other):
    return grid_sizes(trace(model.eval(), shape), other)[-1]


def test_a_crop_to_another_map_is_followed_where_a_table_allows_few_sizes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm = nn.Conv2d(3, 3, 3, 3), nn.LayerNorm([5, 5])

        def forward(self, x):
            y = self.a(x)
            return self.norm(y + x[..., : y.shape[2], : y.shape[3]])

    assert smallest_input(trace(Net(), (3, 16, 16))) == (15, 15)


def test_what_looks_alike_at_the_few_sizes_that_a_table_allows_is_unknown():
    model = Between(
        lambda y, w: F.interpolate(y[..., ::3, ::3], [len(range(n)) // 6 for n in y.shape[2:]]) + w, table=(4, 4)
    )
    graph = trace(model, (3, 25, 25))
    assert "upsample_nearest2d" in graph.unknown[0].op


@pytest.mark.parametrize(
    "f",
    [
        lambda y: F.interpolate(y[..., 1:, 1:], scale_factor=0.5),
        lambda y: F.conv_transpose2d(y, torch.ones(4, 4, 1, 1), stride=2),
    ],
    ids=["what a resize leaves", "gaps"],
)
def test_a_border_of_what_does_not_read_as_far_as_its_field_lets_everything_in(f):
    graph = trace(Between(lambda y, _: F.pad(f(y), (1, 1, 1, 1), mode="replicate")), (3, 24, 24))
    last = fields(graph, grid_sizes(graph)).everything
    assert last[-1]
    graph = trace(Between(lambda y, _: F.pad(f(y), (1, 1, 1, 1))), (3, 24, 24))
    assert not fields(graph, grid_sizes(graph)).everything[-1]


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_a_crop_bordered_with_itself_lets_everything_in(mode):
    graph = trace(Between(lambda y, _: F.pad(y[..., 3:-3], (1, 1, 0, 0), mode=mode)), (3, 24, 24))
    assert fields(graph, grid_sizes(graph)).everything[-1]
    graph = trace(Between(lambda y, _: F.pad(y, (1, 1, 0, 0), mode=mode)), (3, 24, 24))
    assert not fields(graph, grid_sizes(graph)).everything[-1]


@pytest.mark.parametrize(
    "f",
    [
        lambda y, _: y[..., ::24, :].repeat_interleave(2, 2),
        lambda y, _: F.max_pool2d(y, (24, 1))[:, :, :, None].expand(-1, -1, -1, 2, -1).flatten(2, 3),
        lambda y, _: F.avg_pool2d(y, 24).repeat_interleave(3, 3),
    ],
    ids=["rows", "expand", "columns"],
)
def test_positions_are_repeated_where_one_alone_is_left(f):
    model = Between(f)
    for shape in ((3, 24, 24), (3, 50, 49)):
        real = tuple(model(torch.rand(1, *shape)).shape[2:])
        assert sizes_at(model, (3, 24, 24), *shape[1:]) == real


@pytest.mark.parametrize(
    "f",
    [
        lambda y, _: F.interpolate(F.adaptive_avg_pool2d(y, (1, 4)), scale_factor=2),
        lambda y, _: F.adaptive_avg_pool2d(y, 1).expand(-1, -1, 6, 6),
        lambda y, _: F.pixel_shuffle(F.adaptive_avg_pool2d(y, (1, 4)).repeat(1, 4, 1, 1), 2),
        lambda y, _: F.adaptive_avg_pool2d(y, (1, 4)).transpose(2, 3),
    ],
    ids=["resized", "bordered", "shuffled", "exchanged"],
)
def test_positions_made_where_none_are_left_are_unknown(f):
    graph = trace(Between(f), (3, 24, 24))
    assert graph.unknown
    assert not graph.tensors[graph.outputs[0]].known


@pytest.mark.parametrize(
    "f",
    [
        lambda y, _: y[..., ::24, ::24].split(2, 3)[0],
        lambda y, _: y[..., ::12, ::12].unflatten(2, (-1, 2)).flatten(2, 3),
        lambda y, _: y[..., ::6, ::6][:, :, :4],
    ],
    ids=["split", "parts", "slice"],
)
def test_what_takes_everything_at_one_size_takes_no_more_at_another(f):
    model = Between(f).eval()
    graph = trace(model, (3, 24, 24))
    real = tuple(model(torch.rand(1, 3, 72, 72)).shape[2:])
    assert graph.unknown or grid_sizes(graph, (72, 72))[-1] == real


def test_a_map_filled_up_to_whole_windows_stays_known():
    def windows(y, _):
        h, w = y.shape[2:]
        y = F.pad(y, (0, -w % 7, 0, -h % 7))
        parts = y.unflatten(2, (-1, 7)).unflatten(4, (-1, 7))
        return parts.flatten(4, 5).flatten(2, 3)[:, :, :h, :w]

    assert not trace(Between(windows), (3, 30, 30)).unknown


def test_a_normalisation_over_channels_is_no_window_of_the_input():
    model = nn.Sequential(nn.LocalResponseNorm(5), nn.Conv2d(3, 4, 3, 2, 1))
    assert grid_sizes(trace(model, (3, 32, 24)))[-1] == (16, 12)


@pytest.mark.parametrize(
    ("f", "table"),
    [
        (lambda y, w: (y.transpose(2, 3) @ w).transpose(2, 3), (24, 24)),
        (lambda y, w: F.gelu(y.transpose(2, 3) @ w).mT + y, (24, 24)),
        (lambda y, w: torch.fft.fft2(y).real + y, (1,)),
        (lambda y, w: torch.fft.ifft(torch.fft.fft(y, dim=2) * 2, dim=2).abs(), (1,)),
        (lambda y, w: F.grid_sample(y, y[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=False), (1,)),
        (lambda y, w: F.pad(y.mean((2, 3), keepdim=True), (3, 4, 2, 3)), (1,)),
        (lambda y, w: F.avg_pool2d(F.adaptive_max_pool2d(y, 1), 2, 1, 1), (1,)),
    ],
    ids=["turned and back", "bent while turned", "fft", "fft and back", "sampled", "pooled and padded", "pooled twice"],
)
def test_maps_turned_for_a_while_or_made_of_everything_keep_their_sizes_and_let_all_in(f, table):
    model = Between(f, table=table).eval()
    graph = trace(model, (3, 24, 30))
    assert not graph.unknown
    for more in (0, 7):
        given = (24, 30 + more)  # a table holds for 24
        sizes = grid_sizes(graph, given)
        real = tuple(model(torch.rand(1, 3, *given)).shape[2:])
        assert sizes[graph.tensors[graph.outputs[0]].grid] == real
    assert fields(graph, grid_sizes(graph)).everything[graph.tensors[graph.outputs[0]].grid]


@pytest.mark.parametrize(
    ("f", "ends"),
    [
        (lambda y: y.transpose(2, 3), False),
        (lambda y: y.mT, True),
        (lambda y: y.movedim(1, 3).transpose(1, 2).movedim(3, 1), True),
    ],
    ids=["returned", "convolved", "by other orders"],
)
def test_a_map_that_stays_turned_is_unknown_from_there_on(f, ends):
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            y = f(self.a(x))
            return self.b(y) if ends else y

    graph = trace(Turned().eval(), (3, 24, 30))
    assert [u.message.rpartition(": ")[2] for u in graph.unknown] == ["a map whose axes are exchanged"]
    assert not graph.tensors[graph.outputs[0]].known
    assert graph.slots == ()


def test_pictures_turned_before_the_first_window_are_refused_and_a_lone_channel_is_no_axis():
    turned = nn.Sequential(nn.Conv2d(3, 4, 3))
    turned.register_forward_pre_hook(lambda _, given: (given[0].mT,))
    with pytest.raises(TraceError, match="axes are exchanged"):
        trace(turned, (3, 20, 24))

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv3d(1, 4, 3)

        def forward(self, x):
            return self.a(torch.fft.irfft(torch.fft.rfft(x), n=x.shape[-1]))

    with pytest.raises(TraceError, match="half a spectrum"):
        trace(Odd(), (1, 9, 8, 10))


class Spectrogram(nn.Module):
    """Frames by bands, turned so that bands come first, as audio transformers do."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 4, 3, (2, 1))

    def forward(self, x):
        return self.a(x.unsqueeze(1).transpose(2, 3))


def test_a_spectrogram_without_channels_is_read_bands_first():
    graph = trace(Spectrogram(), (20, 16))
    assert graph.grids[0].sizes == (16, 20)
    assert grid_sizes(graph)[-1] == (7, 18)


@pytest.mark.parametrize("channels", [8, 1])
@pytest.mark.parametrize("pooled", [True, False])
def test_a_decoders_first_view_is_a_map_behind_pooled_and_flattened_features(channels, pooled):
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.pool = nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1) if pooled else nn.Identity()
            self.l = nn.Linear(8 if pooled else 8 * 49, channels * 16)
            self.up = nn.ConvTranspose2d(channels, 4, 4, 2, 1)

        def forward(self, x):
            return self.up(self.l(self.pool(self.a(x)).flatten(1)).view(-1, channels, 4, 4))

    graph = trace(Decoder().eval(), (3, 15, 15))
    assert grid_sizes(graph)[graph.tensors[graph.outputs[0]].grid] == (8, 8)


def test_tokens_of_one_position_stay_one_position():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.l, self.b = nn.Conv1d(3, 4, 3, 2), nn.Linear(4, 12), nn.Conv1d(4, 4, 1)

        def forward(self, x):
            q, k, v = self.l(self.a(x[..., :3]).transpose(1, 2)).chunk(3, -1)
            return self.b(F.scaled_dot_product_attention(q, k, v).transpose(1, 2))

    graph = trace(Tokens().eval(), (3, 20))
    assert grid_sizes(graph)[graph.tensors[graph.outputs[0]].grid] == (1,)


def test_all_positions_put_among_the_channels_are_unknown():
    graph = trace(Between(lambda y, w: F.adaptive_avg_pool2d(y, (2, 2)).reshape(1, 16, 1, 1), channels=16), (3, 24, 24))
    assert "all positions of a map put among its channels" in graph.unknown[0].message


def test_a_table_along_a_pooled_axis_makes_as_many_positions_as_it_has():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.l, self.b = nn.Conv1d(3, 4, 3), nn.Linear(1, 6), nn.Conv1d(4, 4, 3, 2)

        def forward(self, x):
            return self.b(self.l(F.adaptive_avg_pool1d(self.a(x), 1)))

    graph = trace(Table().eval(), (3, 20))
    assert grid_sizes(graph)[graph.tensors[graph.outputs[0]].grid] == (2,)


@pytest.mark.parametrize("f", [lambda y: y.repeat(1, 1, 1, 2), lambda y: y.repeat_interleave(3, 2)])
def test_positions_repeated_beside_a_pooled_axis_are_counted_or_unknown(f):
    """Along the axis that is left they are positions; along the other one value, until a table tells them apart."""
    model = Between(lambda y, w: f(F.adaptive_avg_pool2d(y, (4, 1))) * w, table=(2,)).eval()
    graph = trace(model, (3, 24, 24))
    assert graph.unknown
    plain = trace(Between(lambda y, w: f(F.adaptive_avg_pool2d(y, (4, 1)))).eval(), (3, 24, 24))
    made = plain.tensors[plain.nodes[-2].outputs[0]]
    assert grid_sizes(plain)[made.grid][0] == made.shape[2]


def test_windows_on_a_pooled_map_alone_have_no_strides_to_show():
    with pytest.raises(TraceError, match="meet one position each: it has no strides"):
        trace(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1)), (3, 24, 24))


def test_attention_to_one_token_alone_makes_no_positions():
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.l, self.b = nn.Conv2d(3, 3, 3), nn.Linear(3, 9), nn.Conv2d(3, 4, 1)

        def forward(self, x):
            x = F.adaptive_max_pool2d(self.a(x), 1).permute(0, 2, 3, 1)
            q, k, v = self.l(x).chunk(3, -1)
            return self.b((q @ k.mT @ v).permute(0, 3, 1, 2))

    graph = trace(Alone().eval(), (3, 8, 16))
    out = graph.tensors[graph.outputs[0]]
    assert not out.known or grid_sizes(graph)[out.grid] == (1, 1)


def _tokens(y, w):
    t = y.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(t, t, t).transpose(1, 2).reshape(y.shape)


def _rows(y, w):
    return y.unsqueeze(3).expand(*y.shape[:3], 3, y.shape[3]).reshape(*y.shape[:2], -1, y.shape[3])


def _features(y, w):
    return F.linear(y.movedim(1, -1), w).movedim(-1, 1)


@pytest.mark.parametrize("f", [_tokens, _rows, _features], ids=["tokens", "rows repeated", "features"])
@pytest.mark.parametrize("width", [1, 2])
def test_an_axis_of_one_position_is_an_axis(f, width):
    model = Between(f, table=(4, 4))
    model.b = nn.ConvTranspose2d(4, 4, 3, 2)
    graph = trace(model.eval(), (3, 5, width))
    assert not [pin for pin in graph.pins if pin.kind == "flatten"]
    for wide in (width, width + 2):
        with torch.no_grad():
            assert (
                grid_sizes(graph, (5, wide))[graph.tensors[graph.last].grid]
                == model(torch.rand(1, 3, 5, wide)).shape[2:]
            )


def test_one_position_is_spread_where_the_model_spreads_it():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, 1, 1), nn.MaxPool2d((4, 1), (4, 1))

        def forward(self, x):
            y = self.a(x)
            return self.b(y)[:, :, :1] + F.max_pool2d(y, (4, 1))

    model = Sum().eval()
    graph = trace(model, (3, 7, 5))
    assert grid_sizes(graph, (9, 5))[-1] == model(torch.rand(1, 3, 9, 5)).shape[2:] == (2, 5)
    assert fields(graph, grid_sizes(graph, (9, 5))).everything[-1]


def test_a_wrapped_border_of_a_map_cut_short_may_read_anything():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 3), nn.ConvTranspose2d(4, 4, 4, 3, 2), nn.Conv2d(4, 4, 3, 1, 1, padding_mode="circular")
    )
    graph = trace(model, (3, 30, 30))
    assert fields(graph, grid_sizes(graph)).everything[-1]
    model[1] = nn.ConvTranspose2d(4, 4, 4, 2, 1)  # what is cut off reads beyond the map as well
    graph = trace(model, (3, 30, 30))
    assert not fields(graph, grid_sizes(graph)).everything[-1]


def test_a_single_window_says_that_others_are_not_known():
    def windows(y, w):
        t = y.movedim(1, -1).unflatten(1, (y.shape[2] // 2, 2)).movedim(2, -2)
        return (t * t.softmax(-2)).movedim(-2, 2).flatten(1, 2).movedim(-1, 1)

    model = Between(windows)
    model.a = nn.Sequential(nn.Conv2d(3, 4, 3, 3), nn.AvgPool2d((3, 1), (2, 1), ceil_mode=True))
    model.b = nn.Conv2d(4, 4, 1)
    assert trace(model.eval(), (3, 17, 11)).unknown
    assert not trace(model.eval(), (3, 26, 11)).unknown


def test_an_adaptive_pool_says_where_positions_are():
    drawn = network(222001583)  # it pools a picture without a convolution before, then attends
    assert trace(drawn.model, drawn.shape).size == drawn.shape[1:]


def test_features_in_place_of_a_pooled_axis_are_not_followed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d((4, 1)), nn.Linear(1, 5), nn.Conv2d(4, 4, 1))
    assert "along an axis on which none are left" in trace(model, (3, 12, 10)).unknown[0].message


def test_narrow_asks_for_its_positions_behind_a_norm_over_each_picture():
    drawn = network(444002632)
    assert smallest_input(trace(drawn.model, drawn.shape))[1] == 5


def test_a_product_along_an_axis_beside_one_of_one_position():
    drawn = network(444003995)
    graph = trace(drawn.model, drawn.shape)
    assert grid_sizes(graph)[-1] == drawn.model(torch.rand(1, *drawn.shape, dtype=torch.float64)).shape[2:]


class InPatches(nn.Module):
    """Patches of 2x2 brought into the batch by views whose rows lie among the channels for a while, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        n, c, high, wide = x.shape
        rows, columns = high // 2, wide // 2
        x = x.reshape(n * c * rows, 2, columns, 2).transpose(1, 2).reshape(n, c, rows * columns, 4)
        x = x.transpose(1, 3).reshape(n * 4, rows * columns, c).softmax(-1)
        x = x.view(n, 4, rows * columns, c).transpose(1, 3).reshape(n * c * rows, columns, 2, 2)
        return self.last(x.transpose(1, 2).reshape(n, c, high, wide))


@pytest.mark.parametrize("size", [(32, 32), (36, 40), (28, 64)])
def test_rows_that_lie_among_the_channels_for_a_while_come_back(size: tuple[int, int]) -> None:
    graph = trace(InPatches().eval(), (3, *size))
    assert not graph.unknown
    assert show(graph).totals.output_stride == (4, 4)
    assert [p.blocks for p in graph.pins if p.kind == "window"] == [(2, 0), (0, 2)]
