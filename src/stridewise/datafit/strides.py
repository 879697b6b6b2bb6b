"""Strides and sets of strides as `fit` takes and writes them: per axis, (height, width)."""

import math
import re
from collections.abc import Sequence

from stridewise.errors import UsageError, once

Stride = tuple[int, ...]
"""Input pixels between neighbouring cells, per axis: two of pictures, one of signals, three of volumes."""

StrideSet = tuple[Stride, ...]
"""The strides of one or several output maps, finest first."""

Wanted = int | str | Sequence[int]
DEFAULT: tuple[StrideSet, ...] = tuple(
    tuple((stride, stride) for stride in strides) for strides in ((32,), (16, 32), (8, 16, 32), (4, 8, 16, 32))
)
_LARGEST = 1 << 14


def stride_set(wanted: str | Sequence[Wanted]) -> StrideSet:
    """One set from `"8,16,32"`, `(8, 16, 32)`, or with unequal axes `"8x16"`, `((8, 16),)`; finest first, each once.

    Raises: UsageError for anything that is no whole positive stride.

    >>> stride_set("16,8x4")
    ((8, 4), (16, 16))
    """
    entries = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    strides = {_stride(entry) for entry in entries}
    if not strides:
        raise UsageError("a stride set is empty: give strides such as 8,16,32")
    return tuple(sorted(strides, key=lambda stride: (math.prod(stride), stride)))


def stride_sets(wanted: Sequence[object] | str | None) -> tuple[StrideSet, ...]:
    """The sets to look at: the default ones, one set, or several (each a text or a sequence). Raises: UsageError."""
    if wanted is None:
        return DEFAULT
    if isinstance(wanted, str):
        return (stride_set(wanted),)
    if all(isinstance(entry, int) for entry in wanted):
        return (stride_set([entry for entry in wanted if isinstance(entry, int)]),)
    sets = [stride_set([entry] if isinstance(entry, int) else entry) for entry in wanted]  # type: ignore[arg-type]
    return tuple(dict.fromkeys(sets))


def singles(sets: Sequence[StrideSet]) -> tuple[Stride, ...]:
    """Every stride of the sets once, coarsest first."""
    return tuple(
        sorted({stride for strides in sets for stride in strides}, key=lambda s: (math.prod(s), s), reverse=True)
    )


def written(strides: StrideSet) -> str:
    """How a set reads: `8, 16, 32`, with unequal axes `8x16`."""
    return ", ".join(once(stride) for stride in strides)


def for_axes(sets: Sequence[StrideSet], axes: int) -> tuple[StrideSet, ...]:
    """The sets on data of so many axes: one number stands for all of them.

    Raises: UsageError where an unequal stride has another number of axes.
    """
    for stride in (stride for strides in sets for stride in strides):
        if len(stride) != axes and len(set(stride)) > 1:
            raise UsageError(f"stride {once(stride)} has {len(stride)} axes, the data have {axes}: give one for each")
    return tuple(
        tuple(stride if len(stride) == axes else (stride[0],) * axes for stride in strides) for strides in sets
    )


def grid(size: Sequence[int], stride: Stride) -> tuple[int, ...]:
    """Cells per axis on a picture of `size`: cell i covers [i*s, (i+1)*s), the last one may reach over the edge."""
    return tuple(-(-extent // step) for extent, step in zip(size, stride, strict=True))


def _stride(wanted: object) -> Stride:
    if isinstance(wanted, str):
        match = re.fullmatch(r"\s*\d{1,5}(x\d{1,5}){0,2}\s*", wanted, re.ASCII)
        values: tuple[object, ...] = tuple(map(int, wanted.split("x"))) if match else ()
        values = values * 2 if len(values) == 1 else values
    elif isinstance(wanted, Sequence):
        values = tuple(wanted)
    else:
        values = (wanted, wanted)
    whole = tuple(value for value in values if isinstance(value, int) and 0 < value <= _LARGEST)
    if not 1 <= len(whole) <= 3 or len(whole) != len(values):
        raise UsageError(
            f"{wanted!r} is no stride: give a whole number of 1 to {_LARGEST}, or one an axis as 8x16 (height x width)"
        )
    return whole
