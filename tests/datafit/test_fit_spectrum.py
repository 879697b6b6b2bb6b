"""Pictures against strides: energy below the new Nyquist, checked on signals whose spectrum is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stridewise.datafit.spectrum import SpectrumTotals, energy_kept

STRIDES = [(1, 1), (2, 2), (4, 4), (2, 8)]


def test_white_noise_keeps_one_over_the_cell() -> None:
    rng = np.random.default_rng(0)
    kept = np.mean([energy_kept(rng.normal(size=(128, 128)), STRIDES) for _ in range(20)], axis=0)
    share = {step: np.mean(np.abs(np.fft.fftfreq(128)) < 0.5 / step) for step in (2, 4, 8)}  # close to 1 / step
    np.testing.assert_allclose(kept, [1, share[2] ** 2, share[4] ** 2, share[2] * share[8]], rtol=0.03)


@pytest.mark.parametrize(("period", "kept"), [(10.0, True), (3.0, False)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_wave_is_kept_when_its_period_exceeds_two_steps(period: float, kept: bool, axis: int) -> None:
    wave = 100 + 50 * np.sin(2 * np.pi * np.arange(120) / period)
    picture = np.broadcast_to(wave[:, None] if axis == 0 else wave, (120, 120))
    across, along = [(4, 1), (1, 4)][:: 1 if axis == 0 else -1]
    shares = energy_kept(np.repeat(picture[:, :, None], 3, axis=2), [across, along])
    assert shares is not None
    assert shares[1] > 0.999  # no step along the wave's own axis
    assert (shares[0] > 0.99) if kept else (shares[0] < 0.01)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 17), st.integers(2, 17), st.tuples(st.integers(1, 8), st.integers(1, 8)), st.integers(0, 99))
def test_the_half_spectrum_equals_the_whole_one(high: int, wide: int, stride: tuple[int, int], seed: int) -> None:
    picture = np.random.default_rng(seed).normal(size=(high, wide))
    window = np.outer(np.hanning(high + 2)[1:-1], np.hanning(wide + 2)[1:-1])
    power = np.abs(np.fft.fft2((picture - (picture * window).sum() / window.sum()) * window)) ** 2
    power[0, 0] = 0
    keep = np.ones(power.shape, bool)
    for axis, (extent, step) in enumerate(zip(picture.shape, stride, strict=True)):
        inside = np.abs(np.fft.fftfreq(extent)) < 0.5 / step if step > 1 else np.ones(extent, bool)
        keep &= inside[:, None] if axis == 0 else inside
    (share,) = energy_kept(picture, [stride]) if energy_kept(picture, [stride]) is not None else (None,)
    assert share == pytest.approx(power[keep].sum() / power.sum())


def test_a_flat_picture_counts_nowhere() -> None:
    totals = SpectrumTotals(STRIDES, ("cat", "dog"))
    totals.add(0, np.full((8, 8, 3), 7, np.uint8))
    totals.add(1, np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    row = totals.rows()[0]
    assert totals.flat == 1
    assert row.overall.pictures == 1
    assert row.classes[0].kept is None
    assert row.classes[1].kept == pytest.approx(1.0)
    assert energy_kept(np.zeros((1, 1)), STRIDES) is None
