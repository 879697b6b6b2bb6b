"""The one record every reader fills: a data set of samples, each a picture with what is known about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stridewise.data.grids import Grid
from stridewise.data.mask import Mask
from stridewise.data.picture import WHITE, Bytes, Picture, PictureError, Size
from stridewise.data.report import Report, Tally
from stridewise.errors import DataError, UsageError

Values = npt.NDArray[Any]
"""Pictures are uint8; signals and volumes keep their numbers, as float32."""

Task = Literal["classify", "detect", "segment"]
Progress = Callable[[int, int], None]
"""Called with how many of how many are done."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxes:
    """Boxes of one picture: `corners` (N, 4) float64 x0, y0, x1, y1 in pixels, the end outside; `classes` (N,).

    ignored: regions of the same form (crowds, areas marked to be ignored) in which nothing of their class counts for or
    against a detector; they are no objects and not among the N.
    """

    corners: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    ignored: "Boxes | None" = None

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One picture of `size` (height, width), with its class index, boxes or mask where the data set gives them.

    picture: also a signal or a volume, with as many sizes as axes; spacing: between its positions, where known.
    """

    picture: Picture | Grid
    size: Size
    label: int | None = None
    boxes: Boxes | None = None
    mask: Mask | None = None
    spacing: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The picture's name: its path inside the data set, or `split/number`."""
        return self.picture.name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A data set read for one task: class names, samples by split, and the report of what was left out.

    channels: what pictures are given with: 3, 1 for a network that reads grey ones, or what signals and volumes have.
    """

    task: Task
    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    report: Report = field(default_factory=lambda: Report(found=0, kept=0))
    channels: int = 3

    @property
    def axes(self) -> int:
        """Of a picture: 2; 1 of a signal, 3 of a volume."""
        return next((len(sample.size) for sample in self.samples), 2)

    @property
    def white(self) -> int:
        """The 16-bit number that becomes 255 in its pictures."""
        return next((s.picture.white for s in self.samples if isinstance(s.picture, Picture)), WHITE)

    def under_white(self, white: int) -> "Dataset":
        """The same data with another `white`: that of the data a network was trained on."""
        splits = {name: tuple(with_white(sample, white) for sample in part) for name, part in self.splits.items()}
        return replace(self, splits=splits)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, split after split."""
        return tuple(sample for part in self.splits.values() for sample in part)

    def split(self, name: str | None = None) -> tuple[Sample, ...]:
        """The samples of one split, or of all. Raises: UsageError when there is no such split."""
        if name is None:
            return self.samples
        if name not in self.splits:
            raise UsageError(f"{self.name} has no split {name!r}: choose from {', '.join(self.splits)}")
        return self.splits[name]

    def pictures(self, split: str | None = None, *, size: Size | None = None) -> Values:
        """The pictures of a split, (N, height, width, channels) uint8, resized to `size` when given.

        Of signals and volumes (N, *sizes, channels) float32.

        Raises: DataError when their sizes differ and no `size` is given, or one cannot be decoded.
        """
        samples = self.split(split)
        sizes = {sample.size for sample in samples}
        if size is None and len(sizes) > 1:
            raise DataError(
                f"{self.name}: pictures of {len(sizes)} sizes cannot share an array: pass size=(height, width)"
            )
        kind = np.float32 if any(isinstance(sample.picture, Grid) for sample in samples) else np.uint8
        out: Values = np.empty((len(samples), *(size or next(iter(sizes), (0, 0))), self.channels), kind)
        for index, sample in enumerate(samples):
            out[index] = loaded(sample, size, self.channels)
        return out

    def arrays(self, split: str | None = None, *, size: Size | None = None) -> tuple[Values, npt.NDArray[np.int64]]:
        """Pictures (N, height, width, channels) uint8, class indices (N,) int64.

        Raises: DataError, also without classes.
        """
        labels = [sample.label for sample in self.split(split)]
        if any(label is None for label in labels):
            raise DataError(f"{self.name}: not every picture has a class: read it with task='classify'")
        return self.pictures(split, size=size), np.array(labels, np.int64)

    def mask_arrays(self, split: str | None = None, *, size: Size | None = None) -> tuple[Values, Bytes]:
        """Pictures (N, height, width, channels) and masks (N, height, width), uint8.

        Raises: DataError, also without masks.
        """
        masks = [sample.mask for sample in self.split(split)]
        if any(mask is None for mask in masks):
            raise DataError(f"{self.name}: not every picture has a mask: read it with task='segment'")
        pictures = self.pictures(split, size=size)
        out = np.empty(pictures.shape[:-1], np.uint8)
        for index, mask in enumerate(masks):
            assert mask is not None
            out[index] = mask.load(size)
        return pictures, out

    def box_arrays(self, split: str | None = None, *, size: Size | None = None) -> tuple[Values, list[Boxes]]:
        """Pictures (N, height, width, 3) uint8, the boxes of each, to `size`. Raises: DataError, also without boxes."""
        samples = self.split(split)
        if any(sample.boxes is None for sample in samples):
            raise DataError(f"{self.name}: not every picture has boxes: read it with task='detect'")
        boxes = [
            scaled(sample.boxes, sample.size, size or sample.size) for sample in samples if sample.boxes is not None
        ]
        return self.pictures(split, size=size), boxes

    def verified(self, progress: Progress | None = None) -> "Dataset":
        """This data set without the pictures and masks that cannot be decoded; the report counts them."""
        tally = Tally(self.report)
        total, done = len(self.samples), 0
        splits: dict[str, tuple[Sample, ...]] = {}
        for name, part in self.splits.items():
            kept = []
            for sample in part:
                if decodes(sample, tally):
                    kept.append(sample)
                done += 1
                if progress:
                    progress(done, total)
            splits[name] = tuple(kept)
        tally.kept = sum(len(part) for part in splits.values())
        return replace(self, splits=splits, report=tally.report())


def loaded(sample: Sample, size: Size | None, channels: int) -> Values:
    """The values of one picture, (*sizes, channels). Raises: PictureError where it has other channels."""
    if isinstance(sample.picture, Picture):
        return sample.picture.load(size, channels)
    values: Values = sample.picture.load(size)
    if values.shape[-1] == channels:
        return values
    if channels == 1:
        grey: Values = values.mean(axis=-1, keepdims=True)
        return grey
    if values.shape[-1] == 1:
        return np.repeat(values, channels, axis=-1)
    raise PictureError(sample.name, f"{values.shape[-1]} channels where {channels} are wanted")


def with_white(sample: Sample, white: int) -> Sample:
    """The sample with `white` as the 16-bit number that becomes 255 in its picture."""
    if not isinstance(sample.picture, Picture) or sample.picture.white == white:
        return sample
    return replace(sample, picture=replace(sample.picture, white=white))


def decodes(sample: Sample, tally: Tally) -> bool:
    """Whether the picture and the mask of `sample` can be decoded; if not, `tally` has counted why."""
    for what, source in (("picture", sample.picture), ("mask", sample.mask)):
        try:
            if source is not None:
                source.load()
        except PictureError as error:
            tally.drop(what, error.reason, error.name)
            return False
    return True


def scaled(boxes: Boxes, old: Size, new: Size) -> Boxes:
    """The same boxes after their picture went from size `old` to `new`, both (height, width)."""
    factor = np.array([new[1] / old[1], new[0] / old[0]] * 2)
    ignored = None if boxes.ignored is None else scaled(boxes.ignored, old, new)
    return Boxes(corners=boxes.corners * factor, classes=boxes.classes, ignored=ignored)


def hold_out(dataset: Dataset, *, share: float = 0.2, seed: int = 0) -> Dataset:
    """A data set without splits, cut into `train` and `val`: `share` of every class (or of all pictures), seeded.

    Raises: UsageError when `share` is not inside 0..1, or it has several splits already.
    """
    if not 0 < share < 1:
        raise UsageError(f"share is {share}: give the part to hold out, more than 0 and less than 1")
    if len(dataset.splits) != 1:
        raise UsageError(f"{dataset.name} already has splits: {', '.join(dataset.splits)}")
    samples = dataset.samples
    order = np.random.default_rng(seed).permutation(len(samples))
    held: set[int] = set()
    for label in sorted({-1 if sample.label is None else sample.label for sample in samples}):
        members = [int(i) for i in order if (-1 if samples[i].label is None else samples[i].label) == label]
        held.update(members[: round(share * len(members))])
    parts = {"train": [s for i, s in enumerate(samples) if i not in held], "val": [samples[i] for i in sorted(held)]}
    return replace(dataset, splits={name: tuple(part) for name, part in parts.items()})
