"""`slide`: one kernel over one picture at one stride or at several."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stridewise.convolution.drawing import picture as drawing
from stridewise.convolution.figures import AXIS_NAMES, SlideFigures
from stridewise.convolution.kernels import read_kernel
from stridewise.convolution.operation import Array, convolve
from stridewise.convolution.reading import Picture, luminance, read_picture
from stridewise.convolution.window import Axis, Padding, PerAxis, axes
from stridewise.errors import GeometryError, UsageError
from stridewise.report.document import Document, Image, Remark, Remarks
from stridewise.shown import Shown


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slide(SlideFigures, Shown):
    """One convolution of a picture. The figures are those of `SlideFigures`."""

    def document(self) -> Document:
        """Sizes, cost and coverage, and the drawing of what the stride reads and keeps."""
        first, *others = str(self).splitlines()
        return Document(
            title=self.heading,
            lead=(first,),
            parts=(
                Remarks(remarks=tuple(Remark(text=" ".join(line.split())) for line in others)),
                Image(title="", words=f"{self.heading}\n{self}", png=self._png),
            ),
        )

    def __str__(self) -> str:
        return SlideFigures.__str__(self)

    def _png(self) -> bytes:
        file = io.BytesIO()
        drawing([self]).save(file, format="PNG")
        return file.getvalue()

    def to_json(self) -> dict[str, Any]:
        """The object that `stridewise slide --json` prints, for this one stride; without pixels."""
        return to_json([self])


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

    >>> import stridewise as sw
    >>> print(sw.slide([[0, 0, 1, 1]] * 4, "sobel-x", stride=(1, 2), padding=1))
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
