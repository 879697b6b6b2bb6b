"""Shift consistency: what a network says of the same pictures, moved by some pixels.

Every network meets the same views. What is reported comes from the predictions alone (`agreement`); here the views are
made and run, as many offsets in one batch as fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stridewise.errors import DataError, UsageError
from stridewise.measuring.agreement import (
    Labels,
    Level,
    Sums,
    accuracy,
    distances,
    guilty,
    levels,
    never_changed,
    output_change,
    pair_agreement,
    stays_right,
)
from stridewise.measuring.intervals import Floats, Interval, difference, ratio
from stridewise.measuring.offsets import (
    DRAWN,
    Offsets,
    Step,
    check_room,
    grid_offsets,
    pair_offsets,
    views,
    with_margin,
)

Predict = Callable[[torch.Tensor], Any]
PRESETS = ("zhang2019",)
ZHANG = {"size": 224, "picture": 256, "reach": 32}
_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network to be moved under: what it predicts for a batch, its cumulative strides, and the sites behind each."""

    predict: Predict
    ladder: tuple[Step, ...]
    sites: Mapping[Step, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Shift consistency of one network. Shares of 1 with 95 % intervals over pictures (bootstrap).

    agreement: of pairs of offsets; unchanged: pictures given one class at all `offsets` offsets (the worst case);
    accuracy over offsets and stays_right (among views classified correctly, the picture's other views that are too):
    with labels only; change: of the output, 1 = as much as another picture makes. versus: agreement minus that of the
    first network, paired. levels: by offset modulo the cumulative strides; guilty: the one that adds most, and its
    sites.
    """

    name: str
    mode: str
    offsets: int
    reach: Step
    pictures: int
    agreement: Interval
    unchanged: Interval
    change: Interval
    accuracy: Interval | None
    stays_right: Interval | None
    levels: tuple[Level, ...]
    guilty: Level | None
    sites: tuple[str, ...]
    classes_predicted: int
    versus: Interval | None = None
    preset: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        figures = {key: getattr(self, key) for key in ("agreement", "unchanged", "change", "accuracy", "stays_right")}
        rows = [
            {
                "multiple_of": list(level.multiple_of),
                "next": None if level.next is None else list(level.next),
                "pairs": level.pairs,
                "disagree": level.disagree.to_json(),
                "change": level.change.to_json(),
                "added": level.added,
            }
            for level in self.levels
        ]
        return {
            "kind": "measured",
            "task": "classify",
            "mode": self.mode,
            "preset": self.preset or None,
            "offsets": self.offsets,
            "reach": list(self.reach),
            "pictures": self.pictures,
            **{key: None if value is None else value.to_json() for key, value in figures.items()},
            "versus_first": None if self.versus is None else self.versus.to_json(),
            "classes_predicted": self.classes_predicted,
            "levels": rows,
            "guilty": None
            if self.guilty is None
            else {"next": list(self.guilty.next or ()), "sites": list(self.sites)},
        }


def shift(
    networks: Mapping[str, Network],
    pictures: torch.Tensor,
    size: Sequence[int],
    *,
    labels: npt.ArrayLike | None = None,
    mode: str = "crop",
    preset: str = "",
    drawn: int = DRAWN,
    batch: int = _BATCH,
    seed: int = 0,
    tick: Callable[[int, int], None] | None = None,
) -> tuple[Shift, ...]:
    """Shift consistency of classifiers, in the order given, all at the same offsets.

    pictures: (N, channels, *sizes) as the networks want them (standardised), larger than `size` in mode crop; offsets:
    the grid of the coarsest step of any of the networks. labels: N class indices. preset zhang2019: 224 of 256 pixels,
    one pair of offsets 0 to 31. tick: called with views done and views in all.
    Raises: DataError, UsageError in one line.
    """
    if not networks or not len(pictures):
        raise DataError("shift: no networks or no pictures to measure")
    reach = reach_of(networks, preset)
    offsets = drawn_offsets(len(pictures), reach, preset, drawn, seed)
    known = None if labels is None else np.asarray(labels, np.int64)
    if known is not None and known.shape != (len(pictures),):
        raise UsageError(f"shift: {known.shape} labels for {len(pictures)} pictures: one class index a picture")
    found: list[Shift] = []
    first: Sums | None = None
    total = len(networks) * offsets.shape[0] * offsets.shape[1]
    for place, (name, network) in enumerate(networks.items()):
        before = place * offsets.shape[0] * offsets.shape[1]
        outputs = run_views(
            network.predict,
            pictures,
            offsets,
            size,
            mode=mode,
            batch=batch,
            tick=None if tick is None else lambda done, before=before: tick(before + done, total),  # type: ignore[misc]
        )
        if outputs.ndim != 3:
            raise UsageError(f"{name}: one row of scores a picture is wanted, not outputs of {outputs.shape[2:]}")
        result, sums = _one(name, network, outputs, offsets, known, mode, seed)
        if first is None:
            first = sums
        else:
            result = replace(result, versus=difference(first, sums, seed=seed))
        found.append(replace(result, reach=tuple(reach), preset=preset))
    return tuple(found)


def reach_of(networks: Mapping[str, Network], preset: str = "") -> Step:
    """Offsets an axis: the coarsest step of any of the networks, so that all meet the same views."""
    if preset and preset not in PRESETS:
        raise UsageError(f"shift: preset '{preset}' is none of {', '.join(PRESETS)}")
    axes = len(next(iter(networks.values())).ladder[0])
    if preset:
        return (ZHANG["reach"],) * axes
    return tuple(max(step[axis] for n in networks.values() for step in n.ladder) for axis in range(axes))


def drawn_offsets(pictures: int, reach: Step, preset: str, drawn: int, seed: int) -> Offsets:
    """The offsets of every picture, (pictures, offsets, axes)."""
    return pair_offsets(pictures, reach, seed=seed) if preset else grid_offsets(pictures, reach, drawn=drawn, seed=seed)


def run_views(
    predict: Predict,
    pictures: torch.Tensor,
    offsets: Offsets,
    size: Sequence[int],
    *,
    mode: str = "crop",
    batch: int = _BATCH,
    tick: Callable[[int], None] | None = None,
) -> Floats:
    """What `predict` says of every picture at every offset, (pictures, offsets, ...), `batch` views at a time."""
    margin = offsets.max(axis=(0, 1))
    check_room(pictures, size, margin.tolist(), mode)
    wide = with_margin(pictures, margin.tolist(), mode)
    flat = offsets.reshape(-1, 1, offsets.shape[-1]).tolist()
    owner = np.repeat(np.arange(len(pictures)), offsets.shape[1])
    parts = []
    with torch.inference_mode():
        for begin in range(0, len(flat), batch):
            rows = owner[begin : begin + batch]
            out = predict(views((wide[i] for i in rows.tolist()), flat[begin : begin + batch], size))
            parts.append(np.asarray(out.cpu() if isinstance(out, torch.Tensor) else out))
            if tick is not None:
                tick(min(begin + batch, len(flat)))
    joined = np.concatenate(parts)
    return joined.reshape(len(pictures), offsets.shape[1], *joined.shape[1:])


def _one(
    name: str, network: Network, outputs: Floats, offsets: Offsets, labels: Labels | None, mode: str, seed: int
) -> tuple[Shift, Sums]:
    predicted = outputs.argmax(axis=2)
    agreed = pair_agreement(predicted)
    scores = outputs.astype(np.float64)
    apart = distances(scores)
    moved, other = output_change(scores, apart)
    by_level = levels(predicted, apart, other, offsets, network.ladder, seed)
    worst = guilty(by_level)
    result = Shift(
        name=name,
        mode=mode,
        offsets=offsets.shape[1],
        reach=(),
        pictures=len(outputs),
        agreement=ratio(*agreed, seed=seed),
        unchanged=ratio(*never_changed(predicted), seed=seed),
        change=_root(ratio(moved, other, seed=seed)),
        accuracy=None if labels is None else ratio(*accuracy(predicted, labels), seed=seed),
        stays_right=None if labels is None else ratio(*stays_right(predicted, labels), seed=seed),
        levels=by_level,
        guilty=worst,
        sites=() if worst is None or worst.next is None else (network.sites or {}).get(worst.next, ()),
        classes_predicted=len(np.unique(predicted)),
    )
    return result, agreed


def _root(interval: Interval) -> Interval:
    low, value, high = (None if n is None else n**0.5 for n in (interval.low, interval.value, interval.high))
    return Interval(value=value, low=low, high=high)
