"""One training, whatever the task: a network under a plan, from a seed, judged on held-out pictures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.data.records import Progress
from stridewise.errors import UsageError
from stridewise.plans import Plan
from stridewise.switching.elastic import Elastic
from stridewise.tasks.checkpoint import Checkpoint
from stridewise.tasks.classify import Classify
from stridewise.tasks.detect import Detect
from stridewise.tasks.elastic import Plans, elastic_network, judged, measure_norms, taught
from stridewise.tasks.loop import Aim, Told, as_it_is, fit
from stridewise.tasks.pictures import Splits
from stridewise.tasks.recipe import Recipe
from stridewise.tasks.record import TrainRecord
from stridewise.tasks.segment import Segment
from stridewise.tasks.task import TASKS, Source, Task
from stridewise.tasks.training import Training
from stridewise.tasks.weights import fill

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
    elastic: Plans | None = None,
) -> TrainRecord:
    """Train a network under a plan, from random weights or those of a file, and judge it on the held-out pictures.

    The same arguments give the same record on a CPU at the same number of threads, also through a checkpoint. weights:
    fill the backbone before the plan is carried out; batch norms are then measured anew. epochs: from 1, or 0 with
    weights, to judge them as they are. kept: is given the trained network. elastic: costs or plans by name, to train
    one set of weights under, in place of `plan`.
    Raises: DataError, LoadError, PlanError, or StridewiseError where the loss is not a number; one line each.
    """
    recipe = recipe or Recipe()
    training = Training(
        task=task,
        source=source,
        splits=splits,
        plan=plan or Plan(),
        recipe=recipe,
        epochs=epochs,
        seed=seed,
        weights=weights,
    )
    devices = list(range(torch.cuda.device_count())) if recipe.device != "cpu" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        notes = list(splits.notes)
        model = _network(training, elastic, trust, notes)
        if isinstance(model, Elastic):
            training = replace(training, plans=model.plans)
        if epochs == 0 and weights is not None:
            return training.record(as_it_is(model), notes)
        done = fit(
            model,
            splits.train,
            recipe,
            Aim(
                loss=task.loss,
                judge=partial(_score, task, splits),
                name=training.name,
                lesson=partial(taught, task) if elastic is not None else None,
            ),
            epochs=epochs,
            seed=seed,
            checkpoint=None if checkpoint is None else Checkpoint(path=checkpoint, stamp=training.stamp),
            progress=progress,
            told=told,
            stop_after=stop_after,
        )
        if isinstance(done.model, Elastic) and done.finished and measure_norms(done.model, splits.train):
            # With one set of weights under several plans the running means lag behind them more (as "Universally
            # slimmable networks", section 3, measures statistics after training).
            notes.append("norms were measured anew under every plan after the last epoch")
        if kept is not None and done.first:
            kept(done.model)
        return training.record(done, notes)


def _score(task: Task, splits: Splits, model: nn.Module, device: Any) -> float:
    """The score after an epoch, quickly."""
    return judged(task, model, splits.held_out, device, thorough=False).score


def _network(training: Training, elastic: Plans | None, trust: bool, notes: list[str]) -> nn.Module:
    """The network to train; with weights, filled, under the plan, its batch norms measured anew. notes: grows."""
    task, splits, weights = training.task, training.splits, training.weights
    said: list[str] = []

    def prepare(found: nn.Module) -> None:
        if weights is not None:
            said.append(fill(found, weights, trust=trust))

    if elastic is None:
        model = task.network(training.source, training.plan, splits, prepare=prepare)
    else:
        model = elastic_network(task, training.source, elastic, splits, prepare=prepare)
    if weights is None:
        return model
    notes += [f"{weights}: {text}" for text in said if text]
    count = measure_norms(model, splits.train)
    if count:
        notes.append(f"{count} batch norms were measured anew under {'the plan' if elastic is None else 'every plan'}")
    if task.name == "classify" and not any(said):
        before = judged(task, model, splits.held_out, "cpu", thorough=False).score
        notes.append(f"before training: {task.metric} {before:.1%}")
    return model
