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
    border; others: (N, channels, *size), unmoved. The root of mean squared distances, as in `agreement.output_change`.
    An output that is itself a map has moved with the picture: it is moved back by the nearest whole number of its
    positions, and compared where both have some.
    Raises: UsageError where all pictures give the same output, or it is no numbers.
    """
    far = picture.shape[axis + 2] - size[axis]
    offsets = np.zeros((1, far + 1, len(size)), np.int64)
    offsets[0, :, axis] = np.arange(far + 1)
    numbers = _numbers(predict)
    moved = run_views(numbers, picture, offsets, size, batch=1, tick=tick)[0].astype(float)
    still = run_views(numbers, others, np.zeros((len(others), 1, len(size)), np.int64), size, batch=1)[:, 0]
    scale = float(((still.astype(float) - moved[0]) ** 2).mean())
    if not scale > 0:
        raise UsageError("shift: the network says the same of every picture, so no change has a size: load weights")
    pairs = [_overlap(moved[0], moved[by], by / size[axis], axis, len(size)) for by in range(far + 1)]
    return np.sqrt(np.array([((one - other) ** 2).mean() for one, other in pairs]) / scale)


def _numbers(predict: Predict) -> Predict:
    def called(views: torch.Tensor) -> torch.Tensor:
        out = predict(views)
        if not isinstance(out, torch.Tensor):
            raise UsageError(
                "shift: this network says boxes, which a curve does not compare: "
                "`stridewise measure --what shift` matches them"
            )
        return out

    return called


def _overlap(first: Floats, moved: Floats, share: float, axis: int, axes: int) -> tuple[Floats, Floats]:
    """What of two outputs lies at the same place of the scene; share: of the picture that the second has moved by."""
    if first.ndim != axes + 1 or first.shape[axis + 1] < 2:
        return first, moved
    count = first.shape[axis + 1]
    steps = min(round(share * count), count - 1)
    return np.take(first, range(steps, count), axis + 1), np.take(moved, range(count - steps), axis + 1)
