"""What a graph was traced from: a model's structure, so that a plan can be rehearsed before it is given out."""

from __future__ import annotations

import dis
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from stridewise.tracing.clone import Later
from stridewise.tracing.constants import line_of
from stridewise.tracing.inputs import Argument


class Source:
    """The structure of the model that a graph was traced from, as it was then: its modules in eval, weights as shapes
    alone. A pickled or copied graph does without."""

    __slots__ = ("_model", "input")

    def __init__(self, model: nn.Module, input: Mapping[str, Argument]) -> None:
        self._model = model
        self.input = input

    @property
    def model(self) -> nn.Module:
        """The structure; whoever changes it puts it back."""
        for module in self._model.modules():
            state = module.__dict__
            for name in ("_parameters", "_buffers"):
                if type(state[name]) is Later:
                    state[name] = dict(state[name])
        return self._model

    @property
    def states_limits(self) -> bool:
        """Whether a module of somebody's own refuses something by itself: raises, or asserts."""
        kinds = {type(module) for module in self._model.modules()}
        own = {
            base for kind in kinds for base in kind.__mro__ if not base.__module__.startswith(("torch.nn.", "builtins"))
        }
        return any(_raises(base) for base in own)

    def refusal(self, sizes: Sequence[int]) -> str | None:
        """What the forward says at an input of these sizes (the channels as traced), "" where it runs; None where that
        can't be asked, as of several inputs."""
        return self._tried(sizes, None)

    def steered_at(self, sizes: Sequence[int], others: Sequence[int]) -> str:
        """file:line of the first pad, crop, expansion or split that is another at `sizes` than at `others`, "" where
        all are the same ones."""
        calls = [_Steering(), _Steering()]
        for asked, kept in zip((sizes, others), calls, strict=True):
            if self._tried(asked, kept) is None:
                return ""
        one, other = (kept.found for kept in calls)
        differ = (a[1] for a, b in zip(one, [*other, *[((), "")] * len(one)], strict=False) if a[0] != b[0])
        return next(differ, "")

    def _tried(self, sizes: Sequence[int], calls: TorchDispatchMode | None) -> str | None:
        """`refusal`, its calls told to `calls`."""
        if len(self.input) != 1:
            return None
        ((key, argument),) = self.input.items()
        if argument.is_plain or argument.layout or not argument.is_float or argument.text or len(argument.sizes) < 2:
            return None
        model = self.model
        weights = (p.dtype for p in model.parameters() if p.is_floating_point())
        x = torch.empty(1, argument.sizes[0], *sizes, device="meta", dtype=next(weights, torch.float32))
        try:
            with torch.no_grad(), warnings.catch_warnings(), calls or nullcontext():
                warnings.simplefilter("ignore")
                model(**{key: x}) if key else model(x)
        except Exception as error:  # noqa: BLE001 -- whatever a forward raises is its answer
            return " ".join(str(error).split()) or type(error).__name__
        return ""

    def __reduce__(self) -> Any:
        return _nothing, ()

    def __deepcopy__(self, memo: Any) -> None:
        return None


class _Steering(TorchDispatchMode):
    """The calls whose numbers may come from sizes: each with those numbers, and the line that asks for it."""

    _KINDS = ("pad", "slice", "alias", "expand", "split", "unfold")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[tuple[object, ...], str]] = []

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Keep it and go on."""
        name = str(func)
        if any(kind in name for kind in self._KINDS):
            numbers = [str(a) for a in args if isinstance(a, int | list)]
            self.found.append(((name, *numbers), line_of(sys._getframe(1))))
        return func(*args, **kwargs or {})


@lru_cache(maxsize=4096)
def _raises(kind: type) -> bool:
    """Whether a method of a class other than its making raises an error or asserts."""
    for name, method in vars(kind).items():
        code = getattr(method, "__code__", None)
        if code is None or (name.startswith("__") and name != "__call__"):
            continue
        if "_assert" in code.co_names or any(i.opname == "RAISE_VARARGS" for i in dis.get_instructions(code)):
            return True
    return False


def _nothing() -> None:
    return None
