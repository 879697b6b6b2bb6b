"""The figures of a data set against stride sets: records, plain values by the names of their fields."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

from stridewise.data.picture import Size
from stridewise.data.report import Report
from stridewise.datafit.strides import StrideSet, written
from stridewise.report.scale import Scale
from stridewise.report.values import of_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a stride set must keep to be recommended.

    `reachable`: share of objects that contain a cell centre; `cells`: cells per object at the 5th percentile;
    `miou`: mean IoU of labels rounded to the stride; `energy`: mean share of spectral energy below the new Nyquist.
    """

    reachable: float = 0.99
    cells: int = 2
    miou: float = 0.90
    energy: float = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A picture that loses `count` of its objects."""

    name: str
    count: int


class Row(Protocol):
    """The figures of one stride set."""

    @property
    def strides(self) -> StrideSet:
        """The set, finest stride first."""

    @property
    def lost(self) -> tuple[Lost, ...]:
        """The pictures that lose the most objects, worst first."""

    def passes(self, limits: Limits) -> bool:
        """Whether the set keeps what `limits` ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFigures:
    """Objects of one class, or of all, against one stride set. None where there are no objects, or no field was given.

    `reachable`: share that contains a cell centre of any stride of the set; `cells_median`, `cells_p5`: centres in an
    object, at the stride that gives it the most (p5: at least 95 % of the objects have as many); `shared`: share whose
    centre lies in the same finest cell as another object's; `shared_classes`: the same with an object of another class;
    `field_*`: receptive field / object extent on the tighter axis, and the share of objects larger than the field.
    """

    name: str
    objects: int
    reachable: float | None
    cells_median: float | None
    cells_p5: float | None
    shared: float | None
    shared_classes: float | None
    field_median: float | None = None
    field_p5: float | None = None
    larger_than_field: float | None = None

    def passes(self, limits: Limits) -> bool:
        """Whether enough objects are reachable, with enough cells."""
        if self.reachable is None or self.cells_p5 is None:
            return True
        return self.reachable >= limits.reachable and self.cells_p5 >= limits.cells


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRow:
    """Boxes against one stride set; `positions`: cells of all its maps a picture (what a dense head computes)."""

    strides: StrideSet
    positions: float
    overall: ObjectFigures
    classes: tuple[ObjectFigures, ...]
    lost: tuple[Lost, ...]

    def passes(self, limits: Limits) -> bool:
        """Whether all objects together keep the limits."""
        return self.overall.passes(limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFigures:
    """One class of masks against one stride: IoU of the rounded labels, connected regions, share that vanishes."""

    name: str
    iou: float | None
    components: int
    vanished: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRow:
    """Masks against one stride: the best any map of that stride can say when each cell gets one label (an upper bound).

    `miou` is the mean of the classes' IoU over all pixels, `boundary_f1` the mean over pictures with a boundary.
    """

    strides: StrideSet
    positions: float
    miou: float
    boundary_f1: float | None
    components: int
    vanished: float | None
    classes: tuple[RegionFigures, ...]
    lost: tuple[Lost, ...]

    def passes(self, limits: Limits) -> bool:
        """Whether the rounded labels keep the mean IoU."""
        return self.miou >= limits.miou


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyFigures:
    """Pictures of one class, or of all, against one stride: mean and 5th percentile of the spectral energy kept."""

    name: str
    pictures: int
    kept: float | None
    kept_p5: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrumRow:
    """Pictures against one stride applied to the pixels: energy below the new Nyquist, the mean removed."""

    strides: StrideSet
    positions: float
    overall: EnergyFigures
    classes: tuple[EnergyFigures, ...]
    lost: tuple[Lost, ...] = ()

    def passes(self, limits: Limits) -> bool:
        """Whether enough energy is kept in the mean."""
        return self.overall.kept is None or self.overall.kept >= limits.energy

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return of_fields(self, "lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Object sizes (root of the area, pixels): percentiles, and counts in bins a quarter octave wide from `edges`."""

    p5: float
    median: float
    p95: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return of_fields(self, "edges", "counts", histogram={"edges": self.edges, "counts": self.counts})


@dataclass(frozen=True, slots=True, kw_only=True)
class FitFigures:
    """A data set against stride sets. `rows` are the sets asked for, `singles` each of their strides alone.

    `picture_size` is the median height and width, after `resize` where one was asked for; `recommended` is the coarsest
    set within `limits`, or None. `scale`: what a pixel measures, after `resize`, where somebody said it.
    """

    task: str
    data: str
    split: str | None
    pictures: int
    objects: int
    classes: tuple[str, ...]
    picture_size: Size
    resize: Size | None
    receptive_field: Size | None
    sizes: Sizes | None
    limits: Limits
    rows: tuple[BoxRow, ...] | tuple[MaskRow, ...] | tuple[SpectrumRow, ...]
    singles: tuple[BoxRow, ...] | tuple[MaskRow, ...] | tuple[SpectrumRow, ...]
    recommended: StrideSet | None
    report: Report
    scale: Scale | None = None

    def row(self, strides: StrideSet) -> BoxRow | MaskRow | SpectrumRow | None:
        """The figures of this set, or of this stride alone; None when they were not asked for."""
        return next((row for row in (*self.rows, *self.singles) if row.strides == strides), None)

    def said(self, strides: StrideSet) -> str:
        """How a set reads, with its unit where there is one: "8, 16 = 2.4, 4.8 m"."""
        if self.scale is None:
            return written(strides)
        return f"{written(strides)} = {', '.join(map(self.scale.number, strides))} {self.scale.unit}"

    @property
    def side(self) -> float:
        """What the side of a square as large as a pixel measures in the unit of the scale, 1 without one."""
        return 1.0 if self.scale is None else math.sqrt(math.prod(map(float, self.scale.step)))
