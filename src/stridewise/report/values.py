"""Records as plain values, for JSON: the one mechanism."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import PurePath
from typing import Any


def plain(value: Any) -> Any:
    """Whole numbers, floats, texts, None, lists and dicts that say the same.

    A Fraction is written "1/2", or as a whole number where it is one; a record by what its `to_json` says, else by the
    names of its fields, in order; arrays as nested lists.

    >>> plain({"stride": (Fraction(2), Fraction(1, 2)), 3: None})
    {'stride': [2, '1/2'], '3': None}
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    if callable(getattr(value, "to_json", None)):
        return value.to_json()
    if is_dataclass(value):
        return of_fields(value)
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, bytes):
        return [plain(entry) for entry in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # of NumPy, which is not imported here
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no plain form")


def of_fields(record: Any, *left_out: str, **other: Any) -> dict[str, Any]:
    """A record by the names of its fields, without those `left_out`; `other` says an entry differently, or adds it."""
    names = [f.name for f in fields(record) if f.name not in left_out and not f.name.startswith("_")]
    found = {name: plain(other.pop(name) if name in other else getattr(record, name)) for name in names}
    return found | {name: plain(value) for name, value in other.items()}
