"""`train`: one network, one plan, one data set, one record, told epoch by epoch; the trained network judged again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stridewise.data import Dataset, open_dataset
from stridewise.data import Report as DataReport
from stridewise.data.grids import Grid
from stridewise.data.picture import PictureError, Size
from stridewise.data.records import Progress
from stridewise.errors import DataError, UsageError
from stridewise.files import is_file
from stridewise.measuring.intervals import Interval
from stridewise.measuring.variants import Ready
from stridewise.plans import Plan
from stridewise.tasks.backbone import input_of
from stridewise.tasks.elastic import Plans
from stridewise.tasks.folder import RunFolder, title_of
from stridewise.tasks.loop import as_it_is, share_of_rate
from stridewise.tasks.pictures import Splits
from stridewise.tasks.recipe import Recipe, told_apart
from stridewise.tasks.record import Epoch, TrainRecord
from stridewise.tasks.task import Source, Task, name_of
from stridewise.tasks.trained import Trained, check_same, load_trained
from stridewise.tasks.training import Training, clocks, task_of
from stridewise.tasks.training import run as _run

_FINE = 1000  # parts of an epoch by which the rate at its end is read off its curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One epoch: its number of `total`, mean loss, score by `metric`, the rate at its end, the seconds it took, and
    whether no earlier one had a better score."""

    number: int
    total: int
    loss: float
    metric: str
    score: float
    rate: float
    seconds: float
    best: bool


class Teller:
    """Tells `each` of every epoch. Mutable on purpose: it holds the time of the one before."""

    def __init__(self, each: Callable[[Report], None] | None, metric: str, epochs: int, recipe: Recipe) -> None:
        self._each, self._metric, self._epochs, self._recipe = each, metric, epochs, recipe
        self._before = time.monotonic()

    def __call__(self, curve: Sequence[Epoch]) -> None:
        """Tell of the last epoch of the curve so far."""
        now = time.monotonic()
        last, number = curve[-1], len(curve)
        if self._each is not None:
            self._each(
                Report(
                    number=number,
                    total=self._epochs,
                    loss=last.loss,
                    metric=self._metric,
                    score=last.score,
                    rate=self._recipe.rate
                    * share_of_rate(number * _FINE - 1, self._epochs * _FINE, self._recipe.warmup),
                    seconds=now - self._before,
                    best=last.score >= max(epoch.score for epoch in curve),
                )
            )
        self._before = now


def read_splits(task: Task, dataset: Dataset, size: Size | None, source: Source | None = None) -> Splits:
    """What the task reads of a data set; pictures and masks that cannot be decoded are left out and counted in `notes`.

    source: the network it is read for, with as many channels as that takes.
    Raises: DataError where nothing is left, or the task cannot be learnt from it.
    """
    if source is not None:
        dataset = suited(dataset, source)
    try:
        splits = task.read(dataset, size)
    except PictureError:  # headers were fine: find all that are broken behind them
        dataset = dataset.verified()
        splits = task.read(dataset, size)
    return replace(splits, notes=told(dataset.report), white=dataset.white)


def suited(dataset: Dataset, source: Source) -> Dataset:
    """The data set as a network takes it: colour or grey, a channel repeated or several averaged.

    Raises: DataError where its axes are others than the data's, or its channels cannot be had.
    """
    wanted = input_of(source)
    if wanted is None:
        return dataset
    channels, axes = wanted
    if axes != dataset.axes:
        raise DataError(
            f"{name_of(source)}: reads data of {axes} axes, {dataset.name} has {_KINDS[dataset.axes]}: choose another "
            "network or other data"
        )
    pictures = not any(isinstance(sample.picture, Grid) for sample in dataset.samples)
    if channels == dataset.channels or (pictures and channels in (1, 3)):
        return replace(dataset, channels=channels)
    if pictures or (dataset.channels > 1 and channels > 1):
        have = "1 or 3" if pictures else str(dataset.channels)
        raise DataError(
            f"{name_of(source)}: takes {channels} channels, {dataset.name} has {have}: choose another network"
        )
    return replace(dataset, channels=channels)


_KINDS = {1: "signals, of 1 axis", 2: "pictures, of 2 axes", 3: "volumes, of 3 axes"}


def told(report: DataReport) -> tuple[str, ...]:
    """What a reader left out or changed, a line each; nothing where all was used as it was."""
    used, *rest = str(report).splitlines()
    return tuple(line.removeprefix("note: ") for line in ([used] if report.dropped else []) + rest)


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
    own, dataset = dataset.white, dataset.under_white(found.data.white)
    splits = read_splits(found.task, replace(dataset, channels=found.data.shape[0]), found.data.shape[1:])
    if splits.classes != found.data.classes:
        raise UsageError(
            f"{path}: knows the classes {_few(found.data.classes)}; {splits.name} has {_few(splits.classes)}"
        )
    splits = splits.under(found.standard)
    if own != found.data.white:
        other = f"numbers of 16 bits are taken as in the training, where {found.data.white:,} became 255, not {own:,}"
        splits = replace(splits, notes=(*splits.notes, other))
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


def ready(path: str | Path, *, device: str = "cpu") -> Ready:
    """The trained network in a file or run folder, an elastic one under its dearest plan. Raises: LoadError."""
    return _ready(str(path), path, load_trained(path), device)


def ready_by_plan(path: str | Path, *, device: str = "cpu") -> tuple[Ready, ...]:
    """The trained network in a file or run folder, an elastic one under each of its plans. Raises: LoadError."""
    found = load_trained(path)
    if found.elastic is None:
        return (_ready(str(path), path, found, device),)
    return tuple(
        _ready(
            f"{path} at {name}", path, replace(found, model=model, plan=found.elastic.plans[name], elastic=None), device
        )
        for name, model in found.elastic.apart().items()
    )


def _ready(name: str, path: str | Path, found: Trained, device: str) -> Ready:
    found.model.to(device)
    model: Any = found.model
    scale = found.standard.white
    return Ready(
        name=name,
        call=model.predict if found.task.name == "detect" else model,
        model=found.model,
        input=found.data.shape,
        moments=(
            tuple(v / scale for v in found.standard.mean),
            tuple(v / scale for v in found.standard.deviation),
        ),
        metric=found.task.metric,
        judge=lambda data: _judged(path, found, data, device),
    )


def is_trained(model: str) -> bool:
    """Whether a model's name is a trained network: a run folder, or a .safetensors file."""
    path = Path(model)
    return path.suffix == ".safetensors" or is_file(path / "model.safetensors")


def _judged(path: str | Path, found: Trained, data: str | Path | Dataset, device: str) -> Interval:
    task: Any = found.task.name
    dataset = data if isinstance(data, Dataset) else open_dataset(data, task)
    score, _ = evaluated(path, found, dataset, device)
    return Interval(value=score.score, low=score.low, high=score.high)
