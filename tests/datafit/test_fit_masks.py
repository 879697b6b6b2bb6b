"""Masks against strides: rounding, overlap, boundaries and regions equal what loops over pixels say."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stridewise.data import IGNORE
from stridewise.datafit.masks import (
    MaskTotals,
    _widened,
    boundary,
    boundary_f1,
    boundary_tolerance,
    components,
    rounded,
)

ndimage = pytest.importorskip("scipy.ndimage")

CLASSES = ("sky", "road", "car")
masks = arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from([0, 1, 2, IGNORE]),
    fill=st.sampled_from([0, 1]),
)
stride = st.tuples(st.integers(1, 6), st.integers(1, 6))


def rounded_by_loop(mask: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    out = mask.copy()
    for top in range(0, mask.shape[0], step[0]):
        for left in range(0, mask.shape[1], step[1]):
            cell = np.s_[top : top + step[0], left : left + step[1]]
            votes = Counter(int(v) for v in mask[cell].reshape(-1) if v != IGNORE)
            if votes:
                winner = min(votes, key=lambda label: (-votes[label], label))
                out[cell] = np.where(mask[cell] == IGNORE, IGNORE, winner)
    return out


def regions_by_flood(mask: np.ndarray) -> list[tuple[int, frozenset[tuple[int, int]]]]:
    left = {(y, x) for y, x in np.argwhere(mask != IGNORE).tolist()}
    found = []
    while left:
        seed = left.pop()
        region, edge = {seed}, [seed]
        while edge:
            y, x = edge.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            near = {place for place in near if mask[place] == mask[seed]}
            left -= near
            region |= near
            edge += near
        found.append((int(mask[seed]), frozenset(region)))
    return found


@settings(max_examples=150, deadline=None)
@given(masks, stride)
def test_rounding_is_the_majority_of_every_cell(mask: np.ndarray, step: tuple[int, int]) -> None:
    out = rounded(mask, step, 3)
    np.testing.assert_array_equal(out, rounded_by_loop(mask, step))
    np.testing.assert_array_equal(rounded(out, step, 3), out)
    assert out.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(masks)
def test_regions_are_those_of_a_flood_fill(mask: np.ndarray) -> None:
    numbers, classes, areas = components(mask)
    ours = {
        (int(classes[k]), frozenset(map(tuple, np.argwhere(numbers == k + 1).tolist()))) for k in range(len(classes))
    }
    theirs = regions_by_flood(mask)
    assert ours == set(theirs)
    assert sorted(areas.tolist()) == sorted(len(region) for _, region in theirs)


@settings(max_examples=100, deadline=None)
@given(masks, masks, st.integers(1, 3))
def test_boundaries_are_met_within_the_tolerance(first: np.ndarray, second: np.ndarray, by: int) -> None:
    size = tuple(min(pair) for pair in zip(first.shape, second.shape, strict=True))
    edges = [boundary(mask[: size[0], : size[1]]) for mask in (first, second)]
    places = [np.argwhere(edge) for edge in edges]
    f1 = boundary_f1(edges[0], edges[1], by)
    if not len(places[0]) and not len(places[1]):
        assert f1 is None
    elif not len(places[0]) or not len(places[1]):
        assert f1 == 0.0
    else:
        near = np.abs(places[0][:, None] - places[1][None]).max(axis=2) <= by
        recall, precision = near.any(axis=1).mean(), near.any(axis=0).mean()
        assert f1 == pytest.approx(2 * precision * recall / (precision + recall) if precision + recall else 0.0)


@given(masks)
def test_a_boundary_has_another_class_beside_it(mask: np.ndarray) -> None:
    edge = boundary(mask)
    for y, x in np.ndindex(mask.shape):
        near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        labels = [int(mask[p]) for p in near if 0 <= p[0] < mask.shape[0] and 0 <= p[1] < mask.shape[1]]
        expected = mask[y, x] != IGNORE and any(label not in (IGNORE, mask[y, x]) for label in labels)
        assert edge[y, x] == expected


@settings(max_examples=80, deadline=None)
@given(st.lists(masks, min_size=1, max_size=3), stride)
def test_totals_are_sums_over_pictures(drawn: list[np.ndarray], step: tuple[int, int]) -> None:
    totals, later = (MaskTotals([step, (1, 1)], CLASSES) for _ in range(2))
    for number, mask in enumerate(drawn):
        (later if number else totals).add(f"p{number}", mask)
    totals.merge(later)
    row, identity = totals.rows()
    pairs = [(mask, rounded_by_loop(mask, step)) for mask in drawn]
    ious, lost = [], Counter[str]()
    for k, figures in enumerate(row.classes):
        both = sum(int(((a == k) & (b == k)).sum()) for a, b in pairs)
        either = sum(int(((a == k) | (b == k)).sum()) for a, b in pairs)
        assert figures.iou == (pytest.approx(both / either) if either else None)
        ious += [both / either] if either else []
        regions = [(n, b, r) for n, (a, b) in enumerate(pairs) for kind, r in regions_by_flood(a) if kind == k]
        gone = [(n, r) for n, b, r in regions if all(b[place] != k for place in r)]
        lost.update(f"p{n}" for n, _ in gone)
        assert figures.components == len(regions)
        assert figures.vanished == (pytest.approx(len(gone) / len(regions)) if regions else None)
    assert row.miou == pytest.approx(np.mean(ious) if ious else 0.0)
    assert {entry.name: entry.count for entry in row.lost} == dict(lost)
    met = [boundary_f1(boundary(a), boundary(b), boundary_tolerance(a.shape)) for a, b in pairs]
    some = [f1 for f1 in met if f1 is not None]
    assert row.boundary_f1 == (float(np.mean(some)) if some else None)
    assert identity.miou == (1.0 if ious else 0.0)
    assert identity.boundary_f1 in (1.0, None)
    assert not identity.vanished


def test_a_stride_says_the_same_beside_finer_ones_and_alone() -> None:
    rng, steps = np.random.default_rng(3), [(16, 16), (8, 4), (6, 6), (4, 4), (2, 2), (1, 1)]
    together, alone = MaskTotals(steps, CLASSES), [MaskTotals([step], CLASSES) for step in steps]
    for number in range(6):
        mask = np.kron(rng.integers(0, 3, (9, 11)), np.ones((5, 5), int)).astype(np.uint8)[3:, 2:]
        mask[rng.random(mask.shape) < 0.03 * number] = IGNORE
        for totals in (together, *alone):
            totals.add(f"p{number}", mask)
    assert together.rows() == tuple(totals.rows()[0] for totals in alone)


def test_finer_strides_keep_more_in_the_mean() -> None:
    rng = np.random.default_rng(0)
    totals = MaskTotals([(s, s) for s in (16, 8, 4, 2, 1)], CLASSES)
    for _ in range(10):
        coarse = rng.integers(0, 3, (8, 8)).astype(np.uint8)
        mask = np.kron(coarse, np.ones((12, 12), np.uint8))[5:, 3:]
        totals.add("p", mask)
    rows = totals.rows()
    assert [row.miou for row in rows] == sorted(row.miou for row in rows)
    assert rows[-1].miou == 1.0
    assert rows[0].miou < 0.7


@pytest.mark.parametrize("size", [(40,), (23, 31), (9, 10, 11)])
@pytest.mark.parametrize("by", [1, 2, 3, 5, 8, 50])
def test_an_edge_is_widened_as_scipy_widens_it(size: tuple[int, ...], by: int) -> None:
    edge = np.random.default_rng(by).random(size) < 0.03
    theirs = ndimage.maximum_filter(edge, size=2 * by + 1, mode="constant")
    np.testing.assert_array_equal(_widened(edge, by), theirs)


@pytest.mark.parametrize("index", [0, 2, IGNORE])
@pytest.mark.parametrize("size", [(1, 1), (7, 12), (33, 20), (5, 6, 7)])
def test_a_mask_of_one_class_counts_as_the_others_do(index: int, size: tuple[int, ...]) -> None:
    steps = [(s,) * len(size) for s in (1, 2, 5, 8)]
    quick, whole = (MaskTotals(steps, ("a", "b", "c")) for _ in range(2))
    for value in (index, 1):
        mask = np.full(size, value, np.uint8)
        quick.add("x", mask)
        whole._add_mixed("x", mask)
    assert quick.rows() == whole.rows()
    np.testing.assert_array_equal(quick.areas, whole.areas)
