"""Which dimensions of an input are positions: read from where the first window meets them.

An input is taken as (N, C, positions) first. Where the first convolution or pool meets it otherwise (channels last, a
waveform without channels, frames before the channels), the forward is left and the network traced anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from stridewise.building.builder import Builder
from stridewise.ops.draft import Value
from stridewise.ops.layout import Digit, Dim, digits, whole_axis


class Misread(Exception):  # noqa: N818  no error: the input is read anew
    """The first window does not meet an input's positions where they were thought to be. name: of that input."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Looking:
    """Looks at windows until one reads an input; raises `Misread` where it reads something else than its positions.

    names: the inputs in question. first: they are read as (N, C, positions), which a rearrangement may follow.
    """

    def __init__(self, names: frozenset[str], first: bool = True) -> None:
        self.names = names
        self.first = first

    def sees(self, builder: Builder, plain: Sequence[Any], axes: int) -> bool:
        """Whether the question is answered by a window (its arguments) over the last `axes` dimensions (-1: all but
        two) of its operand."""
        value = plain[0]
        if not isinstance(value, Value):
            return True
        if _is_over_channels(plain, axes):
            return False
        if value.dims is None:
            raise Misread(next(iter(sorted(self.names))))
        rank = len(value.dims)
        channels = rank - axes - 1 if axes > 0 else 1
        over = value.dims[channels + 1 :]
        here = _roots(builder, [d for dim in over for d in digits(dim)])
        before = _roots(builder, [d for dim in value.dims[:channels] for d in digits(dim)])
        there = _roots(builder, digits(value.dims[channels]))
        wanted = {(grid, a) for grid, _ in here | before | there for a in range(len(builder.draft.grids[grid].sizes))}
        is_whole = all(map(digits if self.first else partial(_is_axis, builder), over))
        by_grid = {builder.tensors[t].grid: name for name, t in builder.inputs}
        in_order = self.first or [d.axis for dim in over for d in digits(dim)] == sorted(a for _, a in here)
        if here and is_whole and in_order and wanted <= here | before:
            return True
        asked = [by_grid[grid] for grid, _ in wanted if grid in by_grid]
        if not wanted:  # of no input are positions left
            asked = [name for name, _ in builder.inputs]
        for name in asked:
            if name in self.names:
                raise Misread(name)
        return True


def _is_over_channels(plain: Sequence[Any], axes: int) -> bool:
    """Whether a pool reads neighbouring channels alone, one position at a time (local response normalisation)."""
    value, kernel = plain[0], plain[1] if len(plain) > 1 else None
    if not isinstance(value, Value) or value.dims is None or axes < 1 or not isinstance(kernel, list | tuple):
        return False
    over = value.dims[-axes:]
    return len(kernel) == axes and all(k == 1 if digits(dim) else k > 1 for k, dim in zip(kernel, over, strict=True))


def _is_axis(builder: Builder, dim: Dim) -> bool:
    """Whether a dimension is one whole axis."""
    digit = whole_axis(dim)
    return digit is not None and digit.count == builder.draft.grids[digit.grid].sizes[digit.axis]


def _roots(builder: Builder, found: list[Digit]) -> set[tuple[int, int]]:
    """The axes of inputs that these axes come from, as (grid of the input, axis)."""
    roots = set()
    for digit in found:
        grid = builder.draft.grids[digit.grid]
        while grid.sources:
            grid = builder.draft.grids[grid.sources[0]]
        if grid.kind == "input" and digit.axis < len(grid.sizes):
            roots.add((grid.index, digit.axis))
    return roots
