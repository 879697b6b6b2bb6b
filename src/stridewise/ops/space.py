"""How a test draws calls of an op: plain ranges, as Trials that `stridewise.testing` runs on torch and onnxruntime."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

Kind = TypeVar("Kind")


class Given(NamedTuple):
    """A tensor computed from the network's input of shape (1, channels, *sizes).

    kind: x (the operand), other (the same shape, other values), mask (true and false), bits (whole numbers); means
    (positions averaged, kept for maps of any rank as size 1 where a call spreads them), last (channels last), rows
    (positions by channels), tokens (the same with a batch), tokens turned (channels by positions), heads (two heads).
    """

    kind: str


class Weight(NamedTuple):
    """A tensor of the network's own, between `low` and `high`."""

    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0


class Ints(NamedTuple):
    """A tensor of whole numbers that the network holds."""

    values: tuple[int, ...]


class Number(NamedTuple):
    """A constant of the network's type: one number, or a few."""

    value: float | tuple[float, ...]


class Bytes(NamedTuple):
    """A tensor as whole numbers from 0 to 255."""

    of: Any


class Complex(NamedTuple):
    """A tensor as complex numbers."""

    of: Any


X, OTHER, MASK, BITS = Given("x"), Given("other"), Given("mask"), Given("bits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One call: what is called (a torch function or dispatcher target by name, a function of its arguments, an ONNX
    operator type), on an operand of `shape` (channels, then positions).

    args: its arguments, tensors as X, OTHER and other Given, Weight, Ints, Number, Bytes or Complex, also in lists;
    kwargs: its attributes.
    runs: False for what only another device runs; it is then read and compared with its shapes alone.
    opset: of a file that holds it.
    """

    call: str | Callable[..., Any]
    shape: tuple[int, ...]
    args: tuple[Any, ...] = (X,)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    runs: bool = True
    opset: int = 21


class Draw:
    """Where an op's space draws from: the same seed gives the same trials."""

    def __init__(self, seed: object) -> None:
        self._random = random.Random(str(seed))

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return self._random.randint(low, high)

    def of(self, choices: Sequence[Kind]) -> Kind:
        """One of them."""
        return self._random.choice(choices)

    def each(self, axes: int, low: int, high: int) -> list[int]:
        """A whole number an axis, unequal as a rule."""
        return [self.whole(low, high) for _ in range(axes)]

    def shape(self, axes: int = 2, channels: int = 4, low: int = 7, high: int = 12) -> tuple[int, ...]:
        """Channels and sizes."""
        return (channels, *self.each(axes, low, high))

    def dim(self, shape: Sequence[int]) -> int:
        """A dimension behind the batch, counted from the front or from the back."""
        at = self.whole(1, len(shape))
        return self.of((at, at - len(shape) - 1))


Space: TypeAlias = Callable[[Draw, str], Trial | None]
"""(where to draw from, the target) -> a call that becomes it; None where no machine here can call it."""


def is_torch(target: str) -> bool:
    """Whether a target is a dispatcher's ("aten.relu"), not an operator type of a file ("Relu", "domain::Type")."""
    return "." in target and "::" not in target


def name_in(target: str) -> str:
    """The name without its room, overload and the mark of ops in place: "relu" of "aten.relu_.default"."""
    return (target.split(".")[1] if is_torch(target) else target).rstrip("_")


def plain_space(
    more: Mapping[str, tuple[Any, ...]],
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    random: Sequence[str] = (),
) -> Space:
    """Calls of the target itself on a map of one to three axes.

    more, attributes: the arguments of some, by name; random: those that give something else each time.
    """

    def draw_call(draw: Draw, target: str) -> Trial:
        name = name_in(target)
        kwargs = (attributes or {}).get(name, {})
        shape, runs = draw.shape(draw.whole(1, 3)), name not in random
        return Trial(call=target, shape=shape, args=more.get(name, (X,)), kwargs=kwargs, runs=runs)

    return draw_call
