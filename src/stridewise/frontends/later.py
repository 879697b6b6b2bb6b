"""Copies of layers that are made only when somebody looks at them.

Most modules of a network are layers of torch's own whose op is known from their attributes (`leaves`), and nothing is
ever asked of their copies but the call. Copying a layer takes longer than reading it, so a copy begins as an instance
of a twin of the layer's class: that one answers calls, and turns into the copy at any other access.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from torch import nn

Run: TypeAlias = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]
"""(arguments, named arguments): the layer's output, None where only its forward gives that."""
_get, _set = object.__getattribute__, object.__setattr__


def later(cls: Any, run: Run, fill: Callable[[nn.Module], None]) -> nn.Module:
    """A layer of class `cls` that `run` runs until somebody looks at it: then `fill` makes it the copy it is for."""
    twin = _twin(cls)
    layer: nn.Module = object.__new__(twin)
    _set(layer, "__dict__", {"run": run, "fill": fill, "cls": cls})
    return layer


@lru_cache(maxsize=256)
def _twin(cls: Any) -> Any:
    own = {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), {**own, **_ACCESS})


def _made(layer: Any) -> Any:
    """The layer, of its own class from now on, with all that the copy holds."""
    fill, cls = _get(layer, "fill"), _get(layer, "cls")
    _set(layer, "__class__", cls)
    fill(layer)
    return layer


def _called(layer: Any, *args: Any, **kwargs: Any) -> Any:
    out = _get(layer, "run")(args, kwargs)
    return _made(layer)(*args, **kwargs) if out is None else out


_ACCESS: Mapping[str, Callable[..., Any]] = {
    "__call__": _called,
    "__getattribute__": lambda layer, name: getattr(_made(layer), name),  # which a module's other ways go through
}
