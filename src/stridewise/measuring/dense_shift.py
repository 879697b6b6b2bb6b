"""Shift consistency of segmentation: labels of the same pixels of the picture, from views moved by some pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from stridewise.errors import DataError, UsageError
from stridewise.measuring.intervals import Floats, Interval, difference, ratio
from stridewise.measuring.offsets import DRAWN, Offsets, Step
from stridewise.measuring.shift import Network, drawn_offsets, reach_of, run_views

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseShift:
    """Shift consistency of one segmentation network on the pixels that all views of a picture show.

    agreement: share of (pixel, pair of offsets) given the same class; miou: of two predictions of neighbouring offsets
    in the draw, over the classes either of them has; unchanged: share of pixels given one class at all `offsets`
    offsets (the worst case); with 95 % intervals over pictures. versus: agreement minus the first network's, paired.
    """

    name: str
    mode: str
    offsets: int
    reach: Step
    pictures: int
    agreement: Interval
    miou: Interval
    unchanged: Interval
    versus: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        figures = {key: getattr(self, key).to_json() for key in ("agreement", "miou", "unchanged")}
        return {
            "kind": "measured",
            "task": "segment",
            "mode": self.mode,
            "offsets": self.offsets,
            "reach": list(self.reach),
            "pictures": self.pictures,
            **figures,
            "versus_first": None if self.versus is None else self.versus.to_json(),
        }


def dense_shift(
    networks: Mapping[str, Network],
    pictures: torch.Tensor,
    size: Sequence[int],
    *,
    mode: str = "crop",
    drawn: int = DRAWN,
    batch: int = 16,
    seed: int = 0,
    tick: Callable[[int, int], None] | None = None,
) -> tuple[DenseShift, ...]:
    """Shift consistency of networks that give (views, classes, h, w), in the order given, all at the same offsets.

    pictures: (N, channels, *sizes), larger than `size` in mode crop. Scores of a coarser grid are enlarged (bilinear)
    before the best class is taken, as a deployed network's are. Raises: DataError, UsageError.
    """
    if not networks or not len(pictures):
        raise DataError("shift: no networks or no pictures to measure")
    reach = reach_of(networks)
    offsets = drawn_offsets(len(pictures), reach, "", drawn, seed)
    found: list[DenseShift] = []
    first: tuple[Floats, Floats] | None = None
    total = len(networks) * len(pictures)
    for place, (name, network) in enumerate(networks.items()):
        rows = []
        for number in range(len(pictures)):  # picture by picture: maps of all views at once would not fit in memory
            labels = run_views(
                lambda x, network=network: _labels(network.predict(x), size),  # type: ignore[misc]
                pictures[number : number + 1],
                offsets[number : number + 1],
                size,
                mode=mode,
                batch=batch,
            )[0].astype(np.int64)
            rows.append(_picture(_aligned(labels, offsets[number], mode)))
            if tick is not None:
                tick(place * len(pictures) + number + 1, total)
        table, ones = np.array(rows), np.ones(len(rows))
        result = DenseShift(
            name=name,
            mode=mode,
            offsets=offsets.shape[1],
            reach=reach,
            pictures=len(rows),
            agreement=ratio(table[:, 0], ones, seed=seed),
            miou=ratio(table[:, 1], ones, seed=seed),
            unchanged=ratio(table[:, 2], ones, seed=seed),
        )
        if first is None:
            first = (table[:, 0], ones)
        else:
            result = replace(result, versus=difference(first, (table[:, 0], ones), seed=seed))
        found.append(result)
    return tuple(found)


def _labels(scores: Any, size: Sequence[int]) -> torch.Tensor:
    """Class of every input pixel, (views, *size), uint8 or int16."""
    if isinstance(scores, Mapping):
        scores = scores["out"] if "out" in scores else next(iter(scores.values()))
    scores = torch.as_tensor(scores)
    if scores.dim() != len(size) + 2:
        raise UsageError(f"shift: a map of scores a picture is wanted, not an output of {tuple(scores.shape)}")
    if tuple(scores.shape[2:]) != tuple(size):
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
        scores = functional.interpolate(scores.float(), size=tuple(size), mode=mode, align_corners=False)
    best: torch.Tensor = scores.argmax(dim=1).to(torch.int16)
    return best


def _aligned(labels: Labels, offsets: Offsets, mode: str) -> Labels:
    """The labels of the pixels that all views show, (offsets, ...): the view at offset o shows pixel p at p - o."""
    axes = tuple(range(labels.ndim - 1))
    if mode == "roll":
        return np.stack([np.roll(view, tuple(o), axes) for view, o in zip(labels, offsets.tolist(), strict=True)])
    top = offsets.max(axis=0)
    end = offsets.min(axis=0) + labels.shape[1:]
    if mode == "pad":  # beyond the picture's own end lie zeros
        end = np.minimum(end, labels.shape[1:])
    if (end <= top).any():
        raise DataError(f"shift: views of {labels.shape[1:]} moved by up to {tuple(top.tolist())} share no pixel")
    return np.stack(
        [
            view[tuple(slice(t - s, e - s) for t, e, s in zip(top, end, o, strict=True))]
            for view, o in zip(labels, offsets, strict=True)
        ]
    )


def _picture(labels: Labels) -> tuple[float, float, float]:
    """(pair agreement, mean IoU of neighbours, share never changed) of one picture's aligned labels."""
    times = len(labels)
    flat = labels.reshape(times, -1)
    classes, dense = np.unique(flat, return_inverse=True)
    dense = dense.reshape(flat.shape)
    counts = np.stack([(dense == k).sum(axis=0) for k in range(len(classes))])
    agreement = float((counts * (counts - 1)).sum() / (times * (times - 1) * flat.shape[1]))
    ious = [_miou(a, b, len(classes)) for a, b in pairwise([*dense, dense[0]])]
    return agreement, float(np.mean(ious)), float((flat == flat[0]).all(axis=0).mean())


def _miou(first: Labels, second: Labels, classes: int) -> float:
    """Mean over the classes that either has of intersection over union."""
    joint = np.bincount(first * classes + second, minlength=classes * classes).reshape(classes, classes)
    union = joint.sum(axis=0) + joint.sum(axis=1) - joint.diagonal()
    return float((joint.diagonal()[union > 0] / union[union > 0]).mean())
