"""A structural copy of a model: the same modules, parameters as shapes on the meta device, no weight copied.

Tracing runs on this copy, in eval mode, so the user's model keeps its hooks, buffers, attributes and modes whatever
happens. Modules are rebuilt from their `__dict__`; lists, tuples, dicts and bound methods inside are followed. A
layer's tensors are copied only when somebody looks at them: most layers' ops are known from their attributes (see
`targets`), and copying their tensors takes longer than reading them.
"""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from stridewise.errors import TraceError
from stridewise.tracing.steps import PatchedForward


class Later(dict[str, Any]):
    """A dictionary that is filled with what `make` gives of `held` when it is first looked at."""

    __slots__ = ("held", "make")

    def __init__(self, make: Callable[[Any], Mapping[str, Any]], held: Any) -> None:
        self.make: Callable[[Any], Mapping[str, Any]] | None = make
        self.held = held

    def let_go(self, told: Callable[[Any], Any], make: Callable[[Any], Mapping[str, Any]]) -> None:
        """Hold what `told` says of what was held, and not the thing itself, where nobody has looked yet."""
        if self.make is not None:
            self.held, self.make = told(self.held), make


def untouched(layer: nn.Module) -> bool:
    """Whether nobody has looked at a copy's tensors yet."""
    state = layer.__dict__
    parameters, buffers = state["_parameters"], state["_buffers"]
    return not (
        (type(parameters) is Later and parameters.make is None) or (type(buffers) is Later and buffers.make is None)
    )


def _looked_at(name: str) -> Callable[..., Any]:
    own = getattr(dict, name)

    def look(self: Later, *args: Any, **kwargs: Any) -> Any:
        make, self.make = self.make, None
        if make is not None:
            dict.update(self, make(self.held))
        return own(self, *args, **kwargs)

    return look


_LOOKS = """__contains__ __getitem__ __setitem__ __delitem__ __iter__ __reversed__ __len__ __eq__ __or__ __ror__ __ior__
__repr__ clear copy get items keys pop popitem setdefault update values""".split()
for _name in _LOOKS:
    setattr(Later, _name, _looked_at(_name))


Way: TypeAlias = Callable[[nn.Module, tuple[Any, ...], Mapping[str, Any]], Any]
"""(copy of a layer, arguments, named arguments): its output, None where only its forward gives that."""
_META = torch.device("meta")
_FEW = 64  # numbers of a plain attribute that are kept as they are
# What holds nothing of the model; looked up by type, since most attributes are of these.
_ATOMS = frozenset(
    (int, float, bool, str, bytes, type(None), type, torch.dtype, torch.device, torch.Size, types.FunctionType)
)


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether nothing of the model is among these, which most tuples (kernel sizes, strides) say of themselves."""
    return _ATOMS.issuperset(map(type, values))


@lru_cache(maxsize=4096)
def _example(shape: torch.Size, strides: tuple[int, ...] | None, dtype: torch.dtype) -> torch.Tensor:
    """A tensor on the meta device, where those of one shape may share a memory that there is none of."""
    if strides is None:
        return torch.empty(shape, dtype=dtype, device=_META)
    return torch.empty_strided(shape, strides, dtype=dtype, device=_META)


class Cloner:
    """Copies modules and what they hold; remembers what it copied, so that shared parts stay shared."""

    def __init__(
        self,
        wrap: Callable[[nn.Module, str, Callable[..., Any], bool], Callable[..., Any]],
        known: Callable[[nn.Module, str], Way | None] = lambda module, path: None,
    ) -> None:
        self.memo: dict[int, Any] = {}
        self.parameters: dict[int, torch.Tensor] = {}
        self.learned: dict[int, int] = {}
        self.originals: dict[int, torch.Tensor] = {}
        self.copies: list[nn.Module] = []
        self.stated: list[tuple[str, torch.Tensor]] = []
        self.own: list[tuple[nn.Module, str, Any]] = []  # what the copies get back in the end
        self.wrap = wrap
        self.known = known

    def module(self, module: nn.Module, path: str = "") -> nn.Module:
        """The copy of `module`, its forward wrapped by `wrap(copy, path, forward, leaf)`.

        Where `known(module, path)` gives a way to run it, its tensors are copied when somebody looks at them.
        """
        found = self.memo.get(id(module))
        if found is not None:
            return found  # type: ignore[no-any-return]
        cls = type(module)
        for parameter in module._parameters.values():
            if parameter is not None:
                self.parameters[id(parameter)] = parameter
        way = self.known(module, path)
        if way is not None:
            return self._leaf(module, path, way)
        if isinstance(module, torch.jit.ScriptModule):
            raise TraceError(
                f"{path or 'the model'}: is TorchScript, which runs unseen: trace the module it was made from"
            )
        original = module._modules.get("_orig_mod")
        if original is not None and cls.__name__ == "OptimizedModule":  # torch.compile's wrapper
            copy = self.memo[id(module)] = self.module(original, path)
            return copy
        copy = cls.__new__(cls)
        self.memo[id(module)] = copy
        self._fill(copy, module, path)
        return copy

    def _leaf(self, module: nn.Module, path: str, way: Way) -> nn.Module:
        """A copy of a layer that holds nothing but tensors and plain values."""
        cls = type(module)
        copy = self.memo[id(module)] = cls.__new__(cls)
        self.copies.append(copy)
        state = dict(module.__dict__)
        state["training"] = False
        parameters, buffers = state["_parameters"], state["_buffers"]
        state["_parameters"] = Later(self._tensors, parameters) if parameters else {}
        state["_buffers"] = Later(self._tensors, buffers) if buffers else {}
        state["_forward_hooks"], state["_forward_pre_hooks"] = OrderedDict(), OrderedDict()
        object.__setattr__(copy, "__dict__", state)

        def forward(*args: Any, **kwargs: Any) -> Any:
            out = way(copy, args, kwargs)
            return out if out is not None else self.wrap(copy, path, cls.forward.__get__(copy), True)(*args, **kwargs)

        state["forward"] = forward
        return copy

    def _tensors(self, held: Mapping[str, torch.Tensor | None]) -> dict[str, torch.Tensor | None]:
        """Copies made in the middle of a forward: nobody who watches that sees them."""
        with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
            return {name: self.tensor(tensor) for name, tensor in held.items()}

    def _fill(self, copy: nn.Module, module: nn.Module, path: str) -> None:
        self.copies.append(copy)
        state = dict(module.__dict__)
        parameters, buffers, modules = state["_parameters"], state["_buffers"], state["_modules"]
        state["_parameters"] = {k: self.tensor(p) for k, p in parameters.items()}
        state["_buffers"] = {k: self.tensor(b) for k, b in buffers.items()}
        state["_modules"] = {
            k: None if m is None else self.module(m, f"{path}.{k}" if path else k) for k, m in modules.items()
        }
        stride = state.get("stride", buffers.get("stride"))
        if type(stride) is torch.Tensor:  # a head's own, and no window's
            self.stated.append((f"{path}.stride" if path else "stride", stride))
        for name, value in state.items():
            if type(value) in _ATOMS or name in _OWN:
                continue
            if type(value) is not tuple or not _is_plain(value):
                state[name] = self.value(value)
        for name in _HOOKS:
            if name in state:
                state[name] = type(state[name])((k, self.value(h)) for k, h in state[name].items())
        state["training"] = False
        forward = state.pop("forward", None)
        object.__setattr__(copy, "__dict__", state)
        if forward is None:
            forward = types.MethodType(type(module).forward, copy)
        else:
            self.own.append((copy, "forward", forward))
        if state["_forward_hooks"]:
            self.own.append((copy, "_forward_hooks", state["_forward_hooks"]))
        state["forward"] = self.wrap(copy, path, forward, not modules)

    def release(self) -> None:
        """Leave the copies as the modules are: without our forwards, by which they hold themselves, and without a hold
        on weights nobody has looked at."""
        for copy in self.copies:
            state = copy.__dict__
            state.pop("forward", None)
            for held in (state["_parameters"], state["_buffers"]):
                if type(held) is Later:
                    held.let_go(_shapes_of, _of_shapes)
        for copy, name, value in self.own:
            copy.__dict__[name] = value
        self.own.clear()
        self.copies.clear()
        self.memo.clear()

    def tensor(self, tensor: torch.Tensor | None) -> torch.Tensor | None:
        """The same shape, strides and dtype on the meta device."""
        if tensor is None:
            return None
        found = self.memo.get(id(tensor))
        if found is not None:
            return found  # type: ignore[no-any-return]
        kind = type(tensor)
        is_parameter = kind is nn.Parameter
        if not is_parameter and kind is not torch.Tensor:  # asking takes longer than all the rest
            is_parameter = isinstance(tensor, nn.Parameter)
            if is_lazy(tensor):
                raise TraceError("a lazy module has no weights yet: run the model once on real data, then trace it")
        strides = tensor.stride() if tensor.layout is torch.strided else None
        copy = _example(tensor.shape, strides, tensor.dtype).data
        self.memo[id(tensor)] = copy
        self.originals[id(copy)] = tensor
        if is_parameter:
            self.learned[id(copy)] = tensor.numel()
        return copy

    def stored(self, tensor: torch.Tensor | None) -> torch.Tensor | None:
        """A tensor that is an attribute: with its values where these are few, as of strides and anchors."""
        if tensor is None or type(tensor) is not torch.Tensor or tensor.is_meta or tensor.numel() > _FEW:
            return self.tensor(tensor)
        found = self.memo.get(id(tensor))
        if found is None:
            found = self.memo[id(tensor)] = tensor.detach().to("cpu", copy=True)
            self.originals[id(found)] = tensor
        return found

    def value(self, value: Any) -> Any:
        """A copy of a container, method, module or tensor that leads back into the model; anything else as it is."""
        if isinstance(value, nn.Module):
            return self.module(value, "")
        if isinstance(value, torch.Tensor):
            return self.stored(value)
        kind = type(value)
        if kind is list:
            return list(value) if _is_plain(value) else [self.value(v) for v in value]
        if kind is tuple:
            return value if _is_plain(value) else tuple([self.value(v) for v in value])
        if kind is dict:
            return {k: self.value(v) for k, v in value.items()}
        if kind is set or kind in _ATOMS:
            return value
        if isinstance(value, PatchedForward):  # an override of this model's own, met again through a shared reference
            if id(value) not in self.memo:
                self.memo[id(value)] = value.on(self.module(value.module), self.value)
            return self.memo[id(value)]
        if kind is types.MethodType and id(value.__self__) in self.memo:
            return types.MethodType(value.__func__, self.memo[id(value.__self__)])
        return value


def _shapes_of(held: Mapping[str, torch.Tensor | None]) -> dict[str, Any]:
    """What a copy of these tensors needs: shape, strides, dtype."""
    return {k: None if t is None else (t.shape, t.stride(), t.dtype) for k, t in held.items()}


def _of_shapes(held: Mapping[str, Any]) -> dict[str, torch.Tensor | None]:
    return {k: None if t is None else _example(*t).data for k, t in held.items()}


_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_OWN = {
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_is_full_backward_hook",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
}
