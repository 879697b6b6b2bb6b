"""The plain rows a report is made of: layers, outputs, totals, marks on the ladder, slots; one view a plan."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from stridewise.findings import Finding
from stridewise.ir import Sizes
from stridewise.records import quick

Numbers = tuple[Fraction, ...]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One site, or one op with multiply-adds; geometry an entry an axis, None where no positions are left.

    Units: kernel, stride, dilation, padding, sizes in positions of the layer's input; cumulative_stride,
    receptive_field and start in input positions; share and coverage are fractions of 1; macs multiply-adds.
    """

    key: str
    op: str
    kernel: Sizes
    stride: Numbers
    dilation: Sizes
    padding: tuple[tuple[int, int], ...]
    groups: int
    channels: tuple[int, int] | None
    in_size: Sizes
    out_size: Sizes
    cumulative_stride: tuple[Fraction | None, ...]
    receptive_field: Sizes
    start: Sizes
    everything: bool
    approximate: bool
    field_share: tuple[float, ...]
    macs: int
    params: int
    activations: int
    read_coverage: float
    channel_ceiling: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output of the network: its size, cumulative stride and field, an entry an axis."""

    name: str
    size: Sizes
    cumulative_stride: tuple[Fraction | None, ...]
    receptive_field: Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The network as a whole; geometry is that of the last spatial tensor, of several outputs' the coarsest.

    in_size: positions of the input. every_stride: of all maps that go out, where there are several. kept_bytes: with
    train, else None.
    """

    macs: int
    params: int
    activations: int
    peak_activation_bytes: int
    output_stride: Numbers
    receptive_field: Sizes
    start: Sizes
    smallest_input: tuple[int | None, ...]
    out_size: Sizes
    in_size: Sizes
    every_stride: tuple[Numbers, ...] = ()
    kept_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something on the ladder that is no layer: an op that changes the stride (resize to another tensor's size,
    rearrangement, slice), with the stride it came from, or a join of branches with different centres (`fork`).

    at: layers that run before it.
    """

    at: int
    name: str
    came: Numbers
    stride: Numbers
    size: Sizes
    fork: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The network under one plan ("" is as it came)."""

    plan: str
    totals: Totals
    outputs: tuple[Output, ...]
    layers: tuple[Layer, ...]
    findings: tuple[Finding, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRow:
    """A place where a step can be inserted; `before`: how many layers run before it; `site`: the layer that steps there
    today, or "".
    """

    key: str
    aliases: tuple[str, ...]
    size: Sizes
    cumulative_stride: Numbers
    stride: Sizes
    kind: str
    before: int
    site: str
