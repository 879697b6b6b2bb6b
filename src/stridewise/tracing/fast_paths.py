"""What the commonest layers dispatch to, said from their attributes.

A layer's own forward goes through a dozen frames of Python and C++ until one op of the dispatcher is met, and longer
than everything the tracer does with it. Only torch's own classes are known here, and only where nothing was hung on
them; the tests hold each against its forward.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn

_aten = torch.ops.aten
Held: TypeAlias = tuple[torch.Tensor | None, ...]
Direct: TypeAlias = Callable[[Any, nn.Module, int], tuple[Any, Held, tuple[Any, ...]] | None]
"""(layer in eval, one that holds its tensors, dimensions of its input): the op, the layer's tensors and the numbers it
takes behind the input. The op is None where the input is given out as it is, the whole answer where only the forward
knows."""


def _convolution(layer: Any, holder: nn.Module, rank: int) -> tuple[Any, Held, tuple[Any, ...]] | None:
    """A plain convolution of a batch; padding given in words or other than with zeros is left to the forward."""
    stride, padding, held = layer.stride, layer.padding, holder._parameters
    if rank != len(stride) + 2 or layer.padding_mode != "zeros" or type(padding) is str or len(held) != 2:
        return None
    none = [0] * len(stride)
    steps = list(stride), list(padding), list(layer.dilation)
    return _aten.convolution.default, (held["weight"], held["bias"]), (*steps, False, none, layer.groups)


def _norm(ranks: tuple[int, ...]) -> Direct:
    def read(layer: Any, holder: nn.Module, rank: int) -> tuple[Any, Held, tuple[Any, ...]] | None:
        held, buffers = holder._parameters, holder._buffers
        mean, variance = buffers.get("running_mean"), buffers.get("running_var")
        if rank not in ranks or mean is None or variance is None or len(held) != 2:
            return None
        numbers = False, layer.momentum or 0.0, layer.eps
        return _aten.native_batch_norm.default, (held["weight"], held["bias"], mean, variance), numbers

    return read


def _activation(plain: Any, in_place: Any, *more: float) -> Direct:
    return lambda layer, holder, rank: (in_place if layer.inplace else plain, (), more)


def _max_pool(layer: Any, holder: nn.Module, rank: int) -> tuple[Any, Held, tuple[Any, ...]] | None:
    if rank != 4 or layer.return_indices:
        return None
    steps = [_pair(v) for v in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)]
    return _aten.max_pool2d_with_indices.default, (), (*steps, layer.ceil_mode)


def _nothing(layer: Any, holder: nn.Module, rank: int) -> tuple[Any, Held, tuple[Any, ...]]:
    return None, (), ()


def _pair(value: Any) -> list[int]:
    return [value, value] if type(value) is int else list(value)


_KNOWN: Mapping[type[nn.Module], Direct] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.BatchNorm1d: _norm((2, 3)),
    nn.BatchNorm2d: _norm((4,)),
    nn.BatchNorm3d: _norm((5,)),
    nn.MaxPool2d: _max_pool,
    nn.ReLU: _activation(_aten.relu.default, _aten.relu_.default),
    nn.ReLU6: _activation(_aten.hardtanh.default, _aten.hardtanh_.default, 0.0, 6.0),
    nn.SiLU: _activation(_aten.silu.default, _aten.silu_.default),
    nn.Hardswish: _activation(_aten.hardswish.default, _aten.hardswish_.default),
    nn.Hardsigmoid: _activation(_aten.hardsigmoid.default, _aten.hardsigmoid_.default),
    nn.Sigmoid: lambda layer, holder, rank: (_aten.sigmoid.default, (), ()),
    nn.Identity: _nothing,
    nn.Dropout: _nothing,
    nn.Dropout2d: _nothing,
}


def is_own_forward(layer: nn.Module) -> bool:
    """Whether a layer runs as its class says: no forward of its own, no hook."""
    state = layer.__dict__
    return not ("forward" in state or state["_forward_hooks"] or state["_forward_pre_hooks"])


def direct(layer: nn.Module) -> Direct | None:
    """How to ask this layer for its op; None for a layer of another class, or one whose forward is changed."""
    found = _KNOWN.get(type(layer))
    state = layer.__dict__
    if (
        found is None
        or state["_modules"]
        or not is_own_forward(layer)
        or not _HELD.issuperset(map(type, state.values()))
    ):
        return None
    held = (*state["_parameters"].values(), *state["_buffers"].values())
    return found if _PLAIN.issuperset(map(type, held)) else None


_PLAIN = frozenset((nn.Parameter, torch.Tensor, type(None)))
_HELD = frozenset((int, float, bool, str, tuple, dict, OrderedDict, set, type(None)))
