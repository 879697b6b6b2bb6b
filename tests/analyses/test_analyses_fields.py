"""Smallest fields, fields behind attention and resizes to another map, centres and hulls: against definitions."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import stridewise as sw
from stridewise.analyses.fields import fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.axis import MAX_PHASES, SELF, Field, Resize, Window
from stridewise.axis.fields import _hull_through


class Skipping(nn.Module):
    """A residual block between two convolutions."""

    def __init__(self):
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 4, 1, 2), nn.Conv2d(4, 4, 5, 1, 2), nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.body(x) + x)


def test_the_smallest_field_takes_the_shortest_path():
    graph = sw.trace(Skipping(), (3, 32, 32))
    found = fields(graph, grid_sizes(graph))
    assert [(f[0].size, s[0].size) for f, s in zip(found.full, found.least, strict=True)] == [
        (1, 1),  # the input
        (1, 1),  # stem
        (9, 9),  # body: five positions, two input positions apart
        (9, 1),  # behind the skip
        (13, 5),  # head
    ]
    assert not fields(graph, grid_sizes(graph), smallest=False).least


class Asking(nn.Module):
    """Attention whose queries see one position and whose keys and values see five."""

    def __init__(self):
        super().__init__()
        self.values, self.queries = nn.Conv2d(3, 4, 5, 1, 2), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        v, q = self.values(x).flatten(2).transpose(1, 2), self.queries(x).flatten(2).transpose(1, 2)
        out = functional.scaled_dot_product_attention(q[:, None], v[:, None], v[:, None])[:, 0]
        return out.transpose(1, 2).reshape(1, 4, x.shape[2], x.shape[3])


def test_behind_attention_the_local_field_is_that_of_the_queries():
    graph = sw.trace(Asking(), (3, 8, 8))
    found = fields(graph, grid_sizes(graph))
    last = graph.tensors[graph.outputs[0]].grid
    assert [f.size for f in found.full[last]] == [1, 1]
    assert found.everything[last]
    assert not any(everything for grid, everything in zip(graph.grids, found.everything, strict=True) if not grid.mixes)


class Like(nn.Module):
    """A coarse map brought to the size of a fine one."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x):
        fine = self.fine(x)
        return fine + functional.interpolate(self.coarse(fine), size=fine.shape[2:])


@pytest.mark.parametrize(("size", "approximate"), [(32, False), (30, True)])
def test_a_resize_to_another_map_is_exact_where_its_factor_is(size, approximate):
    graph = sw.trace(Like(), (3, size, size))
    follow = next(grid for grid in graph.grids if grid.kind == "follow")
    found = fields(graph, grid_sizes(graph)).full[follow.index]
    assert [f.approximate for f in found] == [approximate] * 2
    assert [f.jump for f in found] == [2, 2]


spans = st.lists(
    st.tuples(st.integers(-5, 5), st.integers(0, 6)).map(lambda s: (s[0], s[0] + s[1])), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(spans, st.integers(1, 7))
def test_the_centre_is_the_mean_of_the_spans_without_their_steps(found, advance):
    field = Field(advance=advance, spans=tuple(found))
    whole = [Fraction(first + last, 2) - r * Fraction(advance, len(found)) for r, (first, last) in enumerate(found)]
    assert field.centre == sum(whole) / len(whole)
    again = Field(advance=advance, spans=(*found, None))
    kept = [Fraction(a + b, 2) - r * Fraction(advance, len(found) + 1) for r, (a, b) in enumerate(found)]
    assert again.centre == sum(kept) / len(kept)
    assert Field(advance=advance, spans=(None, None)).centre == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.lists(st.lists(st.integers(-3, 9), min_size=1, max_size=3), min_size=1, max_size=6))
def test_a_hull_holds_every_span_and_touches_one(advance, taps):
    field = Window(kernel=3, stride=2, pad_begin=1).field(SELF, 40)
    hull = _hull_through(field, advance, tuple(tuple(t) for t in taps))
    step = Fraction(advance, len(taps)) * field.jump
    assert hull.approximate
    assert hull.jump == step
    lows, highs = [Fraction(0)], [Fraction(0)]
    for position in range(3 * len(taps)):
        turn, phase = divmod(position, len(taps))
        read = [field.at(tap + turn * advance) for tap in taps[phase]]
        low, high = min(s[0] for s in read), max(s[1] for s in read)
        span = hull.at(position)
        assert span[0] <= low
        assert high <= span[1]
        lows.append(low - position * step)
        highs.append(high - position * step)
    first, last = math.floor(min(lows)), math.ceil(max(highs))
    for position in range(4):
        assert hull.at(position) == (first + math.floor(position * step), last + math.ceil(position * step))


def test_a_step_with_too_many_phases_is_the_nearest_with_few():
    field = Resize(to=1001).field(SELF, 997)
    assert field.approximate
    assert field.jump.denominator <= MAX_PHASES
    assert abs(field.jump - Fraction(997, 1001)) < Fraction(1, MAX_PHASES)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize(("size", "to"), [(12, 4), (12, 6), (15, 5), (12, 8)])
def test_an_antialiased_resize_reads_what_torch_reads(mode, size, to):
    change = Resize(factor=Fraction(to, size), mode=mode, antialias=True)
    advance, taps = change.taps(size)
    name = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    x = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    for position in range(to):
        out = functional.interpolate(x, size=(to, to), mode=name, antialias=True)
        (gradient,) = torch.autograd.grad(out[0, 0, position].sum(), x)
        read = gradient[0, 0].abs().sum(1).nonzero().flatten().tolist()
        turn, phase = divmod(position, len(taps))
        ours = [tap + turn * advance for tap in taps[phase]]
        inside = [tap for tap in ours if 0 <= tap < size]
        assert set(read) <= set(inside)  # a cubic weight may be nought in between
        assert (read[0], read[-1]) == (inside[0], inside[-1])


def test_antialiasing_keeps_half_pixel_centres_though_corners_are_to_be_aligned():
    x = torch.rand(1, 1, 8, 4, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.interpolate(x, (12, 4), mode="bicubic", align_corners=True, antialias=True)
    field = Resize(to=12, mode="cubic", align_corners=True, antialias=True).field(SELF, 8)
    for position in range(12):
        (gradient,) = torch.autograd.grad(y[0, 0, position].sum(), x, retain_graph=True)
        hit = gradient[0, 0].abs().sum(1).nonzero().flatten().tolist()
        first, last = field.at(position)
        assert first <= hit[0]
        assert hit[-1] <= last
