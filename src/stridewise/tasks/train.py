"""`train`: one network, one plan, one data set, one record; and the same network judged again from its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stridewise.data import Dataset, open_dataset
from stridewise.data.records import Progress
from stridewise.errors import UsageError
from stridewise.plans import Plan
from stridewise.tasks.elastic import Plans
from stridewise.tasks.folder import RunFolder, title_of
from stridewise.tasks.loop import as_it_is
from stridewise.tasks.pictures import Splits
from stridewise.tasks.reading import read_splits
from stridewise.tasks.recipe import Recipe, told_apart
from stridewise.tasks.record import Epoch, TrainRecord
from stridewise.tasks.report import Report, Teller
from stridewise.tasks.run import run as _run
from stridewise.tasks.run import task_of
from stridewise.tasks.task import Source, Task
from stridewise.tasks.trained import Trained, check_same, load_trained
from stridewise.tasks.training import Training, clocks


def train(
    task: str,
    model: Source,
    *,
    data: str | Path | Dataset,
    plan: Plan | str | Path | None = None,
    format: str | None = None,
    epochs: int = 10,
    seed: int = 0,
    size: tuple[int, ...] | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    elastic: Plans | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    checkpoint: str | Path | None = None,
    stop_after: int | None = None,
    progress: Progress | None = None,
    each: Callable[[Report], None] | None = None,
    **settings: Any,
) -> TrainRecord:
    """Train `model` for a task under a plan, and measure it on held-out pictures.

    task: classify, segment or detect. model: a name as for `load`, or a function that makes a module. size: resize
    pictures to (height, width). weights: a file to begin with, else random. elastic: costs (0.25, 0.5, 1, 2) or plans
    by name, to train one set of weights under them all in place of `plan`. run: a folder that keeps the trained
    network, its metrics and a checkpoint; resume: go on where it stopped. checkpoint: that file alone. stop_after:
    epochs of this call. progress: called with steps done and in all; each: after every epoch, with its `Report`.
    settings: of the recipe (batch, rate, decay, augment, precision, device, devices, nodes, accumulate, clip,
    patience, warmup, ema), and of the task (head, levels, width, sizes).
    Raises: UsageError, DataError, LoadError, PlanError, StridewiseError, one line each.

    >>> import numpy as np
    >>> pictures = np.random.default_rng(0).integers(0, 255, (24, 8, 8), np.uint8)
    >>> np.savez("tiny.npz", x=pictures, y=np.arange(24) % 2)
    >>> record = sw.train("classify", "builtin:resnet20-narrow", data="tiny.npz", epochs=1, batch=8)
    >>> record.metric, 0 <= record.score <= 1
    ('accuracy', True)
    """
    recipe, options = told_apart(settings)
    chosen = task_of(task, **options)
    if elastic is not None and plan is not None:
        raise UsageError("train: one plan, or several by elastic: leave one of both out")
    plan = Plan.read(plan) if isinstance(plan, str | Path) else plan or Plan()
    folder = None if run is None else RunFolder(run, resume=resume)
    if folder is not None and checkpoint is not None:
        raise UsageError("train: run keeps a checkpoint of its own: leave checkpoint out")
    splits = read_splits(chosen, _opened(chosen, data, format), size, model)
    common: dict[str, Any] = {"plan": plan, "epochs": epochs, "seed": seed, "recipe": recipe, "progress": progress}
    common |= {"weights": weights, "trust": trust, "stop_after": stop_after, "elastic": elastic}
    tell = Teller(each, chosen.metric, epochs, recipe)
    if folder is None:
        file = None if checkpoint is None else Path(checkpoint)
        return _run(chosen, model, splits, checkpoint=file, told=lambda curve, _: tell(curve), **common)
    folder.begin(plan)

    def told(curve: list[Epoch], _: object) -> None:
        folder.tell(curve, chosen, title_of(chosen, model, splits))
        tell(curve)

    record = _run(
        chosen,
        model,
        splits,
        checkpoint=folder.checkpoint,
        told=told,
        kept=lambda found: folder.keep(found, chosen, model, plan, splits),
        **common,
    )
    if record.finished:
        folder.end(record)
    return record


def evaluate(
    task: str,
    model: str,
    path: str | Path,
    *,
    data: str | Path | Dataset,
    plan: Plan | str | Path | None = None,
    format: str | None = None,
    device: str = "cpu",
) -> TrainRecord:
    """A trained network, in the file or run folder `path`, judged again on the held-out pictures of any data.

    model, plan: what it must be of. Pictures are given to it as in its training. Raises: LoadError, DataError.
    """
    found = load_trained(path)
    check_same(path, found, task, model, Plan.read(plan) if isinstance(plan, str | Path) else plan)
    return evaluated(path, found, _opened(found.task, data, format), device)[0]


def evaluated(path: str | Path, found: Trained, dataset: Dataset, device: str = "cpu") -> tuple[TrainRecord, Splits]:
    """A trained network judged on the held-out pictures of a data set, and these.

    Raises: UsageError where the data have other classes; DataError.
    """
    begun = clocks()
    if dataset.axes != len(found.data.shape) - 1:
        raise UsageError(f"{path}: reads data of {len(found.data.shape) - 1} axes, {dataset.name} has {dataset.axes}")
    splits = read_splits(found.task, replace(dataset, channels=found.data.shape[0]), found.data.shape[1:])
    if splits.classes != found.data.classes:
        raise UsageError(
            f"{path}: knows the classes {_few(found.data.classes)}; {splits.name} has {_few(splits.classes)}"
        )
    splits = splits.under(found.standard)
    training = Training(
        task=found.task,
        source=found.source,
        splits=splits,
        plan=found.plan,
        recipe=Recipe(device=device),
        begun=begun,
    )
    model = (found.elastic or found.model).to(device)
    record = training.record(as_it_is(model, device), [f"judged from {path}", *splits.notes])
    return record, splits


def _opened(task: Task, data: str | Path | Dataset, format: str | None) -> Dataset:
    return data if isinstance(data, Dataset) else open_dataset(data, task.name, format)  # type: ignore[arg-type]


def _few(classes: Sequence[str]) -> str:
    return ", ".join(classes[:4]) + (f", ... ({len(classes)})" if len(classes) > 4 else "")
