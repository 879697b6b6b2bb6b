"""A layer's tensors, copied only when somebody looks at them.

Most modules of a network are layers of torch's own whose op is known from their attributes (`leaves`), and nothing is
ever asked of their copies but the call. Copying their tensors takes longer than reading them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn


class Later(dict[str, Any]):
    """A dictionary that is filled with what `make` gives of `held` when it is first looked at."""

    __slots__ = ("held", "make")

    def __init__(self, make: Callable[[Any], Mapping[str, Any]], held: Any) -> None:
        self.make: Callable[[Any], Mapping[str, Any]] | None = make
        self.held = held

    def let_go(self, told: Callable[[Any], Any], make: Callable[[Any], Mapping[str, Any]]) -> None:
        """Hold what `told` says of what was held, and not the thing itself, where nobody has looked yet."""
        if self.make is not None:
            self.held, self.make = told(self.held), make


def untouched(layer: nn.Module) -> bool:
    """Whether nobody has looked at a copy's tensors yet."""
    state = layer.__dict__
    parameters, buffers = state["_parameters"], state["_buffers"]
    return not (
        (type(parameters) is Later and parameters.make is None) or (type(buffers) is Later and buffers.make is None)
    )


def _looked_at(name: str) -> Callable[..., Any]:
    own = getattr(dict, name)

    def look(self: Later, *args: Any, **kwargs: Any) -> Any:
        make, self.make = self.make, None
        if make is not None:
            dict.update(self, make(self.held))
        return own(self, *args, **kwargs)

    return look


_LOOKS = """__contains__ __getitem__ __setitem__ __delitem__ __iter__ __reversed__ __len__ __eq__ __or__ __ror__ __ior__
__repr__ clear copy get items keys pop popitem setdefault update values""".split()
for _name in _LOOKS:
    setattr(Later, _name, _looked_at(_name))
