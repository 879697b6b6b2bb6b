"""Bootstrap intervals hold what they promise, in a simulation."""

import numpy as np
import pytest

from stridewise.measuring.intervals import difference, ratio


def test_intervals_cover_the_truth_at_their_nominal_rate() -> None:
    """80 pictures of 16 views each whose agreement differs from picture to picture, 400 times: 95 % within 2.5 points.

    Four standard deviations of the coverage itself over 400 trials are 4.4 points; the percentile interval falls short
    by about one.
    """
    rng = np.random.default_rng(0)
    inside = paired = 0
    for trial in range(400):
        chance = rng.beta(6, 2, size=80)
        share = rng.binomial(16, chance) / 16
        found = ratio(share, np.ones(80), draws=400, seed=trial)
        inside += found.low <= 0.75 <= found.high
        other = rng.binomial(16, 0.8 * chance) / 16
        less = difference((share, np.ones(80)), (other, np.ones(80)), draws=400, seed=trial)
        paired += less.low <= -0.15 <= less.high
    assert 0.906 <= inside / 400 <= 0.994
    assert 0.906 <= paired / 400 <= 0.994


def test_a_ratio_of_sums_covers_too() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(300):
        below = rng.integers(0, 10, size=100)
        found = ratio(rng.binomial(below, 0.3), below, draws=400, seed=trial)
        inside += found.low <= 0.3 <= found.high
    assert 0.90 <= inside / 300 <= 0.995


def test_pairing_narrows_the_difference() -> None:
    rng = np.random.default_rng(2)
    a = rng.random(200)
    b = a + rng.normal(0.01, 0.01, 200)
    ones = np.ones(200)
    found = difference((a, ones), (b, ones))
    assert 0 < found.low < found.high < 0.02


def test_too_little_gives_no_interval() -> None:
    assert ratio([1.0], [2.0]).low is None
    assert ratio([0.0, 0.0], [0.0, 0.0]).value is None
    assert str(ratio([0.0], [0.0])) == "-"
    assert ratio([1.0, 1.0], [1.0, 1.0]).to_json() == pytest.approx({"value": 1.0, "low": 1.0, "high": 1.0})
