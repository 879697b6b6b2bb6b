"""Views: reshape, permute, squeeze, expand. Positions are followed through all of them (layout.py)."""

from __future__ import annotations

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.extent import Extent, whole
from stridewise.ops.layout import Dims, LayoutError, digits, is_plain, reshaped
from stridewise.ops.registry import Op, register


def reshaping(call: Call) -> Reading:
    """Operand 0 with the output's shape, row-major."""
    x = call.value(0)
    dims = reshaped(x.known, call.outs[0])
    before = {(d.grid, d.axis): d for dim in x.known for d in digits(dim) if d.unit == 1}
    parts: dict[tuple[int, int], int] = {}
    for dim in dims:
        for d in digits(dim):
            if d.count < call.draft.grids[d.grid].sizes[d.axis]:  # a whole axis twice is attention's tokens by tokens
                parts[d.grid, d.axis] = parts.get((d.grid, d.axis), 0) + 1
    for (grid, axis), count in parts.items():
        if count > 1 and (grid, axis) in before:
            sizes = "x".join(str(d.count) for dim in dims for d in digits(dim) if (d.grid, d.axis) == (grid, axis))
            call.pin("window", grid, f"positions are split into parts ({sizes} on axis {axis})")
    return Reading(outs=[(dims, x.grid)], spread=x.spread)


def _permuted(call: Call, order: list[int]) -> Reading:
    x = call.value(0)
    dims = tuple(x.known[i] for i in order)
    return Reading(outs=[(dims, x.grid)], spread=x.spread, attrs={"order": tuple(order)})


def _read_permute(call: Call) -> Reading:
    rank = len(call.value(0).shape)
    return _permuted(call, [i % rank for i in call.arg(1, "dims")])


def _read_transpose(call: Call) -> Reading:
    rank = len(call.value(0).shape)
    order = list(range(rank))
    if "transpose" in call.target:
        a, b = call.arg(1, "dim0") % rank, call.arg(2, "dim1") % rank
        order[a], order[b] = order[b], order[a]
    return _permuted(call, order if "transpose" in call.target else order[::-1])


def _read_unsqueeze(call: Call) -> Reading:
    x = call.value(0)
    dim = call.arg(1, "dim") % (len(x.shape) + 1)
    return Reading(outs=[((*x.known[:dim], (1,), *x.known[dim:]), x.grid)], spread=x.spread)


def _read_squeeze(call: Call) -> Reading:
    x = call.value(0)
    which = call.arg(1, "dim")
    return _squeezed(x, {which} if isinstance(which, int) else set(which if which is not None else range(len(x.shape))))


def _squeezed(x: Value, dims: set[int]) -> Reading:
    gone = {d % len(x.shape) for d in dims if x.shape[d] == 1}
    if any(not is_plain(x.known[d]) for d in gone):
        raise LayoutError("squeezed along an axis that holds positions at other sizes")
    return Reading(outs=[(tuple(dim for i, dim in enumerate(x.known) if i not in gone), x.grid)], spread=x.spread)


def _read_expand(call: Call) -> Reading:
    x = call.value(0)
    shape = call.outs[0]
    lead = len(shape) - len(x.shape)
    dims: Dims = tuple(
        (size,) if i < lead or x.shape[i - lead] != size else x.known[i - lead] for i, size in enumerate(shape)
    )
    return Reading(outs=[(dims, x.grid)], spread=dims != x.dims or x.spread)


def _read_onnx_reshape(call: Call) -> Reading:
    reading = reshaping(call)
    wanted = call.constant(1, "shape") or []
    dims = reading.outs[0][0] or ()
    # A number in the file is a size for ever, unless it is -1 (what is left) or 0 (as before); a read size follows.
    for entry, dim in zip(wanted, dims, strict=False):
        held = [d for d in digits(dim) if d.count > 1]
        if held and not isinstance(entry, Extent) and entry > 0:
            by = "x".join(str(whole(e)) for e in wanted)
            call.pin("size", held[0].grid, f"reshaped to {by}, a constant of the file")
    return reading


def _read_onnx_transpose(call: Call) -> Reading:
    rank = len(call.value(0).shape)
    return _permuted(call, list(call.kwargs.get("perm") or reversed(range(rank))))


def _read_onnx_squeeze(call: Call) -> Reading:
    x, axes = call.value(0), call.constant(1, "axes")
    return _squeezed(x, set(range(len(x.shape))) if axes is None else {whole(a) for a in axes})


def _read_onnx_unsqueeze(call: Call) -> Reading:
    x, rank = call.value(0), len(call.outs[0])
    added = {whole(a) % rank for a in call.constant(1, "axes") or []}
    rest = iter(x.known)
    dims: Dims = tuple((1,) if i in added else next(rest) for i in range(rank))
    return Reading(outs=[(dims, x.grid)], spread=x.spread)


def _read_onnx_tile(call: Call) -> Reading:
    x = call.value(0)
    if any(digits(dim) and out != size for dim, out, size in zip(x.known, call.outs[0], x.shape, strict=True)):
        raise LayoutError("positions repeated as a whole")
    dims: Dims = tuple(d if digits(d) else (size,) for d, size in zip(x.known, call.outs[0], strict=True))
    return Reading(outs=[(dims, x.grid)], spread=dims != x.dims or x.spread)


register(
    Op(
        name="view",
        about="reshape; tokens, windows and shuffles keep their positions",
        mixes="nothing",
        dilated=("same",),
        between="never",
        functions={},
        passes_lost=True,
        shapes={"aten.view.default": "view"},
        torch=("aten.view", "aten._unsafe_view", "aten.reshape", "aten._reshape_alias", "aten.unflatten.int"),
        onnx=("Reshape",),
        read=reshaping,
        read_onnx=_read_onnx_reshape,
    )
)
register(
    Op(
        name="flatten",
        about="dimensions merged into two",
        mixes="nothing",
        dilated=("same",),
        between="never",
        onnx=("Flatten",),
        read=reshaping,
    )
)
register(
    Op(
        name="permute",
        about="dimensions in another order",
        mixes="nothing",
        dilated=("same",),
        between="order",
        functions={"permute": {}},
        passes_lost=True,
        torch=("aten.permute",),
        onnx=("Transpose",),
        read=_read_permute,
        read_onnx=_read_onnx_transpose,
    )
)
register(
    Op(
        name="transpose",
        about="two dimensions exchanged",
        mixes="nothing",
        dilated=("same",),
        between="order",
        functions={"transpose": {}},
        passes_lost=True,
        torch=("aten.transpose.int", "aten.t"),
        read=_read_transpose,
    )
)
register(
    Op(
        name="unsqueeze",
        about="a dimension of one added",
        mixes="nothing",
        dilated=("same",),
        between="never",
        functions={},
        passes_lost=True,
        torch=("aten.unsqueeze",),
        onnx=("Unsqueeze",),
        read=_read_unsqueeze,
        read_onnx=_read_onnx_unsqueeze,
    )
)
register(
    Op(
        name="squeeze",
        about="dimensions of one removed",
        mixes="nothing",
        dilated=("same",),
        between="never",
        functions={},
        passes_lost=True,
        torch=("aten.squeeze",),
        onnx=("Squeeze",),
        read=_read_squeeze,
        read_onnx=_read_onnx_squeeze,
    )
)
register(
    Op(
        name="expand",
        about="a value spread over a dimension",
        mixes="nothing",
        dilated=("same",),
        between="never",
        functions={},
        passes_lost=True,
        torch=("aten.expand",),
        onnx=("Expand",),
        read=_read_expand,
    )
)
register(
    Op(
        name="tile",
        about="a value repeated along a dimension",
        mixes="nothing",
        dilated=("same",),
        between="never",
        onnx=("Tile",),
        read=_read_onnx_tile,
    )
)
