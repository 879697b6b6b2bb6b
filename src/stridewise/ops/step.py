"""A step made by an op of its own, behind or before what stepped so far, or at a slot: its geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stridewise.axis import AxisMap, Window
from stridewise.ir import Volume
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
from stridewise.ops.registry import Op, register
from stridewise.ops.space import Draw, Trial, X, name_in

STEPS = ("blur", "polyphase", "mean", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted:
    """A step by `kind`. stride: one entry an axis; filter: the blur's taps; border: how the map goes on at its edge.

    slot: it stands at a slot, where a pool drops the rows that fill no window. Elsewhere every kind gives
    ceil(size / step) positions, as many as the op it stands behind gave when it stepped itself.
    """

    kind: str
    stride: tuple[int, ...]
    filter: int = 3
    border: str = "reflect"
    slot: bool = False

    @property
    def windows(self) -> tuple[Window, ...]:
        """One window an axis; axes that do not step are left alone."""
        return tuple(self._window(s) if s > 1 else Window() for s in self.stride)

    def _window(self, stride: int) -> Window:
        if self.kind == "blur":
            # Source: Zhang 2019, "Making convolutional networks shift-invariant again", and its published layers.
            return Window(kernel=self.filter, stride=stride, pad_begin=(self.filter - 1) // 2, pad_end=self.filter // 2)
        return Window(kernel=stride, stride=stride, ceil_mode=not (self.slot and self.kind in ("mean", "max")))

    @property
    def needs(self) -> tuple[int, ...]:
        """Per axis the fewest positions on which its border can be made."""
        if self.border == "zero" or self.kind in ("mean", "max"):
            return (1,) * len(self.stride)
        if self.kind == "blur":
            return tuple(w.pad_end + 1 if self.border == "reflect" else max(w.pad_end, 1) for w in self.windows)
        return tuple(w.stride // 2 + 1 if self.border == "reflect" else (w.stride + 1) // 2 for w in self.windows)

    @property
    def pads(self) -> bool:
        """Whether a blur copies its operand to continue it; a convolution adds zeros by itself, both ends alike."""
        return self.kind == "blur" and (self.border != "zero" or self.filter % 2 == 0)

    @property
    def beside(self) -> Literal["operand", "output", ""]:
        """What it makes besides its output: a copy with a border, or where each maximum was; "" for nothing."""
        return "operand" if self.pads else "output" if self.kind == "max" and not self.slot else ""

    @property
    def op(self) -> str:
        """The registry's name for it."""
        return {"mean": "avg_pool", "max": "max_pool"}.get(self.kind, self.kind)

    @property
    def keeps(self) -> Literal["input", "all"]:
        """What backward keeps: the operand, and what is made besides."""
        return "all" if self.beside else "input"

    def attrs(self, channels: int) -> dict[str, Any]:
        """Facts for reports and rewrites, on a map of this many channels."""
        facts: dict[str, Any] = {
            "kernel": tuple(w.kernel for w in self.windows),
            "maps": self.windows,
            "channels": (channels, channels),
            "kind": {"mean": "average"}.get(self.kind, self.kind),
            "needs": self.needs,
        }
        return facts | ({"groups": channels, "border": self.border} if self.kind == "blur" else {})

    def macs(self, out: Volume) -> Volume:
        """Multiply-adds for an output of this volume: the blur is a convolution of each channel by itself."""
        return out.scaled(math.prod(w.kernel for w in self.windows)) if self.kind == "blur" else Volume()


def _read(call: Call) -> Reading:
    x, made = call.value(0), call.args[1]
    maps: Sequence[AxisMap] = made.windows
    where = range(len(x.shape) - len(maps), len(x.shape))
    settled, grid = call.windowed(x, where, maps)
    assert grid is not None
    if made.kind == "polyphase":  # which phase it is hangs on every position
        call.draft.grids[grid] = replace(call.draft.grids[grid], mixes=True)
    counted = made.kind == "blur"
    reading = call.dense(grid, settled, where, site=True, counted=counted, keeps=made.keeps)
    if made.beside == "operand":
        reading.outs[1:] = [(settled.dims, settled.grid)]
    reading.macs = made.macs(call.volume(reading.outs[0][0], call.outs[0]))
    reading.attrs = made.attrs(x.shape[1])
    return reading


def _space(draw: Draw, target: str) -> Trial:
    axes, kind = draw.whole(1, 3), name_in(target)
    border = draw.of(("reflect", "zero", "circular"))
    made = Inserted(kind=kind, stride=tuple(draw.each(axes, 1, 3)), filter=draw.whole(2, 5), border=border)
    return Trial(call=target, shape=draw.shape(axes), args=(X, made))


_BLUR = register(
    Op(
        name="blur",
        about="a binomial low-pass that steps (a downsampling kind of plans)",
        mixes="window",
        dilated=("never",),
        space=_space,
        between="never",
        functions={},
        torch=("stridewise.blur",),
        read=_read,
        site=True,
    )
)
_POLYPHASE = register(
    Op(
        name="polyphase",
        about="the phase of largest norm (a downsampling kind of plans)",
        mixes="everything",
        dilated=("never",),
        space=_space,
        between="never",
        functions={},
        torch=("stridewise.polyphase",),
        read=_read,
        site=True,
    )
)


def op_of(made: Inserted) -> Op:
    """The rule that reads a call of ("stridewise.<kind>", operand, made)."""
    if made.kind in ("blur", "polyphase"):
        return _BLUR if made.kind == "blur" else _POLYPHASE
    return Op(name=made.op, about=f"{made.kind} over the windows of a step", read=_read, site=True)
