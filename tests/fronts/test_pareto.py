"""Which points are kept, against comparing each with each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stridewise.fronts import pareto

POINTS = st.lists(st.tuples(*[st.integers(0, n) for n in (1, 2, 5, 2, 3)], st.booleans()), min_size=8, max_size=60)


def columns(points: list[tuple[int, ...]]) -> list[np.ndarray]:
    return [np.array(c, dtype=np.int64) for c in zip(*(p[:5] for p in points), strict=True)]


def lost(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether b beats a, whatever comes later: no worse, and better in multiply-adds or activations."""
    (state, macs, peak, made, _, _), (other, *rest, _, sure) = a, b
    no_worse = rest[0] <= macs and rest[1] <= peak and rest[2] >= made
    return bool(state == other and sure and no_worse and (rest[0], rest[2]) != (macs, made))


@pytest.fixture(params=["sweep", "rough sweep", "tree"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the ways that the number of distinct peaks chooses between."""
    monkeypatch.setattr(pareto, "_MANY_PEAKS", 0 if request.param == "tree" else 300)
    monkeypatch.setattr(pareto, "_ROUGHLY", 2 if request.param == "rough sweep" else 12)
    return str(request.param)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[])
@given(points=POINTS)
def _check(points: list[tuple[int, ...]]) -> None:
    sure = np.array([p[5] for p in points])
    kept = pareto.undominated(*columns(points), sure=sure)
    left = [p for p in points if not any(lost(p, other) for other in points)]
    # Of equal multiply-adds and activations: a higher peak only for fewer changes.
    expected = {
        p[:5]
        for p in left
        if not any(q[:2] == p[:2] and q[3] == p[3] and q[2] <= p[2] and q[4] <= p[4] and q[:5] != p[:5] for q in left)
    }
    rows = [tuple(int(c[i]) for c in columns(points)) for i in kept]
    assert set(rows) == expected
    assert len(rows) == len(expected)


def test_kept_points(way: str) -> None:
    _check()


def test_final_keeps_one_of_equal_cost_with_the_fewest_changes() -> None:
    rows = [(0, 5, 3, 9, 2), (0, 5, 3, 9, 1), (0, 5, 4, 9, 0), (0, 4, 9, 9, 7), (1, 9, 9, 1, 0)]
    kept = pareto.undominated(*[np.array(c) for c in zip(*rows, strict=True)], final=True)
    assert sorted(kept.tolist()) == [1, 3, 4]
