"""Numbers that a file computes from sizes: constants stay numbers, sizes of a grid axis become an `Extent`.

A shape computed while a network runs (`Shape`, `Gather`, `Mul`, `Concat`, ...) follows the tensor it was read from; a
constant stays what it is at every input size. Arithmetic on extents keeps that apart, one entry at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Extent:
    """`value`, computed as `floor(size * factor + offset)` from the size of an axis of a grid.

    grid None: computed from sizes in a way that is not followed (a product of two sizes, a maximum).
    """

    value: int | float
    grid: int | None = None
    axis: int = 0
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    def scaled(self, by: Any, value: Any) -> Extent:
        """This extent times the number `by`, whose value is `value`."""
        if not self._exact():
            return Extent(value)
        by = Fraction(by).limit_denominator(4096)
        return Extent(value, self.grid, self.axis, self.factor * by, self.offset * by)

    def moved(self, by: Any, value: Any) -> Extent:
        """This extent plus the number `by`, whose value is `value`."""
        return Extent(value, self.grid, self.axis, self.factor, self.offset + Fraction(by).limit_denominator(4096))

    def floored(self) -> Extent:
        """The whole part; it still follows the same axis."""
        return Extent(math.floor(self.value), self.grid, self.axis, self.factor, self.offset)

    def _exact(self) -> bool:
        """Whether nothing was rounded away yet. A rounded extent can be moved, not scaled."""
        return isinstance(self.value, float) or (self.factor.denominator == 1 and self.offset.denominator == 1)

    def same_axis(self, other: Any) -> bool:
        """Whether both are computed from one size."""
        return (
            isinstance(other, Extent) and self.grid is not None and (self.grid, self.axis) == (other.grid, other.axis)
        )


def number(entry: Any) -> Any:
    """The plain number of an entry."""
    return entry.value if isinstance(entry, Extent) else entry


def whole(entry: Any) -> int:
    """The plain whole number of an entry."""
    return int(number(entry))


def _lifted(plain: Callable[[Any, Any], Any], follow: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def run(a: Any, b: Any) -> Any:
        value = plain(number(a), number(b))
        if isinstance(a, Extent) or isinstance(b, Extent):
            return follow(a, b, value)
        return value

    return run


def _sum(a: Any, b: Any, value: Any) -> Any:
    if isinstance(a, Extent) and isinstance(b, Extent):
        if a.same_axis(b) and a._exact() and b._exact():
            return Extent(value, a.grid, a.axis, a.factor + b.factor, a.offset + b.offset)
        return Extent(value)
    return a.moved(b, value) if isinstance(a, Extent) else b.moved(a, value)


def _difference(a: Any, b: Any, value: Any) -> Any:
    if isinstance(b, Extent) and not isinstance(a, Extent):
        return b.scaled(-1, -b.value).moved(a, value)
    if isinstance(b, Extent):
        if a.same_axis(b) and a._exact() and b._exact():
            factor, offset = a.factor - b.factor, a.offset - b.offset
            return Extent(value, a.grid, a.axis, factor, offset) if factor else value
        return Extent(value)
    return a.moved(-b, value)


def _product(a: Any, b: Any, value: Any) -> Any:
    if isinstance(a, Extent) and isinstance(b, Extent):
        return Extent(value)
    return a.scaled(b, value) if isinstance(a, Extent) else b.scaled(a, value)


def _quotient(a: Any, b: Any, value: Any) -> Any:
    if not isinstance(b, Extent):
        return a.scaled(1 / Fraction(b), value) if b else Extent(value)
    if isinstance(a, Extent) and a.same_axis(b) and not a.offset and not b.offset and a._exact() and b._exact():
        return value
    return Extent(value)


def _computed(a: Any, b: Any, value: Any) -> Any:
    return a if a is b else Extent(value)


def _divided(a: Any, b: Any) -> Any:
    if isinstance(a, float) or isinstance(b, float):
        return a / b if b else math.inf
    # Whole numbers are divided as in C: towards zero.
    return int(Fraction(int(a), int(b))) if b else 0


plus = _lifted(lambda a, b: a + b, _sum)
minus = _lifted(lambda a, b: a - b, _difference)
times = _lifted(lambda a, b: a * b, _product)
divided = _lifted(_divided, _quotient)
modulo = _lifted(lambda a, b: a % b if b else 0, _computed)
larger = _lifted(max, _computed)
smaller = _lifted(min, _computed)


def floor(a: Any) -> Any:
    """The whole part of an entry, as a float where it was one."""
    return a.floored() if isinstance(a, Extent) else math.floor(a)


def ceil(a: Any) -> Any:
    """The next whole number of an entry; one that was whole follows its axis as a rounded one does."""
    return a.floored() if isinstance(a, Extent) and a._exact() and a.value == int(a.value) else _ceiled(a)


def _ceiled(a: Any) -> Any:
    return Extent(math.ceil(a.value)) if isinstance(a, Extent) else math.ceil(a)
