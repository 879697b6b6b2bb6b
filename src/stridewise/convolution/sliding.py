"""One kernel slid over one picture with one stride: the feature map, what it costs and what it leaves out."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stridewise.convolution.kernels import read_kernel
from stridewise.convolution.operation import Array, Step, convolve, count_products, walk
from stridewise.convolution.reading import Picture, luminance, read_picture
from stridewise.convolution.window import Axis, Padding, PerAxis, axes
from stridewise.errors import GeometryError, UsageError

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
class Slide:
    """One convolution of a picture.

    Shapes: `picture` (C, rows, columns), `weight` (O, C/groups, *kernel), `feature_map` (O, *out).
    `axes`: the rows, then the columns.
    """

    kernel: str
    picture: Array
    weight: Array
    groups: int
    axes: tuple[Axis, ...]
    feature_map: Array

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
            stride=self.stride,
            padding=[(axis.begin, axis.end) for axis in self.axes],
            dilation=[axis.dilation for axis in self.axes],
            groups=self.groups,
            start=start,
        )

    def to_json(self) -> dict[str, Any]:
        """The object that `stridewise slide --json` prints, for this one stride; without pixels."""
        return to_json([self])

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

    def _repr_html_(self) -> str:
        from stridewise.convolution.drawing import picture

        file = io.BytesIO()
        picture([self]).save(file, format="PNG")
        text = html.escape(f"{self.heading}\n{self}")
        data = base64.b64encode(file.getvalue()).decode("ascii")
        return f'<img style="max-width:100%" alt="{text}" src="data:image/png;base64,{data}"><pre>{text}</pre>'


def slide(
    picture: Picture,
    kernel: str | Path | ArrayLike,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    colour: str = "luminance",
) -> Slide:
    """The convolution of a picture with a kernel.

    `picture` is whatever `read_picture` takes: a file, a PIL image, an array, "builtin:china"; `kernel` whatever
    `read_kernel` takes: "sobel-x", "gaussian:5", "1 0 -1; 2 0 -2; 1 0 -1", a file, an array. A kernel of rows and
    columns reads the picture's luminance, or with colour="channels" each channel on its own. Filters (in, rows,
    columns) or (out, in, rows, columns) read one channel as luminance, three as RGB. Settings are those of `convolve`,
    for rows and columns in this order.
    Raises: LoadError, DataError for the picture; UsageError for the kernel and the settings; GeometryError when no
    window fits or a stride is larger than the picture.

    >>> print(slide([[0, 0, 1, 1]] * 4, "sobel-x", stride=(1, 2), padding=1))
    stride 1×2: 4 × 2
      rows     out = floor((4 + 2*1 - 1*(3-1) - 1) / 1) + 1 = 4, remainder 0
      columns  out = floor((4 + 2*1 - 1*(3-1) - 1) / 2) + 1 = 2, remainder 1
      cost     72 multiply-adds, 50 % of stride 1; 22 of them on padding
      reads    100 % of the picture's positions
    """
    return slides(picture, kernel, strides=[stride], padding=padding, dilation=dilation, colour=colour)[0]


def slides(
    picture: Picture,
    kernel: str | Path | ArrayLike,
    *,
    strides: Sequence[PerAxis] = (1, 2, 4),
    padding: Padding = 0,
    dilation: PerAxis = 1,
    colour: str = "luminance",
) -> tuple[Slide, ...]:
    """The same picture and kernel at several strides, to be compared. Settings and errors as in `slide`."""
    name, weight = read_kernel(kernel)
    pixels, weight, groups = _matched(read_picture(picture), weight, colour)
    found = []
    for stride in strides:
        along = axes(pixels.shape[1:], weight.shape[2:], stride=stride, padding=padding, dilation=dilation)
        _check_strides(along)
        feature_map = convolve(pixels, weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
        for array in (pixels, weight, feature_map):
            array.setflags(write=False)
        found.append(
            Slide(kernel=name, picture=pixels, weight=weight, groups=groups, axes=along, feature_map=feature_map)
        )
    return tuple(found)


def _check_strides(along: tuple[Axis, ...]) -> None:
    for axis, word in zip(along, AXIS_NAMES, strict=True):
        if axis.stride > axis.padded:
            raise GeometryError(
                f"stride {axis.stride} on the {word} is larger than the picture, {axis.size} {word} padded by"
                f" {axis.begin}+{axis.end}: take at most {axis.padded}"
            )


def to_json(slides: Sequence[Slide], *, steps: int = 0) -> dict[str, Any]:
    """One object for several strides of one kernel on one picture, with the first `steps` steps of each."""
    first = slides[0]
    return {
        "schema": "stridewise.slide/1",
        "input": list(first.picture.shape),
        "kernel": {"name": first.kernel, "size": list(first.weight.shape[2:]), "weight": first.weight.tolist()},
        "groups": first.groups,
        "slides": [_plain(one, steps) for one in slides],
    }


def _plain(one: Slide, steps: int) -> dict[str, Any]:
    cost = one.cost
    walked = {"steps": [step.to_json() for step in islice(one.steps(), steps)]} if steps else {}
    return {
        "stride": list(one.stride),
        "dilation": [axis.dilation for axis in one.axes],
        "padding": [[axis.begin, axis.end] for axis in one.axes],
        "in_size": [axis.size for axis in one.axes],
        "out_size": [axis.out_size for axis in one.axes],
        "channels": [len(one.picture), len(one.feature_map)],
        "formula": list(one.formula),
        "remainder": [axis.remainder for axis in one.axes],
        "dropped": [axis.dropped for axis in one.axes],
        "macs": cost.macs,
        "macs_on_padding": cost.on_padding,
        "macs_ratio": float(cost.ratio),
        "read_coverage": float(one.read_coverage),
        "range": [float(one.feature_map.min()), float(one.feature_map.max())],
    } | walked


def _matched(pixels: Array, weight: Array, colour: str) -> tuple[Array, Array, int]:
    """Picture, filters (out, in, rows, columns) and groups that go together."""
    if colour not in ("luminance", "channels"):
        raise UsageError(f"colour '{colour}': take luminance or channels")
    if weight.ndim == 2 and colour == "channels":
        return pixels, np.repeat(weight[None, None], len(pixels), axis=0), len(pixels)
    filters = weight.reshape((1,) * (4 - weight.ndim) + weight.shape)
    if filters.shape[1] == 1:
        return luminance(pixels), filters, 1
    if filters.shape[1] != 3:
        raise GeometryError(
            f"kernel {weight.shape}: its filters read {filters.shape[1]} channels, a picture has 1 (luminance) or"
            " 3 (RGB): take a first layer's filters"
        )
    return np.broadcast_to(pixels, (3, *pixels.shape[1:])).copy(), filters, 1


def cost_line(one: Slide) -> str:
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
