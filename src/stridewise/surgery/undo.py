"""Changes to a live model, each with the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

_MISSING = object()


@dataclass(slots=True)
class Undo:
    """Changes attributes, hooks and forwards of modules, and puts them back in reverse order."""

    back: list[Callable[[], None]] = field(default_factory=list)

    def set(self, module: nn.Module, name: str, value: Any) -> None:
        """Set an attribute of a module."""
        old = getattr(module, name)
        setattr(module, name, value)
        self.back.append(lambda: setattr(module, name, old))

    def hook(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Run `hook` before the module's forward."""
        handle = module.register_forward_pre_hook(hook)
        self.back.append(handle.remove)

    def behind(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Run `hook` on what the module gives out."""
        handle = module.register_forward_hook(hook)
        self.back.append(handle.remove)

    def unhook(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Take a hook behind the module away, until it is put back in its place."""
        hooks = list(module._forward_hooks.items())
        for handle, found in hooks:
            if found is hook:
                del module._forward_hooks[handle]

        def restore() -> None:
            module._forward_hooks.clear()
            module._forward_hooks.update(hooks)

        self.back.append(restore)

    def method(self, module: nn.Module, name: str, method: Any) -> None:
        """Give this module, and no other of its class, a method of its own."""
        old = vars(module).get(name, _MISSING)
        vars(module)[name] = method

        def restore() -> None:
            if old is _MISSING:
                del vars(module)[name]
            else:
                vars(module)[name] = old

        self.back.append(restore)

    def item(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Set an entry of a dictionary."""
        old = table[key]
        table[key] = value
        self.back.append(lambda: table.update({key: old}))

    def everything(self) -> None:
        """Put all of it back."""
        while self.back:
            self.back.pop()()
