"""Fields of one axis: which input positions each position depends on. Exact integers and Fractions.

Fields follow from the taps of maps alone (see `maps`), so a field is right for strides, dilation, transposed
convolution and resizing alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from stridewise.records import quick

# Beyond this many phases a field is given as a hull (marked approximate): such resizes have no small period.
MAX_PHASES = 128


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Which input positions each position of a tensor depends on, along one axis.

    `spans[r]` is the (first, last) input position that position r reads; position r + k * period reads the same span
    moved by k * advance. None stands for a phase that reads nothing. `period` is 1 except below a resize or a
    transposed convolution. `approximate` marks a hull (an upper bound) where no exact period is kept.
    """

    advance: int
    spans: tuple[tuple[int, int] | None, ...]
    approximate: bool = False

    @property
    def period(self) -> int:
        """Positions after which the pattern of spans repeats."""
        return len(self.spans)

    @property
    def jump(self) -> Fraction:
        """Input positions between neighbouring positions of this tensor: its cumulative stride."""
        return ratio(self.advance, len(self.spans))

    @property
    def size(self) -> int:
        """Input positions of the largest span: the receptive field."""
        if len(self.spans) == 1:
            span = self.spans[0]
            return span[1] - span[0] + 1 if span else 0
        return max((last - first + 1 for first, last in filter(None, self.spans)), default=0)

    @property
    def start(self) -> int:
        """First input position that position 0 depends on (negative: in the padding)."""
        return self.spans[0][0] if self.spans[0] else 0

    @property
    def centre(self) -> Fraction:
        """Mean over the phases of the spans' centres, at position 0."""
        if len(self.spans) == 1 and self.spans[0]:
            return ratio(self.spans[0][0] + self.spans[0][1], 2)
        period = len(self.spans)  # the mean of (first + last) / 2 - r * advance / period, as one fraction
        there = [(r, s) for r, s in enumerate(self.spans) if s]
        total = sum(period * (s[0] + s[1]) - 2 * r * self.advance for r, s in there)
        return ratio(total, 2 * period * len(there)) if there else Fraction(0)

    def moved(self, positions: int) -> Field:
        """The same field where what was position 0 is called position `positions`."""
        if not positions:
            return self
        return replace(self, spans=tuple(self.at(r - positions) for r in range(self.period)))

    def at(self, position: int) -> tuple[int, int] | None:
        """The (first, last) input position that `position` depends on."""
        turn, phase = divmod(position, len(self.spans))
        span = self.spans[phase]
        return span and (span[0] + turn * self.advance, span[1] + turn * self.advance)


@lru_cache(maxsize=65536)
def ratio(above: int, below: int) -> Fraction:
    """above / below; the same few strides and centres are asked for again and again."""
    return Fraction(above, below)


SELF = Field(advance=1, spans=((0, 0),))


_ITSELF = range(1)


def through(field: Field, advance: int, taps: tuple[Sequence[int], ...]) -> Field:
    """The field of a map's output whose phase r reads the input positions `taps[r]`, `advance` further each turn."""
    if len(taps) > 1 or len(field.spans) > 1:
        return _phases_through(field, advance, taps)
    span, jump = field.spans[0], field.advance
    if advance == 1 and taps[0] == _ITSELF:
        return field
    if span is None or not taps[0]:
        return Field(advance=advance * jump, spans=(None,), approximate=field.approximate)
    return _one_phase(advance * jump, span[0] + taps[0][0] * jump, span[1] + taps[0][-1] * jump, field.approximate)


@lru_cache(maxsize=65536)
def _one_phase(advance: int, first: int, last: int, approximate: bool) -> Field:
    """One and the same object for equal fields, which are then quick to compare."""
    return Field(advance=advance, spans=((first, last),), approximate=approximate)


@lru_cache(maxsize=65536)
def _phases_through(field: Field, advance: int, taps: tuple[Sequence[int], ...]) -> Field:
    """The same where the input or the output has several phases."""
    turns = field.period // math.gcd(advance, field.period)
    if turns * len(taps) > MAX_PHASES:
        return _hull_through(field, advance, taps)
    spans = [
        _union(field.at(tap + turn * advance) for tap in phase_taps) for turn in range(turns) for phase_taps in taps
    ]
    return shortest(
        Field(
            advance=turns * advance * field.advance // field.period, spans=tuple(spans), approximate=field.approximate
        )
    )


def _hull_through(field: Field, advance: int, taps: tuple[Sequence[int], ...]) -> Field:
    """One span that holds every phase's, moved by the mean step: an upper bound."""
    step = Fraction(advance, len(taps)) * field.jump
    first = last = Fraction(0)
    for phase, phase_taps in enumerate(taps):
        for tap in phase_taps:
            span = field.at(tap)
            if span:
                first = min(first, span[0] - phase * step)
                last = max(last, span[1] - phase * step)
    return _nominal(step, math.floor(first), math.ceil(last))


def _nominal(step: Fraction, first: int, last: int) -> Field:
    """A field of the given jump whose every phase is the span first..last moved by the jump, rounded outwards."""
    if step.denominator > MAX_PHASES:
        step = step.limit_denominator(MAX_PHASES)
    spans = tuple((first + math.floor(r * step), last + math.ceil(r * step)) for r in range(step.denominator))
    return Field(advance=max(step.numerator, 1), spans=spans, approximate=True)


def _union(spans: Iterable[tuple[int, int] | None]) -> tuple[int, int] | None:
    """The smallest span that holds all of `spans`; None when none reads anything."""
    present = [span for span in spans if span]
    if not present:
        return None
    return min(span[0] for span in present), max(span[1] for span in present)


def shortest(field: Field) -> Field:
    """The same field with the smallest period."""
    period = field.period
    for shorter in range(1, period // 2 + 1):
        if period % shorter or field.advance * shorter % period:
            continue
        short = replace(field, advance=field.advance * shorter // period, spans=field.spans[:shorter])
        if all(short.at(r) == field.spans[r] for r in range(shorter, period)):
            return short
    return field


def join_fields(fields: tuple[Field, ...]) -> Field:
    """The field of a sum or concatenation: per position the hull of the parts' spans.

    Parts of different jumps (a resize that does not divide) keep the first one's jump and are marked approximate.
    """
    first = fields[0]
    return first if all(field is first for field in fields) else _hull_of(fields)


@lru_cache(maxsize=65536)
def _hull_of(fields: tuple[Field, ...]) -> Field:
    first = fields[0]
    if all(field == first for field in fields):
        return first
    period = math.lcm(*(field.period for field in fields))
    if period > MAX_PHASES or any(field.jump != first.jump for field in fields):
        low = min((s[0] for f in fields for s in f.spans if s), default=0)
        return _nominal(first.jump, low, low + max(field.size for field in fields))
    spans = tuple(_union(field.at(position) for field in fields) for position in range(period))
    approximate = any(field.approximate for field in fields)
    return shortest(Field(advance=int(first.jump * period), spans=spans, approximate=approximate))


def smallest_field(fields: tuple[Field, ...]) -> Field:
    """The part whose field is smallest: what the shortest path lets in."""
    return min(fields, key=lambda field: field.size)
