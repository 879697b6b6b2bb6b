"""What does not depend on the input keeps its values while a network is traced.

Tensors made in the forward (ranges, anchors, masks) are computed as they are, up to a number of elements. Those that
come from weights stay shapes, and are worked out from the weights themselves when a forward asks for a number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from stridewise.tracing.ended import Ended
from stridewise.tracing.meta_tensors import META
from stridewise.tracing.targets import Target

_MOST = 2**20  # elements of a constant that is computed
_SMALL = 2**16  # elements of something made from weights that is worked out without a single number being asked for
_ITEM = torch.ops.aten._local_scalar_dense.default
_COPY = torch.ops.aten._to_copy.default
_INDEX = torch.ops.aten.index.Tensor


class Constants:
    """Values of tensors without the input in them. known: the identities of those that hold their values.

    originals: by the identity of a weight's copy the weight, of which nothing is copied.
    """

    def __init__(self) -> None:
        self.known: set[int] = set()
        self.originals: Mapping[int, torch.Tensor] = {}
        self._twins: dict[int, torch.Tensor] = {}
        self._made: dict[int, tuple[Any, Any, Mapping[str, Any]]] = {}
        self._kept: list[Any] = []

    def call(self, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
        """(whether it is computed here, its output)."""
        tensors = _tensors((args, kwargs.values()))
        if func is _ITEM or target.asks:
            return True, self._asked(func, target, args, kwargs, tensors)
        if all(id(t) in self.known for t in tensors):
            return self._computed(func, target, args, kwargs)
        device = kwargs.get("device")
        if func is _COPY and device is not None and device.type == "cpu" and tensors[0].numel() <= _SMALL:
            found = self.value(tensors[0])
            if found is not None:
                out = found.to(dtype=kwargs.get("dtype") or found.dtype, copy=True)
                self.known.add(id(out))
                return True, out
        return False, None

    def _asked(self, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any], tensors: Any) -> Any:
        """The output of an op that asks for values."""
        values = {id(t): self.value(t) for t in tensors}
        if any(v is None for v in values.values()):
            raise Ended(f"{target.called} asks for values of the model's own that are not there", stored=True)
        out = func(*_mapped(args, lambda t: values[id(t)]), **_mapped(kwargs, lambda t: values[id(t)]))
        self.known.update(id(t) for t in _tensors(out))
        return out

    def _computed(self, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
        if target.makes and (kwargs.get("device") is not None or not _tensors(args)):
            kwargs = {**kwargs, "device": torch.device("cpu")}
        if not target.in_place and target.alias < 0 and self._size(func, target, args, kwargs) > _MOST:
            return False, None
        seeded = torch.random.fork_rng(devices=[]) if target.seeded else contextlib.nullcontext()
        with seeded:
            out = func(*args, **kwargs)
        self.known.update(id(t) for t in _tensors(out))
        return True, out

    def _size(self, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any]) -> int:
        """Elements it would give out: nothing is computed before that is known."""
        more = {**kwargs, "device": META} if target.makes else kwargs
        try:
            out = func(*self.on_meta(func, args), **self.on_meta(func, more))
        except NotImplementedError:
            return 0
        return sum(t.numel() for t in _tensors(out))

    def remember(self, out: Any, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any]) -> None:
        """How a tensor that is a shape alone was made from weights, should somebody ask for its values."""
        if not target.in_place and isinstance(out, torch.Tensor):
            self._made[id(out)] = func, args, kwargs

    def value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The tensor with its values; None where they are not known."""
        if id(tensor) in self.known:
            return tensor
        found = self.originals.get(id(tensor))
        if found is not None:
            return None if found.is_meta else found.detach()
        made = self._made.get(id(tensor))
        if made is None:
            return None
        func, args, kwargs = made
        values = {id(t): self.value(t) for t in _tensors((args, kwargs.values()))}
        if not values or any(v is None for v in values.values()):
            return None
        more = {k: torch.device("cpu") if k == "device" and v is not None else v for k, v in kwargs.items()}
        out = func(*_mapped(args, lambda t: values[id(t)]), **_mapped(more, lambda t: values[id(t)]))
        return out if isinstance(out, torch.Tensor) else None

    def on_meta(self, func: Any, given: Any) -> Any:
        """Arguments with shapes in the place of tensors that hold values; the same object where there are none."""
        held = _tensors(given.values() if isinstance(given, dict) else given) if self.known else ()
        if not any(id(t) in self.known for t in held):
            return given
        if func is _INDEX and isinstance(given, tuple):
            given = (given[0], [p for t in given[1] for p in self._picked(t)])
        return _mapped(given, self._twin)

    def _picked(self, table: torch.Tensor | None) -> list[torch.Tensor | None]:
        """A mask whose values are known as the numbers that it picks; another table as it is."""
        if table is None or table.dtype not in (torch.bool, torch.uint8) or id(table) not in self.known:
            return [table]
        found: list[torch.Tensor | None] = list(table.nonzero().unbind(1))
        self.known.update(id(t) for t in found)
        self._kept.extend(found)
        return found

    def _twin(self, tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in self.known:
            return tensor
        found = self._twins.get(id(tensor))
        if found is None:
            strides = tensor.stride()
            found = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=META)
            self._twins[id(tensor)] = found
        return found


def _tensors(held: Any) -> list[torch.Tensor]:
    """Every tensor in arguments or outputs, lists followed."""
    if isinstance(held, torch.Tensor):
        return [held]
    if isinstance(held, str) or not hasattr(held, "__iter__"):
        return []
    return [t for each in held for t in _tensors(each)]


def _mapped(held: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """An argument with its tensors changed, lists and named arguments followed."""
    if isinstance(held, torch.Tensor):
        return change(held)
    if type(held) in (list, tuple):
        return type(held)([_mapped(each, change) for each in held])
    if isinstance(held, Mapping):
        return {name: _mapped(each, change) for name, each in held.items()}
    return held
