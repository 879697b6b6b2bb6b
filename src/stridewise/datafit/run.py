"""A data set against stride sets: one pass, one picture at a time, no training."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from stridewise.data.picture import PictureError, Size
from stridewise.data.reading import open_dataset
from stridewise.data.records import Dataset, Progress, Sample, Task, Values, scaled
from stridewise.data.report import Tally
from stridewise.datafit.boxes import Objects, box_row, object_sizes
from stridewise.datafit.figures import BoxRow, Limits, MaskRow, Sizes, SpectrumRow
from stridewise.datafit.masks import MaskTotals
from stridewise.datafit.result import FitResult
from stridewise.datafit.shares import judged
from stridewise.datafit.spectrum import SpectrumTotals
from stridewise.datafit.strides import DEFAULT, Stride, StrideSet, for_axes, singles, stride_sets
from stridewise.errors import DataError, UsageError

Rows = tuple[BoxRow, ...] | tuple[MaskRow, ...] | tuple[SpectrumRow, ...]

_LARGEST = 1 << 14


class _Figures(TypedDict):
    rows: Rows
    singles: Rows
    objects: int
    sizes: Sizes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    dataset: Dataset
    samples: tuple[Sample, ...]
    resize: Size | None
    sets: tuple[StrideSet, ...]
    strides: tuple[Stride, ...]
    field: Size | None
    tally: Tally
    progress: Progress | None

    def passing(self) -> Iterator[Sample]:
        """The samples, one after the other, with progress."""
        for number, sample in enumerate(self.samples, 1):
            yield sample
            if self.progress:
                self.progress(number, len(self.samples))

    def decoded(self) -> Iterator[tuple[Sample, Values]]:
        """The samples with their pictures, decoded; what cannot be decoded is counted and skipped.

        Raises: DataError when nothing is left.
        """
        self.tally.kept = 0
        for sample in self.passing():
            try:
                pixels = sample.picture.load(self.resize)
            except PictureError as error:
                self.tally.drop("picture", error.reason, error.name)
                continue
            self.tally.kept += 1
            yield sample, pixels
        self.check_left()

    def check_left(self) -> None:
        """Raises: DataError when nothing is left."""
        if self.tally.kept == 0:
            why = "; ".join(str(entry) for entry in self.tally.report().dropped) or "the split is empty"
            raise DataError(f"{self.dataset.name}: nothing is left to {self.dataset.task}: {why}. Check the files")


def fit(
    data: Dataset | str | Path,
    task: Task | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    resize: Size | None = None,
    strides: Sequence[object] | str | None = None,
    receptive_field: int | Size | None = None,
    limits: Limits | None = None,
    verify: bool = False,
    progress: Progress | None = None,
) -> FitResult:
    """What the strides in question can keep of a data set's objects, labels or detail; nothing is trained.

    `data`: a data set, or what `stridewise.data.open_dataset` takes. `split`: one split, else all together.
    `resize`: (height, width) every picture is brought to first, aspect not kept, in pixels. `strides`: one set
    (`(8, 16, 32)`), or several; unequal axes as `"8x16"`. `receptive_field`: of the network, in pixels of the resized
    picture, for boxes. `verify`: decode every picture first; boxes alone need no more than the headers.
    `progress(done, total)` is called as pictures pass.

    Boxes are judged per set; masks and pictures per stride. Pictures that cannot be used are left out and counted.
    Raises: DataError when the data cannot be read, UsageError for a request that makes no sense, MissingExtraError.

    >>> import numpy as np
    >>> pictures = np.random.default_rng(0).integers(0, 255, (8, 16, 16), np.uint8)
    >>> np.savez("tiny.npz", x=pictures, y=np.arange(8) % 2)
    >>> found = sw.fit("tiny.npz", strides=(2, 4))
    >>> print(str(found).splitlines()[0])
    tiny, classify: 8 pictures, 2 classes; median size 16x16 (height x width)
    """
    sets = stride_sets(strides)
    field = (receptive_field, receptive_field) if isinstance(receptive_field, int) else receptive_field
    _check_size("resize", resize)
    _check_size("receptive_field", field)
    dataset = data if isinstance(data, Dataset) else open_dataset(data, task, format, progress=progress)
    if task is not None and dataset.task != task:
        raise UsageError(f"{dataset.name} was read to {dataset.task}, not to {task}: open it with task={task!r}")
    if verify:
        dataset = dataset.verified(progress)
    split = None if split == "all" and "all" not in dataset.splits else split
    samples, limits = dataset.split(split), limits or Limits()
    sets = for_axes(sets, dataset.axes)
    job = _Job(
        dataset=dataset,
        samples=samples,
        resize=resize,
        sets=sets,
        strides=singles(sets if strides is not None else for_axes((*DEFAULT, ((2, 2),)), dataset.axes)),
        field=field,
        tally=Tally(dataset.report),
        progress=progress,
    )
    found = {"detect": _boxes, "segment": _masks, "classify": _spectrum}[dataset.task](job)
    return FitResult(
        task=dataset.task,
        data=dataset.name,
        split=split,
        pictures=job.tally.kept,
        classes=dataset.classes,
        picture_size=_median_size(samples, resize),
        resize=resize,
        receptive_field=field,
        limits=limits,
        recommended=_recommended(found["rows"], limits),
        report=job.tally.report(),
        **found,
    )


def _boxes(job: _Job) -> _Figures:
    corners, classes, picture = [np.zeros((0, 4))], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, sample in enumerate(job.passing()):
        if sample.boxes is not None:
            boxes = scaled(sample.boxes, sample.size, job.resize or sample.size)
            corners.append(boxes.corners)
            classes.append(boxes.classes)
            picture.append(np.full(len(boxes), number))
    objects = Objects(
        corners=np.concatenate(corners),
        classes=np.concatenate(classes),
        picture=np.concatenate(picture),
        names=tuple(sample.name for sample in job.samples),
        sizes=tuple(job.resize or sample.size for sample in job.samples),
    )
    if not len(objects.classes):
        raise DataError(
            f"{job.dataset.name}: no boxes in {len(job.samples)} pictures: check annotations, split and task"
        )
    job.tally.kept = len(job.samples)
    names = job.dataset.classes
    alone: list[StrideSet] = [(stride,) for stride in singles(job.sets)]
    row = {strides: box_row(objects, strides, names, job.field) for strides in {*job.sets, *alone}}
    return {
        "rows": tuple(row[strides] for strides in job.sets),
        "singles": tuple(row[strides] for strides in alone),
        "objects": len(objects.classes),
        "sizes": object_sizes(objects.extents.prod(axis=1)),
    }


def _masks(job: _Job) -> _Figures:
    totals, done = MaskTotals(job.strides, job.dataset.classes), 0
    masks = [(sample.name, sample.mask) for sample in job.samples if sample.mask is not None]
    job.tally.kept = 0
    for count, part, faults in judged(masks, job.strides, job.dataset.classes, job.resize):
        totals.merge(part)
        job.tally.kept += count - len(faults)
        for fault in faults:
            job.tally.drop("mask", fault.reason, fault.name)
        done += count
        if job.progress:
            job.progress(done, len(masks))
    job.check_left()
    return {"rows": totals.rows(), "singles": (), "objects": len(totals.areas), "sizes": object_sizes(totals.areas)}


def _spectrum(job: _Job) -> _Figures:
    totals = SpectrumTotals(job.strides, job.dataset.classes)
    for sample, pixels in job.decoded():
        totals.add(sample.label or 0, pixels)
    if totals.flat:
        job.tally.note(f"{totals.flat:,} pictures without any detail do not count")
    return {"rows": totals.rows(), "singles": (), "objects": 0, "sizes": None}


def _recommended(rows: Rows, limits: Limits) -> StrideSet | None:
    """The coarsest set within the limits: the largest finest stride, then the fewest cells."""
    within = [row for row in rows if row.passes(limits)]
    best = min(within, key=lambda row: (-math.prod(row.strides[0]), row.positions), default=None)
    return None if best is None else best.strides


def _median_size(samples: Sequence[Sample], resize: Size | None) -> Size:
    if resize or not samples:
        return resize or (0, 0)
    return tuple(int(extent) for extent in np.median([sample.size for sample in samples], axis=0))


def _check_size(name: str, size: Size | None) -> None:
    if size is not None and not (len(size) < 4 and all(isinstance(n, int) and 0 < n <= _LARGEST for n in size)):
        raise UsageError(f"{name} is {size}: give height and width as whole numbers of 1 to {_LARGEST} pixels")
