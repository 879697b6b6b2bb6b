"""Shapes of ops that change the positions: convolutions, pools, resizes, padding. See `shape_functions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

from stridewise.axis import Window
from stridewise.errors import GeometryError
from stridewise.ops.conv import Each, windows
from stridewise.ops.pool import each_axis
from stridewise.tracing.meta_tensors import is_float, new

Arguments = Sequence[Any]


def _convolution(args: Arguments, plain: Arguments) -> Any:
    if len(args) != 9:
        return None
    x, weight, bias, stride, padding, dilation, transposed, extra, groups = args
    dtype = x.dtype
    if dtype is not weight.dtype or not (dtype.is_floating_point and x.is_contiguous() and weight.is_contiguous()):
        return None
    steps = tuple(stride), tuple(padding), tuple(dilation), transposed, tuple(extra)
    shape = _convolved(plain[0].shape, plain[1].shape, groups, *steps)
    if shape is None or (bias is not None and plain[2].shape != shape[1:2]):
        return None
    return new(shape, dtype)


@lru_cache(maxsize=4096)
def _convolved(
    shape: Each, weight: Each, groups: int, stride: Each, padding: Each, dilation: Each, transposed: bool, extra: Each
) -> Each | None:
    """The shape that comes out of a convolution, None where something does not fit."""
    if len(shape) != len(weight) or len(shape) < 3:
        return None
    taken, made = (weight[0], weight[1] * groups) if transposed else (weight[1] * groups, weight[0])
    if shape[1] != taken or weight[0] % groups:
        return None
    try:
        maps = windows(weight[2:], stride, padding, dilation, transposed, extra)
        return (shape[0], made, *(m.out_size(n) for m, n in zip(maps, shape[2:], strict=True)))
    except GeometryError:
        return None


def _max_pool(args: Arguments, plain: Arguments) -> Any:
    shape = _pooled(args, plain[0].shape, *args[1:])
    return None if shape is None else (new(shape, args[0].dtype), new(shape, torch.int64))


def _avg_pool(args: Arguments, plain: Arguments) -> Any:
    more = (1, args[4]) if len(args) > 4 else ()
    shape = _pooled(args, plain[0].shape, *args[1:4], *more)
    return None if shape is None or len(args) == 7 else new(shape, args[0].dtype)


def _pooled(
    args: Arguments, shape: Each, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: Any = False
) -> Each | None:
    """The shape that comes out of a pool over two axes."""
    if len(shape) != 4 or not args[0].is_contiguous() or not is_float(args[0]):
        return None
    steps = each_axis(stride or kernel, 2, 1)
    each = each_axis(kernel, 2, 1), steps, each_axis(padding, 2, 0), each_axis(dilation, 2, 1)
    sizes = []
    for size, k, s, p, d in zip(shape[2:], *each, strict=True):
        if 2 * p > k or min(k, s, d) < 1 or p < 0:
            return None
        try:
            window = Window(kernel=k, stride=s, dilation=d, pad_begin=p, pad_end=p, ceil_mode=ceil)
            sizes.append(window.out_size(size))
        except GeometryError:
            return None
    return (*shape[:2], *sizes)


def _resized(args: Arguments, plain: Arguments) -> Any:
    """Interpolation of a map to the sizes that come second."""
    x, shape, to = args[0], plain[0].shape, tuple(args[1])
    if len(shape) != 4 or len(to) != 2 or min(*to, *shape) < 1 or not (x.is_contiguous() and is_float(x)):
        return None
    return new((*shape[:2], *to), x.dtype)


def _padded(args: Arguments, plain: Arguments) -> Any:
    x, shape, rows = args[0], plain[0].shape, args[1]
    if len(rows) % 2 or len(rows) > 2 * len(shape) or not (x.is_contiguous() and is_float(x)):
        return None
    sizes = list(shape)
    for at in range(len(rows) // 2):
        sizes[-1 - at] += rows[2 * at] + rows[2 * at + 1]
        if sizes[-1 - at] < 1 or min(rows) < 0:
            return None
    return new(tuple(sizes), x.dtype)


WINDOWS: Mapping[str, Any] = {
    "convolution": _convolution,
    "max pool": _max_pool,
    "avg pool": _avg_pool,
    "resized": _resized,
    "padded": _padded,
}
