"""Windows taken out as columns (unfold) and put back (fold)."""

from __future__ import annotations

from stridewise.axis import AxisMap, Transposed, Window
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
from stridewise.ops.layout import Digit, Dims, LayoutError, digits
from stridewise.ops.registry import Op, always, register
from stridewise.ops.space import Draw, Trial, X


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


def _space(draw: Draw, target: str) -> Trial:
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
        space=_space,
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
        space=_space,
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
        space=_space,
        between="never",
        functions={"unfold": {}},
        torch=("aten.unfold",),
        read=_read_windows,
    )
)
