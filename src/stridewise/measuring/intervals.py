"""Intervals from resampling whole pictures: what is drawn again is the picture, never one view of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DRAWS = 2000
LEVEL = 0.95
_CHUNK = 4_000_000  # drawn indices held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with its interval; None where nothing counts towards it."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"

    def to_json(self) -> dict[str, float | None]:
        """Plain values."""
        return {"value": self.value, "low": self.low, "high": self.high}


def ratio(above: Any, below: Any, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Interval:
    """sum(above) / sum(below) over pictures, with a percentile bootstrap interval over them.

    above, below: one entry a picture; a mean is the case below = 1. No interval from fewer than two that count.
    Source: Efron and Tibshirani 1993, chapter 13 (percentile interval).
    """
    top, bottom = np.asarray(above, np.float64), np.asarray(below, np.float64)
    if not bottom.sum() > 0:
        return Interval(value=None)
    value = float(top.sum() / bottom.sum())
    if (bottom > 0).sum() < 2:
        return Interval(value=value)
    (found,) = _resampled(((top, bottom),), draws, seed)
    return _interval(value, found, level)


def difference(
    first: tuple[Any, Any], second: tuple[Any, Any], *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The second ratio minus the first, both over the same pictures, which are drawn together (paired).

    first, second: (above, below) as in `ratio`.
    """
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in (first, second)]
    if not all(below.sum() > 0 for _, below in pairs):
        return Interval(value=None)
    (a, b), (c, d) = pairs
    value = float(c.sum() / d.sum() - a.sum() / b.sum())
    if len(a) < 2:
        return Interval(value=value)
    before, after = _resampled(pairs, draws, seed)
    return _interval(value, after - before, level)


def _resampled(pairs: Sequence[tuple[Floats, Floats]], draws: int, seed: int) -> list[Floats]:
    """Per pair the ratios of `draws` samples of pictures with replacement, the same samples for every pair."""
    rng = np.random.default_rng(seed)
    count = len(pairs[0][0])
    found: list[list[Floats]] = [[] for _ in pairs]
    chunk = max(_CHUNK // count, 1)
    for begin in range(0, draws, chunk):
        picked = rng.integers(count, size=(min(chunk, draws - begin), count))
        for place, (above, below) in enumerate(pairs):
            bottom = below[picked].sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                found[place].append(np.where(bottom > 0, above[picked].sum(axis=1) / bottom, np.nan))
    return [np.concatenate(parts) for parts in found]


def _interval(value: float, found: Floats, level: float) -> Interval:
    kept = found[~np.isnan(found)]
    if not len(kept):
        return Interval(value=value)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=value, low=float(low), high=float(high))
