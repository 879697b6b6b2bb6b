"""Classification: one class a picture. A network under a plan, trained from a seed and judged on held-out pictures."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from stridewise.data.records import Progress
from stridewise.errors import LoadError, StridewiseError
from stridewise.frontends.apply import apply_to_model
from stridewise.frontends.load import ModelSpec, load, resolve
from stridewise.plans import Plan
from stridewise.tasks.libraries import accuracy_metric
from stridewise.tasks.loop import Recipe, fit
from stridewise.tasks.pictures import Pictures, Splits
from stridewise.tasks.record import TrainRecord, wilson

Factory: TypeAlias = Callable[..., nn.Module]
Source: TypeAlias = str | ModelSpec | Factory

_JUDGED_AT_ONCE = 200


class _Pooled(nn.Module):
    """A backbone that ends in a map, its mean over all positions, and a linear layer."""

    def __init__(self, backbone: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, classes)."""
        found: torch.Tensor = self.backbone(x)
        return self.fc(found.mean((2, 3)))  # type: ignore[no-any-return]


def build(source: Source, classes: int) -> nn.Module:
    """The network with `classes` outputs, random weights, on the CPU. A factory is given `num_classes` or `classes`
    where it has such a parameter."""
    if callable(source):
        return source(**_wanted(source, classes))
    spec = resolve(source)
    if spec.kind == "builtin":
        return load(spec, classes=classes)
    if spec.kind in ("timm", "torchvision"):
        return load(spec, num_classes=classes)
    for name in ("num_classes", "classes"):
        wanted: dict[str, Any] = {name: classes}
        try:
            return load(spec, **wanted)
        except LoadError as error:
            if not isinstance(error.__cause__, TypeError):
                raise
    return load(spec)


def _wanted(factory: Factory, classes: int) -> dict[str, int]:
    names = inspect.signature(factory).parameters
    return next(({name: classes} for name in ("num_classes", "classes") if name in names), {})


def network(source: Source, plan: Plan, splits: Splits) -> nn.Module:
    """The network under the plan, with an output a class: a map at its end is pooled and read by a linear layer.

    Raises: LoadError where it ends in anything else; PlanError where the plan does not suit it.
    """
    model = build(source, len(splits.classes))
    if plan:
        apply_to_model(model, plan, input=splits.shape)
    name = name_of(source)
    model.eval()
    with torch.no_grad():
        try:
            out = model(torch.zeros(2, *splits.shape))
        except RuntimeError as error:
            raise LoadError(
                f"{name}: does not run on pictures of {splits.shape}: {str(error).splitlines()[0]}"
            ) from error
    if not isinstance(out, torch.Tensor) or out.dim() not in (2, 4):
        raise LoadError(f"{name}: a classifier returns one tensor (N, classes), or a map (N, C, H, W) to pool")
    if out.dim() == 4:
        return _Pooled(model, out.shape[1], len(splits.classes))
    if out.shape[1] < len(splits.classes):
        raise LoadError(
            f"{name}: has {out.shape[1]} outputs, {splits.name} has {len(splits.classes)} classes: let its factory "
            "take num_classes"
        )
    return model


def classify(
    source: Source,
    splits: Splits,
    *,
    plan: Plan | None = None,
    epochs: int = 10,
    seed: int = 0,
    recipe: Recipe | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> TrainRecord:
    """Train a network under a plan from random weights, and judge it on the held-out pictures.

    The same arguments give the same record on a CPU at the same number of threads, also through a checkpoint.
    Raises: DataError, LoadError, PlanError, or StridewiseError where the loss is not a number; one line each.
    """
    recipe, plan = recipe or Recipe(), plan or Plan()
    begin, name = time.monotonic(), name_of(source)
    label = f"{name} on {splits.name}"
    devices = list(range(torch.cuda.device_count())) if recipe.device != "cpu" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        model = network(source, plan, splits)
        curve, running = fit(
            model,
            splits.train,
            recipe,
            epochs=epochs,
            seed=seed,
            loss=functional.cross_entropy,
            judge=lambda found, fabric: _accuracy(found, splits.held_out, fabric)[0],
            name=label,
            identity=plan.to_toml(),
            checkpoint=checkpoint,
            progress=progress,
        )
        accuracy, correct = _accuracy(running, splits.held_out, running)
    low, high = wilson(sum(correct), len(correct))
    return TrainRecord(
        task="classify",
        model=name,
        data=splits.name,
        plan=plan,
        seed=seed,
        budget=epochs,
        steps=epochs * (len(splits.train) // recipe.batch),
        accuracy=accuracy,
        low=low,
        high=high,
        pictures=len(correct),
        curve=curve,
        seconds=time.monotonic() - begin,
        conditions={
            "device": recipe.device,
            "threads": torch.get_num_threads(),
            "precision": recipe.precision,
            "batch": recipe.batch,
            "rate": recipe.rate,
            "augment": list(recipe.augment),
            "torch": torch.__version__,
        },
        correct=correct,
    )


def _accuracy(model: nn.Module, pictures: Pictures, place: Any) -> tuple[float, tuple[bool, ...]]:
    """The share of pictures whose largest output is their class, and which they are."""
    device = place.device
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
    return float(metric.compute()), tuple(right)


def name_of(source: Source) -> str:
    """How a network is called in records and messages."""
    if isinstance(source, str | ModelSpec):
        return str(source)
    return getattr(source, "__qualname__", type(source).__name__)
