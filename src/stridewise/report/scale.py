"""What a position of the input measures in a person's own unit: `16000Hz`, `1x1x3mm`, `0.3m`, `2um`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from stridewise.errors import UsageError, by

Value: TypeAlias = Fraction | float | int | None

_RATES = {"Hz": 1, "kHz": 1000, "MHz": 10**6}
_UNITS = ("nm", "um", "µm", "mm", "cm", "m", "km", "in", "ft", "ns", "us", "µs", "ms", "s", "deg", *_RATES)
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?"
_WRITTEN = re.compile(rf"({_NUMBER}(?:x{_NUMBER})*)?\s*(.*)", re.S)
_LONGEST = 80  # characters: what is longer is no spacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One position of the input in `unit`: `step` has an entry an axis, or one for all of them. rate: it was said as
    positions a second, of one axis, and the unit is ms."""

    step: tuple[Fraction, ...]
    unit: str
    rate: bool = False

    @staticmethod
    def read(text: str | Scale, what: str = "scale", bare: str = "") -> Scale:
        """The scale that a text says; bare: the unit of a number without one.

        Raises: UsageError for a unit without a number, a number without a unit, an unknown unit, a step of zero.
        """
        if isinstance(text, Scale):
            return text
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise UsageError(f"{what}: text such as 0.3m, 1x1x3mm or 16000Hz is wanted, not {str(text)[:_LONGEST]!r}")
        written = _WRITTEN.fullmatch(text.strip())
        assert written is not None
        numbers, unit = written[1], written[2] or bare
        if unit not in _UNITS:
            missing = "a number without a unit" if not unit else f"no unit '{unit}'"
            raise UsageError(f"{what} '{text}': {missing}; units are {', '.join(_UNITS)}, as in 1x1x3mm or 16000Hz")
        if not numbers:
            raise UsageError(f"{what} '{text}': a unit without a number; write 0.3m, 1x1x3mm or 16000Hz")
        step = tuple(Fraction(number) for number in numbers.split("x"))
        if not all(step):
            raise UsageError(f"{what} '{text}': a position measures more than 0")
        if unit not in _RATES:
            return Scale(step=step, unit=unit.replace("µ", "u"))
        if len(step) > 1:
            raise UsageError(f"{what} '{text}': a rate is one number, of one axis")
        return Scale(step=(Fraction(1000) / (step[0] * _RATES[unit]),), unit="ms", rate=True)

    def over(self, axes: int) -> Scale:
        """The same with an entry for each of `axes`. Raises: UsageError where it has another number of them."""
        said = f"{by(map(plain, self.step))}{self.unit}"
        if self.rate and axes != 1:
            raise UsageError(
                f"rate: belongs to a network of one axis, this one has {axes}; write 1x1x3mm, an entry each"
            )
        if len(self.step) not in (1, axes):
            raise UsageError(f"scale {said}: {len(self.step)} entries for {axes} axes; write one, or one an axis")
        return Scale(step=self.step if len(self.step) == axes else self.step * axes, unit=self.unit, rate=self.rate)

    def of(self, values: Sequence[Value]) -> tuple[Value, ...] | None:
        """Positions in the unit, an entry an axis; None for a map of other axes than the input's."""
        if len(values) != len(self.step):
            return None
        return tuple(None if v is None else v * s for v, s in zip(values, self.step, strict=True))

    def number(self, values: Sequence[Value]) -> str:
        """Positions in the unit, as people write them: "9.6", "32×32×96"; "" where they have none."""
        found = self.of(values)
        if not found or None in found:
            return ""
        said = [_short(v) for v in found if v is not None]
        return said[0] if len(set(said)) == 1 else "×".join(said)

    def beside(self, values: Sequence[Value]) -> str:
        """The same with the unit, behind a number of positions: " = 9.6 m"."""
        said = self.number(values)
        return f" = {said} {self.unit}" if said else ""

    def said(self, axis: int, value: Fraction | int) -> str:
        """One number of positions along an axis, in the unit."""
        return _short(value * self.step[axis])

    def along(self, axis: int, values: Sequence[Value]) -> list[float | int | None]:
        """Numbers of positions along one axis, in the unit, as plain numbers."""
        return [None if v is None else plain(v * self.step[axis]) for v in values]

    def json(self, **named: Sequence[Value]) -> dict[str, list[float | int | None] | None]:
        """Each of `named` in the unit, as plain numbers."""
        return {name: self.plain(values) for name, values in named.items()}

    def plain(self, values: Sequence[Value]) -> list[float | int | None] | None:
        """Positions in the unit as plain numbers, an entry an axis; None for a map of other axes."""
        found = self.of(values)
        return None if found is None else [None if v is None else plain(v) for v in found]

    def to_json(self) -> dict[str, object]:
        """The unit, and what a position measures along each axis."""
        return {"unit": self.unit, "step": [plain(step) for step in self.step]}


def plain(value: Fraction | float) -> float | int:
    """A whole number where it is one, else the nearest float."""
    return int(value) if int(value) == value else float(value)


def _short(value: Fraction | float) -> str:
    """Four digits, without an exponent where it can be helped: 9.6, 427, 12345."""
    number = float(value)
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.4g}"
