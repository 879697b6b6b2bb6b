"""Forwards that stand in for those of modules for a while; some networks call `forward` and never reach a hook."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

Run = Callable[..., Any]
_MISSING: Any = object()


@contextmanager
def standing_in(modules: Mapping[str, nn.Module], make: Callable[[str, nn.Module, Run], Run]) -> Iterator[None]:
    """While it lasts, `make(name, module, forward)` is each module's forward; afterwards all is as it was."""
    before: list[tuple[nn.Module, Any]] = []
    try:
        for name, module in modules.items():
            own = module.__dict__.get("forward", _MISSING)
            before.append((module, own))
            module.__dict__["forward"] = make(name, module, module.forward)
        yield
    finally:
        for module, own in reversed(before):
            if own is _MISSING:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = own


class PatchedForward:
    """An instance's own forward (or another `method`): in place of the class's, or of one set there before."""

    def __init__(self, module: nn.Module, method: str = "forward") -> None:
        self.module = module
        self.method = method
        self.inner = module.__dict__.get(method)

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        """What was there before."""
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        return getattr(type(self.module), self.method)(self.module, *args, **kwargs)

    def on(self, module: nn.Module, copied: Callable[[Any], Any]) -> PatchedForward:
        """The same for a copy of the module; `copied` gives the copy of what else this holds."""
        twin = type(self).__new__(type(self))
        copied_state = {k: copied(v) if isinstance(v, PatchedForward) else v for k, v in self.__dict__.items()}
        twin.__dict__.update({**copied_state, "module": module})
        return twin

    @property
    def __code__(self) -> Any:
        """torch.export reports where a forward was written."""
        return getattr(type(self.module), self.method).__code__

    @property
    def __signature__(self) -> inspect.Signature:
        """The arguments are the class's."""
        return inspect.signature(getattr(type(self.module), self.method).__get__(self.module))
