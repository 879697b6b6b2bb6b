"""Outputs of common ops without running their meta kernels, which take most of a forward's time.

Each answer returns what the kernel would (shapes, dtypes, memory layout), or None where the call is not of the plain
kind it knows: then the kernel runs, and it is the kernel that refuses what does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch

from stridewise.errors import GeometryError
from stridewise.ops.conv import windows
from stridewise.ops.registry import Op

META = torch.device("meta")
_NOTHING = torch.empty((0,), device=META)
Answer: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], Any]

_SUMS = ("aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", "aten.div.Tensor", "aten.maximum.default")
_SUMS_IN_PLACE = ("aten.add_.Tensor", "aten.sub_.Tensor", "aten.mul_.Tensor", "aten.div_.Tensor")


def answer_for(op: Op | None, target: str, in_place: bool, returns: int) -> Answer | None:
    """The answer to calls of `target`, None where the kernel is to run."""
    if op is None:
        return None
    if op.pointwise and returns == 1:
        return _first if in_place else _unary
    if op.name == "batch_norm":
        return _batch_norm
    if target == "aten.convolution.default":
        return _convolution
    if target in _SUMS:
        return _binary
    if target in _SUMS_IN_PLACE:
        return _binary_in_place
    return None


def like(tensor: torch.Tensor) -> torch.Tensor:
    """A new tensor of the same shape, dtype and memory layout."""
    if tensor.is_contiguous():
        return torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device=META)
    return torch.empty_like(tensor)


def _first(args: Sequence[Any], plain: Sequence[Any]) -> Any:
    return args[0] if isinstance(args[0], torch.Tensor) and args[0].is_floating_point() else None


def _unary(args: Sequence[Any], plain: Sequence[Any]) -> Any:
    first = args[0]
    return like(first) if isinstance(first, torch.Tensor) and first.is_floating_point() else None


def _batch_norm(args: Sequence[Any], plain: Sequence[Any]) -> Any:
    """Statistics are returned only in training."""
    if len(args) < 6 or args[5] is not False or args[3] is None:
        return None
    x = args[0]
    channels = x.shape[1]
    for vector in plain[1:5]:
        if vector is not None and vector.shape != (channels,):
            return None
    return like(x), _NOTHING, _NOTHING


def _convolution(args: Sequence[Any], plain: Sequence[Any]) -> Any:
    if len(args) != 9:
        return None
    x, weight, bias, stride, padding, dilation, transposed, extra, groups = args
    shape, kernel = plain[0].shape, plain[1].shape
    if len(shape) != len(kernel) or len(shape) < 3 or not (x.is_contiguous() and weight.is_contiguous()):
        return None
    if x.dtype is not weight.dtype or not x.is_floating_point():
        return None
    taken, made = (kernel[0], kernel[1] * groups) if transposed else (kernel[1] * groups, kernel[0])
    if shape[1] != taken or kernel[0] % groups or (bias is not None and plain[2].shape != (made,)):
        return None
    try:
        maps = windows(kernel[2:], tuple(stride), tuple(padding), tuple(dilation), transposed, tuple(extra))
        sizes = [m.out_size(n) for m, n in zip(maps, shape[2:], strict=True)]
    except GeometryError:
        return None
    return torch.empty((shape[0], made, *sizes), dtype=x.dtype, device=META)


def _fits(args: Sequence[Any], plain: Sequence[Any]) -> bool:
    """Whether the second operand broadcasts to the first, a contiguous tensor of floats of the same dtype."""
    first, second = args[0], args[1]
    if not isinstance(first, torch.Tensor) or not first.is_floating_point() or not first.is_contiguous():
        return False
    if not isinstance(second, torch.Tensor):
        return isinstance(second, int | float)
    if second.dtype is not first.dtype:
        return False
    a, b = plain[0].shape, plain[1].shape
    if a == b:
        return True
    return len(b) <= len(a) and all(n == m or m == 1 for n, m in zip(a[len(a) - len(b) :], b, strict=True))


def _binary(args: Sequence[Any], plain: Sequence[Any]) -> Any:
    return torch.empty(plain[0].shape, dtype=args[0].dtype, device=META) if _fits(args, plain) else None


def _binary_in_place(args: Sequence[Any], plain: Sequence[Any]) -> Any:
    return args[0] if _fits(args, plain) else None
