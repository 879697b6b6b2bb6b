"""Slicing, selecting and splitting along one dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stridewise.axis import IDENTITY, AxisMap, Slice, Whole
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.extent import Extent, whole
from stridewise.ops.layout import Digit, Dim, Dims, Extra, LayoutError, digits
from stridewise.ops.registry import Op, always, register
from stridewise.ops.space import Draw, Ints, Trial, X, name_in
from stridewise.ops.worked import sliced, tied

_END = 2**62


def _cut(
    call: Call, x: Value, dim: int, start: int, stop: int, stride: int, absolute: bool = False
) -> tuple[Dims, int | None]:
    """Dims and grid of x[start:stop:stride] along `dim` (all three resolved against the traced size).

    absolute: the stop stays where it is at other sizes; else it keeps its distance from the end.
    """
    inner: Dim = x.known[dim]
    count = len(range(start, stop, stride))
    if count == x.shape[dim] or (stride == 1 and start == 0 and stop >= x.shape[dim]):
        return x.known, x.grid
    if isinstance(inner[0], Extra):
        return _cut_extra(call, x, dim, start, stop, stride)
    if not digits(inner):
        return (*x.known[:dim], (count,), *x.known[dim + 1 :]), x.grid
    if count == 0 or (x.shape[dim] > 1 and all(d.count == 1 for d in digits(inner))):
        # Nothing is left, or one position only lies among channels.
        return (*x.known[:dim], (count,), *x.known[dim + 1 :]), x.grid
    if call.whole(inner) is None:
        raise LayoutError("sliced along positions that are split or merged")
    at_end = stop >= x.shape[dim]
    # An end counted from the back keeps its distance at other sizes; torch resolves it before the call is seen.
    change = Slice(start=start, stop=None if at_end else stop if absolute else stop - x.shape[dim], stride=stride)
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
    bounds = slice(call.arg(2, "start"), call.arg(3, "end"), call.arg(4, "step", 1))
    start, stop, stride = bounds.indices(x.shape[dim])
    written = _written(call, x, call.arg(5, "written", {}))
    dims, grid = written or _cut(call, x, dim, start, stop, stride)
    made = grid if grid != x.grid else None
    facts = {"dim": dim, "step": stride} | ({"written": True} if written else {})
    facts |= {"serial": call.arg(6, "serial")} if len(call.args) > 6 else {}
    ends = bounds.stop is not None and bounds.stop < _END
    if not written and dims is x.known and digits(dims[dim]) and (ends or (bounds.start or 0) < 0):
        facts["whole"] = True  # as many as there are, by a number: on a larger map there may be more
    return Reading(outs=[(dims, grid)], grid=made, attrs=facts, spread=x.spread)


def _written(call: Call, x: Value, parts: Mapping[int, slice]) -> tuple[Dims, int | None] | None:
    """Dims and grid of x[parts], by dimension the slices that the forward wrote; None where they are not followed, or
    lie along no positions."""
    found: list[tuple[int, AxisMap, int | None]] = []
    for dim, part in parts.items():
        own = call.whole(x.known[dim])
        if own is None and not digits(x.known[dim]):
            continue
        change = sliced(call, own, part.start, part.stop, part.step or 1) if own is not None else None
        if change is None or (part.step or 1) < 1:
            return None
        taken = len(range(*part.indices(x.shape[dim])))
        if change[1] is not None and own is not None and call.draft.grids[change[1]].sizes[own.axis] != taken:
            return None  # a cut to more positions than there are: the size it takes is not the other tensor's
        if change[0] != Slice():
            found.append((dim, *change))
    count = [len(range(*part.indices(x.shape[dim]))) for dim, part in parts.items()]
    if not found or 0 in count:
        return None
    plain = tuple(
        (count[list(parts).index(d)],) if d in parts and not digits(x.known[d]) else dim
        for d, dim in enumerate(x.known)
    )
    value = Value(x.shape, plain, x.grid, x.index, x.origin)
    dims: Dims = plain
    for one in found:  # a grid each, whichever of them cut something at this size
        dims, grid = tied(call, value, [one])
        value = Value(x.shape, dims, grid, x.index, x.origin)
    return value.known, value.grid


def _read_select(call: Call) -> Reading:
    return selecting(call, call.arg(1, "dim", 0) % len(call.value(0).shape), call.arg(2, "index", 0))


def selecting(call: Call, dim: int, index: int) -> Reading:
    """One index of the dimension `dim` of operand 0; the dimension is gone."""
    x = call.value(0)
    index %= x.shape[dim]
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
    outs: list[tuple[Dims, int | None]] = []
    at, is_written = 0, True
    each = call.arg(3, "written", None)  # one size for all parts, as the forward wrote it
    for shape in call.outs:
        at_part = slice(len(outs) * each, (len(outs) + 1) * each) if each is not None else None
        part = None if at_part is None else _written(call, x, {dim: at_part})
        is_written &= part is not None
        outs.append(part or _cut(call, x, dim, at, at + shape[dim], 1))
        at += shape[dim]
    # One part that is everything: at another size there may be more.
    facts: dict[str, Any] = {"whole": True} if len(outs) == 1 and digits(x.known[dim]) else {}
    facts |= {"written": True} if is_written else {}
    return Reading(outs=list(outs), attrs=facts)


def _read_onnx(call: Call) -> Reading:
    x = call.value(0)
    starts, ends = call.constant(1, "starts") or [], call.constant(2, "ends") or []
    axes = call.constant(3, "axes") or list(range(len(starts)))
    steps = call.constant(4, "steps") or [1] * len(starts)
    first = x.grid
    for axis, *bounds in zip(axes, starts, ends, steps, strict=True):
        dim = whole(axis) % len(x.shape)
        size = x.shape[dim]
        start, stop, step = slice(*map(whole, bounds)).indices(size)
        count = len(range(start, stop, step))
        if digits(x.known[dim]) and whole(bounds[1]) == size and not isinstance(bounds[1], Extent):
            where = tuple(sorted({d.axis for d in digits(x.known[dim])}))
            held = digits(x.known[dim])[0].grid
            call.pin("size", held, f"sliced up to {size}, a constant of the file", where, ends=True)
        if count == size and step == 1:
            continue
        if digits(x.known[dim]) and (step < 0 or isinstance(bounds[1], Extent)):
            dims, grid = _cut_computed(call, x, dim, start, stop, step, bounds[1])
        else:
            dims, grid = _cut(call, x, dim, start, stop, step, absolute=0 < whole(bounds[1]) < size)
        x = Value((*x.shape[:dim], count, *x.shape[dim + 1 :]), dims, grid, x.index, x.origin, x.spread)
    facts = {"dim": whole(axes[-1]), "step": whole(steps[-1])}
    return Reading(outs=[(x.dims, x.grid)], grid=x.grid if x.grid != first else None, attrs=facts, spread=x.spread)


def _cut_computed(
    call: Call, x: Value, dim: int, start: int, stop: int, step: int, end: Any
) -> tuple[Dims, int | None]:
    """Dims and grid of a slice whose end was computed from a size: of this axis, or of another tensor's."""
    own = call.whole(x.known[dim])
    if step < 0 or own is None:
        raise LayoutError("positions in reverse order" if step < 0 else "sliced along split positions")
    if end.same_axis(Extent(0, own.grid, own.axis)) and end.factor == 1:
        return _cut(call, x, dim, start, stop, step)
    dims, grid = _cut(call, x, dim, start, stop, step, absolute=True)
    assert grid is not None
    draft = call.draft
    made = draft.grids[grid]
    reference: int | None = end.grid if end.axis == own.axis and (end.factor, end.offset) == (1, 0) else None
    if reference is None or start or step != 1 or len(draft.grids[reference].sizes) != len(made.sizes):
        call.pin("size", grid, f"sliced to {stop - start} positions, computed from sizes in a way that is not followed")
        return dims, grid
    # Cropped to the size of another tensor, one axis after the other: with the last one the whole grid follows.
    before, other, axes = draft.cuts.get(own.grid, (own.grid, reference, ()))
    axes = (*axes, own.axis)
    if other != reference or len(axes) < len(made.sizes):
        draft.cuts[grid] = (before, reference, axes)
        call.pin("size", grid, f"one axis sliced to {stop - start} positions, those of another tensor")
        return dims, grid
    draft.pins = [pin for pin in draft.pins if pin.grid != own.grid]
    maps = tuple(Slice(stop=size) for size in made.sizes)
    draft.grids[grid] = replace(made, kind="follow", sources=(before, reference), maps=maps)
    return dims, grid


def _read_onnx_split(call: Call) -> Reading:
    x = call.value(0)
    dim = call.kwargs.get("axis", 0) % len(x.shape)
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


def _space(draw: Draw, target: str) -> Trial:
    shape = draw.shape(draw.whole(1, 3))
    dim = draw.dim(shape)
    at = dim % (len(shape) + 1)
    size = shape[at - 1]
    start, step = draw.whole(0, 2), draw.of((1, 1, 2, 3))
    stop = draw.of((None, size - 1, -1))
    name = name_in(target)
    if name == "Slice":
        end = 2**31 if stop is None else stop
        return Trial(call=target, shape=shape, args=(X, Ints((start,)), Ints((end,)), Ints((dim,)), Ints((step,))))
    if name == "Split":
        return Trial(call=target, shape=shape, args=(X, Ints((2, size - 2))), kwargs={"axis": dim})
    if name in ("slice", "select"):
        entry = slice(start, stop, step) if name == "slice" else start
        return Trial(call="__getitem__", shape=shape, args=(X, (*[slice(None)] * at, entry)))
    more = {"split_with_sizes": ([2, size - 2], dim), "unbind": (dim,)}.get(name, (2, dim))
    return Trial(call=target, shape=shape, args=(X, *more))


register(
    Op(
        name="slice",
        about="x[start:stop:step]; a step is a stride",
        mixes="nothing",
        dilated=("same", "slice"),
        space=_space,
        between="never",
        functions={"__getitem__": {}},
        passes_lost=True,
        named=always("slice"),
        torch=("aten.slice.Tensor", "aten.slice"),
        onnx=("Slice",),
        read=_read,
        read_onnx=_read_onnx,
    )
)
register(
    Op(
        name="select",
        about="one index of a dimension",
        mixes="nothing",
        dilated=("same", "slice"),
        space=_space,
        between="never",
        functions={"__getitem__": {}},
        passes_lost=True,
        torch=("aten.select.int",),
        read=_read_select,
    )
)
register(
    Op(
        name="split",
        about="parts of a dimension",
        mixes="nothing",
        dilated=("same", "slice"),
        space=_space,
        between="never",
        functions={},
        passes_lost=True,
        torch=("aten.split.Tensor", "aten.split_with_sizes", "aten.unsafe_split.Tensor"),
        onnx=("Split",),
        read=_read_split,
        read_onnx=_read_onnx_split,
    )
)
register(
    Op(
        name="unbind",
        about="every index of a dimension",
        mixes="nothing",
        dilated=("same",),
        space=_space,
        between="never",
        functions={},
        passes_lost=True,
        torch=("aten.unbind.int",),
        read=_read_unbind,
    )
)
