"""How well masks are met: mean IoU over a data set with its interval, and boundary F, at the labels' own size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stridewise.data.mask import IGNORE
from stridewise.data.picture import Bytes
from stridewise.datafit.masks import boundary, boundary_f1, boundary_tolerance
from stridewise.errors import DataError
from stridewise.tasks.task import Evaluation

_DRAWS = 1000


class Overlap:
    """Sums over pictures, one at a time."""

    def __init__(self, classes: Sequence[str], *, boundaries: bool) -> None:
        self._classes, self._boundaries = tuple(classes), boundaries
        self._rows: list[npt.NDArray[np.int64]] = []
        self._edges: list[float] = []

    def add(self, true: Bytes, said: Bytes) -> None:
        """Count one picture: class indices (*sizes), `IGNORE` in `true` where nothing counts."""
        counted, count = true != IGNORE, len(self._classes)
        parts = (true[counted & (true == said)], true[counted], said[counted])
        self._rows.append(np.stack([np.bincount(part, minlength=count)[:count] for part in parts]))
        if self._boundaries:
            f1 = boundary_f1(
                boundary(true), boundary(np.where(counted, said, np.uint8(IGNORE))), boundary_tolerance(true.shape)
            )
            if f1 is not None:
                self._edges.append(f1)

    def evaluation(self) -> Evaluation:
        """Mean IoU over the classes that are there or were said; its interval from pictures drawn anew.

        Raises: DataError where no pixel counts.
        """
        table = np.array(self._rows)  # (pictures, 3, classes)
        total = table.sum(axis=0)
        if not total[1].any():
            raise DataError("no pixel of the held-out masks belongs to a class: nothing to judge on")
        low, high = _interval(table)
        figures: dict[str, float | None] = {}
        if self._boundaries:
            figures["boundary F"] = float(np.mean(self._edges)) if self._edges else None
        figures["pixels right"] = float(total[0].sum() / total[1].sum())
        if self._boundaries:
            usual = int(total[1].argmax())
            alone = np.zeros_like(total)
            alone[1], alone[2, usual], alone[0, usual] = total[1], total[1].sum(), total[1, usual]
            figures[f"always {self._classes[usual]}"] = mean_iou(alone)
        figures |= {f"IoU {name}": value for name, value in zip(self._classes, _ious(total), strict=True)}
        return Evaluation(score=mean_iou(total), low=low, high=high, figures=figures)


def mean_iou(total: npt.NDArray[np.int64]) -> float:
    """Of counts (3, classes): pixels right, true, said. A class that is neither true nor said does not count."""
    found = [value for value in _ious(total) if value is not None]
    return float(np.mean(found)) if found else 0.0


def _ious(total: npt.NDArray[np.int64]) -> list[float | None]:
    union = total[1] + total[2] - total[0]
    return [float(both / whole) if whole else None for both, whole in zip(total[0], union, strict=True)]


def _interval(table: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    if len(table) < 2:
        return None, None
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=_DRAWS)
    drawn = np.tensordot(weights, table, axes=1)
    low, high = np.quantile([mean_iou(row) for row in drawn], [0.025, 0.975])
    return float(low), float(high)
