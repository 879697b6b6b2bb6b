"""One axis of a convolution: where its windows lie, what they read and what they leave out. Whole numbers only."""

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stridewise.axis import Window
from stridewise.errors import GeometryError, UsageError, by

_MOST = 1 << 28  # positions with their padding

PerAxis = int | Sequence[int]
Padding = int | str | Sequence[int | tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The windows along one axis: a kernel of `kernel` taps, `dilation` apart, stepping by `stride`.

    Units: input positions. Cell `i` of the output reads `start(i)`, `start(i) + dilation`, ...; what lies below 0 or
    from `size` on is padding.

    >>> axis = Axis(size=427, kernel=3, stride=2, begin=1, end=1)
    >>> axis.out_size, axis.remainder
    (214, 0)
    """

    size: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    begin: int = 0
    end: int = 0

    @property
    def window(self) -> Window:
        """The window alone, as networks have it."""
        return Window(
            kernel=self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            pad_begin=self.begin,
            pad_end=self.end,
        )

    @property
    def span(self) -> int:
        """Positions from the first tap to the last, both counted."""
        return self.window.span

    @property
    def padded(self) -> int:
        """Positions with the padding."""
        return self.begin + self.size + self.end

    @property
    def out_size(self) -> int:
        """Cells of the output. Source: torch.nn.Conv2d, "Shape"."""
        return self.window.out_size(self.size)

    @property
    def remainder(self) -> int:
        """What the floor of the size formula drops: padded positions after the last window."""
        return self.window.unread(self.size)

    @property
    def dropped(self) -> int:
        """Input positions after the last window: the part of the remainder that is not padding."""
        return min(self.size, max(0, self.remainder - self.end))

    @property
    def formula(self) -> str:
        """The size formula with its numbers."""
        pads = f"2*{self.begin}" if self.begin == self.end else f"{self.begin} + {self.end}"
        return (
            f"out = floor(({self.size} + {pads} - {self.dilation}*({self.kernel}-1) - 1) / {self.stride}) + 1"
            f" = {self.out_size}"
        )

    def start(self, cell: int) -> int:
        """The input position of the first tap; negative in the padding."""
        return cell * self.stride - self.begin

    def positions(self) -> NDArray[np.int64]:
        """What each cell reads. Shape: (out_size, kernel)."""
        starts = np.arange(self.out_size, dtype=np.int64) * self.stride - self.begin
        return starts[:, None] + np.arange(self.kernel, dtype=np.int64) * self.dilation

    def inside(self) -> NDArray[np.bool_]:
        """Which of `positions()` are input and not padding."""
        positions = self.positions()
        return (positions >= 0) & (positions < self.size)

    def read(self) -> NDArray[np.bool_]:
        """Which input positions any window reads. Shape: (size,)."""
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[self.positions()[self.inside()]] = True
        return mask

    def coverage(self) -> Fraction:
        """The share of input positions that any window reads."""
        return Fraction(int(self.read().sum()), self.size)

    def readers(self, position: int) -> list[int]:
        """The cells whose windows read this input position."""
        return [int(cell) for cell in np.flatnonzero((self.positions() == position).any(axis=1))]


def axes(
    sizes: Sequence[int],
    kernels: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
) -> tuple[Axis, ...]:
    """The windows along every axis. Each setting is one number for all axes, or one entry an axis.

    `padding` takes whole numbers, (begin, end) pairs, "valid" (none) or "same": as much as keeps the size at stride 1,
    the odd one at the end. "same" pads alike at every stride: the cells of stride s are every s-th cell of stride 1.

    Raises: UsageError for a setting that is no whole number; GeometryError when no window fits.
    Source: torch.nn.functional.conv2d, `padding="same"`.
    """
    strides = [_whole("stride", value, at, least=1) for at, value in _each("stride", stride, len(sizes))]
    dilations = [_whole("dilation", value, at, least=1) for at, value in _each("dilation", dilation, len(sizes))]
    pads = _pads(padding, kernels, dilations)
    found = tuple(
        Axis(size=size, kernel=kernel, stride=step, dilation=spread, begin=begin, end=end)
        for size, kernel, step, spread, (begin, end) in zip(sizes, kernels, strides, dilations, pads, strict=True)
    )
    if prod(axis.padded for axis in found) > _MOST:
        places = by(axis.padded for axis in found)
        raise GeometryError(f"padding: {places[:60]} positions with it are too many; at most {_MOST:,} are taken")
    for at, axis in enumerate(found):
        if axis.kernel < 1 or axis.size < 1:
            raise GeometryError(f"axis {at}: {axis.size} positions and a kernel of {axis.kernel}: neither may be empty")
        if axis.span > axis.padded:
            raise GeometryError(
                f"axis {at}: no window fits: the kernel spans {axis.span} positions, the input has {axis.size} padded"
                f" by {axis.begin}+{axis.end}. Take a smaller kernel or dilation, or more padding"
            )
    return found


def _each(word: str, value: object, count: int) -> Iterator[tuple[int, Any]]:
    """(axis, entry) for every axis."""
    entries = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value] * count
    if len(entries) != count:
        raise UsageError(
            f"{word} {_shown(value)} has {len(entries)} entries, the input has {count} axes: give one number, or one an"
            " axis"
        )
    return enumerate(entries)


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, Iterable) and not isinstance(value, str) else str(value)


def _whole(word: str, value: Any, at: int, *, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise UsageError(f"{word} {value} on axis {at}: a whole number of at least {least} is needed")
    return number


def _pads(padding: Padding, kernels: Sequence[int], dilations: Sequence[int]) -> list[tuple[int, int]]:
    if padding == "valid":
        return [(0, 0)] * len(kernels)
    if padding == "same":
        totals = [spread * (kernel - 1) for kernel, spread in zip(kernels, dilations, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [_pad_pair(value, at) for at, value in _each("padding", padding, len(kernels))]


def _pad_pair(value: Any, at: int) -> tuple[int, int]:
    sides = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value, value]
    if len(sides) != 2:
        raise UsageError(f"padding {_shown(value)} on axis {at}: give one number, or the two of (begin, end)")
    begin, end = (_whole("padding", side, at, least=0) for side in sides)
    return begin, end
