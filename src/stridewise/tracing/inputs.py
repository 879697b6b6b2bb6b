"""What a forward is called with: shapes, whole numbers, plain values; by position, by name, or in a dict.

An entry of an input is sizes without the batch, `(3, 224, 224)`; text that also says the dtype or the layout,
"77:int64" or "16x3x64x64@NTCHW"; or a value that is no tensor: a number, or text behind an equals sign, "=nearest".
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import torch

from stridewise.errors import TraceError, by

_BATCH, _CHANNELS = "N", "C"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of a forward. shape: as the forward gets it, the batch of one in front where it has one.

    dtype: None for that of the weights. layout: a letter a dimension, N for the batch and C for channels, all others
    positions; "" where it is read from the first window. positions: the dimensions with positions, so far.
    value: what is no tensor, told by `is_plain`. text: how it was given, where sizes do not say it all.
    """

    shape: tuple[int, ...] = ()
    dtype: torch.dtype | None = None
    layout: str = ""
    positions: tuple[int, ...] = ()
    value: Any = None
    is_plain: bool = False
    text: str = ""

    @property
    def batched(self) -> bool:
        """Whether its first dimension is the batch."""
        return not self.layout or _BATCH in self.layout

    @property
    def is_float(self) -> bool:
        """Whether it is a tensor of numbers that a window may read, and no table of indices."""
        return not self.is_plain and (self.dtype is None or self.dtype.is_floating_point)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Its shape without the batch."""
        if not self.batched:
            return self.shape
        at = self.layout.index(_BATCH) if self.layout else 0
        return (*self.shape[:at], *self.shape[at + 1 :])

    def longer(self, more: Sequence[int]) -> Argument:
        """The same with this many more positions, an entry an axis."""
        beside = dict(zip(self.positions, more, strict=False))
        return replace(self, shape=tuple(n + beside.get(at, 0) for at, n in enumerate(self.shape)), text="")

    def larger(self, step: int | None, along: Collection[int]) -> Argument:
        """The same with more positions along these axes: `step` more, or twice as many (None)."""
        grown = list(self.shape)
        for axis, at in enumerate(self.positions):
            if axis in along:
                grown[at] = 2 * grown[at] if step is None else grown[at] + step
        return replace(self, shape=tuple(grown))

    def measuring(self, sizes: Sequence[int]) -> Argument:
        """The same with these positions, an entry an axis."""
        there = dict(zip(self.positions, sizes, strict=False))
        return replace(self, shape=tuple(there.get(at, n) for at, n in enumerate(self.shape)), text="")

    def cut(self, axis: int, size: int) -> Argument:
        """The same with this many positions along an axis."""
        there = self.positions[axis : axis + 1]
        return replace(self, shape=tuple(size if at in there else n for at, n in enumerate(self.shape)))

    def read_as(self, positions: Sequence[int]) -> Argument:
        """The same with positions along these dimensions."""
        return replace(self, positions=tuple(positions))

    def resized(self, sizes: Sequence[int]) -> Argument:
        """The same with other sizes, without the batch in front, of the plain layout."""
        return replace(self, shape=(1, *sizes), positions=tuple(range(2, len(sizes) + 1)))

    def readings(self) -> list[tuple[int, ...]]:
        """The other ways to read its dimensions: channels last, without channels, channels elsewhere; two dimensions
        without channels also turned, as spectrograms are whose time comes first."""
        if self.layout or self.is_plain:
            return []
        every = range(1, len(self.shape))
        channels = [len(self.shape) - 1, 0, *every]
        found = [tuple(d for d in every if d != c) for c in channels]
        found += [tuple(every)[::-1]] * (len(every) == 2)
        others = (r for r in dict.fromkeys(found) if r and r != self.positions)
        return [r for r in others if 1 not in r or self.shape[1] > 1]  # a channel alone is no axis


_MOST = 1 << 45  # numbers in an input: torch counts elements and bytes in 63 bits, and maps grow from here
Entry: TypeAlias = Sequence[int] | str | float | bool | Argument | None
InputSpec: TypeAlias = Sequence[int] | str | Mapping[str, Entry]


def arguments_of(spec: InputSpec) -> dict[str, Argument]:
    """Arguments by name ("" for a single one without a name). Raises TraceError for what is no size."""
    named = spec if isinstance(spec, Mapping) else {"": spec}
    return {key: _argument(key, entry) for key, entry in named.items()}


def _argument(key: str, entry: Any) -> Argument:
    if isinstance(entry, Argument):
        return entry
    if isinstance(entry, str) and entry.startswith("="):
        return Argument(value=_value(entry[1:]), is_plain=True, text=entry)
    if key and (entry is None or isinstance(entry, bool | int | float)):
        return Argument(value=entry, is_plain=True, text=f"={entry!r}")
    if isinstance(entry, str):
        return _from_text(key, entry)
    if not isinstance(entry, Sequence):
        given = f"{by(tuple(entry.shape))} numbers" if isinstance(entry, torch.Tensor) else repr(entry)
        raise TraceError(f"input{key and f' {key}'}: channels and sizes are wanted, as (3, 224, 224), not {given}")
    if any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in entry):
        raise TraceError(f"input {key or ''}: sizes are whole numbers from 1, not {tuple(entry)}".replace("  ", " "))
    if prod(entry) > _MOST:
        raise TraceError(
            f"input {key or ''}: {by(entry)[:60]} are more numbers than any machine holds".replace("  ", " ")
        )
    shape = (1, *entry)  # of no sizes one number, as a time step is
    return Argument(shape=shape, positions=tuple(range(2, len(shape))))


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _from_text(key: str, text: str) -> Argument:
    """`77:int64`, `64x48x3@NHWC`, `1:float32`, `:int64` (one number)."""
    where = f"input{key and f' {key}'} '{text}'"
    rest, _, layout = text.partition("@")
    sizes, _, kind = rest.partition(":")
    try:
        numbers = tuple(int(n) for n in sizes.lower().split("x")) if sizes else ()
    except ValueError:
        numbers = (0,)
    if any(n < 1 for n in numbers):
        raise TraceError(f"{where}: sizes are whole numbers from 1 joined by x, as 3x224x224, 77:int64 or 64x64x3@NHWC")
    if prod(numbers) > _MOST:
        raise TraceError(f"{where[:80]}: more numbers than any machine holds")
    dtype = getattr(torch, kind, None) if kind else None
    if kind and not isinstance(dtype, torch.dtype):
        raise TraceError(f"{where}: torch has no dtype '{kind}'; say float32, int64 or bool")
    plain = _argument(key, numbers)
    letters = layout.upper()
    if not layout:
        is_float = dtype is None or dtype.is_floating_point
        where_positions = plain.positions if is_float else tuple(range(1, len(plain.shape)))  # indices have no channels
        return replace(plain, dtype=dtype, positions=where_positions, text=text)
    if len(set(letters)) < len(letters) or not letters.isalpha() or letters.count(_BATCH) > 1:
        raise TraceError(f"{where}: a layout names each dimension once, N the batch and C the channels, as NHWC")
    shape = list(numbers)
    if _BATCH in letters:
        shape.insert(letters.index(_BATCH), 1)
    if len(shape) != len(letters):
        raise TraceError(f"{where}: layout {letters} names {len(letters)} dimensions, and there are {len(shape)}")
    positions = tuple(i for i, letter in enumerate(letters) if letter not in (_BATCH, _CHANNELS))
    return Argument(shape=tuple(shape), dtype=dtype, layout=letters, positions=positions, text=text)


def with_layout(spec: InputSpec, layout: str | Mapping[str, str]) -> InputSpec:
    """The input with layouts said: of its only entry, or by name. Raises: TraceError for a name that there is not."""
    if not layout:
        return spec
    named = dict(spec) if isinstance(spec, Mapping) else {"": spec}
    tensors = [key for key, entry in named.items() if not _argument(key, entry).is_plain]
    wanted = layout if isinstance(layout, Mapping) else dict.fromkeys(tensors[:1], layout)
    for key, letters in wanted.items():
        if key not in tensors:
            raise TraceError(f"layout: there is no input '{key}'; there are {', '.join(tensors)}")
        entry = named[key]
        sizes = entry.partition("@")[0] if isinstance(entry, str) else by(entry)  # type: ignore[arg-type]
        named[key] = f"{sizes}@{letters}"
    return named if isinstance(spec, Mapping) else named[""]  # type: ignore[return-value]


def called(forward: Any, given: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments as `forward` takes them: by place, by name, in the one dict or dataclass that it takes."""
    if list(given) == [""]:
        return (given[""],), {}
    rest = dict(given)
    first = (rest.pop(""),) if "" in rest else ()
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):
        return first, rest
    names = {p.name for p in parameters}
    if first or names >= set(rest) or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return first, rest
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    if len(needed) != 1 or names & set(rest):
        return first, rest
    return (_gathered(forward, needed[0].name, rest),), {}


def _gathered(forward: Any, name: str, given: dict[str, Any]) -> Any:
    """The one thing a forward takes, made of its parts: of the class its annotation names, else a dict."""
    try:
        kind = typing.get_type_hints(getattr(forward, "__func__", forward)).get(name)
    except (NameError, TypeError, AttributeError):
        kind = None
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
        return kind(**given)
    return given


def drawn(
    spec: InputSpec, generator: torch.Generator, dtype: torch.dtype = torch.float32, batch: int = 1
) -> dict[str, Any]:
    """Arguments by name ("" for a single one) for a forward: normal numbers, small whole ones, plain values."""
    given = {}
    for key, argument in arguments_of(spec).items():
        if argument.is_plain:
            given[key] = argument.value
            continue
        at = argument.layout.index(_BATCH) if _BATCH in argument.layout else 0
        shape = [batch if argument.batched and i == at else n for i, n in enumerate(argument.shape)]
        kind = argument.dtype or dtype
        is_float = kind.is_floating_point or kind.is_complex
        draw = torch.randn(shape, generator=generator, dtype=torch.float64)
        given[key] = draw.to(dtype if is_float else kind) if is_float else (draw.abs() * 2).to(kind)
    return given
