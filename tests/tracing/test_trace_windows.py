"""Output sizes of one axis against torch, for drawn windows."""

from fractions import Fraction
from itertools import product

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stridewise.axis import SELF, Adaptive, Phased, Repeat, Resize, Slice, Transposed, Window, same_padding
from stridewise.errors import GeometryError

many = settings(max_examples=150, deadline=None, derandomize=True)
META = torch.device("meta")


def empty(size):
    """One channel of `size` positions; shapes are all that is asked."""
    return torch.empty(1, 1, size, device=META)


def agrees(change, size, function):
    """The map's output size is torch's, and what the map refuses torch refuses."""
    try:
        expected = function(empty(size)).shape[-1]
    except (RuntimeError, ValueError):
        expected = 0
    try:
        mine = change.out_size(size)
    except GeometryError:
        mine = 0
    assert mine == expected


sizes, kernels, strides = st.integers(1, 40), st.integers(1, 6), st.integers(1, 5)


@many
@given(sizes, kernels, strides, st.integers(0, 4), st.integers(1, 3))
def test_convolution(size, kernel, stride, padding, dilation):
    window = Window(kernel=kernel, stride=stride, dilation=dilation, pad_begin=padding, pad_end=padding)
    weight = torch.empty(1, 1, kernel, device=META)
    agrees(window, size, lambda x: F.conv1d(x, weight, None, stride, padding, dilation))


@many
@given(sizes, kernels, strides, st.integers(0, 3), st.integers(1, 3), st.booleans())
def test_maximum_pool(size, kernel, stride, padding, dilation, ceil):
    assume(padding <= kernel // 2)
    window = Window(kernel=kernel, stride=stride, dilation=dilation, pad_begin=padding, pad_end=padding, ceil_mode=ceil)
    agrees(
        window,
        size,
        lambda x: F.max_pool2d(x[..., None, :], (1, kernel), (1, stride), (0, padding), (1, dilation), ceil),
    )


@many
@given(sizes, kernels, strides, st.integers(0, 3), st.booleans())
def test_average_pool(size, kernel, stride, padding, ceil):
    assume(padding <= kernel // 2)
    window = Window(kernel=kernel, stride=stride, pad_begin=padding, pad_end=padding, ceil_mode=ceil)
    agrees(window, size, lambda x: F.avg_pool2d(x[..., None, :], (1, kernel), (1, stride), (0, padding), ceil))


@many
@given(sizes, kernels, strides, st.integers(0, 3), st.integers(1, 3), st.integers(0, 3))
def test_transposed_convolution(size, kernel, stride, padding, dilation, extra):
    assume(extra < max(stride, dilation))
    window = Transposed(
        kernel=kernel, stride=stride, dilation=dilation, pad_begin=padding, pad_end=padding, output_padding=extra
    )
    weight = torch.empty(1, 1, kernel, device=META)
    agrees(window, size, lambda x: F.conv_transpose1d(x, weight, None, stride, padding, extra, 1, dilation))


@many
@given(sizes, kernels, strides, st.integers(1, 3), st.integers(1, 3))
def test_what_reads_a_coarse_grid_reads_its_positions_alone(size, kernel, stride, m_out, offset):
    """Phase b of the output is what the map makes of x[b * offset :: m_in]."""
    m_in = (m_out - 1) * offset + 2
    inner = Transposed(kernel=kernel, stride=stride)
    coarse = Phased(inner=inner, m_in=m_in, m_out=m_out, offset=offset)
    assert coarse.out_size(size * m_in) == m_out * inner.out_size(size)
    assert coarse.step(size * m_in) == inner.step(size) * m_in / m_out
    advance, taps = coarse.taps(size * m_in)
    field = coarse.field(SELF, size * m_in)
    for turn, phase in product(range(3), range(m_out)):
        plain = inner.field(SELF, size).at(turn)
        want = plain and tuple(tap * m_in + phase * offset for tap in plain)
        at = turn * m_out + phase
        read = [tap + at // len(taps) * advance for tap in taps[at % len(taps)]]
        assert field.at(at) == want == ((min(read), max(read)) if read else None)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@many
@given(sizes, st.integers(1, 5), st.integers(1, 3))
def test_same_padding_of_step_one(size, kernel, dilation):
    weight = torch.empty(1, 1, kernel, device=META)
    begin, end = same_padding(size, kernel, 1, dilation)
    x = torch.arange(1.0, size + 1)[None, None]
    window = Window(kernel=kernel, dilation=dilation, same="end")
    agrees(window, size, lambda x: F.conv1d(x, weight, None, 1, "same", dilation))
    taps = torch.zeros(1, 1, kernel)
    taps[..., 0] = 1.0
    first = F.conv1d(F.pad(x, (begin, end)), taps, None, 1, 0, dilation)
    assert torch.equal(first, F.conv1d(x, taps, None, 1, "same", dilation)), "the same pixel arrives"


@many
@given(st.integers(1, 60), st.sampled_from([2, 3, 4, 0.5, 1.5, 2.5, 0.25, 0.75, 1.25]))
def test_resize_by_a_factor(size, factor):
    change = Resize(factor=Fraction(factor), mode="nearest")
    agrees(change, size, lambda x: F.interpolate(x, scale_factor=factor) if int(size * factor) else x[..., :0])


@many
@given(st.integers(1, 40), st.integers(1, 12))
def test_adaptive_pool(size, to):
    assert Adaptive(to=to).out_size(size) == F.adaptive_avg_pool1d(empty(size), to).shape[-1]
    ramp = torch.eye(size)[None]
    read = F.adaptive_avg_pool1d(ramp, to)[0] > 0  # input position x cell
    advance, taps = Adaptive(to=to).taps(size)
    for cell in range(to):
        turn, phase = divmod(cell, len(taps))
        assert read[:, cell].nonzero().flatten().tolist() == [t + turn * advance for t in taps[phase]]


@many
@given(st.integers(1, 40), st.integers(-12, 20), st.one_of(st.none(), st.integers(-12, 30)), st.integers(1, 4))
def test_slice(size, start, stop, stride):
    change = Slice(start=start, stop=stop, stride=stride)
    agrees(change, size, lambda x: x[..., start:stop:stride])
    cut = torch.arange(size)[start:stop:stride].tolist()
    if cut:
        advance, taps = change.taps(size)
        assert cut == [taps[0][0] + i * advance for i in range(len(cut))]


@many
@given(st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_rearrangement(size, factor, gathers):
    x = torch.empty(1, factor * factor, size, size, device=META)
    if gathers:
        change, function = Repeat(window=factor), F.pixel_unshuffle
    else:
        change, function = Repeat(times=factor), F.pixel_shuffle
    agrees(change, size, lambda _: function(x, factor))


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("begin", [-1, 0, 2])
def test_a_windows_taps_are_the_pixels_that_arrive(kernel, stride, begin):
    window = Window(kernel=kernel, stride=stride, pad_begin=begin, pad_end=1)
    size = 12
    x = F.pad(torch.eye(size)[:, None], (begin, 1))
    read = F.conv1d(x, torch.ones(1, 1, kernel), None, stride)[:, 0] > 0
    advance, taps = window.taps(size)
    assert read.shape[1] == window.out_size(size)
    for position in range(read.shape[1]):
        wanted = [t + position * advance for t in taps[0]]
        assert read[:, position].nonzero().flatten().tolist() == [t for t in wanted if 0 <= t < size]
