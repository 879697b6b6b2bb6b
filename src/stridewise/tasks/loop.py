"""The training loop: epochs over tensors under Lightning Fabric, which owns device, precision and checkpoint files.

Everything drawn at random in an epoch follows from (seed, epoch), so a training taken up at an epoch's end gives the
same weights as one that was never stopped.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.data.records import Progress
from stridewise.errors import DataError, LoadError, StridewiseError, UsageError
from stridewise.tasks.libraries import fabric_class, quiet
from stridewise.tasks.pictures import AUGMENTATIONS, Pictures, augmented
from stridewise.tasks.record import Epoch

_LOOK_EVERY = 50  # steps between looks at the loss: each look waits for the device


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained. rate: AdamW's peak learning rate, warmed up over the first tenth of the steps and then
    lowered to 0 along a cosine; augment: any of shift, flip; precision, device: as Fabric names them."""

    batch: int = 64
    rate: float = 5e-3
    decay: float = 0.05
    augment: tuple[str, ...] = ()
    precision: str = "32-true"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in self.augment:
            if name not in AUGMENTATIONS:
                raise UsageError(f"no augmentation '{name}': choose from {', '.join(AUGMENTATIONS)}")
        if self.batch < 2 or not self.rate > 0:
            raise UsageError(f"batch {self.batch}, rate {self.rate}: a batch is 2 pictures or more, a rate above 0")


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Judge = Callable[[nn.Module, Any], float]


def fabric_for(recipe: Recipe) -> Any:
    """A Fabric on one device. Raises: MissingExtraError; UsageError for a device that is not there."""
    fabric = fabric_class()
    with quiet():
        try:
            return fabric(accelerator=recipe.device, devices=1, precision=recipe.precision)
        except (RuntimeError, ValueError) as error:
            raise UsageError(
                f"device '{recipe.device}', precision '{recipe.precision}': {_first_line(error)}"
            ) from error


def fit(
    model: nn.Module,
    pictures: Pictures,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    loss: Loss,
    judge: Judge,
    name: str,
    identity: str = "",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[Epoch, ...], nn.Module]:
    """Train `model` in place: the curve, and the model as Fabric runs it.

    judge: the accuracy, after each epoch. checkpoint: written after each epoch, taken up when it is there and was made
    with the same arguments; identity stands for what they do not show (plan, data).
    Raises: DataError where there are fewer pictures than a batch; StridewiseError where the loss is not a number.
    """
    if epochs < 1:
        raise UsageError(f"{name}: {epochs} epochs: train for one or more")
    if len(pictures) < recipe.batch:
        raise DataError(
            f"{name}: {len(pictures)} training pictures are fewer than a batch of {recipe.batch}: lower the batch"
        )
    per_epoch = len(pictures) // recipe.batch
    total = epochs * per_epoch
    fabric = fabric_for(recipe)
    with quiet():
        optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        running, optimizer = fabric.setup(channels_last(model), optimizer)
    state = {"model": running, "optimizer": optimizer}
    stamp = repr((name, identity, tuple(pictures.x.shape), epochs, seed, sorted(asdict(recipe).items())))
    curve = _resumed(fabric, checkpoint, state, stamp)
    for epoch in range(len(curve), epochs):
        torch.manual_seed(_drawn(seed, epoch))
        generator = torch.Generator().manual_seed(_drawn(seed, epoch))
        order = torch.randperm(len(pictures), generator=generator)
        running.train()
        sum_of_losses = torch.zeros((), device=fabric.device)
        for number, (x, y) in enumerate(pictures.batches(recipe.batch, order)):
            step = epoch * per_epoch + number
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * share_of_rate(step, total)
            x, y = fabric.to_device((augmented(x, recipe.augment, generator), y))
            value = loss(running(x), y)
            optimizer.zero_grad()
            fabric.backward(value)
            optimizer.step()
            sum_of_losses += value.detach()
            if (number % _LOOK_EVERY == 0 or number == per_epoch - 1) and not math.isfinite(sum_of_losses.item()):
                raise StridewiseError(
                    f"{name}: the loss is not a number at step {step + 1} of {total}: lower the rate ({recipe.rate:g})"
                )
            if progress is not None:
                progress(step + 1, total)
        curve.append(Epoch(loss=sum_of_losses.item() / per_epoch, accuracy=judge(running, fabric)))
        if checkpoint is not None:
            _save(fabric, checkpoint, {**state, "curve": [[e.loss, e.accuracy] for e in curve], "stamp": stamp})
    return tuple(curve), running


def channels_last(model: nn.Module) -> nn.Module:
    """The model with its 2-D weights laid out channels last, in which convolutions of few channels train faster."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def share_of_rate(step: int, total: int) -> float:
    """The learning rate's share at a step: up in a line over the first tenth, then down along half a cosine."""
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _drawn(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch


def _save(fabric: Any, path: Path, state: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with quiet():
            fabric.save(temporary, state)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        raise StridewiseError(f"{path}: the checkpoint cannot be written: {_first_line(error)}") from error


def _resumed(fabric: Any, path: Path | None, state: dict[str, Any], stamp: str) -> list[Epoch]:
    """The curve so far, the model and optimizer brought to where it ends."""
    if path is None or not path.exists():
        return []
    try:
        with quiet():
            rest = fabric.load(path, weights_only=True)
    except Exception as error:  # a broken file shows itself in many ways
        raise LoadError(f"{path}: not a readable checkpoint ({_first_line(error)}): delete it to begin anew") from error
    if rest.get("stamp") != stamp:
        raise LoadError(f"{path}: the checkpoint of another training: delete it or name another")
    state["model"].load_state_dict(rest["model"])
    state["optimizer"].load_state_dict(rest["optimizer"])
    return [Epoch(loss=loss, accuracy=accuracy) for loss, accuracy in rest["curve"]]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
