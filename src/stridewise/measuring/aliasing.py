"""Energy above the new Nyquist where a step is taken (SW109), what folds onto lower frequencies; and bands of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from stridewise.measuring.intervals import Floats
from stridewise.measuring.ladder import Stepping
from stridewise.tracing.steps import Step, step_of


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Aliasing:
    """Shares of energy above the new Nyquist (square band, mean removed): of what a step's op takes in, and of what it
    gives before positions are left out, which is what folds. passed: the second over the first, energies not shares."""

    taken: float | None
    folded: float

    @staticmethod
    def of(energies: Sequence[Any]) -> Aliasing | None:
        """From (outside, total) pairs of input and op, one a picture; None where the op gives flat maps."""
        table = np.array(energies, np.float64).sum(axis=0)
        (above, total), (folds, given) = table
        if given <= 0:
            return None
        return Aliasing(taken=float(above / total) if total > 0 else None, folded=float(folds / given))

    def to_json(self) -> dict[str, float | None]:
        """Plain values."""
        return {"input_above_nyquist": self.taken, "folded": self.folded}


def energy_at_stride_one(model: nn.Module, step: Stepping, taken: torch.Tensor, given: torch.Tensor) -> Any:
    """((outside, total) of the input, of the op at step one); None where that cannot be met.

    The op is a copy of the module with stride 1: a blur that steps is thereby judged after its blur. It is believed
    only where leaving out positions of its output gives the module's own.
    """
    module = model.get_submodule(step.path.removeprefix("+"))
    try:
        with torch.inference_mode():
            dense = _at_stride_one(module, step, taken)
    except (RuntimeError, TypeError, ValueError):
        return None
    if dense is None or not _steps_to(dense, given, step.stride):
        return None
    return outside(taken[0].double().numpy(), step.stride), outside(dense[0].double().numpy(), step.stride)


def _at_stride_one(module: nn.Module, step: Stepping, taken: torch.Tensor) -> torch.Tensor | None:
    own = step_of(module)
    if step.path.startswith("+"):
        return None if own is None else _pooled(own, taken)
    stride = getattr(module, "stride", None)
    if stride is None or list(module.children()):
        return None
    twin = copy.copy(module)
    twin.__dict__ = {k: v for k, v in module.__dict__.items() if k != "forward"}
    twin.__dict__["stride"] = 1 if isinstance(stride, int) else (1,) * len(step.stride)
    twin.__dict__["training"] = False
    out: torch.Tensor = twin.forward(taken.to(next(module.parameters(), taken).device)).cpu()
    return out


def _pooled(step: Step, taken: torch.Tensor) -> torch.Tensor:
    kernel = torch.nn.functional
    axes = len(step.stride)
    most: tuple[Any, ...] = (kernel.max_pool1d, kernel.max_pool2d, kernel.max_pool3d)
    mean: tuple[Any, ...] = (kernel.avg_pool1d, kernel.avg_pool2d, kernel.avg_pool3d)
    pool = (most if step.kind == "max" else mean)[axes - 1]
    out: torch.Tensor = pool(taken, step.stride, (1,) * axes)
    return out


def _steps_to(dense: torch.Tensor, given: torch.Tensor, stride: Sequence[int]) -> bool:
    """Whether some phase of the dense map is the module's own output, as far as both reach."""
    scale = float(given.abs().max()) or 1.0
    for phase in product(*(range(s) for s in stride)):
        part = dense[(slice(None), slice(None), *(slice(p, None, s) for p, s in zip(phase, stride, strict=True)))]
        if part.shape[1] != given.shape[1]:
            return False
        shared = tuple(slice(0, min(a, b)) for a, b in zip(part.shape, given.shape, strict=True))
        if part[shared].numel() and float((part[shared] - given[shared]).abs().max()) <= 1e-4 * scale:
            return True
    return False
