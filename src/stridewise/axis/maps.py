"""Maps of one axis: how the positions of an output lie over the positions of an input.

Each map answers three questions: how long the output is (`out_size`), how far apart its positions are (`step`, input
positions per output position) and which input positions each output position reads (`taps`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from stridewise.axis.fields import Field, ratio, through
from stridewise.errors import GeometryError


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Begin and end padding of TensorFlow's "SAME" at an input of `size` positions; the odd one goes to the end.

    Source: TensorFlow "Neural network ops", padding SAME; ONNX Conv `auto_pad=SAME_UPPER`.
    """
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


class BaseMap:
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
        return through(field, *self.taps(size))

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
class Window(BaseMap):
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
        return ratio(self.stride, 1)

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
class Transposed(BaseMap):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive(BaseMap):
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
class Slice(BaseMap):
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
class Whole(BaseMap):
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
class Repeat(BaseMap):
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
