"""What the commonest layers dispatch to, said from their attributes.

A layer's own forward goes through a dozen frames of Python and C++ until one op of the dispatcher is met, and longer
than everything the tracer does with it. Only torch's own classes are known here, and only where nothing was hung on
them; the tests hold each against its forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn

_aten = torch.ops.aten
Direct: TypeAlias = Callable[[Any, torch.Tensor, int], tuple[Any, tuple[Any, ...]] | None]
"""(layer, input, its dimensions): the op and its arguments, None where only the forward knows."""


def _convolution(layer: Any, x: torch.Tensor, rank: int) -> tuple[Any, tuple[Any, ...]] | None:
    """A plain convolution of a batch; padding given in words or other than with zeros is left to the forward."""
    stride, padding, held = layer.stride, layer.padding, layer._parameters
    if rank != len(stride) + 2 or layer.padding_mode != "zeros" or type(padding) is str or len(held) != 2:
        return None
    none = [0] * len(stride)
    steps = list(stride), list(padding), list(layer.dilation)
    return _aten.convolution.default, (x, held["weight"], held["bias"], *steps, False, none, layer.groups)


def _norm(ranks: tuple[int, ...]) -> Direct:
    def read(layer: Any, x: torch.Tensor, rank: int) -> tuple[Any, tuple[Any, ...]] | None:
        held, buffers = layer._parameters, layer._buffers
        mean, variance = buffers.get("running_mean"), buffers.get("running_var")
        if rank not in ranks or layer.training or mean is None or variance is None or len(held) != 2:
            return None
        values = held["weight"], held["bias"], mean, variance
        return _aten.native_batch_norm.default, (x, *values, False, layer.momentum or 0.0, layer.eps)

    return read


def _activation(plain: Any, in_place: Any, *more: float) -> Direct:
    return lambda layer, x, rank: (in_place if layer.inplace else plain, (x, *more))


def _max_pool(layer: Any, x: torch.Tensor, rank: int) -> tuple[Any, tuple[Any, ...]] | None:
    if rank != 4 or layer.return_indices:
        return None
    steps = [_pair(v) for v in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)]
    return _aten.max_pool2d_with_indices.default, (x, *steps, layer.ceil_mode)


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
}


def direct(layer: nn.Module, forward: Callable[..., Any]) -> Direct | None:
    """How to ask this layer for its op; None for a layer of another class, or one whose forward or input is changed."""
    found = _KNOWN.get(type(layer))
    if found is None or layer._forward_pre_hooks or getattr(forward, "__func__", None) is not type(layer).forward:
        return None
    return found
