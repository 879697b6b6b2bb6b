"""The training loop: epochs over tensors under Lightning Fabric, which owns devices, precision and checkpoint files.

Everything drawn at random in an epoch follows from (seed, epoch), so a training taken up at an epoch's end gives the
same weights as one that was never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stridewise.data.records import Progress
from stridewise.errors import DataError, StridewiseError, UsageError
from stridewise.tasks.augment import augmented
from stridewise.tasks.checkpoint import Checkpoint
from stridewise.tasks.files import whole
from stridewise.tasks.libraries import quiet
from stridewise.tasks.memory import Pieces, out_of_memory
from stridewise.tasks.pictures import Pictures
from stridewise.tasks.recipe import Recipe, fabric_for
from stridewise.tasks.record import Epoch

_LOOK_EVERY = 50  # steps between looks at the loss: each look waits for the device

Loss = Callable[[Any, torch.Tensor, nn.Module], torch.Tensor]
Judge = Callable[[nn.Module, Any], float]
Told = Callable[[list[Epoch], nn.Module], None]


@dataclass(slots=True, kw_only=True)
class Fitted:
    """What came of a training. model: as trained, unwrapped; running: as Fabric runs it; steps: done, of all processes
    together; first: whether this process is the one that speaks; finished: False where it was asked to stop before."""

    curve: tuple[Epoch, ...]
    model: nn.Module
    running: nn.Module
    device: Any
    steps: int
    finished: bool
    first: bool
    notes: tuple[str, ...]


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
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
    told: Told | None = None,
    stop_after: int | None = None,
) -> Fitted:
    """Train `model` in place.

    judge: the score, after each epoch. checkpoint: written after each epoch, taken up when it is there. told: called
    after each epoch with the curve so far. stop_after: epochs of this call, after which it stops unfinished.
    Raises: DataError where there are fewer pictures than a batch; StridewiseError where the loss is not a number.
    """
    if epochs < 1:
        raise UsageError(f"{name}: {epochs} epochs: train for one or more")
    step_size = recipe.batch * recipe.accumulate
    if len(pictures) < step_size:
        raise DataError(
            f"{name}: {len(pictures)} training pictures are fewer than a batch of {step_size}: lower the batch"
        )
    per_epoch = len(pictures) // step_size
    fabric = fabric_for(recipe)
    with quiet():
        optimizer = torch.optim.AdamW(_groups(model, recipe.decay), lr=recipe.rate)
        running, optimizer = fabric.setup(channels_last(model), optimizer)
    judged = running if fabric.world_size == 1 else model
    pieces = Pieces(recipe.accumulate, step_size // fabric.world_size)
    state = {"model": running, "optimizer": optimizer}
    curve = checkpoint.resumed(fabric, state) if checkpoint is not None else []
    best = Best(recipe.patience, judged, checkpoint)
    best.recall(curve)
    begun = len(curve)
    run = _Run(running, model, optimizer, fabric, recipe, loss, pieces, name, epochs * per_epoch, progress)
    while len(curve) < epochs and not best.over(curve) and (stop_after is None or len(curve) - begun < stop_after):
        mean_loss = run.epoch(pictures, len(curve), per_epoch, seed)
        score = judge(judged, fabric.device) if fabric.is_global_zero else 0.0
        score = float(fabric.broadcast(score)) if fabric.world_size > 1 else score
        curve.append(Epoch(loss=mean_loss, score=score))
        best.look(curve)
        if checkpoint is not None:
            checkpoint.save(fabric, state, curve)
        if told is not None and fabric.is_global_zero:
            told(curve, model)
    notes = [pieces.note] if pieces.note else []
    finished = len(curve) == epochs or best.over(curve)
    if finished:
        notes += best.restore(curve)
    return Fitted(
        curve=tuple(curve),
        model=model,
        running=judged,
        device=fabric.device,
        steps=len(curve) * per_epoch,
        finished=finished,
        first=fabric.is_global_zero,
        notes=tuple(notes),
    )


def as_it_is(model: nn.Module, device: str = "cpu") -> Fitted:
    """A network that is not trained at all."""
    return Fitted(
        curve=(),
        model=model,
        running=model,
        device=torch.device(device),
        steps=0,
        finished=True,
        first=True,
        notes=(),
    )


class Best:
    """Early stopping: the weights of the best epoch so far, kept where `patience` asks for it."""

    def __init__(self, patience: int | None, model: nn.Module, checkpoint: Checkpoint | None) -> None:
        self.patience, self.model = patience, model
        self.path = None if checkpoint is None or patience is None else checkpoint.path.with_suffix(".best")
        self.weights: dict[str, torch.Tensor] | None = None

    def recall(self, curve: list[Epoch]) -> None:
        """Read the best weights of what is resumed."""
        if self.path is not None and curve and self.path.is_file():
            self.weights = torch.load(self.path, map_location="cpu", weights_only=True)

    def look(self, curve: list[Epoch]) -> None:
        """Keep the weights if the last epoch is the best."""
        if self.patience is None or _best(curve) != len(curve) - 1:
            return
        self.weights = {key: value.detach().cpu().clone() for key, value in self.model.state_dict().items()}
        if self.path is not None:
            with whole(self.path, "best weights") as temporary:
                torch.save(self.weights, temporary)

    def over(self, curve: list[Epoch]) -> bool:
        """Whether the last `patience` epochs brought nothing."""
        return self.patience is not None and bool(curve) and len(curve) - 1 - _best(curve) >= self.patience

    def restore(self, curve: list[Epoch]) -> list[str]:
        """Put the best weights back; what to say about it."""
        if self.weights is None:
            return []
        self.model.load_state_dict(self.weights)
        return [f"the weights are those of epoch {_best(curve) + 1}, chosen on the held-out pictures"]


def _best(curve: list[Epoch]) -> int:
    return max(range(len(curve)), key=lambda i: (curve[i].score, -i))


class _Run:
    """One training's epochs: what stays the same from one to the next."""

    def __init__(
        self,
        running: Any,
        model: nn.Module,
        optimizer: Any,
        fabric: Any,
        recipe: Recipe,
        loss: Loss,
        pieces: Pieces,
        name: str,
        total: int,
        progress: Progress | None,
    ) -> None:
        self.running, self.model, self.optimizer, self.fabric = running, model, optimizer, fabric
        self.recipe, self.loss, self.pieces = recipe, loss, pieces
        self.name, self.total, self.progress = name, total, progress

    def epoch(self, pictures: Pictures, epoch: int, per_epoch: int, seed: int) -> float:
        """One pass over the pictures; the mean loss. Raises: StridewiseError where it is not a number."""
        torch.manual_seed(_drawn(seed, epoch))
        generator = torch.Generator().manual_seed(_drawn(seed, epoch))
        order = torch.randperm(len(pictures), generator=generator)
        self.running.train()
        sum_of_losses = torch.zeros((), device=self.fabric.device)
        for number, (x, y) in enumerate(pictures.batches(len(pictures) // per_epoch, order[: self._used(pictures)])):
            step = epoch * per_epoch + number
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.rate * share_of_rate(step, self.total)
            x, y = augmented(x, y, self.recipe.augment, generator)
            sum_of_losses += self._step(x, y)
            if (number % _LOOK_EVERY == 0 or number == per_epoch - 1) and not math.isfinite(sum_of_losses.item()):
                raise StridewiseError(
                    f"{self.name}: the loss is not a number at step {step + 1} of {self.total}: lower the rate "
                    f"({self.recipe.rate:g})"
                )
            if self.progress is not None and self.fabric.is_global_zero:
                self.progress(step + 1, self.total)
        mean: float = sum_of_losses.item() / per_epoch
        return mean

    def _used(self, pictures: Pictures) -> int:
        step = self.recipe.batch * self.recipe.accumulate
        return len(pictures) // step * step

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """One step of the optimizer on this process's share of a batch; its loss."""
        world, rank = self.fabric.world_size, self.fabric.global_rank
        x, y = x[rank::world], y[rank::world]
        while True:
            try:
                value = self._gradients(x, y)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self.optimizer.zero_grad(set_to_none=True)
                self.pieces.halve(self.name, len(x))
        if self.recipe.clip:
            self.fabric.clip_gradients(self.running, self.optimizer, max_norm=self.recipe.clip)
        self.optimizer.step()
        return value

    def _gradients(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.fabric.device)
        parts = list(zip(x.chunk(self.pieces.count), y.chunk(self.pieces.count), strict=True))
        for number, (part, target) in enumerate(parts):
            part, target = self.fabric.to_device((part, target))
            with self.fabric.no_backward_sync(self.running, enabled=number < len(parts) - 1):
                value = self.loss(self.running(part), target, self.model) * (len(part) / len(x))
                self.fabric.backward(value)
            total += value.detach()
        return total


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases, norms and scales (one number a channel) do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = (([p for p in trained if p.dim() > 1], decay), ([p for p in trained if p.dim() <= 1], 0.0))
    return [{"params": members, "weight_decay": rate} for members, rate in groups if members]


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
