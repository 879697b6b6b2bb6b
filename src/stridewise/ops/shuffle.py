"""Positions in other places: space-to-depth and back, shuffles, rolls, mirrors; windows as columns (unfold, fold)."""

from __future__ import annotations

from typing import Any

from stridewise.axis import AxisMap, Repeat, Transposed, Window
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
from stridewise.ops.layout import Digit, Dims, LayoutError, digits
from stridewise.ops.registry import Op, always, register
from stridewise.ops.space import Draw, Trial, X, is_torch, name_in


def rearranging(call: Call, times: int, window: int) -> Reading:
    """Operand 0 with each position repeated `times` or blocks of `window` gathered, over its last two dims."""
    x = call.value(0)
    where = range(len(x.shape) - 2, len(x.shape))
    maps: list[AxisMap] = [Repeat(times=times, window=window)] * 2
    x, grid = call.windowed(x, where, maps)
    if grid is None or grid == x.grid:
        return Reading(outs=[(tuple((s,) for s in call.outs[0]), grid)])
    return call.dense(grid, x, where)


def _read(call: Call) -> Reading:
    factor = call.arg(1, "factor", 1)
    return rearranging(call, 1, factor) if "unshuffle" in call.target else rearranging(call, factor, 1)


def _read_onnx(call: Call) -> Reading:
    block = call.kwargs["blocksize"]
    return rearranging(call, block, 1) if call.target == "DepthToSpace" else rearranging(call, 1, block)


def _read_channels(call: Call) -> Reading:
    return call.same(call.value(0))


def _read_roll(call: Call) -> Reading:
    x = call.value(0)
    shifts, dims = call.arg(1, "shifts"), call.arg(2, "dims", [])
    where = [d % len(x.shape) for d in dims]
    used = [(w, s) for w, s in zip(where, shifts, strict=True) if digits(x.known[w])]
    if not used:
        return call.same(x)
    maps: list[AxisMap] = [Window(pad_begin=s, pad_end=-s) for _, s in used]
    settled, grid = call.windowed(x, [w for w, _ in used], maps)
    assert grid is not None
    where = [i for i, d in enumerate(settled.known) if digits(d)]
    return call.dense(grid, settled, where, attrs={"border": "circular"})


def _read_flip(call: Call) -> Reading:
    """Mirrored positions run against the input's: each has let in its line from end to end, which no field says."""
    x = call.value(0)
    where = [d % len(x.shape) for d in call.arg(1, "dims", []) if digits(x.known[d])]
    return call.mixed(x, where) if where else call.same(x)


def _space(draw: Draw, target: str) -> Trial:
    name, sizes = name_in(target), [2 * n for n in draw.each(2, 3, 6)]
    if not is_torch(target):
        return Trial(call=target, shape=(4, *sizes), kwargs={"blocksize": 2})
    shape = (4, *sizes) if "pixel" in name else draw.shape(draw.whole(1, 3))
    more: dict[str, tuple[Any, ...]] = {
        "roll": (draw.each(2, -3, 3), [-2, -1]) if len(shape) > 2 else ([draw.whole(-3, 3)], [-1]),
        "flip": ([draw.of((1, 1, len(shape)))],),
    }
    return Trial(call="roll" if name == "roll" else target, shape=shape, args=(X, *more.get(name, (2,))))


register(
    Op(
        name="shuffle",
        about="space-to-depth and depth-to-space (pixel shuffle)",
        mixes="window",
        dilated=("never",),
        space=_space,
        between="never",
        functions={},
        torch=("aten.pixel_shuffle", "aten.pixel_unshuffle"),
        onnx=("DepthToSpace", "SpaceToDepth"),
        read=_read,
        read_onnx=_read_onnx,
    )
)
register(
    Op(
        name="channel_shuffle",
        about="channels in another order",
        mixes="nothing",
        dilated=("same",),
        space=_space,
        between="never",
        functions={},
        torch=("aten.channel_shuffle", "aten.native_channel_shuffle"),
        read=_read_channels,
    )
)
register(
    Op(
        name="roll",
        about="positions moved round (circular shift)",
        mixes="window",
        dilated=("same", "phases"),
        space=_space,
        between="never",
        functions={"roll": {}},
        torch=("aten.roll",),
        read=_read_roll,
    )
)
register(
    Op(
        name="flip",
        about="entries in reverse order",
        mixes="axis",
        dilated=("same",),
        space=_space,
        between="never",
        functions={},
        passes_lost=True,
        torch=("aten.flip",),
        read=_read_flip,
    )
)


def _maps(call: Call, first: int) -> list[tuple[int, int, int, int]]:
    kernel, dilation, padding, stride = (call.arg(first + i, "") for i in range(4))
    return list(zip(kernel, dilation, padding, stride, strict=True))


def _read_columns(call: Call) -> Reading:
    x = call.value(0)
    maps: list[AxisMap] = [
        Window(kernel=k, dilation=d, pad_begin=p, pad_end=p, stride=s) for k, d, p, s in _maps(call, 1)
    ]
    where = range(len(x.shape) - 2, len(x.shape))
    x, grid = call.windowed(x, where, maps)
    axes = call.axes_of(x, where)
    if grid is None or None in axes:
        raise LayoutError("columns of an axis without positions")
    made = call.draft.grids[grid]
    columns = tuple(Digit(grid, a, 1, made.sizes[a]) for a in axes if a is not None)
    channels = (x.shape[1], call.outs[0][1])
    facts = {"kernel": tuple(k for k, *_ in _maps(call, 1)), "maps": tuple(maps), "channels": channels}
    return Reading(outs=[((*((s,) for s in call.outs[0][:-1]), columns), grid)], grid=grid, site=True, attrs=facts)


def _read_back(call: Call) -> Reading:
    x = call.value(0)
    found = digits(x.known[-1])
    if len(found) != 2 or found[0].grid != found[1].grid:
        raise LayoutError("columns that are no windows of a map")
    source = call.draft.grids[found[0].grid]
    to = call.arg(1, "output_size")
    maps: list[AxisMap] = (
        list(source.maps)
        if len(source.sizes) != 2
        else [
            Transposed(
                kernel=k,
                dilation=d,
                pad_begin=p,
                pad_end=p,
                stride=s,
                output_padding=size - ((source.sizes[i] - 1) * s + (k - 1) * d + 1 - 2 * p),
            )
            for i, (size, (k, d, p, s)) in enumerate(zip(to, _maps(call, 2), strict=True))
        ]
    )
    grid = call.mapped(source.index, maps)
    sizes = call.draft.grids[grid].sizes
    dims: Dims = (*((s,) for s in call.outs[0][:-2]), *((Digit(grid, d.axis, 1, sizes[d.axis]),) for d in found))
    return Reading(outs=[(dims, grid)], grid=grid)


def _read_windows(call: Call) -> Reading:
    x = call.value(0)
    dim, size, step = call.arg(1, "dimension") % len(x.shape), call.arg(2, "size"), call.arg(3, "step")
    if not digits(x.known[dim]):
        dims = (*x.known[:dim], (call.outs[0][dim],), *x.known[dim + 1 :], (size,))
        return Reading(outs=[(dims, x.grid)])
    x, grid = call.windowed(x, [dim], [Window(kernel=size, stride=step)])
    assert grid is not None
    made = call.draft.grids[grid]
    out = [
        tuple(
            Digit(grid, a.axis, a.unit, made.sizes[a.axis] if i == dim else a.count) if isinstance(a, Digit) else a
            for a in d
        )
        for i, d in enumerate(x.known)
    ]
    return Reading(outs=[((*out, (size,)), grid)], grid=grid)


def _space_windows(draw: Draw, target: str) -> Trial:
    shape, kernel, stride = draw.shape(), draw.each(2, 1, 3), draw.each(2, 1, 3)
    if target == "aten.unfold":
        return Trial(call=target, shape=shape, args=(X, draw.of((2, 3)), draw.whole(1, 4), draw.whole(1, 3)))
    columns = (kernel, draw.each(2, 1, 2), [draw.whole(0, k - 1) for k in kernel], stride)
    if target == "aten.im2col":
        return Trial(call="unfold", shape=shape, args=(X, *columns))
    return Trial(call="fold of unfold", shape=shape, args=(X, *columns))


register(
    Op(
        name="columns",
        about="windows as columns (unfold)",
        mixes="window",
        dilated=("window",),
        space=_space_windows,
        between="never",
        functions={"unfold": {"kernel_size": None, "dilation": 1, "padding": 0, "stride": 1}},
        named=always("unfold"),
        torch=("aten.im2col",),
        read=_read_columns,
    )
)
register(
    Op(
        name="fold",
        about="columns summed back into a map (fold)",
        mixes="window",
        dilated=("never",),
        space=_space_windows,
        between="never",
        functions={},
        torch=("aten.col2im",),
        read=_read_back,
    )
)
register(
    Op(
        name="windows",
        about="sliding windows along a dimension",
        mixes="window",
        dilated=("never",),
        space=_space_windows,
        between="never",
        functions={"unfold": {}},
        torch=("aten.unfold",),
        read=_read_windows,
    )
)
