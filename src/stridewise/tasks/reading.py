"""A data set as the tensors of a task, without what cannot be used; what was left out is said."""

from __future__ import annotations

from dataclasses import replace

from stridewise.data import Dataset, Report
from stridewise.data.picture import PictureError, Size
from stridewise.tasks.pictures import Splits
from stridewise.tasks.task import Task


def read_splits(task: Task, dataset: Dataset, size: Size | None) -> Splits:
    """What the task reads of a data set; pictures and masks that cannot be decoded are left out and counted in `notes`.

    Raises: DataError where nothing is left, or the task cannot be learnt from it.
    """
    try:
        splits = task.read(dataset, size)
    except PictureError:  # headers were fine: find all that are broken behind them
        dataset = dataset.verified()
        splits = task.read(dataset, size)
    return replace(splits, notes=told(dataset.report))


def told(report: Report) -> tuple[str, ...]:
    """What a reader left out or changed, a line each; nothing where all was used as it was."""
    used, *rest = str(report).splitlines()
    return tuple(line.removeprefix("note: ") for line in ([used] if report.dropped else []) + rest)
