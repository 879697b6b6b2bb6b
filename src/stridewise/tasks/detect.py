"""Detection: boxes from a pyramid whose levels have the strides that the plan gives, and their average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from stridewise.data import Boxes, Dataset
from stridewise.data.picture import Size
from stridewise.errors import DataError, MissingExtraError, StridewiseError, UsageError
from stridewise.measuring.intervals import Floats
from stridewise.plans import Plan
from stridewise.tasks.backbone import Prepare, backbone, freeze_unreached
from stridewise.tasks.detector import IGNORED, Detector, detection_loss
from stridewise.tasks.pictures import Pictures, Splits, as_pictures, common_size, divided, standard_of
from stridewise.tasks.segment_heads import chosen_levels, maps_of
from stridewise.tasks.task import DataShape, Evaluation, Source, name_of

SIZES = (32.0, 96.0)
"""Sides in pixels (root of the area) below which an object is small, and from which it is large: COCO's."""

DRAWS = 500
"""Of the pictures, for an interval: each takes 2 ms for 80 pictures, 20 ms for 300."""

_ANY = [0.0, 1e10]  # areas
_MOST = 100  # boxes a picture and class that count, the best first: COCO's

Box = Sequence[float]
Truth = tuple[Sequence[Box], Sequence[int]]
"""Boxes x0, y0, x1, y1 of one picture, and their classes."""

Said = tuple[Sequence[Box], Sequence[int], Sequence[float]]
"""Boxes of one picture, their classes, their scores."""


def average_precisions(
    truth: Sequence[Truth],
    said: Sequence[Said],
    classes: Sequence[str],
    sizes: tuple[float, float] = SIZES,
    ignored: Sequence[Truth] = (),
) -> dict[str, float | None]:
    """mAP (over overlaps 0.50 to 0.95), AP50, AP75, AP of small, medium and large objects, and AP of every class.

    ignored: regions (COCO's crowds) whose boxes count neither for nor against. None where there is no such object.
    Raises: MissingExtraError without faster-coco-eval.
    """
    labels = range(len(classes))
    if not any(len(kinds) for _, kinds in truth):
        return dict.fromkeys(("mAP", "AP50", "AP75", "AP small", "AP medium", "AP large", *_named(classes)))
    small, large = sizes[0] ** 2, sizes[1] ** 2
    judge = _judge(truth, said, ignored, labels, [_ANY, [0, small], [small, large], [large, _ANY[1]]])
    table = _precision(judge)

    def mean(overlap: Any = slice(None), kind: Any = slice(None), area: int = 0) -> float | None:
        found = table[overlap, :, kind, area]
        found = found[found > -1]
        return float(found.mean()) if found.size else None

    figures = {"mAP": mean(), "AP50": mean(overlap=0), "AP75": mean(overlap=5)}
    figures |= {f"AP {name}": mean(area=place) for place, name in enumerate(("small", "medium", "large"), 1)}
    return figures | {name: mean(kind=label) for name, label in zip(_named(classes), labels, strict=True)}


def _named(classes: Sequence[str]) -> list[str]:
    return [f"AP of {name}" for name in classes]


def interval(
    truth: Sequence[Truth],
    said: Sequence[Said],
    classes: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    ignored: Sequence[Truth] = (),
) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of mAP over pictures; none from fewer than two pictures with objects.

    mAP of few pictures comes out too high (precision is taken from the best rank onwards), and of pictures drawn again
    from them higher still, so the pivotal interval is taken, which turns that second error against the first.
    Source: Davison and Hinkley 1997, "Bootstrap methods and their application", section 5.2 (basic interval).
    """
    if sum(bool(len(kinds)) for _, kinds in truth) < 2:
        return None, None
    picked = np.random.default_rng(seed).integers(len(truth), size=(draws, len(truth)))
    found = redrawn(truth, said, classes, np.vstack([np.arange(len(truth)), picked]), ignored)
    value, found = found[0], found[1:]
    low, high = np.clip(2 * value - np.quantile(found[~np.isnan(found)], [0.975, 0.025]), 0, 1)
    return float(low), float(high)


def redrawn(
    truth: Sequence[Truth],
    said: Sequence[Said],
    classes: Sequence[str],
    picked: npt.NDArray[np.int64],
    ignored: Sequence[Truth] = (),
) -> Floats:
    """mAP of data sets made of these pictures, picked (sets, pictures) by their place; NaN of one without objects.

    Boxes are matched once a picture, which drawing it again does not change; only the precisions are gathered anew.
    """
    labels = range(len(classes))
    judge = _judge(truth, said, ignored, labels, [_ANY])
    matched = np.array(judge._evalImgs_cpp, object).reshape(len(labels), len(truth))
    found = np.full(len(picked), np.nan)
    for place, pictures in enumerate(picked):
        judge._evalImgs_cpp = list(matched[:, pictures].ravel())
        table = _precision(judge)
        if (table > -1).any():
            found[place] = table[table > -1].mean()
    return found


def _precision(judge: Any) -> Floats:
    """Precision by (overlap, recall, class, size), -1 where there is no object."""
    judge.accumulate()
    table: Floats = np.asarray(judge.eval["precision"])[..., -1]
    return table


def _judge(
    truth: Sequence[Truth],
    said: Sequence[Said],
    ignored: Sequence[Truth],
    labels: range,
    areas: Sequence[Sequence[float]],
) -> Any:
    """COCO's judge with its boxes matched, picture by picture and range of areas by range."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ModuleNotFoundError as error:
        raise MissingExtraError("faster-coco-eval", "train", "average precision") from error
    annotations = [
        {"image_id": picture, "category_id": kind + 1, "bbox": _wide(box), "area": _area(box), "iscrowd": crowd}
        for crowd, part in enumerate((truth, ignored))
        for picture, (boxes, kinds) in enumerate(part, 1)
        for box, kind in zip(boxes, kinds, strict=True)
    ]
    results = [
        {"image_id": picture, "category_id": kind + 1, "bbox": _wide(box), "score": score}
        for picture, (boxes, kinds, scores) in enumerate(said, 1)
        for box, kind, score in zip(boxes, kinds, scores, strict=True)
    ]
    if not results:  # the library refuses an empty list
        results = [{"image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 0.0, 0.0], "score": 0.0}]
    coco: Mapping[str, Any] = {
        "images": [{"id": number} for number in range(1, len(truth) + 1)],
        "categories": [{"id": label + 1, "name": str(label)} for label in labels],
        "annotations": [{"id": number, **entry} for number, entry in enumerate(annotations, 1)],
    }
    known = COCO(dict(coco), print_function=_silent)
    found = known.loadRes(results)
    judge = COCOeval_faster(known, found, iouType="bbox", print_function=_silent, separate_eval=True)
    judge.params.areaRng = [list(area) for area in areas]
    judge.params.maxDets = [_MOST]
    judge.evaluate()
    return judge


def _wide(box: Box) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _area(box: Box) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _silent(*_: Any) -> None:
    pass


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
