"""Segmentation: a class for every pixel, from a backbone's maps at the cumulative strides its graph reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from stridewise.data import IGNORE, Dataset
from stridewise.data.picture import Bytes, Size
from stridewise.datafit.masks import boundary, boundary_f1, boundary_tolerance
from stridewise.errors import DataError, PlanError, StridewiseError, UsageError
from stridewise.plans import Plan
from stridewise.surgery.features import told
from stridewise.tasks.backbone import Prepare, backbone, freeze_unreached
from stridewise.tasks.pictures import Pictures, Splits, as_pictures, common_size, divided, standard_of
from stridewise.tasks.segment_heads import Atrous, Decoder, Segmenter, atrous_rates, chosen_levels, maps_of, resized
from stridewise.tasks.task import DataShape, Evaluation, Source, name_of

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


HEADS = ("atrous", "decoder")
_JUDGED_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The task of segmentation. Its score is mean IoU at the labels' own size.

    head: "atrous" reads the coarsest map with dilated filters, for large steps early and small ones late; "decoder"
    brings several maps together, as U-Net and FPN do. levels: the strides it reads, all that the plan
    gives from 4 on where None. width: channels of the head.
    """

    name: str = "segment"
    metric: str = "mean IoU"
    head: str = "decoder"
    levels: tuple[int, ...] | None = None
    width: int = 64

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise UsageError(f"segment: no head '{self.head}': choose from {', '.join(HEADS)}")
        if self.width < 1 or (self.levels is not None and (not self.levels or min(self.levels) < 1)):
            raise UsageError(f"segment: width {self.width}, levels {self.levels}: whole numbers from 1 are wanted")
        if self.head == "atrous" and self.levels is not None and len(self.levels) != 1:
            raise UsageError(f"segment: the atrous head reads one level, not {len(self.levels)}")

    @property
    def options(self) -> Mapping[str, Any]:
        """Head, levels and width."""
        return {"head": self.head, "levels": None if self.levels is None else list(self.levels), "width": self.width}

    def read(self, dataset: Dataset, size: Size | None = None) -> Splits:
        """Pictures and masks as tensors, the held-out masks also at their own size.

        Raises: DataError where there are no pictures, one class, or no pixel of a class to learn from.
        """
        dataset, held = divided(dataset, "a folder with images/ beside masks/")
        if len(dataset.classes) < 2:
            raise DataError(f"{dataset.name}: its masks hold one class: two or more are wanted")
        size = common_size(dataset, "train", size)
        pixels, masks = dataset.mask_arrays("train", size=size)
        if (masks == IGNORE).all():
            raise DataError(f"{dataset.name}: no pixel of the training masks belongs to a class: nothing to learn")
        held_pixels, held_masks = dataset.mask_arrays(held, size=size)
        standard = standard_of(pixels)
        own = [sample.mask.load() for sample in dataset.split(held) if sample.mask is not None]
        return Splits(
            name=dataset.name,
            classes=dataset.classes,
            train=as_pictures(pixels, masks, standard, dataset.classes),
            held_out=as_pictures(held_pixels, held_masks, standard, dataset.classes, own),
        )

    def network(self, source: Source, plan: Plan, data: DataShape, *, prepare: Prepare | None = None) -> nn.Module:
        """The backbone under the plan with the head on its maps.

        Raises: PlanError where the plan gives no map the head can read.
        """
        shape, classes = data.shape, len(data.classes)
        model = backbone(source, classes, plan, shape, prepare)
        name = f"{name_of(source)}: the {self.head} head"
        found = chosen_levels(model, shape, self.levels, name=name, least=2)
        if self.head == "atrous":
            found = found[-1:]
            positions = [n // s for n, s in zip(shape[1:], found[0].stride, strict=True)]
            if min(positions) < 2:
                raise PlanError(
                    f"{name} wants 2 positions or more on each axis; stride {told(found[0].stride)} leaves "
                    f"{'x'.join(map(str, positions))} of {'x'.join(map(str, shape[1:]))} pixels: give larger pictures, "
                    "or a plan with a smaller output stride"
                )
            rates = atrous_rates(found[0].stride, shape[1:])
            head: nn.Module = Atrous(found[0].channels, classes, self.width, rates, axes=len(shape) - 1)
        else:
            if len(found) < 2:
                raise PlanError(
                    f"{name} brings maps of two strides or more together; there is {told(found[0].stride)} alone: "
                    "choose --head atrous or another plan"
                )
            head = Decoder([level.channels for level in found], classes, self.width, axes=len(shape) - 1)
        made = Segmenter(maps_of(model, found, shape), head)
        return freeze_unreached(made, shape, lambda out: out.sum()).eval()

    def loss(self, out: torch.Tensor, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
        """Cross entropy over the pixels that belong to a class."""
        if not (y != IGNORE).any():
            return out.sum() * 0.0
        return functional.cross_entropy(out, y.long(), ignore_index=IGNORE)

    def evaluate(self, model: nn.Module, pictures: Pictures, device: Any, *, thorough: bool = True) -> Evaluation:
        """Mean IoU; thorough: also boundary F. Scores are enlarged to the labels' size before the best is taken."""
        model.eval()
        masks = pictures.full or tuple(pictures.y.numpy())
        done = 0
        overlap = Overlap(pictures.classes, boundaries=thorough)
        with torch.inference_mode():
            for x, _ in pictures.batches(_JUDGED_AT_ONCE):
                scores = model(x.to(device)).float()
                if not torch.isfinite(scores).all():
                    raise StridewiseError("the network's outputs are not numbers after training: lower the rate")
                for row, true in zip(scores, masks[done : done + len(x)], strict=True):
                    overlap.add(true, labels_at(row, true.shape))
                done += len(x)
        return overlap.evaluation()


def labels_at(scores: torch.Tensor, size: Size) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The best class of every pixel, (*size) uint8, of scores (classes, *sizes) enlarged to `size`."""
    if tuple(scores.shape[1:]) != tuple(size):
        scores = resized(scores[None], size)[0]
    return scores.argmax(0).to(torch.uint8).cpu().numpy()
