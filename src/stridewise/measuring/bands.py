"""Energy of maps by spatial frequency: inside and outside the square band that a step can still represent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stridewise.measuring.intervals import Floats


def outside(maps: npt.ArrayLike, stride: Sequence[float]) -> tuple[float, float]:
    """(energy outside, energy in all) of maps (..., *sizes), their mean over positions removed.

    Outside is every frequency that is not below 1/(2 * stride) on all axes: what a grid `stride` coarser cannot hold
    (the new Nyquist). No window is applied: every position counts alike, and so does the jump where borders meet.
    """
    values = np.asarray(maps, np.float64)
    axes = tuple(range(values.ndim - len(stride), values.ndim))
    energy = np.abs(np.fft.fftn(values - values.mean(axis=axes, keepdims=True), axes=axes)) ** 2
    inside = np.ones((), bool)
    for size, step in zip(values.shape[values.ndim - len(stride) :], stride, strict=True):
        inside = inside[..., None] & (np.abs(np.fft.fftfreq(size)) < 0.5 / step)
    total = float(energy.sum())
    return total - float((energy * inside).sum()), total


def share_outside(maps: Sequence[npt.ArrayLike], stride: Sequence[float]) -> float | None:
    """Of the energy of several maps, the share outside the band; None where they are flat."""
    parts = np.array([outside(values, stride) for values in maps])
    above, total = parts.sum(axis=0) if len(parts) else (0.0, 0.0)
    return float(above / total) if total > 0 else None


def blocks(maps: Floats, stride: Sequence[int]) -> Floats:
    """Space to depth: (channels, *sizes) -> (channels * product of strides, *cells), the rest cut off."""
    channels, *sizes = maps.shape
    shape, order = [channels], [0]
    trimmed = maps[(slice(None), *(slice(0, n // s * s) for n, s in zip(sizes, stride, strict=True)))]
    for n, s in zip(sizes, stride, strict=True):
        shape += [n // s, s]
    order += [2 + 2 * a for a in range(len(sizes))] + [1 + 2 * a for a in range(len(sizes))]
    cells = [n // s for n, s in zip(sizes, stride, strict=True)]
    return trimmed.reshape(shape).transpose(order).reshape(-1, *cells)


def spread(cells: Floats, stride: Sequence[int]) -> Floats:
    """The opposite of `blocks`: (channels * product of strides, *cells) -> (channels, *sizes)."""
    sizes = cells.shape[1:]
    axes = len(sizes)
    shaped = cells.reshape(-1, *stride, *sizes)
    order = [0]
    for axis in range(axes):
        order += [1 + axes + axis, 1 + axis]
    return shaped.transpose(order).reshape(-1, *(n * s for n, s in zip(sizes, stride, strict=True)))
