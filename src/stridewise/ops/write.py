"""New tensors and writing into parts of them: `out[:, :, 1:] = x`, circular padding, temporal shift."""

from __future__ import annotations

import math
from typing import Any

from stridewise.axis import IDENTITY, AxisMap, Window
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.layout import Dim, LayoutError, digits
from stridewise.ops.registry import Op, register
from stridewise.ops.space import OTHER, Draw, Trial, X, name_in


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


def _space(draw: Draw, target: str) -> Trial:
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
        space=_space,
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
        space=_space,
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
        space=_space,
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
        space=_space,
        between="never",
        functions={"pad": {}},
        torch=("stridewise.write",),
        read=_read_write,
    )
)
