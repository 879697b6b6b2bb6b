"""The operation against torch: values, shapes, multiplications, and the walk that fills the same cells."""

import math
import re
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from stridewise.convolution import Axis, axes, convolve, multiplications, walk
from stridewise.errors import GeometryError, UsageError

CONV = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}
drawn = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def cases(draw):
    """x, weight, bias and per-axis settings of a convolution in which a window fits."""
    count = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    per_axis = [
        {
            "kernel": (kernel := draw(st.integers(1, 4))),
            "dilation": (dilation := draw(st.integers(1, 3))),
            "pads": (pads := (draw(st.integers(0, 3)), draw(st.integers(0, 3)))),
            "stride": draw(st.integers(1, 4)),
            "size": draw(st.integers(max(1, dilation * (kernel - 1) + 1 - sum(pads)), 10)),
        }
        for _ in range(count)
    ]
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    per_group = draw(st.integers(1, 2))
    outs = groups * draw(st.integers(1, 2))
    x = random.normal(size=(*batch, groups * per_group, *(axis["size"] for axis in per_axis)))
    weight = random.normal(size=(outs, per_group, *(axis["kernel"] for axis in per_axis)))
    bias = random.normal(size=outs) if draw(st.booleans()) else None
    return (
        (x, weight, bias),
        {
            "stride": tuple(axis["stride"] for axis in per_axis),
            "padding": [axis["pads"] for axis in per_axis],
            "dilation": tuple(axis["dilation"] for axis in per_axis),
            "groups": groups,
        },
    )


def by_torch(x, weight, bias, *, stride, padding, dilation, groups):
    pads = [side for pair in reversed(padding) for side in pair]
    padded = torch.nn.functional.pad(torch.from_numpy(x), pads)
    bias = None if bias is None else torch.from_numpy(bias)
    conv = CONV[weight.ndim - 2]
    return conv(padded, torch.from_numpy(weight), bias, stride=stride, dilation=dilation, groups=groups).numpy()


@drawn
@given(cases())
def test_the_feature_map_is_torchs(case):
    arrays, setting = case
    expected = by_torch(*arrays, **setting)
    found = convolve(*arrays, **setting)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@drawn
@given(cases())
def test_the_walk_fills_the_same_cells_one_by_one(case):
    (x, weight, bias), setting = case
    expected = by_torch(x, weight, bias, **setting)
    filled = np.full(expected.shape, np.nan)
    for index, step in enumerate(walk(x, weight, bias, **setting)):
        assert step.index == index
        assert np.isnan(filled[step.cell])
        assert step.sum == pytest.approx(step.products.sum())
        filled[step.cell] = step.value
    np.testing.assert_allclose(filled, expected, rtol=1e-12, atol=1e-12)


@drawn
@given(cases(), st.data())
def test_a_step_says_where_its_window_lies(case, data):
    (x, weight, bias), setting = case
    steps = by_torch(x, weight, bias, **setting).size
    step = next(walk(x, weight, bias, **setting, start=data.draw(st.integers(0, steps - 1))))
    channels = weight.shape[1]
    first = step.cell[-weight.ndim + 1] // (len(weight) // setting["groups"]) * channels
    channel_axis = x.ndim - weight.ndim + 1
    part = x[step.cell[0]] if channel_axis else x
    for tap in np.ndindex(weight.shape[2:]):
        place = tuple(b + t * d for b, t, d in zip(step.begin, tap, setting["dilation"], strict=True))
        inside = all(0 <= at < size for at, size in zip(place, part.shape[1:], strict=True))
        assert step.inside[tap] == inside
        for channel in range(channels):
            value = part[(first + channel, *place)] if inside else 0.0
            assert step.values[(channel, *tap)] == value
            assert step.products[(channel, *tap)] == value * weight[(step.cell[channel_axis], channel, *tap)]
    spans = [d * (k - 1) + 1 for d, k in zip(setting["dilation"], weight.shape[2:], strict=True)]
    assert [stop - begin for begin, stop in zip(step.begin, step.stop, strict=True)] == spans


@drawn
@given(cases())
def test_multiplications_are_half_of_torchs_flops(case):
    (x, weight, bias), setting = case
    with FlopCounterMode(display=False) as counter:
        by_torch(x, weight, bias, **setting)
    shared = {name: setting[name] for name in ("stride", "padding", "dilation")}
    found = multiplications(x.shape, weight.shape, **shared)
    assert found.total == counter.get_total_flops() // 2
    on_padding = sum(int((~step.inside).sum()) * weight.shape[1] for step in walk(x, weight, bias, **setting))
    assert found.on_padding == on_padding


@drawn
@given(cases())
def test_the_formula_gives_torchs_size(case):
    (x, weight, bias), setting = case
    shared = {name: setting[name] for name in ("stride", "padding", "dilation")}
    along = axes(x.shape[-weight.ndim + 2 :], weight.shape[2:], **shared)
    for axis, size in zip(along, by_torch(x, weight, bias, **setting).shape[-len(along) :], strict=True):
        expression, result = re.fullmatch(r"out = (.*) = (\d+)", axis.formula).groups()
        assert eval(expression, {"floor": math.floor}) == int(result) == size == axis.out_size


@drawn
@given(cases())
def test_what_an_axis_reads_is_where_the_gradient_lands(case):
    (x, weight, _), setting = case
    shared = {name: setting[name] for name in ("stride", "padding", "dilation")}
    along = axes(x.shape[-weight.ndim + 2 :], weight.shape[2:], **shared)
    for axis in along:
        line = torch.zeros(1, 1, axis.size, dtype=torch.float64, requires_grad=True)
        padded = torch.nn.functional.pad(line, (axis.begin, axis.end))
        taps = torch.ones(1, 1, axis.kernel, dtype=torch.float64)
        out = torch.nn.functional.conv1d(padded, taps, stride=axis.stride, dilation=axis.dilation)
        (gradient,) = torch.autograd.grad(out.sum(), line)
        reads = gradient[0, 0].numpy()
        assert [len(axis.readers(position)) for position in range(axis.size)] == reads.tolist()
        assert axis.read().tolist() == (reads > 0).tolist()
        assert axis.coverage() * axis.size == int((reads > 0).sum())
        padded_reads = np.zeros(axis.padded)
        for cell in range(axis.out_size):
            start = axis.start(cell) + axis.begin
            padded_reads[start : start + axis.span] = 1
        unused = axis.padded - int(np.flatnonzero(padded_reads)[-1]) - 1
        assert axis.remainder == unused
        assert axis.dropped == min(axis.size, max(0, unused - axis.end))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch copies the input and says so
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 1), (4, 1), (2, 3), (5, 2)])
def test_same_padding_is_torchs(kernel, dilation):
    random = np.random.default_rng(kernel)
    x, weight = random.normal(size=(2, 11)), random.normal(size=(3, 2, kernel))
    expected = torch.nn.functional.conv1d(
        torch.from_numpy(x), torch.from_numpy(weight), padding="same", dilation=dilation
    )
    found = convolve(x, weight, padding="same", dilation=dilation)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12, atol=1e-12)
    strided = convolve(x, weight, padding="same", dilation=dilation, stride=3)
    np.testing.assert_allclose(strided, found[:, ::3], rtol=1e-12, atol=1e-12)


def test_whole_numbers_are_computed_as_floats():
    found = convolve(np.full((1, 3), 200, np.uint8), np.ones((1, 1, 3), np.uint8))
    assert found.tolist() == [[600.0]]


def test_single_precision_stays_single():
    assert convolve(np.ones((1, 3), np.float32), np.ones((1, 1, 3), np.float32)).dtype == np.float32


def test_the_input_is_left_as_it_was():
    x = np.arange(12.0).reshape(1, 3, 4)
    step = next(walk(x, np.ones((1, 1, 2, 2))))
    assert not step.values.flags.writeable
    assert x.flags.writeable
    assert x.ravel().tolist() == list(range(12))


def test_a_step_prints_window_weights_products_and_sum():
    step = next(walk([[[1.0, 2.0], [3.0, 4.0]]], [[[[1.0, -1.0], [0.5, 2.0]]]], [10.0], padding=[(1, 0), (0, 0)]))
    assert str(step).splitlines() == [
        "step 0: window [-1, 1) x [0, 2), fills cell (0, 0, 0)",
        "  (0) (0) *  1.00 -1.00 =  (0)  (0)",
        "    1   2 *  0.50  2.00 = 0.50 4.00",
        "  sum 4.5 + bias 10 = 14.5",
    ]


def test_the_first_steps_need_not_the_rest():
    x = np.zeros((1, 2000, 2000))
    assert [step.cell for step in islice(walk(x, np.ones((1, 1, 3, 3)), stride=2), 2)] == [(0, 0, 0), (0, 0, 1)]


@pytest.mark.parametrize(
    ("error", "words", "shapes", "setting"),
    [
        (UsageError, "stride 0 on axis 1: a whole number of at least 1", ((1, 5, 5), (1, 1, 3, 3)), {"stride": (1, 0)}),
        (UsageError, "stride 1.5 on axis 0: a whole number", ((1, 5, 5), (1, 1, 3, 3)), {"stride": 1.5}),
        (
            UsageError,
            "stride 1x2x3 has 3 entries, the input has 2 axes",
            ((1, 5, 5), (1, 1, 3, 3)),
            {"stride": (1, 2, 3)},
        ),
        (UsageError, "padding -1 on axis 0", ((1, 5), (1, 1, 3)), {"padding": -1}),
        (UsageError, "padding much on axis 0", ((1, 5), (1, 1, 3)), {"padding": "much"}),
        (UsageError, r"padding 1x2x3 on axis 0: .* \(begin, end\)", ((1, 5), (1, 1, 3)), {"padding": [(1, 2, 3)]}),
        (UsageError, "dilation 0 on axis 0", ((1, 5), (1, 1, 3)), {"dilation": 0}),
        (
            GeometryError,
            "axis 1: no window fits: the kernel spans 7 .* has 5 padded by 0\\+1",
            ((1, 9, 5), (1, 1, 3, 3)),
            {"dilation": 3, "padding": [0, (0, 1)]},
        ),
        (GeometryError, "reads 2 channels, the input .* has 3", ((3, 5), (1, 2, 3)), {}),
        (GeometryError, "out divisible by groups", ((4, 5), (3, 2, 3)), {"groups": 2}),
        (GeometryError, "needed are", ((5, 5), (3, 3)), {}),
        (GeometryError, "neither may be empty", ((1, 0), (1, 1, 1)), {"padding": 2}),
    ],
)
@pytest.mark.parametrize("run", [convolve, walk])
def test_what_cannot_be_computed_is_said_in_a_line(run, error, words, shapes, setting):
    with pytest.raises(error, match=words) as caught:
        run(*(np.ones(shape) for shape in shapes), **setting)
    assert "\n" not in str(caught.value)


def test_a_bias_of_the_wrong_length_is_refused():
    with pytest.raises(GeometryError, match=r"bias \(3,\): one number for each of the 2"):
        convolve(np.ones((1, 5)), np.ones((2, 1, 3)), np.ones(3))


def test_an_axis_knows_its_numbers():
    axis = Axis(size=10, kernel=3, stride=4, dilation=2, begin=1, end=0)
    assert (axis.span, axis.out_size, axis.remainder, axis.dropped) == (5, 2, 2, 2)
    assert axis.positions().tolist() == [[-1, 1, 3], [3, 5, 7]]
    assert axis.formula == "out = floor((10 + 1 + 0 - 2*(3-1) - 1) / 4) + 1 = 2"
