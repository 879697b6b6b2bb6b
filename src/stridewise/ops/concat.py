"""Concatenation and stacking."""

from __future__ import annotations

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.layout import Digit, Dim, Extra, LayoutError, digits, is_plain
from stridewise.ops.registry import Op, register
from stridewise.ops.space import OTHER, Draw, Trial, X, is_torch

# What a detector's head makes of its levels: a list of predictions, and no map any more.
LISTED = "the positions of several maps are put end to end"


def concatenation(call: Call, values: list[Value], dim: int) -> Reading:
    """`values` end to end along `dim`."""
    values = [value for value in values if len(value.shape) == len(call.outs[0])]
    dim %= len(call.outs[0])
    holds = [not is_plain(v.known[dim]) for v in values if v.origin == "data"]
    if not any(holds):
        dims, grid = call.joined(values, skip=dim)
        made = grid if grid is not None and call.draft.grids[grid].node == call.draft.node else None
        return Reading(outs=[(dims, grid)], grid=made)
    return _along_positions(call, values, dim)


def _along_positions(call: Call, values: list[Value], dim: int) -> Reading:
    """Positions end to end: class tokens beside them, or parts of a map put together again."""
    with_positions = [i for i, v in enumerate(values) if digits(v.known[dim])]
    if len(with_positions) == 1:
        at = with_positions[0]
        inner: Dim = values[at].known[dim]
        old = inner[0] if isinstance(inner[0], Extra) else Extra(0, 0)
        begin = old.begin + sum(v.shape[dim] for v in values[:at])
        end = old.end + sum(v.shape[dim] for v in values[at + 1 :])
        dims = list(values[at].known)
        dims[dim] = (Extra(begin, end), *(a for a in inner if not isinstance(a, Extra)))
        return Reading(outs=[(tuple(dims), values[at].grid)])
    whole = [value.known[dim] for value in values]
    if any(len(d) != 1 or not isinstance(d[0], Digit) or d[0].unit != 1 for d in whole):
        raise LayoutError(LISTED)
    first = whole[0][0]
    assert isinstance(first, Digit)
    sources = tuple(d.grid for w in whole for d in digits(w))
    sizes = list(call.draft.grids[first.grid].sizes)
    sizes[first.axis] = call.outs[0][dim]
    grid = call.draft.add("concat", tuple(sizes), sources, axis=first.axis)
    dims = [
        tuple(a._replace(grid=grid, count=sizes[a.axis]) if isinstance(a, Digit) else a for a in d)
        for d in values[0].known
    ]
    return Reading(outs=[(tuple(dims), grid)], grid=grid)


def _read(call: Call) -> Reading:
    return concatenation(call, call.values(), call.arg(1, "dim", 0))


def _read_stack(call: Call) -> Reading:
    dim = call.arg(1, "dim", 0) % len(call.outs[0])
    lifted = []
    for v in call.values():
        dims = None if v.dims is None else (*v.dims[:dim], (1,), *v.dims[dim:])
        lifted.append(Value((*v.shape[:dim], 1, *v.shape[dim:]), dims, v.grid, v.index, v.origin))
    return concatenation(call, lifted, dim)


def _read_onnx(call: Call) -> Reading:
    return concatenation(call, call.values(), call.kwargs.get("axis", 1))


def _space(draw: Draw, target: str) -> Trial:
    shape = draw.shape(draw.whole(1, 3))
    dim = 1 if draw.of((True, True, False)) else draw.dim(shape)
    if is_torch(target):
        return Trial(call=target, shape=shape, args=([X, OTHER], dim))
    return Trial(call=target, shape=shape, args=(X, OTHER), kwargs={"axis": dim})


register(
    Op(
        name="concat",
        about="concatenation along channels or positions",
        mixes="nothing",
        dilated=("same", "mixes"),
        space=_space,
        between="never",
        functions={},
        passes_lost=True,
        shapes={"aten.cat.default": "concatenation"},
        torch=("aten.cat",),
        onnx=("Concat",),
        read=_read,
        read_onnx=_read_onnx,
    )
)
register(
    Op(
        name="stack",
        about="stacking along a new dimension",
        mixes="nothing",
        dilated=("same", "mixes"),
        space=_space,
        between="never",
        functions={},
        torch=("aten.stack",),
        read=_read_stack,
    )
)
