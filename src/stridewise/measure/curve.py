"""How far one picture's output moves as the picture does, pixel by pixel: the curve that shows a stride's period."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from stridewise.errors import UsageError
from stridewise.measure.intervals import Floats
from stridewise.measure.shift import Predict, run_views


def change_curve(
    predict: Predict,
    picture: torch.Tensor,
    others: torch.Tensor,
    size: Sequence[int],
    axis: int,
    *,
    tick: Callable[[int], None] | None = None,
) -> Floats:
    """Change of the output at offsets 0, 1, ... along `axis`; 1 is as much as another picture makes, 0 no change.

    picture: (1, channels, *sizes), longer than `size` along `axis` by the largest offset: real content comes in at the
    border; others: (N, channels, *size), unmoved. The root of squared distances, as in `agreement.output_change`.
    Raises: UsageError where all pictures give the same output.
    """
    far = picture.shape[axis + 2] - size[axis]
    offsets = np.zeros((1, far + 1, len(size)), np.int64)
    offsets[0, :, axis] = np.arange(far + 1)
    moved = run_views(predict, picture, offsets, size, batch=1, tick=tick)[0]
    still = run_views(predict, others, np.zeros((len(others), 1, len(size)), np.int64), size, batch=1)[:, 0]
    flat, fixed = moved.reshape(len(moved), -1).astype(float), still.reshape(len(still), -1).astype(float)
    scale = float(((fixed - flat[0]) ** 2).sum(axis=1).mean())
    if not scale > 0:
        raise UsageError("shift: the network says the same of every picture, so no change has a size: load weights")
    curve: Floats = np.sqrt(((flat - flat[0]) ** 2).sum(axis=1) / scale)
    return curve
