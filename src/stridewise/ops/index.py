"""Picking by a table of indices, along dimensions that hold no positions."""

from __future__ import annotations

from typing import Any

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.extent import whole
from stridewise.ops.layout import Extra, LayoutError, digits
from stridewise.ops.registry import Op, register
from stridewise.ops.slice import selecting
from stridewise.ops.space import BITS, OTHER, Draw, Ints, Trial, Weight, X


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
