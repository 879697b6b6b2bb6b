"""Arithmetic of one axis: sizes, steps and fields of windows, resizes, crops. Exact integers and Fractions.

A *map* says, for one axis, how the positions of an output lie over the positions of an input. Each map answers three
questions: how long the output is (`out_size`), how far apart its positions are (`step`, input positions per output
position) and which input positions each output position reads (`taps`). Fields follow from the taps alone, so a field
is right for strides, dilation, transposed convolution and resizing alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

from stridewise.counted import OUT, OWN, Count
from stridewise.errors import GeometryError
from stridewise.records import quick

# Beyond this many phases a field is given as a hull (marked approximate): such resizes have no small period.
MAX_PHASES = 128


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Begin and end padding of TensorFlow's "SAME" at an input of `size` positions; the odd one goes to the end.

    Source: TensorFlow "Neural network ops", padding SAME; ONNX Conv `auto_pad=SAME_UPPER`.
    """
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


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
        return _ratio(self.advance, len(self.spans))

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
            return _ratio(self.spans[0][0] + self.spans[0][1], 2)
        period = len(self.spans)  # the mean of (first + last) / 2 - r * advance / period, as one fraction
        there = [(r, s) for r, s in enumerate(self.spans) if s]
        total = sum(period * (s[0] + s[1]) - 2 * r * self.advance for r, s in there)
        return _ratio(total, 2 * period * len(there)) if there else Fraction(0)

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
def _ratio(above: int, below: int) -> Fraction:
    """above / below; the same few strides and centres are asked for again and again."""
    return Fraction(above, below)


SELF = Field(advance=1, spans=((0, 0),))
_ITSELF = range(1)


def _through(field: Field, advance: int, taps: tuple[Sequence[int], ...]) -> Field:
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
    return _shortest(
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


def _shortest(field: Field) -> Field:
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
    return _shortest(Field(advance=int(first.jump * period), spans=spans, approximate=approximate))


def smallest_field(fields: tuple[Field, ...]) -> Field:
    """The part whose field is smallest: what the shortest path lets in."""
    return min(fields, key=lambda field: field.size)


class _Map:
    """What all maps of one axis share."""

    __slots__ = ()

    def out_size(self, size: int) -> int:
        """Output length for an input of `size` positions. Raises GeometryError where nothing fits."""
        raise NotImplementedError

    def step(self, size: int) -> Fraction:
        """Input positions per output position."""
        advance, taps = self.taps(size)
        return Fraction(advance, len(taps))

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """(advance, taps): phase r of the output reads input positions taps[r]; each turn reads `advance` further."""
        raise NotImplementedError

    def field(self, field: Field, size: int) -> Field:
        """The field of the output, given that of an input with `size` positions."""
        return _through(field, *self.taps(size))

    def unread(self, size: int) -> int:
        """Positions at the end, padding included, that the last window does not reach."""
        return 0

    def pace(self) -> tuple[int, int, int]:
        """(turn, gain, start): from `start` positions on, `turn` more of them make the output `gain` longer.

        `out_size(n + turn) == out_size(n) + gain` for all n >= start; where one of them fits, the other does.
        """
        return 1, 0, 1

    def formula(self, size: str) -> str:
        """`out_size` of `size`, a name, as Python that knows no Stridewise; what does not fit is not refused."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(_Map):
    """A convolution's or pooling's window. Negative padding crops.

    `same` recomputes the padding from the incoming size (dynamic SAME: "end" puts the odd one last, "begin" first).
    """

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    pad_begin: int = 0
    pad_end: int = 0
    ceil_mode: bool = False
    same: str = ""

    @property
    def span(self) -> int:
        """Input positions from the window's first to its last element."""
        return (self.kernel - 1) * self.dilation + 1

    def padding(self, size: int) -> tuple[int, int]:
        """(begin, end) padding at an input of `size` positions."""
        if not self.same:
            return self.pad_begin, self.pad_end
        begin, end = same_padding(size, self.kernel, self.stride, self.dilation)
        return (begin, end) if self.same == "end" else (end, begin)

    def out_size(self, size: int) -> int:
        """Output length for an input of `size` positions.

        Raises: GeometryError when no window fits.
        Source: torch MaxPool2d, "Shape"; with ceil_mode a last window that starts in the end padding is dropped.
        """
        begin, end = self.padding(size) if self.same else (self.pad_begin, self.pad_end)
        span = (self.kernel - 1) * self.dilation + 1
        steps, rest = divmod(size + begin + end - span, self.stride)
        out = steps + 1
        if self.ceil_mode and rest > 0:
            out += 1
            if (out - 1) * self.stride >= size + begin:
                out -= 1
        if out < 1 or size < 1:
            raise GeometryError(f"no window fits: span {span} on {size} positions padded by {begin}+{end}")
        return out

    def step(self, size: int) -> Fraction:
        """The stride."""
        return _ratio(self.stride, 1)

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """One phase: the window's elements, from -pad_begin on."""
        begin = self.padding(size)[0] if self.same else self.pad_begin
        return self.stride, (range(-begin, (self.kernel - 1) * self.dilation + 1 - begin, self.dilation),)

    def unread(self, size: int) -> int:
        """Rows at the end (padding included) that no window reaches; 0 with ceil_mode."""
        begin, end = self.padding(size)
        return max(size + begin + end - self.span - (self.out_size(size) - 1) * self.stride, 0)

    def pace(self) -> tuple[int, int, int]:
        """A window more for each stride, once one fits."""
        least = 1 if self.same else self.span - self.pad_begin - self.pad_end
        return self.stride, 1, max(least, 1)

    def formula(self, size: str) -> str:
        """Windows counted; with ceil_mode none that begins in the end padding."""
        if self.same:
            return f"-(-{size} // {self.stride})" if self.stride > 1 else size
        over = self.pad_begin + self.pad_end - self.span
        if self.ceil_mode:
            last = f"({size} + {self.pad_begin} - 1) // {self.stride} + 1"
            whole = f"({size} + {over})".replace("+ -", "- ")
            return f"max({whole} // {self.stride} + 1, min(-(-{whole} // {self.stride}) + 1, {last}))"
        steps = size if not over else f"({size} {'+' if over > 0 else '-'} {abs(over)})"
        return f"{steps} // {self.stride} + 1" if self.stride > 1 else f"{size} + {over + 1}".replace("+ -", "- ")

    @property
    def coverage(self) -> Fraction:
        """Share of the input positions that some window reads: residues modulo the stride that the elements hit."""
        hit = {element * self.dilation % self.stride for element in range(self.kernel)}
        return Fraction(len(hit), self.stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transposed(_Map):
    """A transposed convolution's window: each input position paints `kernel` output positions, `stride` apart."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    pad_begin: int = 0
    pad_end: int = 0
    output_padding: int = 0

    def out_size(self, size: int) -> int:
        """Output length. Source: torch ConvTranspose2d, "Shape"."""
        span = (self.kernel - 1) * self.dilation + 1
        out = (size - 1) * self.stride + span + self.output_padding - self.pad_begin - self.pad_end
        if out < 1 or size < 1:
            raise GeometryError(f"transposed convolution leaves {out} positions from {size}")
        return out

    def pace(self) -> tuple[int, int, int]:
        """`stride` positions for each, once more are painted than the padding takes away."""
        span = (self.kernel - 1) * self.dilation + 1
        lacks = self.stride + self.pad_begin + self.pad_end + 1 - span - self.output_padding
        return 1, self.stride, max(-(-lacks // self.stride), 1)

    def formula(self, size: str) -> str:
        """`stride` positions for each but the last."""
        more = (self.kernel - 1) * self.dilation + 1 + self.output_padding - self.pad_begin - self.pad_end
        return f"({size} - 1) * {self.stride} + {more}".replace("+ -", "- ")

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """`stride` phases: output j reads input i where j = i * stride - pad_begin + k * dilation."""
        phases = []
        for phase in range(self.stride):
            reach = (phase + self.pad_begin - element * self.dilation for element in range(self.kernel))
            phases.append(tuple(sorted(at // self.stride for at in reach if at % self.stride == 0)))
        return 1, tuple(phases)


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
class Resize(_Map):
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
        cornered = self.align_corners or self.asymmetric
        at = position * step if cornered else (position + Fraction(1, 2)) * step - Fraction(1, 2)
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
            return _through(field, advance, taps)
        # The true coordinates drift away from the nominal ones, evenly, up to `drift` at the last position.
        step = nominal.limit_denominator(MAX_PHASES)
        true = Fraction(advance, len(taps))
        drift = (self.out_size(size) - 1) * (true - step)
        origin = Fraction(0) if self.align_corners or self.asymmetric else (true - 1) / 2
        low, high = origin + min(drift, Fraction(0)), origin + max(drift, Fraction(0))
        radius = 2 if self.mode == "cubic" else 1
        if self.antialias and step > 1:
            radius = math.ceil(radius * step)
        phases = (
            range(math.floor(r * step + low) - radius + 1, math.floor(r * step + high) + radius + 1)
            for r in range(step.denominator)
        )
        return replace(_through(field, step.numerator, tuple(phases)), approximate=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive(_Map):
    """Adaptive pooling to `to` positions. Source: torch adaptive_avg_pool2d (start floor, end ceil)."""

    to: int

    def out_size(self, size: int) -> int:
        """`to`, whatever comes in."""
        return self.to

    def formula(self, size: str) -> str:
        """`to`."""
        return str(self.to)

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """Cell i reads floor(i * size / to) to ceil((i + 1) * size / to)."""
        step = Fraction(size, self.to)
        phases = (range(math.floor(i * step), math.ceil((i + 1) * step)) for i in range(step.denominator))
        return step.numerator, tuple(phases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(_Map):
    """`x[start:stop:stride]`; a negative start or stop counts from the end, None stands for the end.

    strict: a stop behind the end is refused (`narrow`), not cut short.
    """

    start: int = 0
    stop: int | None = None
    stride: int = 1
    strict: bool = False

    def out_size(self, size: int) -> int:
        """Length of the slice. Raises GeometryError when it is empty."""
        out = len(range(*slice(self.start, self.stop, self.stride).indices(size)))
        if out < 1 or (self.strict and self.stop is not None and self.stop > size):
            raise GeometryError(f"slice {self.start}:{self.stop}:{self.stride} of {size} positions is empty")
        return out

    def pace(self) -> tuple[int, int, int]:
        """A position for each stride where the slice grows with what is sliced: with one end at either side."""
        start, stop = abs(self.start), abs(self.stop or 0)
        grows = self.start >= 0 and (self.stop is None or self.stop < 0)
        return (self.stride, 1, start + stop + 1) if grows else (1, 0, start + stop + 1)

    def formula(self, size: str) -> str:
        """What Python counts."""
        return f"len(range({size})[{self.start}:{'' if self.stop is None else self.stop}:{self.stride}])"

    def step(self, size: int) -> Fraction:
        """The slice's stride."""
        return Fraction(self.stride)

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """One phase: the position the slice begins at."""
        begin = self.start if self.start >= 0 else max(size + self.start, 0)
        return self.stride, ((begin,),)

    @property
    def coverage(self) -> Fraction:
        """Share of the positions read."""
        return Fraction(1, self.stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(_Map):
    """All positions at once: global pooling, a mean over the axis. One position is left."""

    def out_size(self, size: int) -> int:
        """One position."""
        return 1

    def formula(self, size: str) -> str:
        """One."""
        return "1"

    def step(self, size: int) -> Fraction:
        """All of them."""
        return Fraction(size)

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """Every position."""
        return max(size, 1), (range(size),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat(_Map):
    """Each position `times` in a row, or (`blocks`) a window of `window` positions gathered into one: rearrangements.

    Depth-to-space repeats; space-to-depth gathers.
    """

    times: int = 1
    window: int = 1

    def out_size(self, size: int) -> int:
        """size / window * times. Raises GeometryError when the window does not divide the size."""
        if size % self.window:
            raise GeometryError(f"{size} positions do not divide into blocks of {self.window}")
        return size // self.window * self.times

    def pace(self) -> tuple[int, int, int]:
        """`times` positions for each block."""
        return self.window, self.times, 1

    def formula(self, size: str) -> str:
        """`times` for each block."""
        return f"{size} // {self.window} * {self.times}"

    def taps(self, size: int) -> tuple[int, tuple[Sequence[int], ...]]:
        """Every phase of a block reads the whole block."""
        return self.window, tuple(range(self.window) for _ in range(self.times))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phased(_Map):
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
        return _shortest(Field(advance=advance, spans=spans, approximate=any(each.approximate for each in made)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(_Map):
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
class Computed(_Map):
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
