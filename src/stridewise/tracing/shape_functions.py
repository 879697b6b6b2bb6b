"""Outputs of common ops without running their meta kernels, which take most of a forward's time.

Each answer returns what the kernel would (shapes, dtypes, memory layout), or None where the call is not of the plain
kind it knows: then the kernel runs, and it is the kernel that refuses what does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import torch

from stridewise.axis import Window
from stridewise.errors import GeometryError
from stridewise.ops.conv import Each, windows
from stridewise.ops.pool import each_axis
from stridewise.ops.registry import Op
from stridewise.tracing.meta_tensors import META, is_dense, is_float, like, new

_NOTHING = torch.empty((0,), device=META)
Arguments: TypeAlias = Sequence[Any]  # as the op was called; `plain` holds Values where these hold tensors
Answer: TypeAlias = Callable[[Arguments, Arguments], Any]


def answer_for(op: Op | None, target: str, in_place: bool, returns: int) -> Answer | None:
    """The answer to calls of `target`, None where the kernel is to run."""
    if op is None:
        return None
    if op.pointwise and returns == 1:
        return _first if in_place else _unary
    rule = op.shapes.get(target)
    return None if rule is None else SHAPES[rule]


def _first(args: Arguments, plain: Arguments) -> Any:
    return args[0] if is_float(args[0]) else None


def _unary(args: Arguments, plain: Arguments) -> Any:
    return like(args[0]) if is_float(args[0]) else None


def _batch_norm(args: Arguments, plain: Arguments) -> Any:
    """Statistics are returned only in training."""
    if len(args) < 6 or args[5] is not False or args[3] is None:
        return None
    channels = plain[0].shape[1:2]
    for vector in plain[1:5]:
        if vector is not None and vector.shape != channels:
            return None
    return like(args[0]), _NOTHING, _NOTHING


def _layer_norm(args: Arguments, plain: Arguments) -> Any:
    if len(args) != 5 or not is_float(args[0]):
        return None
    shape, over = plain[0].shape, tuple(args[1])
    if not over or shape[len(shape) - len(over) :] != over:
        return None
    if any(t is not None and (t.dtype is not args[0].dtype or t.shape != over) for t in args[2:4]):
        return None
    statistics = (*shape[: len(shape) - len(over)], *(1 for _ in over))
    return new(shape, args[0].dtype), new(statistics, args[0].dtype), new(statistics, args[0].dtype)


def _fits(args: Arguments, plain: Arguments) -> bool:
    """Whether the second operand broadcasts to the first, a dense tensor of floats of the same dtype."""
    first, second = args[0], args[1]
    if not is_float(first) or not (first.is_contiguous() or is_dense(first)):
        return False
    if not isinstance(second, torch.Tensor):
        return isinstance(second, int | float)
    if second.dtype is not first.dtype:
        return False
    a, b = plain[0].shape, plain[1].shape
    if a == b:
        return bool(first.is_contiguous() or first.stride() == second.stride())
    return len(b) <= len(a) and all(n == m or m == 1 for n, m in zip(a[len(a) - len(b) :], b, strict=True))


def _binary(args: Arguments, plain: Arguments) -> Any:
    if _fits(args, plain):
        return like(args[0])
    first, second = args[:2]  # a gate before what it weighs: that says the layout where the gate lies along one axis
    if not isinstance(second, torch.Tensor) or not first.is_contiguous():
        return None
    along = sum(size > 1 for size in plain[0].shape)
    fits = (along < 2 or second.is_contiguous()) and _fits((second, first), plain[1::-1])
    return like(second) if fits else None


def _binary_in_place(args: Arguments, plain: Arguments) -> Any:
    return args[0] if _fits(args, plain) else None


def _three(args: Arguments, plain: Arguments) -> Any:
    """addcmul: three operands, of which one is as large as all together."""
    shapes = [value.shape for value in plain]
    largest = max(shapes, key=math.prod)
    if not is_float(*args) or not all(t.is_contiguous() for t in args):
        return None
    for shape in shapes:
        behind = largest[len(largest) - len(shape) :]
        if len(shape) > len(largest) or any(n not in (1, m) for n, m in zip(shape, behind, strict=True)):
            return None
    return new(largest, args[0].dtype)


def _softmax(args: Arguments, plain: Arguments) -> Any:
    x, dim, to_float = args
    rank = len(plain[0].shape)
    plain_kind = is_float(x) and x.is_contiguous() and not to_float and -rank <= dim < rank
    return like(x) if plain_kind else None


def _vector_norm(args: Arguments, plain: Arguments) -> Any:
    return _mean((args[0], *args[2:]), plain) if len(args) > 2 and args[0].is_contiguous() else None


def _view(args: Arguments, plain: Arguments) -> Any:
    """Another shape of a tensor without gaps; -1 stands for what is left."""
    x, sizes = args[0], args[1]
    count = math.prod(plain[0].shape)
    given = math.prod(size for size in sizes if size != -1)
    if not x.is_contiguous() or count < 1 or given < 1 or min(sizes, default=1) < -1 or sizes.count(-1) > 1:
        return None
    shape = [count // given if size == -1 else size for size in sizes]
    if math.prod(shape) != count:
        return None
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return x.as_strided(shape, strides[: len(shape)][::-1])


def empty(args: Arguments, named: Mapping[str, Any]) -> Any:
    """`torch.empty` of sizes: torch's batch norm asks for one with every call."""
    dtype = named.get("dtype") or torch.get_default_dtype()
    if named.get("layout") not in (None, torch.strided) or named.get("memory_format") not in _PLAIN_ORDER:
        return None
    return new(tuple(args[0]), dtype) if all(type(size) is int and size >= 0 for size in args[0]) else None


_PLAIN_ORDER = (None, torch.contiguous_format)


def _product(args: Arguments, plain: Arguments) -> Any:
    """mm and bmm: (..., n, k) by (..., k, m)."""
    a, b = plain[0].shape, plain[1].shape
    if len(args) != 2 or not is_float(*args) or a[:-2] != b[:-2] or a[-1] != b[-2]:
        return None
    return new((*a[:-1], b[-1]), args[0].dtype)


def _product_and_sum(args: Arguments, plain: Arguments) -> Any:
    if len(args) != 3 or not is_float(*args):
        return None
    added, a, b = (value.shape for value in plain)
    if len(a) != 2 or len(b) != 2 or a[1] != b[0] or added not in ((b[1],), (a[0], b[1])):
        return None
    return new((a[0], b[1]), args[0].dtype)


def _mean(args: Arguments, plain: Arguments) -> Any:
    """mean and sum over listed dimensions."""
    if len(args) not in (2, 3) or not is_float(args[0]) or not isinstance(args[1], list | tuple) or not args[1]:
        return None
    shape = plain[0].shape
    over = {dim % len(shape) for dim in args[1] if -len(shape) <= dim < len(shape)}
    if len(over) != len(args[1]):
        return None
    keep = len(args) == 3 and args[2]
    out = tuple(1 if at in over else size for at, size in enumerate(shape) if keep or at not in over)
    return new(out, args[0].dtype)


def _concatenation(args: Arguments, plain: Arguments) -> Any:
    parts = args[0]
    if not parts or not is_float(*parts) or not all(part.is_contiguous() for part in parts):
        return None
    shapes = [value.shape for value in plain[0]]
    rank = len(shapes[0])
    dim = args[1] if len(args) > 1 else 0
    if not rank or not -rank <= dim < rank:
        return None
    dim %= rank
    if any(len(s) != rank or s[:dim] != shapes[0][:dim] or s[dim + 1 :] != shapes[0][dim + 1 :] for s in shapes):
        return None
    return new((*shapes[0][:dim], sum(s[dim] for s in shapes), *shapes[0][dim + 1 :]), parts[0].dtype)


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


# The rules that ops name for their targets (`Op.shapes`).
SHAPES: Mapping[str, Answer] = {
    "convolution": _convolution,
    "max pool": _max_pool,
    "avg pool": _avg_pool,
    "resized": _resized,
    "padded": _padded,
    "batch norm": _batch_norm,
    "layer norm": _layer_norm,
    "broadcast": _binary,
    "broadcast in place": _binary_in_place,
    "broadcast of three": _three,
    "softmax": _softmax,
    "vector norm": _vector_norm,
    "view": _view,
    "product": _product,
    "product and sum": _product_and_sum,
    "mean": _mean,
    "concatenation": _concatenation,
}
