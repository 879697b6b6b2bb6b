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
from stridewise.tasks.checkpoint import Average, Best, Checkpoint
from stridewise.tasks.elastic import turns
from stridewise.tasks.pictures import Pictures, augmented
from stridewise.tasks.recipe import Recipe, fabric_for, quiet
from stridewise.tasks.record import Epoch

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "alloc_failed")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch on a CPU has no class of its own for it."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in text for sign in _SIGNS)


class Pieces:
    """Into how many pieces a step of `size` pictures is cut. Halving a piece leaves the step, and so the training,
    the same but for the batch norms, which see fewer pictures at once."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.note = ""

    def halve(self, name: str, pictures: int) -> None:
        """Twice as many pieces. Raises: StridewiseError where a piece is down to two pictures."""
        if -(-pictures // (2 * self.count)) < 2:
            raise StridewiseError(f"{name}: out of memory with {-(-pictures // self.count)} pictures: lower --size")
        self.count *= 2
        self.note = (
            f"out of memory: the batch was halved to {-(-self.size // self.count)} pictures at a time, {self.count} "
            "to a step"
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


_LOOK_EVERY = 50  # steps between looks at the loss: each look waits for the device

Loss = Callable[[Any, torch.Tensor, nn.Module], torch.Tensor]
Lesson = Callable[[Any, Any, torch.Tensor, nn.Module], torch.Tensor]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a network is trained for. loss: of a batch; judge: the score on held-out pictures; name: for messages.
    lesson: what a cheaper plan of an elastic network loses beside the answer of its dearest."""

    loss: Loss
    judge: Judge
    name: str
    lesson: Lesson | None = None


def fit(
    model: nn.Module,
    pictures: Pictures,
    recipe: Recipe,
    aim: Aim,
    *,
    epochs: int,
    seed: int,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
    told: Told | None = None,
    stop_after: int | None = None,
) -> Fitted:
    """Train `model` in place.

    checkpoint: written after each epoch, and taken up when it is there. told: called after each epoch with the curve so
    far. stop_after: epochs of this call, after which it stops unfinished.
    Raises: DataError where there are fewer pictures than a batch; StridewiseError where the loss is not a number.
    """
    per_epoch = _steps_an_epoch(len(pictures), recipe, epochs, aim.name)
    fabric = fabric_for(recipe)
    with quiet():
        optimizer = torch.optim.AdamW(_groups(model, recipe.decay), lr=recipe.rate)
        running, optimizer = fabric.setup(channels_last(model), optimizer)
    average = Average(model, recipe.ema) if recipe.ema else None
    judged = average.model if average else running if fabric.world_size == 1 else model
    state = {"model": running, "optimizer": optimizer, **({"average": average.model} if average else {})}
    curve = checkpoint.resumed(fabric, state) if checkpoint is not None else []
    best = Best(recipe.patience, judged, checkpoint)
    best.recall(curve)
    last = epochs if stop_after is None else min(epochs, len(curve) + stop_after)
    pieces = Pieces(recipe.accumulate, recipe.batch * recipe.accumulate // fabric.world_size)
    run = _Run(
        running=running,
        model=model,
        optimizer=optimizer,
        fabric=fabric,
        recipe=recipe,
        aim=aim,
        pieces=pieces,
        total=epochs * per_epoch,
        average=average,
        progress=progress,
    )
    while len(curve) < last and not best.over(curve):
        loss = run.epoch(pictures, len(curve), per_epoch, seed)
        curve.append(Epoch(loss=loss, score=run.score(judged)))
        best.look(curve)
        if checkpoint is not None:
            checkpoint.save(fabric, state, curve)
        if told is not None and fabric.is_global_zero:
            told(curve, model)
    finished = len(curve) == epochs or best.over(curve)
    notes = [pieces.note] if pieces.note else []
    return Fitted(
        curve=tuple(curve),
        model=average.model if average else model,
        running=judged,
        device=fabric.device,
        steps=len(curve) * per_epoch,
        finished=finished,
        first=fabric.is_global_zero,
        notes=(*notes, *(best.restore(curve) if finished else ())),
    )


def _steps_an_epoch(pictures: int, recipe: Recipe, epochs: int, name: str) -> int:
    """Whole batches in an epoch. Raises: UsageError, DataError where there is nothing to train for or with."""
    if epochs < 1:
        raise UsageError(f"{name}: {epochs} epochs: train for one or more")
    batch = recipe.batch * recipe.accumulate
    if pictures < batch:
        raise DataError(f"{name}: {pictures} training pictures are fewer than a batch of {batch}: lower the batch")
    return pictures // batch


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One training's epochs: what stays the same from one to the next. total: steps of all epochs."""

    running: Any
    model: nn.Module
    optimizer: Any
    fabric: Any
    recipe: Recipe
    aim: Aim
    pieces: Pieces
    total: int
    average: Average | None
    progress: Progress | None

    def score(self, judged: nn.Module) -> float:
        """The score on held-out pictures, worked out by one process and told to all."""
        score = self.aim.judge(judged, self.fabric.device) if self.fabric.is_global_zero else 0.0
        return float(self.fabric.broadcast(score)) if self.fabric.world_size > 1 else score

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
                group["lr"] = self.recipe.rate * share_of_rate(step, self.total, self.recipe.warmup)
            x, y = augmented(x, y, self.recipe.augment, generator)
            sum_of_losses += self._step(x, y, turns(self.model, generator))
            if self.average is not None:
                self.average.update(step)
            if (number % _LOOK_EVERY == 0 or number == per_epoch - 1) and not math.isfinite(sum_of_losses.item()):
                raise StridewiseError(
                    f"{self.aim.name}: the loss is not a number at step {step + 1} of {self.total}: lower the rate "
                    f"({self.recipe.rate:g})"
                )
            if self.progress is not None and self.fabric.is_global_zero:
                self.progress(step + 1, self.total)
        mean: float = sum_of_losses.item() / per_epoch
        return mean

    def _used(self, pictures: Pictures) -> int:
        step = self.recipe.batch * self.recipe.accumulate
        return len(pictures) // step * step

    def _step(self, x: torch.Tensor, y: torch.Tensor, plans: tuple[str, ...]) -> torch.Tensor:
        """One step of the optimizer on this process's share of a batch, under plans in turn; its loss."""
        world, rank = self.fabric.world_size, self.fabric.global_rank
        x, y = x[rank::world], y[rank::world]
        while True:
            try:
                value = self._gradients(x, y, plans)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self.optimizer.zero_grad(set_to_none=True)
                self.pieces.halve(self.aim.name, len(x))
        if self.recipe.clip:
            self.fabric.clip_gradients(self.running, self.optimizer, max_norm=self.recipe.clip)
        self.optimizer.step()
        return value

    def _gradients(self, x: torch.Tensor, y: torch.Tensor, plans: tuple[str, ...]) -> torch.Tensor:
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.fabric.device)
        parts = list(zip(x.chunk(self.pieces.count), y.chunk(self.pieces.count), strict=True))
        for number, (part, target) in enumerate(parts):
            part, target = self.fabric.to_device((part, target))
            teacher = None
            for turn, plan in enumerate(plans or ("",)):
                if plan:
                    self.model.use(plan)  # type: ignore[operator]  # an elastic one
                last = number == len(parts) - 1 and turn >= len(plans) - 1
                # A backward for every forward: of several forwards before it, one would write into another's norms.
                with self.fabric.no_backward_sync(self.running, enabled=not last):
                    out = self.running(part)
                    value = self._loss(out, teacher, target) * (len(part) / len(x))
                    self.fabric.backward(value)
                teacher = out if teacher is None else teacher
                total += value.detach() / max(len(plans), 1)
        return total

    def _loss(self, out: Any, teacher: Any, target: torch.Tensor) -> torch.Tensor:
        """Of a batch: the task's, or the lesson of the dearest plan's answer."""
        if teacher is None or self.aim.lesson is None:
            return self.aim.loss(out, target, self.model)
        return self.aim.lesson(out, teacher, target, self.model)


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


def share_of_rate(step: int, total: int, warmup: float = 0.1) -> float:
    """The learning rate's share at a step: up in a line over the first `warmup`, then down along half a cosine."""
    warm = max(1, int(total * warmup))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _drawn(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch
