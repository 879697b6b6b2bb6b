"""What a graph was traced from: a model's structure, so that a plan can be rehearsed before it is given out."""

from __future__ import annotations

import dis
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from stridewise.errors import StridewiseError, TraceError
from stridewise.tracing.clone import Later
from stridewise.tracing.constants import line_of
from stridewise.tracing.inputs import Argument
from stridewise.tracing.targets import target_of


class Source:
    """The structure of the model that a graph was traced from, as it was then: its modules in eval, weights as shapes
    alone. A pickled or copied graph does without."""

    __slots__ = ("_model", "_said", "input")

    def __init__(self, model: nn.Module, input: Mapping[str, Argument]) -> None:
        self._model = model
        self._said: dict[tuple[int, ...], str] = {}  # by the sizes asked
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
        if len(self.input) != 1:
            return None
        ((key, argument),) = self.input.items()
        if argument.is_plain or argument.layout or not argument.is_float or argument.text or len(argument.sizes) < 2:
            return None
        found = self._said.get(tuple(sizes))
        if found is None:
            found = self._said[tuple(sizes)] = self._run(key, argument.sizes[0], sizes)
        return found

    def steered_at(self, sizes: Sequence[int], others: Sequence[int]) -> str:
        """file:line of the first pad, crop, expansion or split that is another at `sizes` than at `others`, "" where
        all are the same ones. Of a model that `refusal` can be asked about."""
        ((key, argument),) = self.input.items()
        told: list[list[_Told]] = [[], []]
        for asked, kept in zip((sizes, others), told, strict=True):
            self._run(key, argument.sizes[0], asked, kept)
        return next((a[1] for a, b in zip_longest(*told) if a and (b is None or a[0] != b[0])), "")

    def _run(self, key: str, channels: int, sizes: Sequence[int], told: list[_Told] | None = None) -> str:
        model = self.model
        weights = (p.dtype for p in model.parameters() if p.is_floating_point())
        x = torch.empty(1, channels, *sizes, device="meta", dtype=next(weights, torch.float32))
        try:
            with torch.no_grad(), warnings.catch_warnings(), _Answers(told):
                warnings.simplefilter("ignore")
                model(**{key: x}) if key else model(x)
        except Exception as error:  # noqa: BLE001 -- whatever a forward raises is its answer
            return _said(error)
        return ""

    def __reduce__(self) -> Any:
        return _nothing, ()

    def __deepcopy__(self, memo: Any) -> None:
        return None


def refused_again(again: Callable[..., Any], source: Source) -> Callable[..., Any]:
    """`again`, a trace at given shapes, which first asks the structure where a forward has refused before any op ran:
    the same words but for the sizes in them are its answer, without another copy. Raises: TraceError as `again`."""
    words: set[str] = set()

    def trace(shapes: Mapping[str, Argument], **more: Any) -> Any:
        ((key, here),) = source.input.items()
        sizes = shapes[key].sizes
        if words and sizes[1:] != here.sizes[1:] and sizes[0] == here.sizes[0]:
            said = source.refusal(sizes[1:])
            if said and _NUMBER.sub("", said) in words:
                raise TraceError(said)
        try:
            return again(shapes, **more)
        except StridewiseError as error:
            if error.__cause__ is not None and getattr(error.__cause__, "stridewise_at_door", False):
                words.add(_NUMBER.sub("", _said(error.__cause__)))
            raise

    return trace if len(source.input) == 1 else again


_NUMBER = re.compile(r"\d+")


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_STEERED = ("pad", "slice", "alias", "expand", "split", "unfold")
# A call whose numbers may come from sizes: what it is with those numbers, and the line that asks for it.
_Told: TypeAlias = tuple[tuple[str, ...], str]


class _Answers(TorchDispatchMode):
    """Gives out what is known of an op's output on the meta device, where its kernel takes most of a forward's time.

    told: a list that takes the calls whose numbers may come from sizes.
    """

    def __init__(self, told: list[_Told] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.told = told

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in the tracer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.told is not None and any(kind in (name := str(func)) for kind in _STEERED):
            numbers = [str(a) for a in args if isinstance(a, int | list)]
            self.told.append(((name, *numbers), line_of(sys._getframe(1))))
        answer = target_of(func).answer
        out = answer(args, args) if answer is not None and not kwargs and _on_meta(args) else None
        return func(*args, **kwargs or {}) if out is None else out


def _on_meta(args: Sequence[Any]) -> bool:
    """Whether no operand has values, which only a kernel refuses beside one that has none."""
    for arg in args:
        if isinstance(arg, torch.Tensor):
            if not arg.is_meta:
                return False
        elif type(arg) is list and not _on_meta(arg):
            return False
    return True


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
