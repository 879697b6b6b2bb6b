"""What does not depend on the input keeps its values while a network is traced.

Tensors made in the forward (ranges, anchors, masks) are computed as they are, up to a number of elements. Those that
come from weights stay shapes, and are worked out from the weights themselves when a forward asks for a number.
Where it asks for a value that does depend on the input, the trace ends (`Ended`).
"""

from __future__ import annotations

import contextlib
import linecache
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

from stridewise.tracing.meta_tensors import META
from stridewise.tracing.targets import Target

_OURS = tuple(f"{Path(file).parent}{os.sep}" for file in (torch.__file__, __file__))
# Calls that hand a tensor's values to Python without telling torch's dispatcher.
_READS = re.compile(r"(\.(tolist|numpy|item|__array__|__format__)|\b(tensor|as_tensor|asarray|array))\(")


class Ended(Exception):  # noqa: N818  no error: what was seen until then is kept
    """The forward asks for a value that a trace does not have.

    where: file and line that ask. stored: it is one of the model's own, which was built without values.
    """

    def __init__(self, why: str, where: str = "", stored: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.stored = stored
        self.where = where or line_of(sys._getframe(1))


def line_of(frame: FrameType | None) -> str:
    """The place in the network's own code that called, as file:line; in torch's where there is none."""
    while frame is not None and frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return "" if frame is None else _place(frame.f_code.co_filename, frame.f_lineno)


def _place(file: str, line: int) -> str:
    """file:line, the file as it is named inside its library or below the working directory."""
    path = Path(file)
    for base in (*map(Path, sorted(sys.path, key=len, reverse=True)), Path.cwd()):
        if str(base) not in ("", ".") and path.is_relative_to(base):
            return f"{path.relative_to(base)}:{line}"
    return f"{path.name}:{line}"


def asks_for_values(func: Any, args: Any, has: Callable[[torch.Tensor], bool]) -> bool:
    """Whether this call of an op that may ask for values does: picking by a table of numbers does not, nor by a mask
    that `has` its values."""
    if func is torch.ops.aten.index.Tensor:
        return any(t is not None and t.dtype in (torch.bool, torch.uint8) and not has(t) for t in args[1])
    return True


def ended_at(error: Exception) -> Ended | None:
    """What ended a forward: `error` itself, or a read of values that torch refused; None for any other failure."""
    if isinstance(error, Ended):
        return error
    last = None
    step = error.__traceback__
    while step is not None:
        last, step = step, step.tb_next
    if last is None or not isinstance(error, RuntimeError | TypeError):
        return None
    found = _READS.search(_source(last.tb_frame.f_code, last.tb_lasti))
    if found is None:
        return None
    return Ended(f"{found[2] or found[3]} asks for values that depend on the input", line_of(last.tb_frame))


def _source(code: CodeType, at: int) -> str:
    """The piece of source that an instruction stands for, "" where it is not known."""
    places = list(code.co_positions())
    line, end, begin, stop = places[at // 2] if at // 2 < len(places) else (None,) * 4
    if line is None or end is None or begin is None or stop is None:
        return ""
    lines = [linecache.getline(code.co_filename, n) for n in range(line, end + 1)]
    lines[-1] = lines[-1][:stop]
    lines[0] = lines[0][begin:]
    return "".join(lines)


_MOST = 2**20  # elements of a constant that is computed
_SMALL = 2**16  # elements of something made from weights that is worked out without a single number being asked for
_FEW = 4096  # elements of a table of the model's own of which the values are taken
_CPU = torch.device("cpu")
_ITEM = torch.ops.aten._local_scalar_dense.default
_COPY = torch.ops.aten._to_copy.default
_INDEX = torch.ops.aten.index.Tensor


class Constants:
    """Values of tensors without the input in them.

    A tensor that a forward makes on no device in particular is real. One that it makes on the input's device, which is
    the meta device here, stays there and has its values beside it. originals: by the identity of a weight's copy the
    weight, of which nothing is copied.
    """

    def __init__(self) -> None:
        self.real: set[int] = set()
        self.originals: Mapping[int, torch.Tensor] = {}
        self._beside: dict[int, torch.Tensor] = {}
        self._twins: dict[int, torch.Tensor] = {}
        self._made: dict[int, tuple[Any, Any, Mapping[str, Any]]] = {}
        self._kept: list[Any] = []

    def call(self, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
        """(whether it is computed here, its output)."""
        tensors = _tensors((args, kwargs.values()))
        if func is _ITEM or (target.asks and asks_for_values(func, args, self.has)):
            return True, self._asked(func, target, args, kwargs, tensors)
        values = {id(t): self._held(t) for t in tensors}
        if all(v is not None for v in values.values()):
            return self._computed(func, target, args, kwargs, values)
        if target.in_place:
            self._beside.pop(id(args[0]), None)
        device = kwargs.get("device")
        if func is _COPY and device is not None and device.type == "cpu" and tensors[0].numel() <= _SMALL:
            found = self.value(tensors[0])
            if found is not None:
                out = found.to(dtype=kwargs.get("dtype") or found.dtype, copy=True)
                self.real.add(id(out))
                return True, out
        return False, None

    def _held(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The values of a tensor that is no weight nor made from one."""
        if not tensor.is_meta:
            return tensor
        found = self._beside.get(id(tensor))
        if found is None:
            original = self.originals.get(id(tensor))
            if original is None or original.is_meta or isinstance(original, torch.nn.Parameter):
                return None
            if original.numel() > _FEW:
                return None
            found = self._beside[id(tensor)] = original.detach().to("cpu", copy=True)
        return found

    def made(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The values of a tensor that the forward makes itself, from no input and no weight; None for others."""
        if id(tensor) in self.real:
            return tensor
        return None if id(tensor) in self.originals else self._beside.get(id(tensor))

    def check_picks(self, target: Target, args: Any) -> None:
        """Raise IndexError, as torch does, where a call picks entries that are not there by numbers that are known."""
        if target.called == "embedding":
            picks = [(0, args[1])]
        elif target.called in ("index", "_unsafe_index"):
            picks = [(at, table) for at, table in enumerate(args[1]) if table is not None]
            if any(table.dtype in (torch.bool, torch.uint8) for _, table in picks):
                return
        else:
            picks = [(args[1], args[2])]
        for dim, table in picks:
            values, size = self._held(table), args[0].shape[dim] if args[0].dim() else 1
            if values is not None and values.numel() and not -size <= int(values.min()) <= int(values.max()) < size:
                wrong = int(values.max()) if int(values.max()) >= size else int(values.min())
                raise IndexError(f"index {wrong} is out of bounds for dimension {dim} with size {size}")

    def _asked(self, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any], tensors: Any) -> Any:
        """The output of an op that asks for values."""
        values = {id(t): self.value(t) for t in tensors}
        if any(v is None for v in values.values()):
            raise Ended(f"{target.called} asks for values of the model's own that are not there", stored=True)
        out = func(*_mapped(args, lambda t: values[id(t)]), **_mapped(kwargs, lambda t: values[id(t)]))
        if not any(t.is_meta for t in tensors):
            self.real.update(id(t) for t in _tensors(out))
            return out
        return _mapped(out, self._on_its_device)

    def _on_its_device(self, real: torch.Tensor) -> torch.Tensor:
        """A tensor on the meta device with these values beside it."""
        made = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device=META)
        self._beside[id(made)] = real
        self._kept.append(made)
        return made

    def _computed(
        self, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any], values: Mapping[int, Any]
    ) -> tuple[bool, Any]:
        tensors = _tensors((args, kwargs.values()))
        device = kwargs.get("device") if target.makes else None
        is_real = device.type != "meta" if device is not None else not any(t.is_meta for t in tensors)
        shape = None
        if not (target.in_place and is_real):
            try:
                more = {**kwargs, "device": META} if target.makes else kwargs
                shape = func(*self.on_meta(func, args), **self.on_meta(func, more))
            except NotImplementedError:
                shape = None
            views = target.in_place or target.alias >= 0
            if not views and sum(t.numel() for t in _tensors(shape)) > _MOST:
                return False, None
        if target.makes and (device is not None or not _tensors(args)):
            kwargs = {**kwargs, "device": _CPU}
        with torch.random.fork_rng(devices=[]) if target.seeded else contextlib.nullcontext():
            real = func(*_mapped(args, lambda t: values[id(t)]), **_mapped(kwargs, lambda t: values[id(t)]))
        if is_real or shape is None:
            self.real.update(id(t) for t in _tensors(real))
            return True, real
        for made, held in zip(_tensors(shape), _tensors(real), strict=True):
            self._beside[id(made)] = held
        return True, args[0] if target.in_place else shape

    def remember(self, out: Any, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any]) -> None:
        """How a tensor that is a shape alone was made from weights, should somebody ask for its values."""
        if not target.in_place and isinstance(out, torch.Tensor):
            self._made[id(out)] = func, args, kwargs

    def value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The tensor with its values; None where they are not known."""
        held = self._held(tensor)
        if held is not None:
            return held
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
        more = {k: _CPU if k == "device" and v is not None else v for k, v in kwargs.items()}
        out = func(*_mapped(args, lambda t: values[id(t)]), **_mapped(more, lambda t: values[id(t)]))
        return out if isinstance(out, torch.Tensor) else None

    def has(self, tensor: torch.Tensor) -> bool:
        """Whether the values of a tensor are there."""
        return not tensor.is_meta or id(tensor) in self._beside

    def on_meta(self, func: Any, given: Any) -> Any:
        """Arguments with shapes in the place of real tensors; the same object where there are none."""
        held = _tensors(given.values() if isinstance(given, dict) else given) if self.real or self._beside else ()
        masks = func is _INDEX and isinstance(given, tuple) and any(self._is_mask(t) for t in given[1])
        if masks:
            given = (given[0], [p for t in given[1] for p in self._picked(t)])
        elif not any(id(t) in self.real for t in held):
            return given
        return _mapped(given, self._twin)

    def _is_mask(self, table: torch.Tensor | None) -> bool:
        return table is not None and table.dtype in (torch.bool, torch.uint8) and self.has(table)

    def _picked(self, table: torch.Tensor | None) -> list[torch.Tensor | None]:
        """A mask whose values are known as the numbers that it picks; another table as it is."""
        if table is None or not self._is_mask(table):
            return [table]
        values = self._held(table)
        assert values is not None
        found: list[torch.Tensor | None] = list(values.nonzero().unbind(1))
        self.real.update(id(t) for t in found)
        self._kept.extend(found)
        return found

    def _twin(self, tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in self.real:
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
