"""The dispatch mode that follows a forward on the meta device and tells a Builder what it sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook
from torch.utils._python_dispatch import TorchDispatchMode

from stridewise.building.builder import Builder
from stridewise.building.recorded import ModuleCall
from stridewise.ops import find_torch
from stridewise.ops.draft import Value
from stridewise.ops.layout import LayoutError, reshaped
from stridewise.ops.recurrent import RECURRENT, Recurrent
from stridewise.ops.step import op_of
from stridewise.tracing.clone import Way, untouched
from stridewise.tracing.constants import Constants, Ended, asks_for_values
from stridewise.tracing.doubts import NOTHING_CUT
from stridewise.tracing.layouts import Looking
from stridewise.tracing.meta_tensors import META, place_of, whole_of
from stridewise.tracing.provenance import Provenance, Written
from stridewise.tracing.shape_functions import empty
from stridewise.tracing.steps import Step
from stridewise.tracing.targets import Target, direct, dispatched, recurrent, target_of


@lru_cache(maxsize=4096)
def _plain_dims(shape: tuple[int, ...]) -> tuple[tuple[int], ...]:
    """Dimensions without positions; most weights of a network share a few shapes."""
    return tuple([(size,) for size in shape])


@lru_cache(maxsize=4096)
def _weight(shape: tuple[int, ...], learned: int) -> Value:
    """A weight of the model itself, of which nothing but its shape is taken."""
    return Value(tuple(shape), _plain_dims(tuple(shape)), None, None, "weight", False, learned)


_SLICE = find_torch("aten.slice.Tensor")
_PLAIN = frozenset((int, bool, float, type(None)))
_Unseen = torch._C._DisableTorchDispatch
_EMPTY = torch.ops.aten.empty.memory_format
# Whether somebody counts or replaces calls of torch's functions, which then have to be made.
_watched = torch._C._len_torch_function_stack


class Tracer(TorchDispatchMode):
    """Feeds every dispatched call to a Builder; answers pointwise ops and batch norm without running them."""

    def __init__(self, builder: Builder, looking: Looking | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.builder = builder
        self.values: dict[int, Value] = {}
        self.learned: dict[int, int] = {}
        self.constants = Constants()
        self.alive: list[Any] = []
        self.owner: ModuleCall | None = None
        self.calls: list[ModuleCall] = []
        self.counts: dict[str, int] = {}
        self.looking = looking
        self.holds_picks = looking is not None  # not where only sizes are asked, of inputs that it may not take
        self.hooked = bool(_has_any_global_hook())
        self.written: Written | None = None
        self.provenance: Provenance | None = None

    def note(self, written: Written | None) -> None:
        """What the function about to run was called with."""
        self.written = written

    def asking(self) -> Provenance:
        """A mode that follows where numbers come from."""
        self.provenance = Provenance(lambda x: self.values.get(id(x)), self.note)
        return self.provenance

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch wraps a mode's every call to keep its compiler out, which takes longer than the call itself."""
        return False

    def watch(self, tensor: torch.Tensor, value: Value) -> None:
        """Follow a tensor by its identity; it is kept alive so that the identity stays its own."""
        self.values[id(tensor)] = value
        self.alive.append(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _EMPTY and args[0] == [0]:  # torch's batch norm asks for one with every call
            out = empty(args, kwargs or {})
            if out is not None:
                self._constant(out, ())
                return out
        target = target_of(func)
        if target.picks and self.holds_picks:
            self.constants.check_picks(target, args)
        values = self.values
        operands: list[Value] = []
        plain = []
        for arg in args:
            if type(arg) in _PLAIN:
                plain.append(arg)
                continue
            value = values.get(id(arg))
            if value is None:
                plain.append(self._plain(arg, operands))
            else:
                plain.append(value)
                operands.append(value)
        named = {k: self._plain(v, operands) for k, v in kwargs.items()} if kwargs else {}
        for value in operands:
            if value.index is not None:
                break
        else:
            return self._without_input(func, target, args, kwargs or {}, plain, named, operands)
        if target.asks and asks_for_values(func, args, self.constants.has):
            raise Ended(f"{target.called} asks for values that depend on the input")
        given = args
        if self.constants.real or target.asks:
            args, kwargs = self.constants.on_meta(func, args), self.constants.on_meta(func, kwargs or {})
        asked = target.answer is not None and not (kwargs and "dtype" in kwargs)
        out = target.answer(args, plain) if asked else None  # type: ignore[misc]
        if out is None:
            try:
                out = self._execute(func, target, args, kwargs or {})
            except NotImplementedError as error:
                raise Ended(f"torch has no shapes for {target.called}") from error
        if target.in_place and given is not args:
            out = given[0]
        self._follow(target, given, plain, named, operands, out)
        return out

    def _without_input(
        self,
        func: Any,
        target: Target,
        args: Any,
        kwargs: Mapping[str, Any],
        plain: Sequence[Any],
        named: dict[str, Any],
        operands: Sequence[Value],
    ) -> Any:
        """A call on weights and constants: its values are known, or can be worked out when somebody asks."""
        found, out = self.constants.call(func, target, args, kwargs)
        if not found:
            asked = target.answer is not None and not self.constants.real and "dtype" not in kwargs
            out = target.answer(args, plain) if asked else None  # type: ignore[misc]
            if out is None:
                on_meta = self.constants.on_meta
                out = self._execute(func, target, on_meta(func, args), on_meta(func, kwargs))
            self.constants.remember(out, func, target, args, kwargs)
        if target.counts and operands:
            self._constant_work(target, plain, named, out, operands)
        self._constant(out, operands, varies=target.varies)
        return out

    def _follow(
        self,
        target: Target,
        args: Sequence[Any],
        plain: Sequence[Any],
        named: dict[str, Any],
        operands: Sequence[Value],
        out: Any,
    ) -> None:
        """Tell the builder of a call, and remember what it gave out."""
        if target.axes and self.looking is not None and self.looking.sees(self.builder, plain, target.axes):
            self.looking = None
        outs = [out] if isinstance(out, torch.Tensor) else _several(out)[: target.outputs]
        if not outs:
            return
        shared = plain[target.alias] if target.alias >= 0 and plain else None
        alias = shared.index if isinstance(shared, Value) else None
        specs = [(tuple(t.shape), t.element_size(), alias) for t in outs]
        op = target.op
        if self.written is not None:
            nothing_cut = target.name == NOTHING_CUT
            known = self.written.told(target.name, plain, nothing_cut)
            op, plain = (_SLICE if nothing_cut and known is not plain else op), known
        made = self.builder.add(op, target.name, plain, named, specs, self.owner, operands)
        for tensor, value in zip(outs, made, strict=True):
            self.values[id(tensor)] = value
        self.alive.extend(outs)
        if target.writes and args[0]._base is not None:
            self._written(args[0], made[0], args)

    def _constant_work(
        self, target: Target, plain: Sequence[Any], named: dict[str, Any], out: Any, operands: Sequence[Value]
    ) -> None:
        """Work that does not depend on the input (biases from a table) is done in every forward all the same."""
        specs = [(tuple(t.shape), t.element_size(), None) for t in _several(out)]
        self.builder.add(target.op, target.name, plain, named, specs, self.owner, operands)

    def _written(self, view: torch.Tensor, part: Value, args: Sequence[Any]) -> None:
        """Follow an in-place op on a view: the tensor it shows a part of has changed there."""
        whole = whole_of(view)
        if whole is None or any(isinstance(a, torch.Tensor) and a._base is whole for a in args[1:]):
            # A border filled with the tensor's own positions (circular padding) reaches no further.
            held = self.values.get(id(whole)) if whole is not None else None
            if held is not None and held.index is not None:
                self.builder.wraps(held.index)
            return
        held = self.values.get(id(whole)) or self._stranger(whole)
        place = place_of(view, whole)
        if place is not None and part.dims is not None:
            try:
                layout = reshaped(part.dims, place[1]) if part.shape != place[1] else part.dims
            except LayoutError:  # told as an unknown write, where positions are at stake
                layout = None
            part = Value(place[1], layout, part.grid, part.index, part.origin)
        write = find_torch("stridewise.write") if place is not None else None
        operands = [held, part]
        specs = [(tuple(whole.shape), whole.element_size(), held.index)]
        arguments = [held, part, place[0] if place else ()]
        made = self.builder.add(write, "stridewise.write", arguments, {}, specs, self.owner, operands)
        self.watch(whole, made[0])
        if held.index is not None and made[0].index is not None:
            self.builder.measure_as(held.index, made[0].index)

    def _execute(self, func: Any, target: Target, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """The call's output on the meta device, whatever device its operands or the forward name."""
        if target.makes and (kwargs.get("device") is not None or not any(isinstance(a, torch.Tensor) for a in args)):
            kwargs = {**kwargs, "device": META}
        return func(*args, **kwargs)

    def _plain(self, arg: Any, operands: list[Value]) -> Any:
        kind = type(arg)
        if kind in _PLAIN:
            return arg
        if kind is list or kind is tuple:
            return arg if _PLAIN.issuperset(map(type, arg)) else [self._plain(a, operands) for a in arg]
        if isinstance(arg, torch.Tensor):
            value = self.values.get(id(arg)) or self._stranger(arg)
            operands.append(value)
            return value
        return arg

    def _stranger(self, tensor: torch.Tensor) -> Value:
        """A tensor met for the first time: a weight's copy, or a constant the forward got from elsewhere."""
        shape = tuple(tensor.shape)
        value = Value(shape, _plain_dims(shape), None, None, "weight", False, self.learned.get(id(tensor), 0))
        self.values[id(tensor)] = value
        self.alive.append(tensor)
        if not tensor.is_meta:
            self.constants.real.add(id(tensor))
        return value

    def _constant(self, out: Any, operands: Sequence[Value], varies: bool = False) -> None:
        """What is made from weights is a weight; what is made from nothing is made here.

        varies: by an op whose entries may differ though those of its operands do not.
        """
        origin: Any = "made"
        weights = 0
        varies = varies or any(v.varies for v in operands)
        for value in {id(v): v for v in operands}.values() if operands else ():
            weights += value.weights
            origin = "weight" if value.origin == "weight" else origin
        for tensor in _several(out):
            shape = tuple(tensor.shape)
            value = Value(shape, _plain_dims(shape), None, None, origin, False, weights)
            value.varies = varies and origin == "made"
            self.values[id(tensor)] = value
            self.alive.append(tensor)

    def step(self, step: Step, x: torch.Tensor) -> torch.Tensor | None:
        """An inserted step as one op of the graph; None where its operand is not followed or nothing is done."""
        value = self.values.get(id(x))
        if value is None or value.index is None or all(s == 1 for s in step.stride):
            return None
        made, before = step.made, value.shape
        shape = (*before[:2], *(w.out_size(n) for w, n in zip(made.windows, before[2:], strict=True)))
        out = torch.empty(shape, dtype=x.dtype, device=META)
        beside = {"operand": [(before, x.element_size(), None)], "output": [(shape, 8, None)]}
        specs = [(shape, x.element_size(), None), *beside.get(made.beside, [])]
        target = f"stridewise.{made.kind}"
        values = self.builder.add(op_of(made), target, [value, made], {}, specs, self.owner, [value], name=step.key)
        self.watch(out, values[0])
        return out

    def known(self, module: nn.Module, path: str) -> Way | None:
        """How to run a layer whose op is known from its attributes, without its tensors; None for other modules.

        Its weights are looked at, and never computed with: where the op has no answer, its forward has to run.
        """
        read = direct(module)
        if read is None or self.hooked:
            return None

        def run(copy: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
            value = self.values.get(id(args[0])) if len(args) == 1 and not kwargs else None
            watched = _watched() > (self.provenance is not None)
            if value is None or value.index is None or watched or not untouched(copy) or not args[0].is_meta:
                return None
            found = read(copy, module, len(value.shape))
            if found is None:
                return None
            target, held, numbers = found
            func = None if target is None else dispatched(target)
            if self.provenance is None:
                return self._read(path, args[0], value, func, held, numbers)
            with torch._C.DisableTorchFunction():  # the tracer itself reads plain sizes
                return self._read(path, args[0], value, func, held, numbers)

        return run

    def _read(
        self, path: str, x: torch.Tensor, value: Value, func: Any, held: Sequence[Any], numbers: Sequence[Any]
    ) -> torch.Tensor | None:
        """The output of a layer that runs `func` on x, its tensors and its numbers; None where that has no answer."""
        if func is None:
            call = self._call(path, True)
            call.output = value.index
            self.calls.append(call)
            return x
        target = target_of(func)
        weights = [None if t is None else _weight(t.shape, t.numel() if type(t) is nn.Parameter else 0) for t in held]
        args, plain = (x, *held, *numbers), [value, *weights, *numbers]
        with _Unseen():  # as torch does while a mode is at work
            out = target.answer(args, plain) if target.answer is not None else None
        if out is None:
            return None
        above = self.owner
        call = self.owner = self._call(path, True)
        try:
            self._follow(target, args, plain, {}, [value, *[w for w in weights if w is not None]], out)
        except Exception as error:
            _place(error, path)
            raise
        finally:
            self.owner = above
        first: torch.Tensor = out[0] if type(out) is tuple else out
        call.output = self.values[id(first)].index
        self.calls.append(call)
        return first

    def _recur(self, layer: Recurrent, forward: Callable[..., Any], x: Any, hx: Any = None) -> Any:
        """What a recurrent layer gives out, as one op of the graph; its forward where x is no followed tensor."""
        value = self.values.get(id(x))
        if value is None or value.index is None or len(value.shape) not in (2, 3):
            return forward(x, hx)
        before = value.shape
        batch = [n for at, n in enumerate(before[:-1]) if at != (layer.time if len(before) == 3 else 0)]
        many = layer.directions * layer.layers
        shapes = [(*before[:-1], layer.directions * layer.out), (many, *batch, layer.out)]
        shapes += [(many, *batch, layer.width)] if layer.kind == "LSTM" else []
        outs = [torch.empty(shape, dtype=x.dtype, device=META) for shape in shapes]
        specs = [(tuple(shape), x.element_size(), None) for shape in shapes]
        operands = [value, _weight((layer.params,), layer.params)]
        made = self.builder.add(RECURRENT, "stridewise.recurrent", [value, layer], {}, specs, self.owner, operands)
        for out, result in zip(outs, made, strict=True):
            self.watch(out, result)
        return outs[0], tuple(outs[1:]) if layer.kind == "LSTM" else outs[1]

    def _call(self, path: str, leaf: bool) -> ModuleCall:
        """The next call of a module."""
        number = self.counts[path] = self.counts.get(path, 0) + 1
        return ModuleCall(path, number, self.owner, leaf)

    def wrap(self, copy: nn.Module, path: str, forward: Callable[..., Any], leaf: bool) -> Callable[..., Any]:
        """The copy's forward, telling the tracer which module runs; a step inserted behind it runs as part of it."""
        layer = recurrent(copy)
        if layer is not None:
            forward = partial(self._recur, layer, forward)
        steps = [h for h in copy._forward_hooks.values() if isinstance(h, Step)]
        if steps:
            copy._forward_hooks = type(copy._forward_hooks)(
                (k, h) for k, h in copy._forward_hooks.items() if not isinstance(h, Step)
            )

        def run(*args: Any, **kwargs: Any) -> Any:
            above = self.owner
            call = self.owner = self._call(path, leaf)
            try:
                out = forward(*args, **kwargs)
                for step in steps:
                    before = len(self.builder.nodes)
                    out = step(copy, args, out)
                    made = len(self.builder.nodes) > before
                    if step.made.slot:
                        call.inserted = (step.kind, step.stride, before if made else None)
            except Exception as error:
                _place(error, path)
                raise
            finally:
                self.owner = above
            if isinstance(out, torch.Tensor):
                value = self.values.get(id(out))
                call.output = value.index if value is not None else None
                self.calls.append(call)
            return out

        return run


def _place(error: Exception, path: str) -> None:
    """Say at an error in which module it came up, the innermost."""
    if not hasattr(error, "stridewise_where"):
        error.stridewise_where = path  # type: ignore[attr-defined]


def _several(out: Any) -> list[torch.Tensor]:
    """The tensors an op returned; it may return other things too (a profiler's record)."""
    if isinstance(out, torch.Tensor):
        return [out]
    return [o for o in out if isinstance(o, torch.Tensor)] if isinstance(out, list | tuple) else []
