"""New tensors and writing into parts of them: `out[:, :, 1:] = x`, circular padding, temporal shift."""

from __future__ import annotations

from stridewise.axis import IDENTITY, AxisMap, Window
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.layout import Dim, LayoutError, digits
from stridewise.ops.registry import Op, register


def _read_new(call: Call) -> Reading:
    """A new tensor of given sizes: nothing of the operand but its type is in it."""
    return Reading(outs=[(tuple((size,) for size in shape), None) for shape in call.outs])


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


register(
    Op(
        name="new",
        about="new tensors of given sizes",
        mixes="nothing",
        dilated=("same",),
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
        between="never",
        functions={"pad": {}},
        torch=("stridewise.write",),
        read=_read_write,
    )
)
