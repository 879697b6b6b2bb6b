"""Maps of one axis that enlarge, that hold for one size, or whose numbers the forward works out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

from stridewise.axis.fields import MAX_PHASES, Field, shortest, through
from stridewise.axis.maps import Adaptive, BaseMap, Repeat, Slice, Transposed, Whole, Window
from stridewise.counted import OUT, OWN, Count
from stridewise.errors import GeometryError

_ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "prefer_floor": lambda at: math.ceil(at - Fraction(1, 2)),
    "prefer_ceil": lambda at: math.floor(at + Fraction(1, 2)),
}


@lru_cache(maxsize=4096)
def _resize_taps(resize: Resize, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
    return resize._taps(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(BaseMap):
    """Interpolation by a fixed `factor` (output positions per input position) or to a fixed number of positions `to`.

    `mode`: nearest, nearest-exact, linear, cubic, area. `scale` overrides the input positions per output position.
    Source: torch interpolate; half-pixel coordinates unless `align_corners`. ONNX Resize says more: `asymmetric`
    coordinates (position * step) and, for nearest, a `rounding`: floor, ceil, prefer_floor, prefer_ceil.
    """

    factor: Fraction | None = None
    to: int | None = None
    mode: str = "nearest"
    align_corners: bool = False
    antialias: bool = False
    asymmetric: bool = False
    rounding: str = ""

    def out_size(self, size: int) -> int:
        """Output length: floor(size * factor), or `to`."""
        out = self.to if self.to is not None else math.floor(size * self._factor)
        if out < 1 or size < 1:
            raise GeometryError(f"resize leaves {out} positions from {size}")
        return out

    def pace(self) -> tuple[int, int, int]:
        """The factor as a fraction; nothing where the size is stated."""
        if self.to is not None:
            return 1, 0, 1
        above, below = self._factor.as_integer_ratio()
        return below, above, -(-below // above)

    def formula(self, size: str) -> str:
        """The factor as a fraction, or the stated size."""
        if self.to is not None:
            return str(self.to)
        above, below = self._factor.as_integer_ratio()
        return f"{size} * {above} // {below}" if below > 1 else f"{size} * {above}"

    @property
    def _factor(self) -> Fraction:
        assert self.factor is not None
        return self.factor

    @property
    def _cornered(self) -> bool:
        """Whether position 0 lies on position 0; torch's antialiasing keeps half-pixel centres in any case."""
        return self.asymmetric or (self.align_corners and not self.antialias)

    def step(self, size: int) -> Fraction:
        """Input positions per output position (nominal: without regard to align_corners)."""
        return 1 / self.factor if self.factor is not None else Fraction(size, self.out_size(size))

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """Phases of the interpolation's source coordinate."""
        return _resize_taps(self, size)

    def _taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        step = self.step(size)
        if self.align_corners and (self.mode in ("linear", "cubic") or self.rounding):
            out = self.out_size(size)
            step = Fraction(size - 1, out - 1) if out > 1 and size > 1 else step
        if step.denominator > 4 * MAX_PHASES:
            step = step.limit_denominator(4 * MAX_PHASES)
        return step.numerator, tuple(self._phase(r, step) for r in range(step.denominator))

    def _phase(self, position: int, step: Fraction) -> tuple[int, ...]:
        at = position * step if self._cornered else (position + Fraction(1, 2)) * step - Fraction(1, 2)
        if self.rounding:
            return (_ROUNDINGS[self.rounding](at),)
        if self.mode == "nearest":
            return (math.floor(position * step),)
        if self.mode == "nearest-exact":
            return (math.floor((position + Fraction(1, 2)) * step),)
        if self.mode == "area":
            return tuple(range(math.floor(position * step), math.ceil((position + 1) * step)))
        radius = 1 if self.mode == "linear" else 2
        if self.antialias and step > 1:
            reach = radius * step
            return tuple(range(math.floor(at - reach) + 1, math.ceil(at + reach)))
        if at.denominator == 1:
            return (int(at),)
        return tuple(range(math.floor(at) - radius + 1, math.floor(at) + radius + 1))

    def field(self, field: Field, size: int) -> Field:
        """The field of the output; with align_corners the jump stays the nominal one, so the field is a hull."""
        return self.drifting(field, size, self.step(size))

    def drifting(self, field: Field, size: int, nominal: Fraction) -> Field:
        """The field of the output where its jump is `nominal` times the input's; a hull if that is not its own step."""
        advance, taps = self.taps(size)
        if Fraction(advance, len(taps)) == nominal:
            return through(field, advance, taps)
        # The true coordinates drift away from the nominal ones, evenly, up to `drift` at the last position.
        step = nominal.limit_denominator(MAX_PHASES)
        true = Fraction(advance, len(taps))
        drift = (self.out_size(size) - 1) * (true - step)
        origin = Fraction(0) if self._cornered else (true - 1) / 2
        low, high = origin + min(drift, Fraction(0)), origin + max(drift, Fraction(0))
        radius = 2 if self.mode == "cubic" else 1
        if self.antialias and step > 1:
            radius = math.ceil(radius * step)
        phases = (
            range(math.floor(r * step + low) - radius + 1, math.floor(r * step + high) + radius + 1)
            for r in range(step.denominator)
        )
        return replace(through(field, step.numerator, tuple(phases)), approximate=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(BaseMap):
    """A product with a table made for `size` positions: `to` positions, of which each reads all of them.

    The fields move evenly from the first to the last position; that each reads everything is the grid's to say.
    spreads: one position alone is taken for all of them, as einsum does.
    """

    size: int
    to: int
    spreads: bool = False

    def out_size(self, size: int) -> int:
        """`to`. Raises: GeometryError at any other size than the table's."""
        if size != self.size and not (self.spreads and size == 1):
            raise GeometryError(f"a product with a table for {self.size} positions, and {size} come in")
        return self.to

    def pace(self) -> tuple[int, int, int]:
        """None: no size beyond the table's fits."""
        return 1, 0, self.size + 1

    def formula(self, size: str) -> str:
        """`to`."""
        return str(self.to)

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """As many phases as it takes for `to` positions to pass over `size`."""
        step = Fraction(self.size, self.to)
        return step.numerator, tuple(range(self.size) for _ in range(step.denominator))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phased(BaseMap):
    """`inner` on every `m_in`-th position, once for each of `m_out` phases of the output.

    Phase b reads from position b * `offset` on. How what enlarges runs where dilation has taken steps over.
    """

    inner: Transposed | Resize | Adaptive
    m_in: int
    m_out: int
    offset: int

    def out_size(self, size: int) -> int:
        """`m_out` times what `inner` makes of the coarse positions."""
        return self.m_out * self.inner.out_size(size // self.m_in)

    def pace(self) -> tuple[int, int, int]:
        """That of `inner`, on the coarse positions."""
        turn, gain, start = self.inner.pace()
        return turn * self.m_in, gain * self.m_out, start * self.m_in

    def formula(self, size: str) -> str:
        """`m_out` times what `inner` makes."""
        return f"{self.m_out} * ({self.inner.formula(f'({size} // {self.m_in})')})"

    def step(self, size: int) -> Fraction:
        """Input positions per output position, nominal where `inner`'s are."""
        return self.inner.step(size // self.m_in) * self.m_in / self.m_out

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """Those of `inner`, `m_in` positions apart, phase by phase."""
        advance, taps = self.inner.taps(size // self.m_in)
        phases = (tuple(t * self.m_in + b * self.offset for t in each) for each in taps for b in range(self.m_out))
        return advance * self.m_in, tuple(phases)

    def field(self, field: Field, size: int) -> Field:
        """The fields of the phases, side by side; approximate where `inner`'s coordinates are no nominal ones."""
        coarse = [Slice(start=b * self.offset, stride=self.m_in).field(field, size) for b in range(self.m_out)]
        made = [self.inner.field(each, size // self.m_in) for each in coarse]
        period = math.lcm(*(each.period for each in made))
        spans = tuple(each.at(position) for position in range(period) for each in made)
        advance = int(made[0].jump * period)
        return shortest(Field(advance=advance, spans=spans, approximate=any(each.approximate for each in made)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed(BaseMap):
    """`inner` with numbers that the forward works out from the operand's size, and from the output's where that is
    another tensor's (a crop or a pad to it): by name of the number its expression.
    """

    inner: Slice | Window | Resize
    numbers: tuple[tuple[str, Count], ...]

    def at(self, size: int, out: int = 0) -> Slice | Window | Resize:
        """The map as it is on `size` positions, of which `out` come out."""
        sizes = {OWN: size, OUT: out}
        return self._with({name: count.at(sizes) for name, count in self.numbers})

    def _with(self, numbers: Mapping[str, Any]) -> Slice | Window | Resize:
        return replace(self.inner, **numbers)

    def out_size(self, size: int) -> int:
        """That of `inner` there."""
        return self.at(size).out_size(size)

    def pace(self) -> tuple[int, int, int]:
        """Every number grows evenly, so from where they keep their order on the output does."""
        counts = [count for _, count in self.numbers]
        turn = math.lcm(*(count.period for count in counts), 1 if isinstance(self.inner, Resize) else self.inner.stride)
        lines = [(count.slope, count.slack + 1) for count in counts]
        lines += [(Fraction(0), self._least), (Fraction(1), self._least)]
        meets = [(b + d) / abs(a - c) for a, b in lines for c, d in lines if a != c]
        start = math.ceil(max(meets, default=Fraction(0))) + 1
        try:
            return turn, self.out_size(start + turn) - self.out_size(start), start
        except GeometryError:
            return turn, 0, start

    @property
    def _least(self) -> Fraction:
        """The largest number that `inner` states itself."""
        stated = (getattr(self.inner, name, None) or 0 for name in ("start", "stop", "pad_begin", "pad_end"))
        return Fraction(max(map(abs, stated)) + 1)

    def formula(self, size: str) -> str:
        """`inner`'s, with the numbers as they are worked out."""
        told = {name: f"({count.written({OWN: size})})" for name, count in self.numbers}
        if isinstance(self.inner, Window):
            pads = (told.get(name, str(getattr(self.inner, name))) for name in ("pad_begin", "pad_end"))
            return " + ".join((size, *pads))
        return self._with(told).formula(size)

    def step(self, size: int) -> Fraction:
        """`inner`'s; of a resize what it comes to on large maps."""
        if isinstance(self.inner, Resize):
            return 1 / self.numbers[0][1].slope
        return self.inner.step(size)

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """`inner`'s there."""
        return self.at(size).taps(size)

    def field(self, field: Field, size: int) -> Field:
        """`inner`'s there; of a resize with its step on large maps."""
        here = self.at(size)
        return here.drifting(field, size, self.step(size)) if isinstance(here, Resize) else here.field(field, size)


AxisMap: TypeAlias = Window | Transposed | Resize | Adaptive | Slice | Whole | Repeat | Phased | Table | Computed


IDENTITY = Window()
