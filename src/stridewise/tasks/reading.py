"""A data set as the tensors of a task, without what cannot be used; what was left out is said."""

from __future__ import annotations

from dataclasses import replace

from stridewise.data import Dataset, Report
from stridewise.data.grids import Grid
from stridewise.data.picture import PictureError, Size
from stridewise.errors import DataError
from stridewise.tasks.backbone import input_of
from stridewise.tasks.pictures import Splits
from stridewise.tasks.task import Source, Task, name_of


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
    return replace(splits, notes=told(dataset.report))


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


def told(report: Report) -> tuple[str, ...]:
    """What a reader left out or changed, a line each; nothing where all was used as it was."""
    used, *rest = str(report).splitlines()
    return tuple(line.removeprefix("note: ") for line in ([used] if report.dropped else []) + rest)
