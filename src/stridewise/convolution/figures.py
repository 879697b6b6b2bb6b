"""The figures of one kernel slid over one picture with one stride: the feature map, what it costs and leaves out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np

from stridewise.convolution.operation import Array, Step, count_products, walk
from stridewise.convolution.window import Axis

AXIS_NAMES = ("rows", "columns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Units: multiply-adds. `ratio` is against the same convolution at stride 1; `on_padding` is a part of `macs`."""

    macs: int
    on_padding: int
    stride_one: int

    @property
    def ratio(self) -> Fraction:
        """macs / stride_one."""
        return Fraction(self.macs, self.stride_one)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlideFigures:
    """One convolution of a picture.

    Shapes: `picture` (C, rows, columns), `weight` (O, C/groups, *kernel), `feature_map` (O, *out).
    `axes`: the rows, then the columns. `bias` is added to every cell; `shown` is the input channel that drawings show
    where there are more than three.
    """

    kernel: str
    picture: Array
    weight: Array
    groups: int
    axes: tuple[Axis, ...]
    feature_map: Array
    bias: float = 0.0
    shown: int = 0

    @property
    def heading(self) -> str:
        """Kernel, picture, padding and dilation in a line: what several strides of one kernel have in common."""
        size, over = (
            " × ".join(str(number) for number in sizes) for sizes in (self.weight.shape[2:], self.picture.shape[1:])
        )
        dilation = times([axis.dilation for axis in self.axes])
        return f"{self.kernel}, {size}, on {over}, padding {_pad_words(self.axes)}, dilation {dilation}"

    @property
    def stride(self) -> tuple[int, ...]:
        """The step of the window, one an axis."""
        return tuple(axis.stride for axis in self.axes)

    @property
    def formula(self) -> tuple[str, ...]:
        """The size formula with its numbers and the remainder its floor drops, one an axis."""
        return tuple(f"{axis.formula}, remainder {axis.remainder}" for axis in self.axes)

    @property
    def cost(self) -> Cost:
        """Multiply-adds, and what they would be at stride 1."""
        filters = self.weight.shape[0] * self.weight.shape[1]
        products = count_products(self.axes, filters=filters)
        one = filters * prod((axis.padded - axis.span + 1) * axis.kernel for axis in self.axes)
        return Cost(macs=products.total, on_padding=products.on_padding, stride_one=one)

    @property
    def read_coverage(self) -> Fraction:
        """The share of the picture's positions that any window reads."""
        return prod((axis.coverage() for axis in self.axes), start=Fraction(1))

    def steps(self, start: int = 0) -> Iterator[Step]:
        """The convolution window by window, last axis fastest; each fills one cell of `feature_map`.

        `start` is the index of the first step. Which cells read one row or column: `axes[at].readers(position)`.
        """
        return walk(
            self.picture,
            self.weight,
            np.full(len(self.weight), self.bias) if self.bias else None,
            stride=self.stride,
            padding=[(axis.begin, axis.end) for axis in self.axes],
            dilation=[axis.dilation for axis in self.axes],
            groups=self.groups,
            start=start,
        )

    def __str__(self) -> str:
        lines = [
            f"{name:<9}{formula}{_left_out(axis, name)}"
            for name, formula, axis in zip(AXIS_NAMES, self.formula, self.axes, strict=True)
        ]
        maps, size = len(self.feature_map), " × ".join(str(axis.out_size) for axis in self.axes)
        return "\n".join(
            [
                f"stride {times(self.stride)}: {size}" + (f", {maps} maps" if maps > 1 else ""),
                *(f"  {line}" for line in lines),
                f"  cost     {cost_line(self)}",
                f"  reads    {percent(self.read_coverage)} of the picture's positions",
            ]
        )


def cost_line(one: SlideFigures) -> str:
    """The multiply-adds in words."""
    cost = one.cost
    pads = f"; {cost.on_padding:,} of them on padding" if cost.on_padding else ""
    return f"{cost.macs:,} multiply-adds, {percent(cost.ratio)} of stride 1{pads}"


def percent(share: Fraction) -> str:
    """A share as a percentage of three figures, more where only they tell it from 100 %.

    >>> percent(Fraction(1, 4)), percent(Fraction(9999, 10000)), percent(Fraction(1, 3000))
    ('25 %', '99.99 %', '0.0333 %')
    """
    for digits in (3, 4, 6, 8):
        text = f"{float(share * 100):.{digits}g}"
        if "e" not in text and (share == 1 or text != "100"):
            return f"{text} %"
    return f"{float(share * 100)} %"


def times(numbers: Sequence[int]) -> str:
    """One number when all agree, else all of them: 2, or 1×2."""
    return str(numbers[0]) if len(set(numbers)) == 1 else "×".join(map(str, numbers))


def _pad_words(along: tuple[Axis, ...]) -> str:
    sides = [str(a.begin) if a.begin == a.end else f"{a.begin}:{a.end}" for a in along]
    return sides[0] if len(set(sides)) == 1 else "×".join(sides)


def _left_out(axis: Axis, name: str) -> str:
    if not axis.dropped:
        return ""
    return f": the last {axis.dropped} {name if axis.dropped > 1 else name.removesuffix('s')} never read"
