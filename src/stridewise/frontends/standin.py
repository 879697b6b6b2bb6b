"""Forwards that stand in for those of modules for a while; some networks call `forward` and never reach a hook."""

from __future__ import annotations

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
