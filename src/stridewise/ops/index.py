"""Picking by a table of indices, along dimensions that hold no positions."""

from __future__ import annotations

from stridewise.ops.call import Call, Reading, Value
from stridewise.ops.layout import LayoutError, digits
from stridewise.ops.registry import Op, register


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


def _read_select(call: Call) -> Reading:
    x = call.value(0)
    dim = call.arg(1, "dim") % len(x.shape)
    if digits(x.known[dim]):
        raise LayoutError("positions picked by a table")
    return Reading(outs=[((*x.known[:dim], (call.outs[0][dim],), *x.known[dim + 1 :]), x.grid)])


register(Op(name="index", about="picking channels by a table", torch=("aten.index.Tensor",), read=_read))
register(Op(name="index_select", about="picking along a dimension", torch=("aten.index_select",), read=_read_select))
