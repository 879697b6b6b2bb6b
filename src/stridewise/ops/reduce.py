"""Reductions over dimensions: means, sums, maxima, norms. Over positions they let everything in."""

from __future__ import annotations

from typing import Any

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.extent import whole
from stridewise.ops.layout import LayoutError, digits, is_plain
from stridewise.ops.registry import Op, register
from stridewise.ops.space import Complex, Draw, Ints, Trial, X, is_torch, name_in

_KEEPS_SHAPE = (
    "softmax",
    "_softmax",
    "_safe_softmax",
    "_log_softmax",
    "cumsum",
    "cumprod",
    "logcumsumexp",
    "_logcumsumexp",
    "cummax",
    "cummin",
    "_cummax_helper",
    "_cummin_helper",
    "sort",
)


def reducing(call: Call, dims: Any, keepdim: bool) -> Reading:
    """Operand 0 reduced over `dims` (None: all of them)."""
    x = call.value(0)
    rank = len(x.shape)
    over = list(range(rank)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else list(dims)
    over = [d % rank for d in over]
    out, grid = call.collapsed(x, over, keepdim)
    made = grid if grid != x.grid else None
    linear = call.target.startswith(("aten.mean", "aten.sum", "ReduceMean", "ReduceSum"))
    return Reading(outs=[(out, grid)] * len(call.outs), grid=made, keeps="none" if linear else "input")


def _read(call: Call) -> Reading:
    name = call.target.split(".")[1]
    first = 2 if name in ("linalg_vector_norm", "norm", "kthvalue") else 1
    dims = call.arg(first, "dim")
    keep = call.arg(first + 1, "keepdim", False)
    if name in ("var", "std", "var_mean"):
        keep = call.kwargs.get("keepdim", call.arg(3, "keepdim", False))
    if dims is None and name in ("mode", "kthvalue"):
        dims = -1
    if dims is not None and not isinstance(dims, int | list | tuple):
        dims = None
    return reducing(call, dims, bool(keep))


_ONNX = "Mean Sum Max Min Prod SumSquare LogSum LogSumExp L1 L2".split()


def _read_onnx(call: Call) -> Reading:
    keep = bool(call.kwargs.get("keepdims", 1))
    if call.target in ("ArgMax", "ArgMin"):
        return reducing(call, call.kwargs.get("axis", 0), keep)
    axes = call.constant(1, "axes")
    if not axes and call.kwargs.get("noop_with_empty_axes", 0):
        return call.same(call.value(0))
    return reducing(call, [whole(axis) for axis in axes or []], keep)


def _read_onnx_same_shape(call: Call) -> Reading:
    x = call.value(0)
    if call.target == "CumSum":
        return _normalised(call, x, whole((call.constant(1, "axis") or [0])[0]))
    axis = call.kwargs.get("axis", -1)
    # Before opset 13 everything from the axis on is one dimension.
    if call.kwargs.get("since", 13) < 13 and any(digits(d) for d in x.known[axis % len(x.shape) + 1 :]):
        reading = call.mixed(x)
        reading.keeps = "output"
        return reading
    return _normalised(call, x, axis)


def _read_same_shape(call: Call) -> Reading:
    return _normalised(call, call.value(0), call.arg(1, "dim", -1))


def _read_spectrum(call: Call) -> Reading:
    """Frequencies in place of positions: as many, and each has let in its line from end to end."""
    x = call.value(0)
    if call.outs[0] != x.shape:
        raise LayoutError("half a spectrum, which is no map")
    over = [d % len(x.shape) for d in call.arg(1, "dim") if digits(x.known[d])]
    return call.mixed(x, over) if over else call.same(x)


def _space_spectrum(draw: Draw, target: str) -> Trial:
    shape = draw.shape(draw.whole(1, 3))
    operand = Complex(X) if "c2c" in target else X
    return Trial(call=target, shape=shape, args=(operand, [draw.dim(shape) % (len(shape) + 1)], 0, False), runs=False)


def _normalised(call: Call, x: Value, dim: int) -> Reading:
    dim %= len(x.shape)
    # Attention weights: the positions that are summed over are let in by the product that follows.
    held = {d[:2] for d in digits(x.known[dim])}
    others = {d[:2] for i, dims in enumerate(x.known) if i != dim and not is_plain(dims) for d in digits(dims)}
    pairwise = held <= others
    if held and not pairwise:
        reading = call.mixed(x, (dim,))
        reading.keeps = "output"
        return reading
    return call.same(x, keeps="output")


def _space(draw: Draw, target: str) -> Trial:
    shape, keep = draw.shape(draw.whole(1, 3)), draw.of((True, False))
    dim, positions = draw.dim(shape), list(range(2, len(shape) + 1))
    dims = draw.of(([dim], positions, positions[:1]))
    if not is_torch(target):
        facts: dict[str, Any] = {"keepdims": int(keep)}
        if target.startswith("Arg"):
            return Trial(call=target, shape=shape, kwargs={**facts, "axis": dim})
        return Trial(call=target, shape=shape, args=(X, Ints(tuple(dims))), kwargs=facts)
    name = name_in(target)
    if name in ("std", "var", "var_mean"):
        return Trial(call=target, shape=shape, args=(X, dims), kwargs={"correction": 1, "keepdim": keep})
    if name in ("prod", "argmax", "argmin", "any", "all", "max", "min"):
        return Trial(call=target, shape=shape, args=(X, dim, keep))
    norm = name in ("linalg_vector_norm", "norm")
    return Trial(call=target, shape=shape, args=(X, 2, dims, keep) if norm else (X, dims, keep))


def _space_along(draw: Draw, target: str) -> Trial:
    shape = draw.shape(draw.whole(1, 3))
    dim, name = draw.dim(shape), name_in(target)
    if not is_torch(target):
        return Trial(
            call=target,
            shape=shape,
            args=(X, Ints((dim,))) if name == "CumSum" else (X,),
            kwargs=({} if name == "CumSum" else {"axis": dim}),
        )
    return Trial(call=target, shape=shape, args=(X, dim, False) if target in _HALVES else (X, dim))


_HALVES = ("aten._softmax", "aten._log_softmax")


register(
    Op(
        name="reduce",
        about="mean, sum, maximum, norm over dimensions",
        mixes="axis",
        dilated=("same", "coarse", "mixes"),
        space=_space,
        between="never",
        functions={key: {} for key in "mean sum amax amin max min prod var std var_mean norm logsumexp".split()},
        shapes={
            "aten.mean.dim": "mean",
            "aten.sum.dim_IntList": "mean",
            "aten.linalg_vector_norm.default": "vector norm",
        },
        torch=tuple(
            f"aten.{n}"
            for n in (
                "mean sum amax amin max.dim min.dim prod var std var_mean linalg_vector_norm norm logsumexp any all "
                "argmax argmin median.dim nanmedian.dim mode kthvalue nansum"
            ).split()
        ),
        onnx=(*(f"Reduce{name}" for name in _ONNX), "ArgMax", "ArgMin"),
        read=_read,
        read_onnx=_read_onnx,
    )
)
register(
    Op(
        name="softmax",
        about="softmax, cumulative sums and sorting along a dimension",
        mixes="axis",
        dilated=("same", "mixes"),
        space=_space_along,
        between="never",
        functions={},
        shapes={"aten._softmax.default": "softmax"},
        passes_lost=True,
        torch=tuple(f"aten.{n}" for n in _KEEPS_SHAPE),
        onnx=("Softmax", "LogSoftmax", "Hardmax", "CumSum"),
        read=_read_same_shape,
        read_onnx=_read_onnx_same_shape,
    )
)
register(
    Op(
        name="fourier",
        about="Fourier transforms along dimensions, whole ones",
        mixes="axis",
        dilated=("same", "mixes"),
        space=_space_spectrum,
        between="never",
        functions={},
        torch=("aten._fft_r2c", "aten._fft_c2c"),
        read=_read_spectrum,
    )
)
