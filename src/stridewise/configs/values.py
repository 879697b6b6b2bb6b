"""What a config says: its values, each with the file and line it stands on, and what it declares about strides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from typing import Any, Literal, TypeAlias

Step: TypeAlias = tuple[Fraction, ...]
"""A stride: one entry where it holds for every axis, else one an axis."""


class Unknown:
    """What a config leaves to code."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number, text, truth value or None, a list or mapping of values, or `UNKNOWN`; and where it stands."""

    content: Any
    file: str
    line: int

    def get(self, *path: str) -> Value | None:
        """What lies below these keys; None where a key is missing."""
        found: Value | None = self
        for key in path:
            if found is None or not isinstance(found.content, Mapping):
                return None
            found = found.content.get(key)
        return found

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.content, Mapping):
            return {key: value.plain() for key, value in self.content.items()}
        if isinstance(self.content, list):
            return [value.plain() for value in self.content]
        return self.content

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Value]]:
        """All values in mappings and lists below this one, with their keys."""
        yield path, self
        if isinstance(self.content, Mapping):
            for key, value in self.content.items():
                yield from value.walk((*path, key))
        elif isinstance(self.content, list):
            for at, value in enumerate(self.content):
                yield from value.walk((*path, str(at)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config file: its values, and the files it is based on that are not there."""

    path: str
    root: Value
    missing: tuple[str, ...] = ()


def merged(below: Value, above: Value) -> Value:
    """Two mappings as one: what `above` says holds, key by key; `_delete_=True` drops what is below."""
    if not isinstance(below.content, Mapping) or not isinstance(above.content, Mapping):
        return above
    drop = above.content.get("_delete_")
    if drop is not None and drop.content is True:
        return replace(above, content={k: v for k, v in above.content.items() if k != "_delete_"})
    content = dict(below.content)
    for key, value in above.content.items():
        content[key] = merged(content[key], value) if key in content else value
    return replace(above, content=content)


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
