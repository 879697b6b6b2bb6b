"""Shift consistency of detection: boxes shifted back and matched, and average precision at the best and worst shift."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch

from stridewise.errors import DataError, UsageError
from stridewise.measuring.intervals import Interval, difference, ratio
from stridewise.measuring.matching import Found, agreement, average_precision
from stridewise.measuring.offsets import DRAWN, Offsets, Step, check_room, views, with_margin
from stridewise.measuring.shift import Network, Predict, drawn_offsets, reach_of

SURE = 0.3  # the least score of a box that takes part in agreement
_SAID = ("boxes", "labels", "scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxShift:
    """Shift consistency of one detector, on boxes whose centre all views of a picture show.

    agreement: boxes that two views both have (same class, IoU >= 0.5), with a 95 % interval over pictures. ap, ap_best,
    ap_worst: average precision at IoU 0.5 over all views, and when each picture is seen at its best or worst offset
    (None without true boxes; the best and the worst depend on `offsets`). versus: agreement minus the first's, paired.
    """

    name: str
    mode: str
    offsets: int
    reach: Step
    pictures: int
    agreement: Interval
    ap: float | None
    ap_best: float | None
    ap_worst: float | None
    versus: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "kind": "measured",
            "task": "detect",
            "mode": self.mode,
            "offsets": self.offsets,
            "reach": list(self.reach),
            "pictures": self.pictures,
            "agreement": self.agreement.to_json(),
            "ap": self.ap,
            "ap_best": self.ap_best,
            "ap_worst": self.ap_worst,
            "versus_first": None if self.versus is None else self.versus.to_json(),
        }


def box_shift(
    networks: Mapping[str, Network],
    pictures: torch.Tensor,
    size: Sequence[int],
    *,
    truth: Sequence[Found] | None = None,
    mode: str = "crop",
    least_score: float = SURE,
    drawn: int = DRAWN,
    batch: int = 8,
    seed: int = 0,
    tick: Callable[[int, int], None] | None = None,
) -> tuple[BoxShift, ...]:
    """Shift consistency of detectors, in the order given, all at the same offsets.

    A network gives a list with one mapping a view: `boxes` (n, 4) x0, y0, x1, y1 in pixels of the view, `labels`,
    `scores`. truth: the boxes of every picture, in its own pixels. least_score: boxes below it take no part in
    `agreement` (average precision counts them). Modes crop and pad. Raises: DataError, UsageError.
    """
    if not networks or not len(pictures):
        raise DataError("shift: no networks or no pictures to measure")
    if mode == "roll":
        raise UsageError("shift: boxes cannot be rolled, one across the border would be cut in two: use crop or pad")
    reach = reach_of(networks)
    offsets = drawn_offsets(len(pictures), reach, "", drawn, seed)
    margin = offsets.max(axis=(0, 1)).tolist()
    check_room(pictures, size, margin, mode)
    wide = with_margin(pictures, margin, mode)
    shown = size if mode == "crop" else tuple(pictures.shape[2:])
    found: list[BoxShift] = []
    first: Any = None
    total = len(networks) * len(pictures)
    for place, (name, network) in enumerate(networks.items()):
        table: list[list[Found]] = []
        for number in range(len(pictures)):
            boxes = run_boxes(network.predict, wide[number], offsets[number], size, batch)
            area = common_area(offsets[number], shown, mode)
            table.append([box.only(centred_in(box, area)) for box in boxes])
            if tick is not None:
                tick(place * len(pictures) + number + 1, total)
        sums = _sums(table, least_score)
        known = None if truth is None else _known(truth, offsets, shown, mode)
        ap, best, worst = _precision(table, known)
        result = BoxShift(
            name=name,
            mode=mode,
            offsets=offsets.shape[1],
            reach=reach,
            pictures=len(pictures),
            agreement=ratio(*sums, seed=seed),
            ap=ap,
            ap_best=best,
            ap_worst=worst,
        )
        if first is None:
            first = sums
        else:
            result = replace(result, versus=difference(first, sums, seed=seed))
        found.append(result)
    return tuple(found)


def run_boxes(
    predict: Predict, picture: torch.Tensor, offsets: Offsets, size: Sequence[int], batch: int
) -> list[Found]:
    """The boxes of every view of one picture, shifted back to the picture's own pixels. Raises: UsageError."""
    out: list[Found] = []
    with torch.inference_mode():
        for begin in range(0, len(offsets), batch):
            rows = offsets[begin : begin + batch]
            given = predict(views([picture] * len(rows), [[o] for o in rows.tolist()], size))
            if (
                not isinstance(given, list | tuple)
                or len(given) != len(rows)
                or any(k not in v for v in given for k in _SAID)
            ):
                raise UsageError("shift: a detector gives a list with one mapping of boxes, labels, scores a picture")
            out += [_shifted(view, offset) for view, offset in zip(given, rows, strict=True)]
    return out


def _shifted(view: Mapping[str, Any], offset: Offsets) -> Found:
    corners = np.asarray(view["boxes"], np.float64).reshape(-1, 4)
    return Found(
        corners=corners + np.array([offset[1], offset[0]] * 2),  # offsets are (down, right), corners (x, y)
        classes=np.asarray(view["labels"], np.int64).reshape(-1),
        scores=np.asarray(view["scores"], np.float64).reshape(-1),
    )


def common_area(offsets: Offsets, size: Sequence[int], mode: str) -> Any:
    """(first, past the last) pixel, down and right, that all views show."""
    begin, end = offsets.max(axis=0), offsets.min(axis=0) + np.array(size)
    if mode == "pad":
        end = np.minimum(end, np.array(size))
    if (end <= begin).any():
        raise DataError(f"shift: views of {tuple(size)} moved by up to {tuple(begin.tolist())} share no pixel")
    return begin, end


def centred_in(boxes: Found, area: Any) -> Any:
    """Which boxes have their centre in an area, as of `common_area`."""
    centre = (boxes.corners[:, :2] + boxes.corners[:, 2:])[:, ::-1] / 2
    return ((centre >= area[0]) & (centre < area[1])).all(axis=1)


def _known(truth: Sequence[Found], offsets: Offsets, size: Sequence[int], mode: str) -> list[Found]:
    if len(truth) != len(offsets):
        raise UsageError(f"shift: true boxes of {len(truth)} pictures for {len(offsets)} pictures")
    return [t.only(centred_in(t, common_area(o, size, mode))) for t, o in zip(truth, offsets, strict=True)]


def _sums(table: Sequence[Sequence[Found]], least_score: float) -> tuple[Any, Any]:
    """Per picture the boxes matched and in all, over every pair of offsets."""
    rows = []
    for boxes in table:
        sure = [b.only(b.scores >= least_score) for b in boxes]
        rows.append(np.sum([agreement(a, b) for a, b in combinations(sure, 2)], axis=0))
    above, below = np.array(rows).T
    return above, below


def _precision(table: Sequence[Sequence[Found]], truth: Sequence[Found] | None) -> tuple[float | None, ...]:
    """(over all offsets, at each picture's best, at its worst)."""
    if truth is None:
        return None, None, None
    own = np.array([[average_precision([b], [t]) or 0.0 for b in boxes] for boxes, t in zip(table, truth, strict=True)])
    best, worst = (
        average_precision([row[k] for row, k in zip(table, picked, strict=True)], truth)
        for picked in (own.argmax(axis=1), own.argmin(axis=1))
    )
    each = [average_precision([row[k] for row in table], truth) for k in range(own.shape[1])]
    rated = [value for value in each if value is not None]
    return float(np.mean(rated)) if rated else None, best, worst
