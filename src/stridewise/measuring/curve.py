"""How far one picture's output moves as the picture does, pixel by pixel: the curve that shows a stride's period."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from stridewise.errors import UsageError
from stridewise.measuring.box_shift import SURE, centred_in, common_area, run_boxes
from stridewise.measuring.intervals import Floats
from stridewise.measuring.matching import agreement
from stridewise.measuring.offsets import Offsets, views
from stridewise.measuring.shift import Predict, run_views

Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """Change at offsets 0, 1, ...: of an `output`, 1 is as much as another picture makes; of `boxes`, the share that is
    not found again. 0 is no change."""

    of: Literal["output", "boxes"]
    values: Floats


def change_curve(
    predict: Predict,
    picture: torch.Tensor,
    others: torch.Tensor,
    size: Sequence[int],
    axis: int,
    *,
    tick: Tick | None = None,
) -> Change:
    """What becomes of a network's output as the picture moves along `axis`.

    picture: (1, channels, *sizes), longer than `size` along `axis` by the largest offset: real content comes in at the
    border; others: (N, channels, *size), unmoved. Of numbers: the root of mean squared distances, as in
    `agreement.output_change`; an output that is itself a map has moved with the picture: it is moved back by the
    nearest whole number of its positions, and compared where both have some. Boxes are moved back and matched, as in
    `box_shift`, where both views show their centres.
    Raises: UsageError where all pictures give the same output, or it is neither numbers nor boxes.
    """
    far = picture.shape[axis + 2] - size[axis]
    offsets = np.zeros((1, far + 1, len(size)), np.int64)
    offsets[0, :, axis] = np.arange(far + 1)
    with torch.inference_mode():
        first = predict(views([picture[0]], [[[0] * len(size)]], size))
    if isinstance(first, list | tuple) and first and isinstance(first[0], Mapping):
        return Change(of="boxes", values=_boxes_lost(predict, picture[0], offsets[0], size, tick))
    if not isinstance(first, torch.Tensor):
        raise UsageError(
            f"shift: this network gives out {type(first).__name__}, which no curve compares: wrap it so that it "
            "gives a tensor, or a list with one mapping of boxes, labels, scores a picture"
        )
    moved = run_views(predict, picture, offsets, size, batch=1, tick=tick)[0].astype(float)
    still = run_views(predict, others, np.zeros((len(others), 1, len(size)), np.int64), size, batch=1)[:, 0]
    scale = float(((still.astype(float) - moved[0]) ** 2).mean())
    if not scale > 0:
        raise UsageError("shift: the network says the same of every picture, so no change has a size: load weights")
    pairs = [_overlap(moved[0], moved[by], by / size[axis], axis, len(size)) for by in range(far + 1)]
    return Change(of="output", values=np.sqrt(np.array([((one - other) ** 2).mean() for one, other in pairs]) / scale))


def _boxes_lost(
    predict: Predict, picture: torch.Tensor, offsets: Offsets, size: Sequence[int], tick: Tick | None
) -> Floats:
    seen = []
    for done, offset in enumerate(offsets, 1):
        seen += [boxes.only(boxes.scores >= SURE) for boxes in run_boxes(predict, picture, offset[None], size, 1)]
        if tick is not None:
            tick(done)
    pairs = []
    for boxes, offset in zip(seen, offsets, strict=True):
        area = common_area(np.stack([offsets[0], offset]), size, "crop")
        first, moved = (each.only(centred_in(each, area)) for each in (seen[0], boxes))
        pairs.append(agreement(first, moved))
    matched, total = np.array(pairs).T
    if not total.any():
        raise UsageError(
            f"shift: no box in this picture scores {SURE} or more: load weights, or choose another picture"
        )
    found: Floats = np.divide(matched, total, out=np.ones_like(total), where=total > 0)
    return 1 - found


def _overlap(first: Floats, moved: Floats, share: float, axis: int, axes: int) -> tuple[Floats, Floats]:
    """What of two outputs lies at the same place of the scene; share: of the picture that the second has moved by."""
    if first.ndim != axes + 1 or first.shape[axis + 1] < 2:
        return first, moved
    count = first.shape[axis + 1]
    steps = min(round(share * count), count - 1)
    return np.take(first, range(steps, count), axis + 1), np.take(moved, range(count - steps), axis + 1)
