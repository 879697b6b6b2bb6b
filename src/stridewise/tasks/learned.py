"""A training in which strides are learned beside the weights; what it is good for: docs/learned.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.switching.learned import LearnedStrides, learned
from stridewise.tasks.backbone import build
from stridewise.tasks.checkpoint import Checkpoint
from stridewise.tasks.loop import Aim, fit
from stridewise.tasks.pictures import Splits
from stridewise.tasks.recipe import Recipe
from stridewise.tasks.task import Source, Task

PRICE = 0.3  # of the loss, for each 1x of the network's multiply-adds


def learned_strides(
    task: Task,
    source: Source,
    splits: Splits,
    *,
    recipe: Recipe,
    epochs: int,
    checkpoint: Path,
    price: float = PRICE,
    start: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
) -> tuple[LearnedStrides, float]:
    """A classifier whose strides were trained beside its weights, and its score with them.

    start: the steps that are learned and where each begins; those of the network, unless given. Everything runs at
    stride 1 first, so a training takes as long as one of the finest plan. checkpoint: taken up when it is there, gone
    at the end. Raises: PlanError.
    """

    def loss(out: Any, y: torch.Tensor, net: nn.Module) -> torch.Tensor:
        strides: LearnedStrides = net  # type: ignore[assignment]
        return task.loss(out, y, net) + price * strides.cost()

    def judge(net: nn.Module, device: Any) -> float:
        return task.evaluate(net, splits.held_out, device, thorough=False).score

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = learned(build(source, len(splits.classes)), splits.shape, at=None if start is None else list(start))
        if start is not None:
            net.start(start)
        stamp = (("strides of", str(source)), ("epochs", str(epochs)), ("recipe", str(recipe)))
        aim = Aim(loss=loss, judge=judge, name="learned strides")
        kept = Checkpoint(path=checkpoint, stamp=stamp)
        done = fit(net, splits.train, recipe, aim, epochs=epochs, seed=seed, checkpoint=kept)
    checkpoint.unlink(missing_ok=True)
    return net, done.curve[-1].score
