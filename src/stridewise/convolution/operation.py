"""Convolution itself: every window times the filter, summed. NumPy only, written to be read, exact enough to check by.

Like torch it is a cross-correlation: the filter is not flipped.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray

from stridewise.convolution.window import Axis, Padding, PerAxis, axes
from stridewise.errors import GeometryError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplications:
    """How many multiplications a convolution makes, and how many of them have padding as one factor."""

    total: int
    on_padding: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One position of the window and the output cell it fills.

    Shapes: `values`, `weight`, `products` (channels of the group, *kernel); `inside` (*kernel).
    Units: `begin` and `stop` are input positions, one an axis, `stop` not included; they may lie in the padding.
    """

    index: int
    cell: tuple[int, ...]
    begin: tuple[int, ...]
    stop: tuple[int, ...]
    values: Array
    weight: Array
    products: Array
    inside: NDArray[np.bool_]
    sum: float
    bias: float

    @property
    def value(self) -> float:
        """What is written into the cell: the sum of the products, plus the bias."""
        return self.sum + self.bias

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        plain = {"index": self.index, "cell": list(self.cell), "begin": list(self.begin), "stop": list(self.stop)}
        arrays = {name: getattr(self, name).tolist() for name in ("values", "weight", "products", "inside")}
        return plain | arrays | {"sum": self.sum, "bias": self.bias, "value": self.value}

    def __str__(self) -> str:
        places = " x ".join(f"[{begin}, {stop})" for begin, stop in zip(self.begin, self.stop, strict=True))
        inside = np.broadcast_to(self.inside, self.values.shape)
        blocks = [_block(self.values, inside), _block(self.weight), _block(self.products, inside)]
        signs = [" * ", " = "]
        lines = [
            "  " + "".join(part + sign for part, sign in zip(row, [*signs, ""], strict=True))
            for row in zip(*blocks, strict=True)
        ]
        bias = f" + bias {self.bias:.4g} = {self.value:.4g}" if self.bias else ""
        return "\n".join(
            [f"step {self.index}: window {places}, fills cell {self.cell}", *lines, f"  sum {self.sum:.4g}{bias}"]
        )


def convolve(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Array:
    """The feature map: at every window position the products of window and filter, summed, plus the bias.

    Shapes: x (C, *S) or (N, C, *S), weight (O, C/groups, *K), bias (O,) -> (O, *T) or (N, O, *T).
    Stride, padding and dilation are one number or one entry an axis; padding also (begin, end) pairs, "same", "valid".
    Raises: GeometryError when shapes disagree or no window fits; UsageError for a setting that is no whole number.
    Source: torch.nn.functional.conv1d, conv2d, conv3d.

    >>> convolve([[1.0, 2.0, 4.0, 8.0]], [[[-1.0, 1.0]]], stride=2)
    array([[1., 4.]])
    """
    x, weight, bias, along = _checked(x, weight, bias, stride, padding, dilation, groups)
    windows = _windows(x, weight, along, groups)
    filters = weight.reshape(groups, -1, *weight.shape[1:])
    n, g, c, o = range(4)
    cells = list(range(4, 4 + len(along)))
    taps = list(range(4 + len(along), 4 + 2 * len(along)))
    out = np.einsum(windows, [n, g, c, *cells, *taps], filters, [g, o, c, *taps], [n, g, o, *cells])
    out = out.reshape(*x.shape[: x.ndim + 1 - weight.ndim], len(weight), *out.shape[3:])
    feature_map: Array = out + bias.reshape(-1, *[1] * len(along))
    return feature_map


def walk(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    start: int = 0,
) -> Iterator[Step]:
    """The same convolution window by window: one `Step` for each cell of `convolve`'s result, last axis fastest.

    Shapes, settings and errors as in `convolve`; the errors come at the call, not at the first step. `start` is the
    index of the first step, so that any cell can be had without those before it.

    >>> [step.value for step in walk([[1.0, 2.0, 4.0, 8.0]], [[[-1.0, 1.0]]], stride=2)]
    [1.0, 4.0]
    """
    x, weight, bias, along = _checked(x, weight, bias, stride, padding, dilation, groups)
    windows = _windows(x, weight, along, groups)
    batch = x.shape[: x.ndim + 1 - weight.ndim]
    filters, biases, per_group = weight, bias, len(weight) // groups
    shape = (*batch, len(weight), *(axis.out_size for axis in along))
    inside = [axis.inside() for axis in along]

    def step(index: int) -> Step:
        cell = tuple(int(at) for at in np.unravel_index(index, shape))
        channel, place = cell[len(batch)], cell[len(batch) + 1 :]
        window: tuple[Any, ...] = (cell[0] if batch else 0, channel // per_group, slice(None), *place)
        values = windows[window]
        products = values * filters[channel]
        begin = tuple(axis.start(at) for axis, at in zip(along, place, strict=True))
        return Step(
            index=index,
            cell=cell,
            begin=begin,
            stop=tuple(at + axis.span for axis, at in zip(along, begin, strict=True)),
            values=values,
            weight=filters[channel],
            products=products,
            inside=_outer([mask[at] for mask, at in zip(inside, place, strict=True)]),
            sum=float(products.sum()),
            bias=float(biases[channel]),
        )

    return map(step, range(start, prod(shape)))


def multiplications(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
) -> Multiplications:
    """The multiplications that `convolve` makes on these shapes, those on padding counted apart.

    The groups show in weight_shape[1]. Source: each cell costs one product per tap and channel of its group.

    >>> multiplications((1, 4, 4), (1, 1, 3, 3), padding=1)
    Multiplications(total=144, on_padding=44)
    """
    count = len(weight_shape) - 2
    along = axes(x_shape[-count:], weight_shape[2:], stride=stride, padding=padding, dilation=dilation)
    return count_products(along, filters=prod(x_shape[: -count - 1]) * weight_shape[0] * weight_shape[1])


def count_products(along: tuple[Axis, ...], *, filters: int) -> Multiplications:
    """Multiplications of `filters` one-channel filters on these axes."""
    total = filters * prod(axis.out_size * axis.kernel for axis in along)
    on_input = filters * prod(int(axis.inside().sum()) for axis in along)
    return Multiplications(total=total, on_padding=total - on_input)


def _windows(x: Array, weight: Array, along: tuple[Axis, ...], groups: int) -> Array:
    """A view, nothing copied but the padding. Shape: (N, groups, C/groups, *cells, *taps)."""
    batched = x if x.ndim == weight.ndim else x[None]
    padded = np.pad(batched, [(0, 0), (0, 0), *((axis.begin, axis.end) for axis in along)])
    grouped = padded.reshape(len(padded), groups, -1, *padded.shape[2:])
    steps = grouped.strides[3:]
    return as_strided(
        grouped,
        shape=(*grouped.shape[:3], *(axis.out_size for axis in along), *(axis.kernel for axis in along)),
        strides=(
            *grouped.strides[:3],
            *(axis.stride * step for axis, step in zip(along, steps, strict=True)),
            *(axis.dilation * step for axis, step in zip(along, steps, strict=True)),
        ),
        writeable=False,
    )


def _checked(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
) -> tuple[Array, Array, Array, tuple[Axis, ...]]:
    x, weight = np.asarray(x), np.asarray(weight)
    kind = np.result_type(x, weight, np.float32)  # whole numbers are computed as floats
    x, weight = x.astype(kind, copy=False), weight.astype(kind, copy=False)
    bias = np.zeros(len(weight) if weight.ndim else 0, kind) if bias is None else np.asarray(bias, kind)
    if weight.ndim < 3 or x.ndim not in (weight.ndim - 1, weight.ndim):
        raise GeometryError(
            f"weight {weight.shape} on input {x.shape}: needed are (out, in, *kernel) and (channels, *sizes) or"
            " (batch, channels, *sizes)"
        )
    count = weight.ndim - 2
    channels = x.shape[-count - 1]
    if groups < 1 or channels != groups * weight.shape[1] or len(weight) % groups:
        raise GeometryError(
            f"weight {weight.shape} in {groups} groups reads {groups * weight.shape[1]} channels, the input {x.shape}"
            f" has {channels}: needed are (out, channels / groups, *kernel), and out divisible by groups"
        )
    if bias.shape != (len(weight),):
        raise GeometryError(f"bias {bias.shape}: one number for each of the {len(weight)} output channels is needed")
    return x, weight, bias, axes(x.shape[-count:], weight.shape[2:], stride=stride, padding=padding, dilation=dilation)


def _outer(masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """True where every axis is."""
    return reduce(np.logical_and.outer, masks)


def _block(numbers: Array, inside: NDArray[np.bool_] | None = None) -> list[str]:
    """The rows of an array as text of one width, the largest to three figures; padding stands in brackets."""
    largest = float(np.abs(numbers).max())
    whole = bool((numbers == np.rint(numbers)).all())
    digits = 0 if whole or largest == 0 else min(12, max(0, 2 - math.floor(math.log10(largest))))
    cells = [f"{round(float(number), digits) + 0.0:.{digits}f}" for number in numbers.flat]
    if inside is not None:
        cells = [cell if real else "(0)" for cell, real in zip(cells, inside.flat, strict=True)]
    width, row = max(map(len, cells)), numbers.shape[-1]
    return [" ".join(cell.rjust(width) for cell in cells[at : at + row]) for at in range(0, len(cells), row)]
