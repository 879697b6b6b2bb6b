"""Convolution and transposed convolution, any number of axes."""

from __future__ import annotations

from fractions import Fraction

from stridewise.axis import AxisMap, Transposed, Window
from stridewise.ir import Volume
from stridewise.ops.call import Call, Reading
from stridewise.ops.registry import Op, register


def _windows(call: Call, axes: int) -> tuple[list[AxisMap], bool]:
    kernel = call.value(1).shape[2:]
    stride, padding, dilation, transposed, extra = (call.arg(i, "") for i in range(3, 8))
    each = [list(v) if len(v) == axes else list(v) * axes for v in (stride, padding, dilation, extra)]
    if transposed:
        maps: list[AxisMap] = [
            Transposed(kernel=k, stride=s, dilation=d, pad_begin=p, pad_end=p, output_padding=o)
            for k, s, p, d, o in zip(kernel, *each, strict=True)
        ]
    else:
        maps = [
            Window(kernel=k, stride=s, dilation=d, pad_begin=p, pad_end=p)
            for k, s, p, d, _ in zip(kernel, *each, strict=True)
        ]
    return maps, bool(transposed)


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
        reading = Reading(outs=[(tuple((size,) for size in call.outs[0]), grid)], counted=True, keeps="input")
    else:
        reading = call.dense(grid, x, where, site=True, counted=True, keeps="input")
    # A transposed convolution multiplies once for every input position (DESIGN 3.2).
    dims, shape = (x.dims, x.shape) if transposed else (reading.outs[0][0], call.outs[0])
    per = Fraction(channels[1] if transposed else channels[0], groups) * area
    reading.macs = call.volume(dims, shape).times(Volume(int(per) if per.denominator == 1 else per))
    reading.attrs = attrs
    return reading


def _read(call: Call) -> Reading:
    maps, transposed = _windows(call, len(call.value(1).shape) - 2)
    return convolution(call, maps, transposed, call.arg(8, "groups", 1))


register(
    Op(
        name="conv",
        about="convolution and transposed convolution; the window steps by the stride",
        torch=("aten.convolution",),
        read=_read,
        site=True,
    )
)
