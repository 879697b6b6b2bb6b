"""Convolution and transposed convolution, any number of axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

from stridewise.axis import AxisMap, Transposed, Window
from stridewise.errors import TraceError, by
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.layout import digits
from stridewise.ops.pool import each_axis, onnx_windows
from stridewise.ops.registry import Op, register
from stridewise.ops.space import Bytes, Draw, Number, Trial, Weight, X, is_torch

Each: TypeAlias = tuple[int, ...]


@lru_cache(maxsize=4096)
def windows(kernel: Each, stride: Each, padding: Each, dilation: Each, transposed: bool, extra: Each) -> list[AxisMap]:
    """One window an axis from the arguments of aten.convolution (a tuple of one entry serves every axis)."""
    each = [v if len(v) == len(kernel) else v * len(kernel) for v in (stride, padding, dilation, extra)]
    return [_map(*facts, transposed) for facts in zip(kernel, *each, strict=True)]


@lru_cache(maxsize=4096)
def _map(kernel: int, stride: int, pad: int, dilation: int, extra: int, transposed: bool) -> AxisMap:
    """One and the same object for axes that are alike."""
    if transposed:
        return Transposed(
            kernel=kernel, stride=stride, dilation=dilation, pad_begin=pad, pad_end=pad, output_padding=extra
        )
    return Window(kernel=kernel, stride=stride, dilation=dilation, pad_begin=pad, pad_end=pad)


def convolution(call: Call, maps: list[AxisMap], transposed: bool, groups: int) -> Reading:
    """The reading of a convolution with these windows; the operands are (input, weight, ...)."""
    x, weight = call.value(0), call.value(1)
    where = range(2, 2 + len(maps))
    x, grid = call.windowed(x, where, maps)
    kernel = weight.shape[2:]
    channels = (x.shape[1], call.outs[0][1])
    attrs = {"kernel": kernel, "groups": groups, "channels": channels, "maps": tuple(maps), "transposed": transposed}
    area = 1
    for k in kernel:
        area *= k
    if grid is None or grid == x.grid:
        # No positions here, or a 1x1 over attention maps: whatever there is stays where it lies.
        kept = tuple(
            dim if at != 1 and digits(dim) else (size,)
            for at, (dim, size) in enumerate(zip(x.known, call.outs[0], strict=True))
        )
        reading = Reading(outs=[(kept, grid)], counted=True, keeps="input")
    else:
        reading = call.dense(grid, x, where, site=True, counted=True, keeps="input")
    # A transposed convolution multiplies once for every input position.
    dims, shape = (x.dims, x.shape) if transposed else (reading.outs[0][0], call.outs[0])
    per, rest = divmod((channels[1] if transposed else channels[0]) * area, groups)
    reading.macs = call.volume(dims, shape).scaled(per + Fraction(rest, groups) if rest else per)
    reading.attrs = attrs
    return reading


def _read(call: Call) -> Reading:
    stride, padding, dilation, transposed, extra, groups = call.args[3:]
    maps = windows(
        call.value(1).shape[2:], tuple(stride), tuple(padding), tuple(dilation), bool(transposed), tuple(extra)
    )
    return convolution(call, maps, transposed, groups)


def _read_onnx(call: Call) -> Reading:
    picked = (0, 3) if call.target == "QLinearConv" else (0, 1)
    call = Call(call.target, [call.args[i] for i in picked], call.kwargs, call.outs, call.draft, call.path)
    weight, transposed, groups = call.value(1).shape, call.target == "ConvTranspose", call.kwargs.get("group", 1)
    wanted, given = weight[0] if transposed else weight[1] * groups, call.value(0).shape[1]
    if wanted != given:
        raise TraceError(f"a weight of {by(weight)} takes {wanted} channels, and {given} come in")
    maps = _onnx_transposed(call, weight[2:]) if transposed else onnx_windows(call, weight[2:])
    reading = convolution(call, maps, transposed, groups)
    if call.kwargs.get("output_shape") and reading.grid is not None:
        call.pin("size", reading.grid, f"its output_shape is the constant {by(call.kwargs['output_shape'])}")
    return reading


def _onnx_transposed(call: Call, kernel: Sequence[int]) -> list[AxisMap]:
    """Windows of ONNX's ConvTranspose; `output_shape` and `auto_pad` say the padding by its sum.

    Source: ONNX operator specification, ConvTranspose, `pads` and `output_shape`.
    """
    axes, auto = len(kernel), call.kwargs.get("auto_pad", "NOTSET")
    strides, dilations, extra = (
        each_axis(call.kwargs.get(name), axes, default)
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    pads = list(call.kwargs.get("pads") or [0] * 2 * axes)
    wanted = call.kwargs.get("output_shape") or [None] * axes
    sizes = call.value(0).shape[2:]
    maps: list[AxisMap] = []
    for at, (k, s, d, o, to) in enumerate(zip(kernel, strides, dilations, extra, wanted[-axes:], strict=True)):
        begin, end = (0, 0) if auto == "VALID" else (pads[at], pads[at + axes])
        span = (k - 1) * d + 1
        if to is not None or auto.startswith("SAME"):
            out = to if to is not None else sizes[at] * s
            total = (sizes[at] - 1) * s + span + o - out
            # What the windows do not reach of a wanted size is filled up at the end; SAME then gives less.
            total, o = max(total, 0), o + (max(-total, 0) if to is not None else 0)
            begin = total // 2 if auto == "SAME_UPPER" else total - total // 2
            end = total - begin
        maps.append(Transposed(kernel=k, stride=s, dilation=d, pad_begin=begin, pad_end=end, output_padding=o))
    return maps


# Parameters of torch's functions behind the operand, in order, with their defaults.
_PARAMETERS: Mapping[str, Any] = {"weight": None, "bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def _layer(layer: Any, holder: Any, rank: int) -> tuple[str, tuple[Any, ...], tuple[Any, ...]] | None:
    """A plain convolution of a batch; padding given in words or other than with zeros is left to the forward."""
    stride, padding, held = layer.stride, layer.padding, holder._parameters
    if rank != len(stride) + 2 or layer.padding_mode != "zeros" or type(padding) is str or len(held) != 2:
        return None
    none = [0] * len(stride)
    steps = list(stride), list(padding), list(layer.dilation)
    return "aten.convolution.default", (held["weight"], held["bias"]), (*steps, False, none, layer.groups)


def _work(operands: Sequence[Value], shapes: Sequence[Each], args: Sequence[Any]) -> int:
    """Multiply-adds of an output of the traced shape; a transposed convolution multiplies once an input position."""
    weight = next((v for v in operands if v.origin != "data" and len(v.shape) > 1), operands[-1])
    transposed = len(args) > 6 and bool(args[6])
    return math.prod(operands[0].shape if transposed else shapes[0]) * math.prod(weight.shape[1:])


def _named(target: str, attrs: Mapping[str, Any], has_weights: bool) -> str:
    return f"conv{'_transpose' if attrs.get('transposed') else ''}{len(attrs.get('kernel', (1, 1)))}d"


def _space(draw: Draw, target: str) -> Trial | None:
    axes, groups = draw.whole(1, 3), draw.of((1, 1, 2, 4))
    kernel, stride, dilation = draw.each(axes, 1, 3), draw.each(axes, 1, 3), draw.each(axes, 1, 2)
    pads = [draw.whole(0, (k - 1) * d) for k, d in zip(kernel, dilation, strict=True)]
    shape = draw.shape(axes)
    if target in ("QLinearConv", "ConvInteger"):
        return _quantized(draw, target, shape[:1] + shape[1:3], kernel[:2] if axes > 1 else [kernel[0]] * 2)
    transposed = target == "ConvTranspose" or (is_torch(target) and draw.of((True, False, False)))
    weight = Weight((4, 2, *kernel)) if transposed else Weight((8, 4 // groups, *kernel))
    pads = [min(p, (k - 1) * d // 2) for p, k, d in zip(pads, kernel, dilation, strict=True)] if transposed else pads
    if not is_torch(target):
        facts = {"strides": stride, "dilations": dilation, "pads": [*pads, *pads], "group": groups}
        return Trial(call=target, shape=shape, args=(X, weight), kwargs=facts)
    more = ([0] * axes, groups, dilation) if transposed else (dilation, groups)
    call = f"conv{'_transpose' if transposed else ''}{axes}d"
    return Trial(call=call, shape=shape, args=(X, weight, None, stride, pads, *more))


def _quantized(draw: Draw, target: str, shape: Each, kernel: Sequence[int]) -> Trial:
    bytes_of = Bytes(X), Bytes(Weight((8, 4, *kernel), 0.0, 1.0))
    facts = {"strides": draw.each(2, 1, 2)}
    if target == "ConvInteger":
        return Trial(call=target, shape=draw.shape(), args=bytes_of, kwargs=facts)
    scale, zero = Number(0.1), Bytes(Number(0))
    x, weight = bytes_of
    return Trial(call=target, shape=draw.shape(), args=(x, scale, zero, weight, scale, zero, scale, zero), kwargs=facts)


register(
    Op(
        name="conv",
        about="convolution and transposed convolution; the window steps by the stride",
        mixes="window",
        dilated=("window", "resize"),
        space=_space,
        between="never",
        functions={f"conv{n}d": _PARAMETERS for n in (1, 2, 3)} | {f"conv_transpose{n}d": {} for n in (1, 2, 3)},
        layers=dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), _layer),
        shapes={"aten.convolution.default": "convolution"},
        convolves=True,
        work=_work,
        named=_named,
        torch=("aten.convolution",),
        onnx=("Conv", "ConvTranspose", "QLinearConv", "ConvInteger"),
        read=_read,
        read_onnx=_read_onnx,
        site=True,
    )
)
