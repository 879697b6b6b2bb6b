"""Maximum and average pooling over windows, and adaptive pooling to a number of positions (to one: all is let in)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stridewise.axis import Adaptive, AxisMap, Whole, Window
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
from stridewise.ops.layout import is_plain
from stridewise.ops.registry import Op, by_axes, register
from stridewise.ops.space import Draw, Trial, X, is_torch, name_in


def each_axis(value: Any, axes: int, default: int) -> list[int]:
    """One entry an axis from an int, a list of one, a full list, or nothing."""
    if value is None or value == [] or value == ():
        return [default] * axes
    entries = list(value) if isinstance(value, list | tuple) else [value]
    return entries * axes if len(entries) == 1 else entries


def onnx_windows(call: Call, kernel: Sequence[int]) -> list[AxisMap]:
    """The windows that ONNX's `strides`, `pads`, `dilations`, `auto_pad` and `ceil_mode` say.

    Source: ONNX operator specification, Conv, MaxPool and AveragePool.
    """
    axes = len(kernel)
    strides = each_axis(call.kwargs.get("strides"), axes, 1)
    dilations = each_axis(call.kwargs.get("dilations"), axes, 1)
    auto = call.kwargs.get("auto_pad", "NOTSET")
    pads = [0] * 2 * axes if auto != "NOTSET" else list(call.kwargs.get("pads") or [0] * 2 * axes)
    same = {"SAME_UPPER": "end", "SAME_LOWER": "begin"}.get(auto, "")
    ceil = bool(call.kwargs.get("ceil_mode", 0))
    return [
        Window(kernel=k, stride=s, dilation=d, pad_begin=b, pad_end=e, ceil_mode=ceil, same=same)
        for k, s, d, b, e in zip(kernel, strides, dilations, pads[:axes], pads[axes:], strict=True)
    ]


def pooling(call: Call, maps: list[AxisMap], kind: str, **attrs: Any) -> Reading:
    """The reading of a pool with these windows over the last dims of operand 0."""
    x = call.value(0)
    where = range(len(x.shape) - len(maps), len(x.shape))
    x, grid = call.windowed(x, where, maps)
    facts: dict[str, Any] = {
        "kernel": tuple(m.kernel for m in maps if isinstance(m, Window)),
        "kind": kind,
        "maps": tuple(maps),
        "channels": (x.shape[-len(maps) - 1], call.outs[0][-len(maps) - 1]),
        **attrs,
    }
    if grid is None or grid == x.grid:
        return Reading(outs=[(tuple((s,) for s in call.outs[0]), grid)] * len(call.outs), attrs=facts)
    return call.dense(grid, x, where, site=True, attrs=facts, keeps="all" if kind == "max" else "input")


def _axes(call: Call) -> int:
    return int(call.target.split("pool")[1][0])


def _read_max(call: Call) -> Reading:
    axes = _axes(call)
    kernel = each_axis(call.arg(1, "kernel_size"), axes, 1)
    stride = each_axis(call.arg(2, "stride"), axes, 0)
    padding = each_axis(call.arg(3, "padding"), axes, 0)
    dilation = each_axis(call.arg(4, "dilation"), axes, 1)
    ceil = bool(call.arg(5, "ceil_mode", False))
    maps: list[AxisMap] = [
        Window(kernel=k, stride=s or k, dilation=d, pad_begin=p, pad_end=p, ceil_mode=ceil)
        for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True)
    ]
    return pooling(call, maps, "max")


def _read_average(call: Call) -> Reading:
    axes = _axes(call)
    kernel = each_axis(call.arg(1, "kernel_size"), axes, 1)
    stride = each_axis(call.arg(2, "stride"), axes, 0)
    padding = each_axis(call.arg(3, "padding"), axes, 0)
    ceil = bool(call.arg(4, "ceil_mode", False))
    maps: list[AxisMap] = [
        Window(kernel=k, stride=s or k, pad_begin=p, pad_end=p, ceil_mode=ceil)
        for k, s, p in zip(kernel, stride, padding, strict=True)
    ]
    count = bool(call.arg(5, "count_include_pad", True))
    return pooling(call, maps, "average", count_include_pad=count, divisor=call.arg(6, "divisor_override"))


def _as_run(call: Call, maps: list[AxisMap]) -> list[AxisMap]:
    """The windows with the SAME padding that runtimes give a pool whose window is dilated or narrower than its step:
    that of the window without dilation, a crop where that is negative. It holds for this size alone.

    Source: onnxruntime pool_attributes.h and ComputePad, which leave the specification here.
    """
    x = call.value(0)
    out: list[AxisMap] = []
    for w, size in zip(maps, x.shape[2:], strict=True):
        if isinstance(w, Window) and w.same and (w.dilation > 1 or w.stride > w.kernel):
            total = (-(-size // w.stride) - 1) * w.stride + w.kernel - size
            less = int(total / 2)  # towards 0, as C divides
            begin = less if w.same == "end" else int((total + 1) / 2)
            w = replace(w, same="", pad_begin=begin, pad_end=total - begin)
            if x.grid is not None:
                call.pin("size", x.grid, f"padded for {size} positions, with a SAME padding that follows no rule")
        out.append(w)
    return out


def _read_onnx(call: Call) -> Reading:
    kind = {"MaxPool": "max", "AveragePool": "average", "LpPool": "lp"}[call.target]
    maps = _as_run(call, onnx_windows(call, call.kwargs["kernel_shape"]))
    if kind != "average":
        return pooling(call, maps, kind)
    count = bool(call.kwargs.get("count_include_pad", 0))
    return pooling(call, maps, kind, count_include_pad=count, divisor=None)


# Parameters of torch's functions behind the operand, in order, with their defaults.
_MAX: Mapping[str, Any] = {
    "kernel_size": None,
    "stride": None,
    "padding": 0,
    "dilation": 1,
    "ceil_mode": False,
    "return_indices": False,
}
_AVERAGE: Mapping[str, Any] = {
    "kernel_size": None,
    "stride": None,
    "padding": 0,
    "ceil_mode": False,
    "count_include_pad": True,
    "divisor_override": None,
}


def _layer(layer: Any, holder: Any, rank: int) -> tuple[str, tuple[Any, ...], tuple[Any, ...]] | None:
    if rank != 4 or layer.return_indices:
        return None
    each = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    steps = [[v, v] if type(v) is int else list(v) for v in each]
    return "aten.max_pool2d_with_indices.default", (), (*steps, layer.ceil_mode)


def _space(draw: Draw, target: str) -> Trial:
    axes = draw.whole(1, 3) if not is_torch(target) else int(target.split("pool")[1][0])
    kernel, stride = draw.each(axes, 1, 4), draw.each(axes, 1, 3)
    pads = [draw.whole(0, k // 2) for k in kernel]
    ceil, average = draw.of((True, False)), "avg" in target
    shape = draw.shape(axes)
    if is_torch(target):
        more = (ceil, draw.of((True, False))) if average else (draw.each(axes, 1, 2), ceil)
        call = name_in(target).removesuffix("_with_indices")
        return Trial(call=call, shape=shape, args=(X, kernel, stride, pads, *more))
    facts: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "pads": [*pads, *pads], "ceil_mode": int(ceil)}
    if target == "AveragePool":
        facts["count_include_pad"] = draw.of((0, 1))
    if target == "LpPool":
        facts["ceil_mode"] = 0
    return Trial(call=target, shape=shape, kwargs=facts)


register(
    Op(
        name="max_pool",
        about="maximum over a window",
        mixes="window",
        dilated=("window",),
        space=_space,
        between="never",
        functions={f"max_pool{n}d": _MAX for n in (1, 2, 3)},
        layers={"MaxPool1d": None, "MaxPool2d": _layer, "MaxPool3d": None},
        shapes={"aten.max_pool2d_with_indices.default": "max pool"},
        named=by_axes("max_pool"),
        torch=("aten.max_pool2d_with_indices", "aten.max_pool3d_with_indices", "aten.max_pool2d", "aten.max_pool3d"),
        onnx=("MaxPool",),
        read=_read_max,
        read_onnx=_read_onnx,
        site=True,
    )
)
register(
    Op(
        name="avg_pool",
        about="mean over a window",
        mixes="window",
        dilated=("window",),
        space=_space,
        between="never",
        functions={f"avg_pool{n}d": _AVERAGE for n in (1, 2, 3)},
        shapes={"aten.avg_pool2d.default": "avg pool"},
        passes_lost=True,
        named=by_axes("avg_pool"),
        torch=("aten.avg_pool2d", "aten.avg_pool3d", "aten.avg_pool1d"),
        onnx=("AveragePool",),
        read=_read_average,
        read_onnx=_read_onnx,
        site=True,
    )
)
register(
    Op(
        name="lp_pool",
        about="p-norm over a window",
        mixes="window",
        dilated=("never",),
        space=_space,
        between="never",
        onnx=("LpPool",),
        read=_read_onnx,
        site=True,
    )
)


def _read_adaptive(call: Call) -> Reading:
    x = call.value(0)
    axes = int(call.target.split("pool")[1][0])
    to = each_axis(call.arg(1, "output_size"), axes, 1)
    where = range(len(x.shape) - axes, len(x.shape))
    if all(size == 1 for size in to):
        dims, grid = call.collapsed(x, list(where), keepdim=True)
        return Reading(
            outs=[(dims, grid)] * len(call.outs), grid=grid, keeps="none" if "avg" in call.target else "input"
        )
    if all(is_plain(x.known[w]) for w in where):
        return Reading(outs=[(tuple((s,) for s in call.outs[0]), x.grid)] * len(call.outs))
    maps: list[AxisMap] = [Whole() if size == 1 else Adaptive(to=size) for size in to]
    x, grid = call.windowed(x, where, maps)
    assert grid is not None
    reading = call.dense(grid, x, where, keeps="input", attrs={"to": tuple(to)})
    call.pin("size", grid, f"adaptive pooling to {'x'.join(map(str, to))} positions whatever comes in")
    return reading


def _read_global(call: Call) -> Reading:
    x = call.value(0)
    dims, grid = call.collapsed(x, list(range(2, len(x.shape))), keepdim=True)
    return Reading(outs=[(dims, grid)], grid=grid, keeps="none" if "Average" in call.target else "input")


def _space_adaptive(draw: Draw, target: str) -> Trial:
    if not is_torch(target):
        return Trial(call=target, shape=draw.shape(draw.whole(1, 3)), kwargs={"p": 2} if "Lp" in target else {})
    axes = int(target[-2])
    to = [1] * axes if draw.of((True, False)) else draw.each(axes, 1, 5)
    return Trial(call=name_in(target).lstrip("_"), shape=draw.shape(axes, 4 if axes < 3 else 2), args=(X, to))


register(
    Op(
        name="adaptive_pool",
        about="pooling to a number of positions; to one position it lets everything in",
        mixes="everything",
        dilated=("resize", "coarse", "mixes"),
        space=_space_adaptive,
        between="never",
        functions={f"adaptive_{kind}_pool{axes}d": {} for kind in ("avg", "max") for axes in (1, 2, 3)}
        | {"interpolate": {}, "upsample": {}},
        shapes={"aten._adaptive_avg_pool2d.default": "resized"},
        torch=tuple(
            f"aten.{name}{axes}d"
            for axes in (1, 2, 3)
            for name in ("_adaptive_avg_pool", "adaptive_max_pool", "adaptive_avg_pool")
        ),
        onnx=("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
        read=_read_adaptive,
        read_onnx=_read_global,
    )
)
