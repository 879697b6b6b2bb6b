"""Adaptive pooling: to one position (everything is let in) or to a fixed number of positions."""

from __future__ import annotations

from stridewise.axis import Adaptive, AxisMap, Whole
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
from stridewise.ops.layout import is_plain
from stridewise.ops.pool import each_axis
from stridewise.ops.registry import Op, register
from stridewise.ops.space import Draw, Trial, X, is_torch, name_in


def _read(call: Call) -> Reading:
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


def _read_onnx(call: Call) -> Reading:
    x = call.value(0)
    dims, grid = call.collapsed(x, list(range(2, len(x.shape))), keepdim=True)
    return Reading(outs=[(dims, grid)], grid=grid, keeps="none" if "Average" in call.target else "input")


def _space(draw: Draw, target: str) -> Trial:
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
        space=_space,
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
        read=_read,
        read_onnx=_read_onnx,
    )
)
