"""What a config declares about strides: one record a statement, with the file and line it stands on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any, Literal, TypeAlias

from stridewise.configs.reading import Config, Value

Step: TypeAlias = tuple[Fraction, ...]
"""A stride: one entry where it holds for every axis, else one an axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """name: the key, as the file writes it. what: "maps", cumulative strides at which some map must lie; "outputs",
    those of the maps that go out; "dilations", of layers; "levels", only how many maps go out. entries: the strides,
    or the dilations; for "levels" as many as there are. about: how the entries follow from what is written, "" where
    they are written."""

    name: str
    what: Literal["maps", "outputs", "dilations", "levels"]
    entries: tuple[Step, ...]
    file: str
    line: int
    about: str = ""


def numbers(value: Value | None) -> list[int] | None:
    """A whole number, or a list of them, as a list; None where it is anything else."""
    if value is None:
        return None
    found = value.plain()
    entries: list[Any] = found if isinstance(found, list) else [found]
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 < n <= 1 << 20 for n in entries)
    return entries if entries and whole else None


def steps(value: Value | None) -> list[Step] | None:
    """Strides: numbers, or a list with an entry an axis for each; None where it is anything else."""
    if value is None or not isinstance(value.content, list | int | float):
        return None
    out: list[Step] = []
    for entry in value.content if isinstance(value.content, list) else [value]:
        found = entry.plain()
        each = found if isinstance(found, list) else [found]
        if not each or any(not isinstance(n, int | float) or isinstance(n, bool) or not 0 < n <= 1 << 20 for n in each):
            return None
        out.append(tuple(Fraction(n) for n in each))
    return out


def chained(first: int, each: Sequence[Step] | Sequence[int]) -> tuple[Step, ...]:
    """Cumulative strides of steps taken one after the other behind a first one.

    >>> [str(s[0]) for s in chained(4, [1, 2, 2, 2])]
    ['4', '8', '16', '32']
    """
    wide = [step if isinstance(step, tuple) else (Fraction(step),) for step in each]
    axes = max((len(step) for step in wide), default=1)
    full = [step * axes if len(step) == 1 else step for step in wide]
    begin: Step = (Fraction(first),) * axes
    return tuple(accumulate(full, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True)), initial=begin))[1:]


def levels(count: Iterable[int | float]) -> tuple[Step, ...]:
    """Strides that are the same on every axis."""
    return tuple((Fraction(n),) for n in count)


def at(
    value: Value,
    path: Sequence[str],
    what: Literal["maps", "outputs", "dilations", "levels"],
    entries: Sequence[Step],
    about: str = "",
) -> Declared:
    """A declaration at the place of a value."""
    name = ".".join(path)
    return Declared(name=name, what=what, entries=tuple(entries), file=value.file, line=value.line, about=about)


def below(config: Config, *keys: str) -> Iterator[tuple[tuple[str, ...], Value]]:
    """All values of a config that stand below one of these keys, with their whole path."""
    for path, value in config.root.walk():
        if path and path[-1] in keys:
            yield path, value
