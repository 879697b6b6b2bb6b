"""Frozen records that are made as fast as open ones: an analysis makes thousands."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import wraps
from typing import Any, TypeVar

R = TypeVar("R")


def quick(cls: type[R]) -> type[R]:
    """The same frozen, slotted dataclass with a constructor that takes half the time; nothing else changes.

    The constructor of a frozen dataclass writes each field past its lock, by a call. This one makes the record an
    instance of a twin without the lock for as long as it is being filled.
    """
    known = fields(cls)  # type: ignore[arg-type]
    unlocked = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    open_ = type(cls.__name__, (cls,), unlocked)
    names: dict[str, Any] = {"_set": object.__setattr__, "_open": open_, "_frozen": cls, "_none": MISSING}
    takes, does = [], []
    for f in known:
        names[f"_{f.name}"] = f.default if f.default_factory is MISSING else f.default_factory
        given = f.default is MISSING and f.default_factory is MISSING
        takes.append(f.name if given else f"{f.name}={'_none' if f.default is MISSING else f'_{f.name}'}")
        value = f.name if f.default_factory is MISSING else f"_{f.name}() if {f.name} is _none else {f.name}"
        does.append(f"self.{f.name} = {value}")
    order = ["self", *(["*"] if known[0].kw_only else []), *takes]
    body = ["_set(self, '__class__', _open)", *does, "self.__class__ = _frozen"]
    exec(f"def __init__({', '.join(order)}):\n  " + "\n  ".join(body), names)
    cls.__init__ = wraps(cls.__init__)(names["__init__"])  # type: ignore[method-assign]
    return cls
