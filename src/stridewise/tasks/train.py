"""`train`: one network, one plan, one data set, one record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stridewise.data import Dataset, open_dataset
from stridewise.data.records import Progress
from stridewise.errors import UsageError
from stridewise.plans import Plan
from stridewise.tasks.recipe import Recipe
from stridewise.tasks.record import TrainRecord
from stridewise.tasks.run import run, task_of
from stridewise.tasks.task import Source


def train(
    task: str,
    model: Source,
    *,
    data: str | Path | Dataset,
    plan: Plan | str | Path | None = None,
    epochs: int = 10,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
    **recipe: Any,
) -> TrainRecord:
    """Train `model` for a task under a plan, from random weights, and measure it on held-out pictures.

    task: "classify". model: a name as for `load`, or a function that makes a module. size: resize pictures to (height,
    width). checkpoint: a file written after each epoch and taken up when it is there. progress: called with steps done
    and steps in all. recipe: batch, rate, decay, augment, precision, device.
    Raises: UsageError, DataError, LoadError, PlanError, StridewiseError, one line each.
    """
    chosen = task_of(task)
    try:
        how = Recipe(**recipe)
    except TypeError as error:
        raise UsageError(f"train: {str(error).removeprefix('Recipe.__init__() ')}") from error
    if isinstance(plan, str | Path):
        plan = Plan.read(plan)
    dataset = data if isinstance(data, Dataset) else open_dataset(data, chosen.name)  # type: ignore[arg-type]
    return run(
        chosen,
        model,
        chosen.read(dataset, size),
        plan=plan,
        epochs=epochs,
        seed=seed,
        recipe=how,
        checkpoint=Path(checkpoint) if checkpoint is not None else None,
        progress=progress,
    )
