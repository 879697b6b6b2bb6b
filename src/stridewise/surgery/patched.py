"""A module's forward with some of its function calls replaced. Only this module changes; its state dict does not.

The override is an attribute of the instance. It copies and pickles with its module and survives torch.export and
torch.compile, since calls are met by a TorchFunctionMode (a dispatch mode would be dropped there without a word).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from stridewise.axis import Window
from stridewise.ops.registry import op_named
from stridewise.rewrites.actions import Action
from stridewise.rewrites.multipliers import Multipliers
from stridewise.surgery.actions import end_pad, every, replacement, restrided, something, wide_windows
from stridewise.tracing.calls import FUNCTIONS, functions
from stridewise.tracing.steps import PatchedForward, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One call to replace: call number `number` of the function `name`, which became `op`, by `action`."""

    name: str
    number: int
    action: Action
    op: str

    def run(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The call, done the other way."""
        instead = replacement(op_named(self.op), self.action.kind, self.name)
        assert instead is not None
        return instead(self.action, func, args, kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One call that steps otherwise: with another stride, on what `before` makes of its operand, then `behind`.

    parameters: those of the function behind its operand, in order.
    """

    name: str
    number: int
    stride: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    before: Step | None = None
    behind: Step | None = None

    def run(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The call, with what goes with it."""
        if self.stride:
            args, kwargs = restrided(self.parameters, args, kwargs, self.stride)
        if self.before is not None:
            args = (self.before.on(args[0]), *args[1:])
        out = func(*args, **kwargs)
        return out if self.behind is None else self.behind.on(out)


class _Swapping(TorchFunctionMode):
    """Counts the calls of one forward and replaces those it is told to."""

    def __init__(self, override: Override) -> None:
        super().__init__()
        self.override = override
        self.seen: dict[str, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.override.quiet:
            for name, swaps in self.override.swaps.items():
                if any(func is known for known in FUNCTIONS.get(name, ())):
                    if not torch.compiler.is_compiling() and _replaced_already(self.override.module):
                        break
                    number = self.seen.get(name, 0)
                    self.seen[name] = number + 1
                    if number in swaps:
                        return swaps[number].run(func, args, kwargs)
        return func(*args, **kwargs)


def _replaced_already(module: nn.Module) -> bool:
    """Whether a call comes from the graph that TorchDynamo made of replaced calls.

    After a graph break inside a forward the compiled rest runs while the mode is on; with a backend that keeps torch's
    functions (`backend="eager"`) each would be replaced a second time. A module that is an FX graph itself is no such
    graph.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.endswith(_BETWEEN):
        frame = frame.f_back
    return (
        frame is not None
        and frame.f_code.co_filename.startswith("<eval_with_key>")
        and frame.f_locals.get("self") is not module
    )


# torch's own files between a call and the mode that meets it.
_BETWEEN = ("torch/overrides.py", "torch/nn/functional.py", "torch/_jit_internal.py")


class Override(PatchedForward):
    """A forward whose calls in `swaps` (by name and number) are replaced. `quiet` while calls are not its own."""

    def __init__(self, module: nn.Module, swaps: Sequence[Swap | Edit]) -> None:
        super().__init__(module)
        functions()  # those of ops registered since
        self.swaps: dict[str, dict[int, Swap | Edit]] = {}
        for swap in swaps:
            self.swaps.setdefault(swap.name, {})[swap.number] = swap
        self.quiet = 0
        self.active = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.over(self.plain, args, kwargs)

    def over(self, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """`run` with its calls replaced."""
        self.active += 1
        try:
            with _Swapping(self):
                return run(*args, **kwargs)
        finally:
            self.active -= 1


class Beginning(PatchedForward):
    """A method that the forward begins with (`forward_features`), for those who call it by itself."""

    def __init__(self, module: nn.Module, method: str, outer: Override) -> None:
        super().__init__(module, method)
        self.outer = outer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.outer.active:
            return self.plain(*args, **kwargs)
        return self.outer.over(self.plain, args, kwargs)


class Quiet(PatchedForward):
    """A forward whose calls are no concern of the override around it."""

    def __init__(self, module: nn.Module, outer: Override) -> None:
        super().__init__(module)
        self.outer = outer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.outer.quiet += 1
        try:
            return self.plain(*args, **kwargs)
        finally:
            self.outer.quiet -= 1


class Fit:
    """Pads what a windowed module takes at its end, so that its output has the size the rule wants.

    old: the windows before the change, one an axis. The module's own padding, stride and dilation are set already;
    maximum pooling takes only little padding itself (torch: half its kernel), so it may leave the rest to this.
    """

    def __init__(self, old: tuple[Window, ...], action: Action, value: float) -> None:
        self.old = old
        self.action = action
        self.value = value

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        new = wide_windows(args[0], self.old, self.action)
        own: Any = module.padding
        # Never a crop: the module's own end padding would put zeros where there was something. What it has too much
        # is less than a step: step - 1 + m_in * (rest + 1 - old step) for a rest below the old step.
        pads = [(w.pad_begin - p, max(w.pad_end - p, 0)) for w, p in zip(new, own, strict=True)]
        return (end_pad(args[0], pads, self.value), *args[1:])


class Something:
    """Gives zeros where a maximum was taken over padding alone (`dense.something`)."""

    def __call__(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return something(output)


class Coarse:
    """Gives a module every m-th position of what it takes, `multipliers` an axis."""

    def __init__(self, multipliers: Multipliers) -> None:
        self.multipliers = multipliers

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        first = args[0].dim() - len(self.multipliers)
        return (every(args[0], [0] * len(self.multipliers), self.multipliers, first), *args[1:])
