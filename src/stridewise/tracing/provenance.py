"""Where the numbers of a forward come from: sizes it reads become numbers that know their expression (`Counted`).

torch's dispatcher is given plain numbers, so what a function was called with is noted above it, and told again to the
calls that the function becomes. Only networks whose sizes look like constants are traced this way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from stridewise.counted import Count, Counted
from stridewise.ops.draft import Value
from stridewise.ops.layout import Digit

_SHAPE = torch.Tensor.shape.__get__  # type: ignore[attr-defined]
_SIZE = torch.Tensor.size
_SLICED = (torch.Tensor.__getitem__, torch.Tensor.narrow, torch.narrow)
_SPLIT = (torch.Tensor.split, torch.split, torch.functional.split)
_CHUNK = (torch.Tensor.chunk, torch.chunk)


class Written:
    """What one function was called with: slices by dimension, the size of parts, lists, and numbers by their value.

    serial: which call with slices of the forward it is.
    """

    __slots__ = ("lists", "numbers", "part", "serial", "slices")

    def __init__(self, serial: int) -> None:
        self.serial = serial
        self.slices: dict[int, slice] = {}
        self.part: Any = None
        self.lists: list[tuple[Any, ...]] = []
        self.numbers: dict[int, list[Count]] = {}

    def told(self, name: str, plain: Sequence[Any], nothing_cut: bool) -> Sequence[Any]:
        """The arguments of a call with what is known of them."""
        if nothing_cut and self.slices and isinstance(plain[0], Value):
            return self._sliced(plain[0], max(self.slices), 1)
        if name == "aten.slice.Tensor" and self.slices:
            dim = plain[1] if len(plain) > 1 else 0
            return self._sliced(plain[0], dim, plain[4] if len(plain) > 4 else 1) if dim in self.slices else plain
        if name == "aten.split.Tensor" and self.part is not None:
            return [*plain[:2], plain[2] if len(plain) > 2 else 0, self.part]
        return [self._number(entry) for entry in plain] if self.numbers else plain

    def _sliced(self, x: Value, dim: int, step: int) -> Sequence[Any]:
        """The arguments of one slice of the call: its own part, with those before it, and behind the last, that cut
        nothing at this size."""
        cutting = [d for d, part in self.slices.items() if part.indices(x.shape[d]) != (0, x.shape[d], 1)]
        parts = {d: self.slices[d] for d in sorted(self.slices) if d <= dim or dim >= max(cutting, default=dim)}
        start, stop, _ = self.slices[dim].indices(x.shape[dim])
        self.slices = {d: part for d, part in self.slices.items() if d not in parts}
        return [x, dim, start, stop, step, parts, self.serial]

    def _number(self, entry: Any) -> Any:
        if type(entry) is int:
            ways = self.numbers.get(entry)
            return Counted.of(entry, *ways) if ways else entry
        if isinstance(entry, list | tuple) and entry and type(entry[0]) is int:
            same = next((given for given in self.lists if given == tuple(entry)), None)
            return list(same) if same is not None else [self._number(e) for e in entry]
        return entry


class Provenance(TorchFunctionMode):
    """Gives out sizes as `Counted` numbers, and notes which of them each function is called with.

    value_of: what is known of a tensor; note: told what the function about to run was called with.
    """

    def __init__(self, value_of: Callable[[Any], Value | None], note: Callable[[Written | None], None]) -> None:
        super().__init__()
        self.value_of, self.note, self.serial = value_of, note, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == _SHAPE or func is _SIZE:
            return self._sizes(func(*args, **kwargs), *args, **kwargs)
        self.note(self._written(func, args, kwargs))
        try:
            return func(*args, **kwargs)
        finally:
            self.note(None)

    def _sizes(self, found: Any, x: Any, dim: int | None = None) -> Any:
        """The sizes of a tensor, or one of them, with their expressions."""
        value = self.value_of(x)
        if value is None or value.dims is None or value.index is None:
            return found
        if dim is not None:
            return _counted(value, dim)
        return torch.Size([_counted(value, at) for at in range(len(value.shape))])

    def _written(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Written:
        written = Written(self.serial)
        if func in _SLICED:
            written.slices = dict(_slices(func, *args, **kwargs))
            self.serial += 1
        elif func in _SPLIT or func in _CHUNK:
            written.part = self._part(func in _CHUNK, *args, **kwargs)
        for number in _numbers((*args, *kwargs.values()), written.lists):
            written.numbers.setdefault(int(number), []).extend(number.ways)
        return written

    def _part(self, is_chunk: bool, x: Any, parts: Any, dim: int = 0) -> Any:
        """The size of the parts that a tensor is split into, where that is one number."""
        value = self.value_of(x)
        if not isinstance(parts, int) or value is None or value.dims is None:
            return None
        return -(-_counted(value, dim) // parts) if is_chunk else parts


def _counted(value: Value, dim: int) -> int:
    """A size of a tensor: counted where the dimension is one whole axis."""
    assert value.dims is not None
    first, *rest = value.dims[dim]
    size = value.shape[dim]
    if rest or not isinstance(first, Digit) or first.unit != 1 or first.count != size:
        return size
    return Counted.of(size, Count.size(first.grid, first.axis))


def _slices(func: Any, x: Any, *args: Any, **kwargs: Any) -> Iterator[tuple[int, slice]]:
    """By dimension the slices of a call, where it does nothing but slice."""
    rank = x.dim()
    if func is not torch.Tensor.__getitem__:
        dim, start, length = (*args, *(kwargs[k] for k in ("dim", "start", "length") if k in kwargs))
        if isinstance(start, int):
            yield dim % rank, slice(start, start + length)
        return
    index = args[0] if isinstance(args[0], tuple) else (args[0],)
    if any(entry is not Ellipsis and not isinstance(entry, slice) for entry in index):
        return
    behind = list(index).index(Ellipsis) if any(e is Ellipsis for e in index) else len(index)
    for at, part in enumerate(index):
        if part is not Ellipsis and part != slice(None):
            yield (at if at < behind else at + rank - len(index)), part


def _numbers(given: Sequence[Any], lists: list[tuple[Any, ...]]) -> Iterator[Counted]:
    """The counted numbers among arguments; lists of numbers that hold some are noted."""
    for entry in given:
        if isinstance(entry, Counted):
            yield entry
        elif isinstance(entry, tuple | list) and entry:
            inner = list(_numbers(entry, lists))
            if inner and all(isinstance(e, int) for e in entry):
                lists.append(tuple(entry))
            yield from inner
