"""One training, whatever the task: a network under a plan, from a seed, judged on held-out pictures."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.data.records import Progress
from stridewise.errors import UsageError
from stridewise.plans import Plan
from stridewise.tasks.checkpoint import Checkpoint
from stridewise.tasks.classify import Classify
from stridewise.tasks.detect import Detect
from stridewise.tasks.loop import Fitted, Told, as_it_is, fit
from stridewise.tasks.pictures import Splits
from stridewise.tasks.recipe import Recipe
from stridewise.tasks.record import TrainRecord
from stridewise.tasks.segment import Segment
from stridewise.tasks.task import TASKS, Source, Task, name_of
from stridewise.tasks.weights import fill, recalibrate

_MAKERS: Mapping[str, Callable[..., Task]] = {"classify": Classify, "segment": Segment, "detect": Detect}


def task_of(name: str, **options: Any) -> Task:
    """The task of this name with its options. Raises: UsageError for another name or option."""
    if name not in _MAKERS:
        raise UsageError(f"no task '{name}': choose from {', '.join(TASKS)}")
    known = inspect.signature(_MAKERS[name]).parameters
    for option in options:
        if option not in known:
            raise UsageError(f"{name}: has no option '{option}'")
    return _MAKERS[name](**options)


def run(
    task: Task,
    source: Source,
    splits: Splits,
    *,
    plan: Plan | None = None,
    epochs: int = 10,
    seed: int = 0,
    recipe: Recipe | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    told: Told | None = None,
    stop_after: int | None = None,
    kept: Callable[[nn.Module], None] | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
) -> TrainRecord:
    """Train a network under a plan, from random weights or those of a file, and judge it on the held-out pictures.

    The same arguments give the same record on a CPU at the same number of threads, also through a checkpoint. weights:
    fill the backbone before the plan is carried out; batch norms are then measured anew. epochs: from 1, or 0 with
    weights, to judge them as they are. kept: is given the trained network.
    Raises: DataError, LoadError, PlanError, or StridewiseError where the loss is not a number; one line each.
    """
    recipe, plan = recipe or Recipe(), plan or Plan()
    begin, name = clocks(), name_of(source)
    devices = list(range(torch.cuda.device_count())) if recipe.device != "cpu" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        notes = list(splits.notes)
        model = _network(task, source, plan, splits, weights, trust, notes)
        if epochs == 0 and weights is not None:
            return recorded(task, source, splits, plan, epochs, seed, recipe, begin, as_it_is(model), notes)
        done = fit(
            model,
            splits.train,
            recipe,
            epochs=epochs,
            seed=seed,
            loss=task.loss,
            judge=lambda found, device: task.evaluate(found, splits.held_out, device, thorough=False).score,
            name=f"{name} on {splits.name}",
            checkpoint=None
            if checkpoint is None
            else Checkpoint(path=checkpoint, stamp=_stamp(task, source, splits, plan, epochs, seed, recipe, weights)),
            progress=progress,
            told=told,
            stop_after=stop_after,
        )
        if kept is not None and done.first:
            kept(done.model)
        return recorded(task, source, splits, plan, epochs, seed, recipe, begin, done, notes)


def _network(
    task: Task,
    source: Source,
    plan: Plan,
    splits: Splits,
    weights: str | Path | None,
    trust: bool,
    notes: list[str],
) -> nn.Module:
    """The network to train; with weights, filled, under the plan, its batch norms measured anew."""
    if weights is None:
        return task.network(source, plan, splits)
    said: list[str] = []
    model = task.network(source, plan, splits, prepare=lambda found: said.append(fill(found, weights, trust=trust)))
    notes += [f"{weights}: {text}" for text in said if text]
    count = recalibrate(model, splits.train)
    if count:
        notes.append(f"{count} batch norms were measured anew under the plan")
    if task.name == "classify" and not any(said):
        before = task.evaluate(model, splits.held_out, "cpu", thorough=False).score
        notes.append(f"before training: {task.metric} {before:.1%}")
    return model


def clocks() -> tuple[float, float]:
    """Seconds on the wall, and of this process on a processor: the same but on a busy machine."""
    return time.monotonic(), time.process_time()


def recorded(
    task: Task,
    source: Source,
    splits: Splits,
    plan: Plan,
    epochs: int,
    seed: int,
    recipe: Recipe,
    begin: tuple[float, float],
    done: Fitted,
    notes: list[str],
) -> TrainRecord:
    """A network judged on the held-out pictures, with how it came about."""
    found = task.evaluate(done.running, splits.held_out, done.device, thorough=True)
    return TrainRecord(
        task=task.name,
        model=name_of(source),
        data=splits.name,
        plan=plan,
        seed=seed,
        budget=epochs,
        steps=done.steps,
        score=found.score,
        metric=task.metric,
        low=found.low,
        high=found.high,
        pictures=len(splits.held_out),
        curve=done.curve,
        seconds=time.monotonic() - begin[0],
        figures=found.figures,
        conditions={
            **task.options,
            **asdict(recipe),
            "augment": list(recipe.augment),
            "size": list(splits.shape[1:]),
            "train_pictures": len(splits.train),
            "threads": torch.get_num_threads(),
            "processor_seconds": round(time.process_time() - begin[1], 1),
            "torch": torch.__version__,
        },
        notes=(*notes, *done.notes),
        correct=found.correct,
        finished=done.finished,
    )


def _stamp(
    task: Task, source: Source, splits: Splits, plan: Plan, epochs: int, seed: int, recipe: Recipe, weights: object
) -> tuple[tuple[str, str], ...]:
    """What makes a training the one it is. Devices, pieces and precision are free to change on the way."""
    chosen = {k: v for k, v in asdict(recipe).items() if k not in ("device", "devices", "nodes", "patience")}
    pictures = f"{splits.name}, {len(splits.train)} pictures of {'x'.join(map(str, splits.shape[1:]))}"
    return (
        ("network", name_of(source)),
        ("plan", plan.to_toml()),
        ("task", f"{task.name} {dict(task.options)}"),
        ("data", pictures),
        ("number of epochs", str(epochs)),
        ("seed", str(seed)),
        ("set of weights to begin with", str(weights)),
        ("recipe", ", ".join(f"{k} {v}" for k, v in sorted(chosen.items()))),
    )
