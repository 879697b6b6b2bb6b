"""Whole numbers that a forward works out from the sizes of maps, kept as exact expressions of them.

`h // 2`, `(h1 - h2) // 2` or `2 * h` look like constants once they reach an op. A `Counted` is the number, and knows
the `Count` it came from: a sum of sizes and of floors of such sums, in one form for equal expressions.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

# A size: (grid, axis). Once it is known whose size an op asks for, OWN is that of its operand and OUT its output's.
Leaf: TypeAlias = tuple[int, int]
OWN: Leaf = (-1, 0)
OUT: Leaf = (-2, 0)
_FINEST = 4096  # a float that is no such fraction is none that was written


@dataclass(frozen=True, slots=True)
class Part:
    """The whole part of `of` / `by`."""

    of: Count
    by: int


@dataclass(frozen=True, slots=True)
class Count:
    """`const` and a number of times each of some sizes and whole parts, in a fixed order."""

    const: Fraction = Fraction(0)
    terms: tuple[tuple[Leaf | Part, Fraction], ...] = ()

    @staticmethod
    def size(grid: int, axis: int) -> Count:
        """The size of a grid's axis."""
        return Count(Fraction(0), (((grid, axis), Fraction(1)),))

    def plus(self, other: Count | int | Fraction, times: int | Fraction = 1) -> Count:
        """This and `times` the other."""
        if not isinstance(other, Count):
            return Count(self.const + times * other, self.terms)
        total = dict(self.terms)
        for atom, factor in other.terms:
            total[atom] = total.get(atom, Fraction(0)) + times * factor
        kept = sorted(((a, f) for a, f in total.items() if f), key=repr)
        return Count(self.const + times * other.const, tuple(kept))

    def times(self, by: int | Fraction) -> Count:
        """`by` times this."""
        return Count().plus(self, by)

    def floored(self, by: int = 1) -> Count:
        """The whole part of this / `by`; what divides is taken out of it."""
        if by < 0:
            return self.times(-1).floored(-by)
        scale = math.lcm(self.const.denominator, *(f.denominator for _, f in self.terms))
        by *= scale  # all whole numbers above the line
        const, outside = int(self.const * scale), Count()
        inside: list[tuple[Leaf | Part, Fraction]] = []
        for atom, factor in self.terms:
            whole, rest = divmod(int(factor * scale), by)
            outside = outside.plus(Count(Fraction(0), ((atom, Fraction(whole)),)) if whole else 0)
            inside += [(atom, Fraction(rest))] if rest else []
        outside = outside.plus(const // by)
        if not inside:
            return outside
        common = math.gcd(by, *(int(f) for _, f in inside))
        left = Fraction(const % by // common)  # the sum above is a whole multiple of `common` but for the constant
        part = Part(Count(left, tuple((a, f / common) for a, f in inside)), by // common)
        return outside.plus(Count(Fraction(0), ((part, Fraction(1)),)))

    @property
    def leaves(self) -> frozenset[Leaf]:
        """The sizes that it is made from."""
        found = (a.of.leaves if isinstance(a, Part) else {a} for a, _ in self.terms)
        return frozenset().union(*found)

    def replaced(self, by: Callable[[Leaf | Part], Count | None]) -> Count | None:
        """The same of what `by` gives for its sizes and whole parts; None where it gives nothing for a size."""
        out = Count(self.const)
        for atom, factor in self.terms:
            part = by(atom)
            if part is None and isinstance(atom, Part):
                of = atom.of.replaced(by)
                part = None if of is None else of.floored(atom.by)
            if part is None:
                return None
            out = out.plus(part, factor)
        return out

    def at(self, sizes: Mapping[Leaf, int]) -> int:
        """The number at these sizes."""
        return math.floor(self._value(sizes))

    def _value(self, sizes: Mapping[Leaf, int]) -> Fraction:
        total = self.const
        for atom, factor in self.terms:
            total += factor * (atom.of._value(sizes) // atom.by if isinstance(atom, Part) else sizes[atom])
        return total

    @property
    def slope(self) -> Fraction:
        """How fast it grows with the sizes, all of them together."""
        parts = (f * (a.of.slope / a.by if isinstance(a, Part) else 1) for a, f in self.terms)
        return sum(parts, Fraction(0))

    @property
    def period(self) -> int:
        """Positions more of every size after which it has grown by a whole number, the same everywhere."""
        own = [a.of.period * a.by if isinstance(a, Part) else 1 for a, _ in self.terms]
        return math.lcm(self.slope.denominator, *own)

    @property
    def slack(self) -> Fraction:
        """How far it may lie from `slope` times the size."""
        parts = (abs(f) * ((a.of.slack / a.by) + 1 if isinstance(a, Part) else 0) for a, f in self.terms)
        return abs(self.const) + sum(parts, Fraction(0))

    def written(self, names: Mapping[Leaf, str]) -> str:
        """It as Python, of the sizes' names."""
        out: list[str] = [] if self.const == 0 and self.terms else [str(self.const)]
        for atom, factor in reversed(self.terms):
            text = f"({atom.of.written(names)}) // {atom.by}" if isinstance(atom, Part) else names[atom]
            out.insert(0, text if factor == 1 else f"{factor} * ({text})")
        return " + ".join(out).replace("+ -", "- ")


class Counted(int):
    """A number and, in `ways`, what it may have been worked out from: the one expression, or those of its value."""

    ways: tuple[Count, ...]

    @staticmethod
    def of(value: int, *ways: Count) -> Counted:
        """`value`, as worked out in these ways."""
        found = Counted(value)
        found.ways = ways
        return found

    def __floor__(self) -> int:
        return self

    __ceil__ = __trunc__ = __pos__ = __floor__

    def __neg__(self) -> int:
        return Counted.of(-int(self), self.ways[0].times(-1))

    def __round__(self, digits: Any = None) -> int:
        return self


class Shared(float):
    """A part of a number that is `Counted`, before it is rounded."""

    ways: tuple[Count, ...]

    @staticmethod
    def of(value: float, *ways: Count) -> Shared:
        """`value`, as worked out in these ways."""
        found = Shared(value)
        found.ways = ways
        return found

    def __floor__(self) -> int:
        return Counted.of(math.floor(float(self)), self.ways[0].floored())

    def __ceil__(self) -> int:
        return Counted.of(math.ceil(float(self)), self.ways[0].times(-1).floored().times(-1))


def count_of(number: Any) -> Count | None:
    """The expression of a number: its own, or a constant; None where it is none that can be followed."""
    if isinstance(number, Counted | Shared):
        return number.ways[0]
    if isinstance(number, int):
        return Count(Fraction(int(number)))
    exact = Fraction(number).limit_denominator(_FINEST) if isinstance(number, float) and math.isfinite(number) else None
    return Count(exact) if exact is not None and exact == number else None


def _product(a: Count, b: Count) -> Count | None:
    return b.times(a.const) if not a.terms else a.times(b.const) if not b.terms else None


def _quotient(a: Count, b: Count) -> Count | None:
    return None if b.terms or not b.const else a.times(1 / b.const)


def _whole_part(a: Count, b: Count) -> Count | None:
    found = _quotient(a, b)
    return None if found is None else found.floored()


def _rest(a: Count, b: Count) -> Count | None:
    found = _whole_part(a, b)
    return None if found is None else a.plus(found, -b.const)


def _lifted(
    plain: Callable[[Any, Any], Any], follow: Callable[[Count, Count], Count | None], turned: bool
) -> Callable[[Any, Any], Any]:
    """An operator of Python whose result knows how it was worked out, where that can be followed."""

    def run(one: Any, other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        a, b = (other, one) if turned else (one, other)
        value = plain(*(float(n) if isinstance(n, float) else int(n) for n in (a, b)))
        first, second = count_of(a), count_of(b)
        way = follow(first, second) if first is not None and second is not None else None
        if way is None:
            return value
        return Shared.of(value, way) if isinstance(value, float) else Counted.of(value, way)

    return run


for _name, _plain, _follow in (
    ("add", operator.add, Count.plus),
    ("sub", operator.sub, lambda a, b: a.plus(b, -1)),
    ("mul", operator.mul, _product),
    ("truediv", operator.truediv, _quotient),
    ("floordiv", operator.floordiv, _whole_part),
    ("mod", operator.mod, _rest),
):
    for _kind in (Counted, Shared):
        setattr(_kind, f"__{_name}__", _lifted(_plain, _follow, False))
        setattr(_kind, f"__r{_name}__", _lifted(_plain, _follow, True))
