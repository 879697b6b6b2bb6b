"""Classification: one class a picture. A network under a plan, its mean over all positions, a linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from stridewise.data import Dataset
from stridewise.data.picture import Size
from stridewise.errors import DataError, LoadError, StridewiseError
from stridewise.plans import Plan
from stridewise.tasks.backbone import Prepare, backbone, first_answer
from stridewise.tasks.pictures import Pictures, Splits, as_pictures, common_size, divided, standard_of
from stridewise.tasks.recipe import accuracy_metric
from stridewise.tasks.record import wilson
from stridewise.tasks.task import DataShape, Evaluation, Source, name_of

_JUDGED_AT_ONCE = 200


class _Pooled(nn.Module):
    """A backbone that ends in a map, its mean over all positions, and a linear layer."""

    def __init__(self, backbone: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, *sizes) -> (N, classes)."""
        found: torch.Tensor = self.backbone(x)
        return self.fc(found.flatten(2).mean(2))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classify:
    """The task of classification. Its score is the share of held-out pictures whose largest output is their class."""

    name: str = "classify"
    metric: str = "accuracy"

    @property
    def options(self) -> Mapping[str, Any]:
        """None."""
        return {}

    def read(self, dataset: Dataset, size: Size | None = None) -> Splits:
        """The training and held-out split of a data set as tensors; a set without splits gives up a seeded fifth.

        Raises: DataError where there are no pictures, or only one class.
        """
        dataset, held = divided(dataset, "a folder with one sub-folder of pictures a class")
        size = common_size(dataset, "train", size)
        pixels, labels = dataset.arrays("train", size=size)
        if len(np.unique(labels)) < 2:
            raise DataError(
                f"{dataset.name}: all {len(labels)} training pictures are of one class: a classifier wants two or more"
            )
        standard = standard_of(pixels)
        return Splits(
            name=dataset.name,
            classes=dataset.classes,
            train=as_pictures(pixels, labels, standard, dataset.classes),
            held_out=as_pictures(*dataset.arrays(held, size=size), standard, dataset.classes),
        )

    def network(self, source: Source, plan: Plan, data: DataShape, *, prepare: Prepare | None = None) -> nn.Module:
        """The network under the plan, with an output a class: a map at its end is pooled and read by a linear layer.

        Raises: LoadError where it ends in anything else; PlanError where the plan does not suit it.
        """
        classes, name = len(data.classes), name_of(source)
        model = backbone(source, classes, plan, data.shape, prepare)
        out = first_answer(model, data.shape, source)
        if not isinstance(out, torch.Tensor) or out.dim() not in (2, len(data.shape) + 1):
            raise LoadError(f"{name}: a classifier returns one tensor (N, classes), or a map (N, C, H, W) to pool")
        if out.dim() > 2:
            return _Pooled(model, out.shape[1], classes).eval()
        if out.shape[1] < classes:
            raise LoadError(
                f"{name}: has {out.shape[1]} outputs, {data.name} has {classes} classes: let its factory take "
                "num_classes"
            )
        return model

    def loss(self, out: torch.Tensor, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
        """Cross entropy."""
        return functional.cross_entropy(out, y)

    def evaluate(self, model: nn.Module, pictures: Pictures, device: Any, *, thorough: bool = True) -> Evaluation:
        """The share of pictures whose largest output is their class, with Wilson's interval, and which they are."""
        right: list[bool] = []
        metric: Any = None
        model.eval()
        with torch.inference_mode():
            for x, y in pictures.batches(_JUDGED_AT_ONCE):
                scores = model(x.to(device)).float()
                if not torch.isfinite(scores).all():
                    raise StridewiseError("the network's outputs are not numbers after training: lower the rate")
                metric = metric or accuracy_metric(scores.shape[1]).to(device)
                found = scores.argmax(1)
                metric.update(found, y.to(device))
                right += (found.cpu() == y).tolist()
        low, high = wilson(sum(right), len(right))
        figures = _beside(np.array(right), pictures) if thorough else {}
        return Evaluation(score=float(metric.compute()), low=low, high=high, figures=figures, correct=tuple(right))


def _beside(right: npt.NDArray[np.bool_], pictures: Pictures) -> dict[str, float | None]:
    """What the accuracy is to be held against: that of saying one class always, and the mean over the classes."""
    labels = pictures.y.numpy()
    counts = np.bincount(labels, minlength=len(pictures.classes))
    by_class = [float(right[labels == k].mean()) for k in np.flatnonzero(counts)]
    usual = int(counts.argmax())
    return {
        f"always {pictures.classes[usual]}": float(counts[usual] / counts.sum()),
        "mean over classes": float(np.mean(by_class)),
    }
