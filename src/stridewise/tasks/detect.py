"""Detection: boxes from a pyramid whose levels have the strides that the plan gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from stridewise.data import Boxes, Dataset
from stridewise.data.picture import Size
from stridewise.errors import DataError, StridewiseError, UsageError
from stridewise.plans import Plan
from stridewise.tasks.assign import IGNORED
from stridewise.tasks.backbone import Prepare, backbone, freeze_unreached
from stridewise.tasks.box_loss import detection_loss
from stridewise.tasks.detector import Detector
from stridewise.tasks.pictures import Pictures, Splits, as_pictures, common_size, divided, standard_of
from stridewise.tasks.precision import SIZES, Said, Truth, average_precisions, interval
from stridewise.tasks.pyramid import chosen_levels, maps_of
from stridewise.tasks.task import DataShape, Evaluation, Source, name_of

FINEST, COARSEST = 2, 64
_JUDGED_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Detect:
    """The task of detection. Its score is COCO's mAP.

    levels: the strides boxes are looked for at, any of 2 to 64 that the plan gives; all of them from 4 on where None.
    width: channels of the head. sizes: sides in pixels, as the network sees them, below which an object is small and
    from which it is large.
    """

    name: str = "detect"
    metric: str = "mAP"
    levels: tuple[int, ...] | None = None
    width: int = 64
    sizes: tuple[float, float] = SIZES

    def __post_init__(self) -> None:
        if self.levels is not None and (not self.levels or min(self.levels) < FINEST or max(self.levels) > COARSEST):
            raise UsageError(f"detect: levels {self.levels}: strides from {FINEST} to {COARSEST} are wanted")
        if self.width < 1 or len(self.sizes) != 2 or not 0 < self.sizes[0] < self.sizes[1]:
            raise UsageError(f"detect: width {self.width}, sizes {self.sizes}: a width from 1, two rising sizes wanted")

    @property
    def options(self) -> Mapping[str, Any]:
        """Levels, width and sizes."""
        levels = None if self.levels is None else list(self.levels)
        return {"levels": levels, "width": self.width, "sizes": list(self.sizes)}

    def read(self, dataset: Dataset, size: Size | None = None) -> Splits:
        """Pictures and boxes as tensors, both brought to `size`.

        Raises: DataError where there are no pictures, or no boxes to learn from or to judge by.
        """
        dataset, held = divided(dataset, "a folder with images and their boxes (COCO, YOLO or VOC)")
        size = common_size(dataset, "train", size)
        parts = {split: dataset.box_arrays(split, size=size) for split in ("train", held)}
        for split, (_, boxes) in parts.items():
            if not any(len(b) for b in boxes):
                raise DataError(
                    f"{dataset.name}: no boxes in '{split}': a detector wants some to learn and to judge by"
                )
        standard = standard_of(parts["train"][0])
        train, held_out = (as_pictures(x, _padded(boxes), standard, dataset.classes) for x, boxes in parts.values())
        return Splits(name=dataset.name, classes=dataset.classes, train=train, held_out=held_out)

    def network(self, source: Source, plan: Plan, data: DataShape, *, prepare: Prepare | None = None) -> nn.Module:
        """The backbone under the plan with a pyramid and a head on its maps. Raises: PlanError without such maps."""
        shape, classes = data.shape, len(data.classes)
        model = backbone(source, classes, plan, shape, prepare)
        found = chosen_levels(model, shape, self.levels, name=f"{name_of(source)}: detection", coarsest=COARSEST)
        made = Detector(maps_of(model, found, shape), found, classes, self.width)
        return freeze_unreached(made, shape, lambda out: out[0].sum() + out[1].sum()).eval()

    def loss(self, out: Any, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
        """Focal loss of the scores towards the overlap, generalised overlap of the boxes."""
        scores, sides, cells = out
        return detection_loss(scores.float(), sides.float(), cells.float(), y)

    def evaluate(self, model: nn.Module, pictures: Pictures, device: Any, *, thorough: bool = True) -> Evaluation:
        """mAP, AP50, AP75, AP by object size and by class; thorough: also the interval of mAP over pictures."""
        model.eval()
        said: list[Said] = []
        detector: Any = getattr(model, "module", model)
        for x, _ in pictures.batches(_JUDGED_AT_ONCE):
            for found in detector.predict(x.to(device)):
                if not torch.isfinite(found["boxes"]).all():
                    raise StridewiseError("the network's outputs are not numbers after training: lower the rate")
                said.append((found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist()))
        truth, ignored = truth_of(pictures)
        figures = average_precisions(truth, said, pictures.classes, self.sizes, ignored)
        score = figures.pop("mAP")
        low, high = interval(truth, said, pictures.classes, ignored=ignored) if thorough else (None, None)
        return Evaluation(score=score or 0.0, low=low, high=high, figures=figures)


def truth_of(pictures: Pictures) -> tuple[list[Truth], list[Truth]]:
    """The true boxes of every picture and their classes; the regions to ignore, and theirs."""
    objects = [row[row[:, 4] >= 0] for row in pictures.y]
    regions = [row[row[:, 4] < -1] for row in pictures.y]
    return (
        [(row[:, :4].tolist(), row[:, 4].long().tolist()) for row in objects],
        [(row[:, :4].tolist(), (IGNORED - row[:, 4].long()).tolist()) for row in regions],
    )


def _padded(boxes: Sequence[Boxes]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(N, most, 5) x0, y0, x1, y1, class; a region to ignore has class -2 - k, a row without a box -1."""
    most = max((len(b) + len(b.ignored or ()) for b in boxes), default=0)
    out = np.zeros((len(boxes), max(most, 1), 5), np.float32)
    out[..., 4] = -1
    for row, b in zip(out, boxes, strict=True):
        row[: len(b), :4], row[: len(b), 4] = b.corners, b.classes
        if b.ignored is not None:
            rest = row[len(b) : len(b) + len(b.ignored)]
            rest[:, :4], rest[:, 4] = b.ignored.corners, IGNORED - b.ignored.classes
    return out
