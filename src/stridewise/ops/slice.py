"""Slicing, selecting and splitting along one dimension."""

from __future__ import annotations

from stridewise.axis import IDENTITY, AxisMap, Slice, Whole
from stridewise.ops.call import Call, Reading, Value
from stridewise.ops.layout import Digit, Dim, Dims, Extra, LayoutError, digits
from stridewise.ops.registry import Op, register

_END = 2**62


def _cut(call: Call, x: Value, dim: int, start: int, stop: int, stride: int) -> tuple[Dims, int | None]:
    """Dims and grid of x[start:stop:stride] along `dim` (all three resolved against the traced size)."""
    inner: Dim = x.known[dim]
    count = len(range(start, stop, stride))
    if count == x.shape[dim] or (stride == 1 and start == 0 and stop >= x.shape[dim]):
        return x.known, x.grid
    if isinstance(inner[0], Extra):
        return _cut_extra(call, x, dim, start, stop, stride)
    if not digits(inner):
        return (*x.known[:dim], (count,), *x.known[dim + 1 :]), x.grid
    if call.whole(inner) is None:
        raise LayoutError("sliced along positions that are split or merged")
    at_end = stop >= x.shape[dim]
    # An end counted from the back keeps its distance at other sizes; torch resolves it before the call is seen.
    change = Slice(start=start, stop=None if at_end else stop - x.shape[dim], stride=stride)
    maps: list[AxisMap] = [change]
    settled, grid = call.windowed(x, [dim], maps)
    assert grid is not None
    dims = list(settled.known)
    made = call.draft.grids[grid]
    for i, d in enumerate(dims):
        if digits(d):
            dims[i] = tuple(
                Digit(grid, a.axis, a.unit, made.sizes[a.axis] if i == dim else a.count) if isinstance(a, Digit) else a
                for a in d
            )
    return tuple(dims), grid


def _cut_extra(call: Call, x: Value, dim: int, start: int, stop: int, stride: int) -> tuple[Dims, int | None]:
    extra = x.known[dim][0]
    assert isinstance(extra, Extra)
    inner = x.known[dim][1:]
    size = x.shape[dim]
    if stride == 1 and start <= extra.begin and size - stop <= extra.end:
        left = Extra(extra.begin - start, extra.end - (size - stop))
        kept: Dim = (left, *inner) if any(left) else inner
        return (*x.known[:dim], kept, *x.known[dim + 1 :]), x.grid
    if stop <= extra.begin or start >= size - extra.end:
        return (*x.known[:dim], (len(range(start, stop, stride)),), *x.known[dim + 1 :]), x.grid
    raise LayoutError("a slice through class tokens and positions")


def _read(call: Call) -> Reading:
    x = call.value(0)
    dim = call.arg(1, "dim", 0) % len(x.shape)
    start, stop, stride = slice(call.arg(2, "start"), call.arg(3, "end"), call.arg(4, "step", 1)).indices(x.shape[dim])
    dims, grid = _cut(call, x, dim, start, stop, stride)
    made = grid if grid != x.grid else None
    return Reading(outs=[(dims, grid)], grid=made, attrs={"dim": dim, "step": stride}, spread=x.spread)


def _read_select(call: Call) -> Reading:
    x = call.value(0)
    dim = call.arg(1, "dim", 0) % len(x.shape)
    index = call.arg(2, "index", 0) % x.shape[dim]
    dims, grid = _cut(call, x, dim, index, index + 1, 1)
    if digits(dims[dim]):
        # One position picked out of many: what is left has no place on the axis any more.
        axis = digits(dims[dim])[0].axis
        assert grid is not None
        maps: list[AxisMap] = [Whole() if a == axis else IDENTITY for a in range(len(call.draft.grids[grid].sizes))]
        new = call.mapped(grid, maps)
        dims = tuple(tuple(a._replace(grid=new) if isinstance(a, Digit) else a for a in d) for d in dims)
        grid = new
    return Reading(outs=[(dims[:dim] + dims[dim + 1 :], grid)], grid=grid if grid != x.grid else None)


def _read_split(call: Call) -> Reading:
    x = call.value(0)
    dim = call.arg(2, "dim", 0) % len(x.shape)
    outs, at = [], 0
    for shape in call.outs:
        outs.append(_cut(call, x, dim, at, at + shape[dim], 1))
        at += shape[dim]
    return Reading(outs=list(outs))


def _read_unbind(call: Call) -> Reading:
    x = call.value(0)
    dim = call.arg(1, "dim", 0) % len(x.shape)
    if digits(x.known[dim]):
        raise LayoutError("unbound along positions")
    return Reading(outs=[(x.known[:dim] + x.known[dim + 1 :], x.grid)] * len(call.outs))


register(
    Op(
        name="slice",
        about="x[start:stop:step]; a step is a stride",
        torch=("aten.slice.Tensor", "aten.slice"),
        read=_read,
    )
)
register(Op(name="select", about="one index of a dimension", torch=("aten.select.int",), read=_read_select))
register(
    Op(
        name="split",
        about="parts of a dimension",
        torch=("aten.split.Tensor", "aten.split_with_sizes", "aten.unsafe_split.Tensor"),
        read=_read_split,
    )
)
register(Op(name="unbind", about="every index of a dimension", torch=("aten.unbind.int",), read=_read_unbind))
