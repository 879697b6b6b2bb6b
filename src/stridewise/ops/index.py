"""Reading and writing by place: picking by a table of indices, writing into parts of a tensor, new tensors.

`out[:, :, 1:] = x`, circular padding, temporal shift; tables pick along dimensions that hold no positions.
"""

from __future__ import annotations

import math
from typing import Any

from stridewise.axis import IDENTITY, AxisMap, Window
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.extent import whole
from stridewise.ops.layout import Dim, Extra, LayoutError, digits
from stridewise.ops.registry import Op, register
from stridewise.ops.slice import selecting
from stridewise.ops.space import BITS, OTHER, Draw, Given, Ints, Trial, Weight, X, name_in


def _read(call: Call) -> Reading:
    x = call.value(0)
    tables = call.arg(1, "indices") or []
    picked = [i for i, table in enumerate(tables) if isinstance(table, Value)]
    if any(digits(x.known[i]) for i in picked):
        raise LayoutError("positions picked by a table")
    if len(picked) == 1 and len(call.outs[0]) == len(x.shape):
        at = picked[0]
        return Reading(outs=[((*x.known[:at], (call.outs[0][at],), *x.known[at + 1 :]), x.grid)])
    if all(not digits(dim) for dim in x.known):
        return Reading(outs=[(tuple((s,) for s in call.outs[0]), x.grid)])
    raise LayoutError("positions picked by several tables")


def _read_embedding(call: Call) -> Reading:
    """(table, indices): the indices' dimensions, and the width of the table behind them."""
    indices = call.value(1)
    return Reading(outs=[((*indices.known, (call.outs[0][-1],)), indices.grid)])


def _read_select(call: Call) -> Reading:
    x = call.value(0)
    dim = call.arg(1, "dim") % len(x.shape)
    if digits(x.known[dim]):
        raise LayoutError("positions picked by a table")
    return Reading(outs=[((*x.known[:dim], (call.outs[0][dim],), *x.known[dim + 1 :]), x.grid)])


def _read_onnx(call: Call) -> Reading:
    """Gather: the table's own dimensions take the place of the axis."""
    x, table = call.value(0), call.value(1)
    axis = call.kwargs.get("axis", 0) % len(x.shape)
    if digits(x.known[axis]) or isinstance(x.known[axis][0], Extra):
        if len(table.shape) or table.content is None:
            raise LayoutError("positions picked by a table")
        return selecting(call, axis, whole(table.content[0]))
    grid = x.grid if x.origin == "data" else table.grid
    return Reading(outs=[((*x.known[:axis], *table.known, *x.known[axis + 1 :]), grid)])


def _read_onnx_table(call: Call) -> Reading:
    """Picking and placing by tables, where no positions are at stake."""
    found = [v for v in call.values() if v.origin == "data"]
    if any(digits(dim) for v in found for dim in v.known):
        raise LayoutError("positions picked by a table")
    return Reading(outs=[(tuple((s,) for s in shape), found[0].grid if found else None) for shape in call.outs])


def _space(draw: Draw, target: str) -> Trial:
    shape, picked = draw.shape(draw.whole(1, 3)), Ints((2, 0, 1))
    table = Ints((0, 1))
    by_target: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "aten.index.Tensor": ((X, [None, picked]), {}),
        "aten.index_select": ((X, 1, picked), {}),
        "Gather": ((X, picked), {"axis": 1}),
        "GatherElements": ((Weight((3, 4)), Ints((1, 0))), {}),
        "GatherND": ((X, Ints((0, 0))), {}),
        "TopK": ((X, Ints((2,))), {"axis": 1}),
        "OneHot": ((X, Ints((3,)), table), {"axis": 1}),
        "NonZero": ((X,), {}),
        "ScatterND": ((X, Ints((0,)), OTHER), {}),
    }
    args, kwargs = by_target.get(target, ((X, OTHER), {}))
    return Trial(call=target, shape=shape, args=args, kwargs=kwargs, runs=target in by_target)


register(
    Op(
        name="gather",
        about="picking by indices along one dimension",
        mixes="nothing",
        dilated=("same",),
        space=_space,
        between="never",
        onnx=("Gather",),
        read=_read_onnx,
    )
)
register(
    Op(
        name="table",
        about="picking and placing by tables of indices, away from positions",
        mixes="everything",
        dilated=("same",),
        space=_space,
        between="never",
        onnx=("GatherElements", "GatherND", "ScatterElements", "ScatterND", "Scatter", "TopK", "OneHot", "NonZero"),
        read=_read_onnx_table,
    )
)
register(
    Op(
        name="embedding",
        about="a vector for each index",
        mixes="nothing",
        dilated=("same",),
        space=lambda draw, target: Trial(call=target, shape=draw.shape(draw.whole(1, 2)), args=(Weight((8, 5)), BITS)),
        between="never",
        functions={},
        torch=("aten.embedding",),
        read=_read_embedding,
    )
)
register(
    Op(
        name="index",
        about="picking channels by a table",
        mixes="nothing",
        dilated=("same",),
        space=_space,
        between="never",
        functions={"__getitem__": {}},
        torch=("aten.index.Tensor",),
        read=_read,
    )
)
register(
    Op(
        name="index_select",
        about="picking along a dimension",
        mixes="nothing",
        dilated=("same",),
        space=_space,
        between="never",
        functions={},
        torch=("aten.index_select",),
        read=_read_select,
    )
)


def _read_new(call: Call) -> Reading:
    """A new tensor of given sizes: nothing of the operand but its type is in it."""
    return Reading(outs=[(tuple((size,) for size in shape), None) for shape in call.outs])


def _read_sampled(call: Call) -> Reading:
    """Operand 0 read at places that operand 1 holds, one for each of its own positions: any of them may be any."""
    x, places = call.value(0), call.value(1)
    where = places.known[1:-1]
    if not all(call.whole(dim) for dim in where):
        raise LayoutError("read at places that are no map's")
    sources = tuple({d.grid for dim in x.known for d in digits(dim)})
    value = Value(call.outs[0], (*x.known[:2], *where), places.grid)
    return call.remade(
        value, lambda grid: call.draft.add("join", call.draft.grids[grid].sizes, (grid, *sources), mixes=True)
    )


def _space_sampled(draw: Draw, target: str) -> Trial:
    axes = int(target[-2])
    return Trial(
        call="grid_sampler", shape=draw.shape(axes, axes), args=(X, Given("last"), 0, draw.of((0, 1, 2)), False)
    )


def _read_like(call: Call) -> Reading:
    return call.same(call.value(0))


def _read_copy(call: Call) -> Reading:
    """What is copied lies in the target as it is broadcast there; what the target held before is gone."""
    source = call.value(1)
    dims, grid = call.joined([source]) if source.origin == "data" else (call.value(0).known, call.value(0).grid)
    return Reading(outs=[(dims, grid)])


def _read_write(call: Call) -> Reading:
    """The whole tensor (operand 0) after a part of it was overwritten by operand 1.

    Argument 2 holds, for each dimension, where the part begins.
    """
    whole, part, begins = call.value(0), call.value(1), call.args[2]
    dims: list[Dim] = [(size,) for size in whole.shape]
    grid = next((d.grid for dim in part.known for d in digits(dim)), None)
    if grid is None:
        return Reading(outs=[(whole.known, whole.grid if whole.grid is not None else part.grid)])
    maps: list[AxisMap] = [IDENTITY] * len(call.draft.grids[grid].sizes)
    for at, dim in enumerate(part.known):
        if digits(dim):
            axis = call.whole(dim)
            if axis is None or axis.grid != grid:
                raise LayoutError("a part is overwritten by positions that are split or merged")
            maps[axis.axis] = Window(pad_begin=begins[at], pad_end=whole.shape[at] - begins[at] - part.shape[at])
    if any(change != IDENTITY for change in maps):
        grid = call.mapped(grid, maps)
    for at, dim in enumerate(part.known):
        if digits(dim):
            dims[at] = (digits(dim)[0]._replace(grid=grid, count=whole.shape[at]),)
    written = Value(whole.shape, tuple(dims), grid)
    if not any(digits(dim) for dim in whole.known):
        return Reading(outs=[(written.dims, grid)], grid=grid)
    out, grid = call.joined([whole, written])
    return Reading(outs=[(out, grid)], grid=grid)


def _space_written(draw: Draw, target: str) -> Trial:
    shape, name = draw.shape(draw.whole(1, 3)), name_in(target)
    sizes = [1, *shape]
    more: dict[str, tuple[Any, ...]] = {
        "new_full": (sizes, 0.5),
        "full_like": (0.5,),
        "copy": (OTHER,),
        "new_empty_strided": (sizes, [math.prod(sizes[at + 1 :]) for at in range(len(sizes))]),
    }
    if target == "stridewise.write":
        return Trial(call=_overwritten, shape=shape, args=(X, OTHER, draw.of((1, 2)), draw.whole(0, 2)))
    random = any(word in name for word in ("empty", "rand"))
    usual = (sizes,) if name.startswith("new_") else ()
    return Trial(call=target, shape=shape, args=(X, *more.get(name, usual)), runs=not random)


def _overwritten(x: Any, other: Any, dim: int, begin: int) -> Any:
    """x, from `begin` on along a dimension overwritten by what `other` begins with."""
    out = x.clone()
    out.narrow(dim, begin, out.shape[dim] - begin).copy_(other.narrow(dim, 0, out.shape[dim] - begin))
    return out


register(
    Op(
        name="new",
        about="new tensors of given sizes",
        mixes="nothing",
        dilated=("same",),
        space=_space_written,
        between="never",
        functions={},
        torch=tuple(f"aten.new_{kind}" for kind in ("empty", "zeros", "ones", "full", "empty_strided")),
        read=_read_new,
    )
)
register(
    Op(
        name="new_like",
        about="new tensors of another's size",
        mixes="nothing",
        dilated=("same",),
        space=_space_written,
        between="never",
        functions={},
        torch=tuple(f"aten.{kind}_like" for kind in ("empty", "zeros", "ones", "full", "rand", "randn")),
        read=_read_like,
    )
)
register(
    Op(
        name="copy_into",
        about="one tensor copied into another",
        mixes="nothing",
        dilated=("same", "mixes"),
        space=_space_written,
        between="never",
        functions={},
        torch=("aten.copy_",),
        read=_read_copy,
    )
)
register(
    Op(
        name="write",
        about="a part of a tensor overwritten",
        mixes="nothing",
        dilated=("same", "mixes"),
        space=_space_written,
        between="never",
        functions={"pad": {}},
        torch=("stridewise.write",),
        read=_read_write,
    )
)
register(
    Op(
        name="sample",
        about="a map read at places that another map holds",
        mixes="everything",
        dilated=("same", "mixes"),
        space=_space_sampled,
        between="never",
        functions={},
        torch=("aten.grid_sampler_2d", "aten.grid_sampler_3d"),
        read=_read_sampled,
    )
)
