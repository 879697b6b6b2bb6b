"""Changes to a live model, each with the way back and the way there again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn


class Change(Protocol):
    """One change, a record and not a closure: a deep copy of the model and its changes changes the copy."""

    def redo(self) -> None:
        """Make the change."""

    def undo(self) -> None:
        """Take it back."""


@dataclass(slots=True, kw_only=True)
class _Attribute:
    """An attribute of a module, or one of its weights."""

    module: nn.Module
    name: str
    old: Any
    new: Any

    def redo(self) -> None:
        self._give(self.new)

    def undo(self) -> None:
        self._give(self.old)

    def _give(self, value: Any) -> None:
        if self.name in self.module._parameters:  # past the check of a setter: a structure's weights are plain tensors
            self.module._parameters[self.name] = value
        else:
            setattr(self.module, self.name, value)


@dataclass(slots=True, kw_only=True)
class _Method:
    """A method that this module has for itself, and no other of its class; old: None where it had none."""

    module: nn.Module
    name: str
    old: Any
    new: Any

    def redo(self) -> None:
        vars(self.module)[self.name] = self.new

    def undo(self) -> None:
        if self.old is None:
            vars(self.module).pop(self.name, None)
        else:
            vars(self.module)[self.name] = self.old


@dataclass(slots=True, kw_only=True)
class _Item:
    """An entry of a dictionary that the model holds."""

    table: dict[Any, Any]
    key: Any
    old: Any
    new: Any

    def redo(self) -> None:
        self.table[self.key] = self.new

    def undo(self) -> None:
        self.table[self.key] = self.old


@dataclass(slots=True, kw_only=True)
class _Hook:
    """A hook of a module, before its forward or behind it. Hooks of others stay, also those that came since."""

    module: nn.Module
    table: str
    number: int
    hook: Callable[..., Any]

    def redo(self) -> None:
        getattr(self.module, self.table)[self.number] = self.hook

    def undo(self) -> None:
        getattr(self.module, self.table).pop(self.number, None)


@dataclass(slots=True, kw_only=True)
class _Unhooked:
    """Hooks behind a module that are away for a while; they come back to their places."""

    module: nn.Module
    away: Mapping[int, Callable[..., Any]]
    order: tuple[int, ...]

    def redo(self) -> None:
        for number in self.away:
            self.module._forward_hooks.pop(number, None)

    def undo(self) -> None:
        hooks = self.module._forward_hooks
        every = {**hooks, **self.away}
        hooks.clear()
        hooks.update({n: every.pop(n) for n in self.order if n in every} | every)


@dataclass(slots=True)
class Undo:
    """Changes attributes, hooks and forwards of modules; puts them back in reverse order, and makes them again."""

    changes: list[Change] = field(default_factory=list)

    def set(self, module: nn.Module, name: str, value: Any) -> None:
        """Set an attribute of a module."""
        self._make(_Attribute(module=module, name=name, old=getattr(module, name), new=value))

    def hook(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Run `hook` before the module's forward."""
        number = module.register_forward_pre_hook(hook).id
        self.changes.append(_Hook(module=module, table="_forward_pre_hooks", number=number, hook=hook))

    def behind(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Run `hook` on what the module gives out."""
        number = module.register_forward_hook(hook).id
        self.changes.append(_Hook(module=module, table="_forward_hooks", number=number, hook=hook))

    def unhook(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Take a hook behind the module away, until it is put back in its place."""
        hooks = module._forward_hooks
        away = {number: entry for number, entry in hooks.items() if entry is hook}
        self._make(_Unhooked(module=module, away=away, order=tuple(hooks)))

    def method(self, module: nn.Module, name: str, method: Any) -> None:
        """Give this module, and no other of its class, a method of its own."""
        self._make(_Method(module=module, name=name, old=vars(module).get(name), new=method))

    def item(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Set an entry of a dictionary."""
        self._make(_Item(table=table, key=key, old=table[key], new=value))

    def everything(self) -> None:
        """Put all of it back."""
        for change in reversed(self.changes):
            change.undo()

    def again(self) -> None:
        """Make all of it once more, after `everything`."""
        for change in self.changes:
            change.redo()

    def take_tensors(self) -> list[tuple[nn.Module, str, Any]]:
        """(module, name, value) of the weights and buffers among what is set, which from now on the caller sets."""
        out = [
            change
            for change in self.changes
            if isinstance(change, _Attribute)
            and (change.name in change.module._parameters or change.name in change.module._buffers)
        ]
        self.changes = [change for change in self.changes if not any(change is one for one in out)]
        return [(change.module, change.name, change.new) for change in out]

    def _make(self, change: Change) -> None:
        self.changes.append(change)
        change.redo()
