"""Boxes against strides: the vectorised figures are those of loops over every cell."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stridewise.datafit.boxes import (
    Objects,
    box_row,
    cells_of,
    centres_inside,
    mean_positions,
    object_sizes,
    shared_cells,
)
from stridewise.datafit.strides import StrideSet, stride_set

CLASSES = ("cat", "dog", "cow")
eighths = st.integers(1, 480).map(lambda n: n / 8)


@st.composite
def objects(draw: st.DrawFn) -> Objects:
    """Up to three pictures of up to 60x60 pixels with boxes on eighths of a pixel."""
    sizes = draw(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=3))
    rows = []
    for number, (high, wide) in enumerate(sizes):
        for _ in range(draw(st.integers(0, 4))):
            y0, x0 = (draw(st.integers(0, 8 * extent - 1)) for extent in (high, wide))
            y1, x1 = draw(st.integers(y0 + 1, 8 * high)), draw(st.integers(x0 + 1, 8 * wide))
            rows.append((x0 / 8, y0 / 8, x1 / 8, y1 / 8, draw(st.integers(0, 2)), number))
    table = np.array(rows, float).reshape(-1, 6)
    return Objects(
        corners=table[:, :4],
        classes=table[:, 4].astype(int),
        picture=table[:, 5].astype(int),
        names=tuple(f"p{number}" for number in range(len(sizes))),
        sizes=tuple(sizes),
    )


stride = st.tuples(st.integers(1, 40), st.integers(1, 40))
sets = st.lists(stride, min_size=1, max_size=3).map(stride_set)


def cells_by_loop(box: np.ndarray, size: tuple[int, int], step: tuple[int, int]) -> int:
    x0, y0, x1, y1 = box
    rows, columns = (range(math.ceil(extent / s)) for extent, s in zip(size, step, strict=True))
    centres = (((i + 0.5) * step[0], (j + 0.5) * step[1]) for i, j in product(rows, columns))
    return sum(y0 <= cy < y1 and x0 <= cx < x1 for cy, cx in centres)


@settings(max_examples=150, deadline=None)
@given(objects(), sets)
def test_cells_are_those_of_a_loop_over_every_cell(drawn: Objects, strides: StrideSet) -> None:
    row = box_row(drawn, strides, CLASSES, None)
    counted = [
        max(cells_by_loop(box, drawn.sizes[number], step) for step in strides)
        for box, number in zip(drawn.corners, drawn.picture, strict=True)
    ]
    for kind, figures in [(None, row.overall), *enumerate(row.classes)]:
        own = [n for n, c in zip(counted, drawn.classes, strict=True) if kind is None or c == kind]
        assert figures.objects == len(own)
        if own:
            assert figures.reachable == pytest.approx(sum(n > 0 for n in own) / len(own))
            assert figures.cells_median == np.median(own)
            # the largest count that at least 95 % of the objects have
            assert sum(n >= (figures.cells_p5 or 0) for n in own) >= 0.95 * len(own)
            assert sum(n > (figures.cells_p5 or 0) for n in own) < 0.95 * len(own) or figures.cells_p5 == max(own)
        else:
            assert figures.reachable is None
    lost = {
        p: sum(n == 0 for n, q in zip(counted, drawn.picture, strict=True) if q == p) for p in range(len(drawn.names))
    }
    assert {entry.name: entry.count for entry in row.lost} == {f"p{p}": n for p, n in lost.items() if n}


@settings(max_examples=150, deadline=None)
@given(objects(), stride)
def test_shared_cells_are_those_of_comparing_every_pair(drawn: Objects, step: tuple[int, int]) -> None:
    def cell(index: int) -> tuple[int, ...]:
        x0, y0, x1, y1 = drawn.corners[index]
        return (int(drawn.picture[index]), int((y0 + y1) / 2 // step[0]), int((x0 + x1) / 2 // step[1]))

    shared, other = shared_cells(drawn, step)
    everyone = range(len(drawn.classes))
    for me in everyone:
        mates = [you for you in everyone if you != me and cell(you) == cell(me)]
        assert shared[me] == bool(mates)
        assert other[me] == any(drawn.classes[you] != drawn.classes[me] for you in mates)


@settings(max_examples=100, deadline=None)
@given(eighths, st.integers(1, 40))
def test_the_chance_to_contain_a_centre_is_width_over_stride(width: float, step: int) -> None:
    begin = np.arange(8 * step) / 8 + 3 * step
    share = (centres_inside(begin, begin + width, step) > 0).mean()
    assert share == min(1.0, width / step)


@settings(max_examples=50, deadline=None)
@given(eighths, eighths, stride)
def test_the_mean_number_of_cells_is_area_over_cell_area(high: float, wide: float, step: tuple[int, int]) -> None:
    y, x = (grid.reshape(-1) for grid in np.meshgrid(*(np.arange(8 * s) / 8 for s in step), indexing="ij"))
    mean = cells_of(np.column_stack([x, y, x + wide, y + high]), step).mean()
    assert mean == pytest.approx(high * wide / (step[0] * step[1]))


@given(objects())
def test_a_stride_of_one_reaches_whatever_covers_a_pixel_centre(drawn: Objects) -> None:
    cells = cells_of(drawn.corners, (1, 1))
    centre_x = np.ceil(drawn.corners[:, 2] - 0.5) - np.ceil(drawn.corners[:, 0] - 0.5)
    centre_y = np.ceil(drawn.corners[:, 3] - 0.5) - np.ceil(drawn.corners[:, 1] - 0.5)
    np.testing.assert_array_equal(cells, centre_x * centre_y)


def test_a_centre_belongs_to_the_box_that_begins_on_it() -> None:
    begin, end = np.array([4.0, 0.0, 4.1]), np.array([4.5, 4.0, 12.0])
    assert centres_inside(begin, end, 8).tolist() == [1, 0, 0]


def test_positions_count_the_cells_of_all_maps() -> None:
    assert mean_positions([(32, 64), (33, 64)], stride_set("16,32")) == ((2 * 4 + 1 * 2) + (3 * 4 + 2 * 2)) / 2


def test_the_field_is_compared_on_the_tighter_axis() -> None:
    drawn = Objects(
        corners=np.array([[0, 0, 20.0, 10], [0, 0, 40, 40]]),
        classes=np.array([0, 0]),
        picture=np.array([0, 0]),
        names=("a",),
        sizes=((64, 64),),
    )
    figures = box_row(drawn, stride_set("8"), ("cat",), (30, 30)).overall
    assert figures.field_median == pytest.approx((30 / 20 + 30 / 40) / 2)
    assert figures.larger_than_field == 0.5
    assert box_row(drawn, stride_set("8"), ("cat",), None).overall.field_median is None


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=30))
def test_every_object_is_in_the_histogram_where_it_belongs(areas: list[float]) -> None:
    sizes = object_sizes(np.array(areas))
    assert sizes is not None
    assert sum(sizes.counts) == len(areas)
    edges = np.array(sizes.edges)
    for begin, end, count in zip(edges, edges[1:], sizes.counts, strict=False):
        assert count == sum(bool(begin <= np.sqrt(a) < end) for a in areas)
    assert object_sizes(np.zeros(0)) is None
