"""Average precision of boxes as COCO counts it, by class and by the size of the objects, through faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stridewise.errors import MissingExtraError

SIZES = (32.0, 96.0)
"""Sides in pixels (root of the area) below which an object is small, and from which it is large: COCO's."""

Box = Sequence[float]
Truth = tuple[Sequence[Box], Sequence[int]]
"""Boxes x0, y0, x1, y1 of one picture, and their classes."""

Said = tuple[Sequence[Box], Sequence[int], Sequence[float]]
"""Boxes of one picture, their classes, their scores."""


def average_precisions(
    truth: Sequence[Truth], said: Sequence[Said], classes: Sequence[str], sizes: tuple[float, float] = SIZES
) -> dict[str, float | None]:
    """mAP (over overlaps 0.50 to 0.95), AP50, AP75, AP of small, medium and large objects, and AP of every class.

    None where there is no such object. Raises: MissingExtraError without faster-coco-eval.
    """
    labels = range(len(classes))
    if not any(len(kinds) for _, kinds in truth):
        return dict.fromkeys(("mAP", "AP50", "AP75", "AP small", "AP medium", "AP large", *_named(classes)))
    table = _accumulated(truth, said, labels, sizes)

    def mean(overlap: Any = slice(None), kind: Any = slice(None), area: int = 0) -> float | None:
        found = table[overlap, :, kind, area]
        found = found[found > -1]
        return float(found.mean()) if found.size else None

    figures = {"mAP": mean(), "AP50": mean(overlap=0), "AP75": mean(overlap=5)}
    figures |= {f"AP {name}": mean(area=place) for place, name in enumerate(("small", "medium", "large"), 1)}
    return figures | {name: mean(kind=label) for name, label in zip(_named(classes), labels, strict=True)}


def _named(classes: Sequence[str]) -> list[str]:
    return [f"AP of {name}" for name in classes]


def _accumulated(truth: Sequence[Truth], said: Sequence[Said], labels: range, sizes: tuple[float, float]) -> Any:
    """Precision by (overlap, recall, class, size), -1 where there is no object."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ModuleNotFoundError as error:
        raise MissingExtraError("faster-coco-eval", "train", "average precision") from error
    annotations = [
        {"image_id": picture, "category_id": kind + 1, "bbox": _wide(box), "area": _area(box), "iscrowd": 0}
        for picture, (boxes, kinds) in enumerate(truth, 1)
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
    judge = COCOeval_faster(known, known.loadRes(results), iouType="bbox", print_function=_silent)
    small, large = sizes[0] ** 2, sizes[1] ** 2
    judge.params.areaRng = [[0, 1e10], [0, small], [small, large], [large, 1e10]]
    judge.evaluate()
    judge.accumulate()
    return np.asarray(judge.eval["precision"])[..., 2]


def _wide(box: Box) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _area(box: Box) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _silent(*_: Any) -> None:
    pass
