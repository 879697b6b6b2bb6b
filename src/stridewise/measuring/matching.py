"""Boxes against boxes: overlaps, greedy matches and average precision. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stridewise.measuring.intervals import Floats

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Boxes of one view: corners (n, 4) x0, y0, x1, y1 in pixels, classes (n,), scores (n,) (1 for true boxes)."""

    corners: Floats
    classes: npt.NDArray[np.int64]
    scores: Floats

    def only(self, keep: npt.NDArray[np.bool_]) -> Found:
        """Those boxes alone."""
        return Found(corners=self.corners[keep], classes=self.classes[keep], scores=self.scores[keep])


def overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every two boxes, (n, m)."""
    begin = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(end - begin, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    share: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return share


def matches(found: Found, truth: Found, threshold: float = THRESHOLD) -> npt.NDArray[np.bool_]:
    """Which of `found` are true: best score first, each takes the free box of its class it overlaps most.

    Source: Everingham et al. 2010, "The PASCAL visual object classes challenge", section 4.2.
    """
    right = np.zeros(len(found.classes), bool)
    table = np.where(found.classes[:, None] == truth.classes[None], overlaps(found.corners, truth.corners), 0.0)
    for row in np.argsort(-found.scores, kind="stable"):
        if table.shape[1] and table[row].max() >= threshold:
            right[row] = True
            table[:, table[row].argmax()] = 0.0
    return right


def agreement(first: Found, second: Found, threshold: float = THRESHOLD) -> tuple[float, float]:
    """(boxes matched, boxes in all), both sides counted: their ratio is 1 when two views find the same."""
    return 2.0 * matches(first, second, threshold).sum(), float(len(first.classes) + len(second.classes))


def average_precision(found: Sequence[Found], truth: Sequence[Found], threshold: float = THRESHOLD) -> float | None:
    """Mean over the classes that have true boxes of the area under precision against recall; None without any.

    found, truth: one entry a picture. Area by all points, precision made monotone (PASCAL from 2010 on).
    """
    right = [matches(f, t, threshold) for f, t in zip(found, truth, strict=True)]
    classes = np.unique(np.concatenate([t.classes for t in truth])) if truth else ()
    areas = []
    for label in classes:
        total = sum(int((t.classes == label).sum()) for t in truth)
        scores = np.concatenate([f.scores[f.classes == label] for f in found])
        hits = np.concatenate([r[f.classes == label] for f, r in zip(found, right, strict=True)])
        hits = hits[np.argsort(-scores, kind="stable")]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        best_after = np.maximum.accumulate(precision[::-1])[::-1]
        areas.append(float(best_after[hits].sum() / total))
    return float(np.mean(areas)) if areas else None
