"""Views: reshape, permute, squeeze, expand. Positions are followed through all of them (layout.py)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.extent import Extent, whole
from stridewise.ops.layout import TURNED, Digit, Dims, LayoutError, digits, is_plain, is_turned, relabelled, reshaped
from stridewise.ops.registry import Op, register
from stridewise.ops.space import Complex, Draw, Given, Ints, Trial, X, name_in


def reshaping(call: Call) -> Reading:
    """Operand 0 with the output's shape, row-major."""
    x = call.value(0)
    if x.grid is not None and len(call.outs[0]) > len(x.shape):
        remade = _spread_out(call, x)
        if remade is not None:
            return remade
    dims = reshaped(x.known, call.outs[0])
    if x.grid is not None and _is_all_in_channels(call, x, dims):
        raise LayoutError("all positions of a map put among its channels")
    if x.grid is not None and _is_remade(call, x, dims):
        raise LayoutError("makes positions along an axis on which none are left")
    out = _rearranged(call, Value(call.outs[0], dims, x.grid, x.index, x.origin))
    if out is not None:
        return Reading(outs=[(out.dims, out.grid)], grid=out.grid, spread=x.spread)
    before = {(d.grid, d.axis): d for dim in x.known for d in digits(dim) if d.unit == 1}
    parts: dict[tuple[int, int], int] = {}
    for dim in dims:
        for d in digits(dim):
            if d.count < call.draft.grids[d.grid].sizes[d.axis]:  # a whole axis twice is attention's tokens by tokens
                parts[d.grid, d.axis] = parts.get((d.grid, d.axis), 0) + 1
    for (grid, axis), count in parts.items():
        if count > 1 and (grid, axis) in before:
            held = [d for dim in dims for d in digits(dim) if (d.grid, d.axis) == (grid, axis)]
            by = "x".join(str(d.count) for d in held)
            inner = math.prod(d.count for d in held if d.unit < max(h.unit for h in held))
            blocks = tuple(inner if a == axis else 0 for a in range(len(call.draft.grids[grid].sizes)))
            call.pin("window", grid, f"positions are split into parts ({by} on axis {axis})", (axis,), blocks=blocks)
    # One part of as many positions as there are: at another size there may be more.
    alone = len(dims) > len(x.shape) and (1,) in dims[1:] and any(map(digits, dims))
    behind = {whole.axis for one, dim in pairwise(dims[1:]) if one == (1,) and (whole := call.whole(dim)) is not None}
    facts = {"whole": tuple(behind)} if alone else {}
    return Reading(outs=[(dims, x.grid)], spread=x.spread, attrs=facts)


def _is_all_in_channels(call: Call, x: Value, dims: Dims) -> bool:
    """Whether a map comes out with one position, in whose channels all that there were stand: blocks as large as it."""
    assert x.grid is not None
    rest, whole = dims[2:], len(call.draft.grids[x.grid].sizes)
    return len(rest) == whole and set(rest) == {(1,)} and len({d.axis for d in digits(dims[1]) if d.count > 1}) == whole


def _is_remade(call: Call, x: Value, dims: Dims) -> bool:
    """Whether what was spread over a dimension of its own becomes an axis on which no position was left, or one alone
    that is not told apart any more; so do the features of rows (of a linear layer along such an axis)."""
    assert x.grid is not None
    grid = call.draft.grids[x.grid]
    if len(x.shape) == 2 and len(dims) == 2 + len(grid.sizes) and not x.spread:
        at = [call.whole(dim) for dim in dims[2:]]
        if any(d is not None and d.axis == axis for axis, d in enumerate(at)):
            return any(
                not here and is_plain(dim) and dim != (1,) for here, dim in zip(grid.local, dims[2:], strict=True)
            )
    return len(dims) == 2 + len(grid.sizes) < len(x.shape) and any(
        size > 1 and (not here or (was == 1 and not digits(dim)))
        for here, was, size, dim in zip(grid.local, grid.sizes, call.outs[0][2:], dims[2:], strict=True)
    )


def _rearranged(call: Call, value: Value) -> Value | None:
    """The value on a grid of its own where a view has made it a map again whose positions are repeated, or gathered
    into channels (a pixel shuffle or space-to-depth written out). None where it is no such map."""
    rank = len(value.shape)
    value = call.with_ones(value, range(2, rank))
    dims = value.known
    where = [i for i, dim in enumerate(dims) if isinstance(dim[0], Digit)]
    if not where or call.is_settled(value, range(rank)) or len({d.grid for dim in dims for d in digits(dim)}) != 1:
        return None
    grid = digits(dims[where[0]])[0].grid
    sizes = call.draft.grids[grid].sizes
    left = [axis for axis, local in enumerate(call.draft.grids[grid].local) if local]
    if where[0] == 1 and len(where) > len(sizes) and all(d.unit == 1 for d in digits(dims[1])):
        # The channels of a map that had one: the places in a block.
        del where[0]
    axes = [digits(dims[i])[0].axis for i in where]
    gathered = [d for i, dim in enumerate(dims) if i not in where for d in digits(dim)]
    apart = len(set(axes)) == len(axes)  # one axis in two parts is no map yet
    if rank == len(sizes) + 2 and where[0] > 1 and apart and {d.axis for d in gathered} - set(axes):
        raise LayoutError("an axis put among the channels as a whole")
    if rank != len(sizes) + 2 or sorted(axes) != left or where[0] == 0:
        return None
    blocks = {d.axis: d.count for d in gathered}
    for i, axis in zip(where, axes, strict=True):
        first, *rest = dims[i]
        block = blocks.get(axis, 1)
        if not isinstance(first, Digit) or any(isinstance(a, Digit) for a in rest) or first.unit != block:
            return None
        if first.count * block != sizes[axis]:
            return None
    if any(d.unit != 1 for d in gathered) or digits(dims[0]):
        return None
    return call.settle(value, where)


def _spread_out(call: Call, x: Value) -> Reading | None:
    """A vector of features, that flattened positions were summed into or of a map pooled to one position, as a map
    again (a decoder's first view)."""
    assert x.grid is not None
    shape, grid = call.outs[0], call.draft.grids[x.grid]
    axes = len(grid.sizes)
    if len(shape) != 2 + axes or any(map(digits, x.known)) or all(n == 1 for n in shape[2:]) or any(grid.local):
        return None
    # A linear layer puts (N, 1, 1, features) back as it was; (N, heads, features) are a map's only behind a sum.
    if not x.loose and (len(x.shape) != 2 or axes == 1 or min(shape[1:]) == 1):
        return None
    dims, made = call.draft.positions_of_one(x.grid, shape)
    return Reading(outs=[(dims, made)], grid=made)


def _permuted(call: Call, order: list[int]) -> Reading:
    x = call.value(0)
    dims = tuple(x.known[i] for i in order)
    if order[:2] == [0, 1] and order != sorted(order) and _is_pooled_map(call, x):
        raise LayoutError(TURNED)
    call.draft.turned = call.draft.turned or is_turned(dims)
    return Reading(outs=[(dims, x.grid)], spread=x.spread, attrs={"order": tuple(order)})


def _is_pooled_map(call: Call, x: Value) -> bool:
    """Whether it is a map of which some axes have no positions left, and others do."""
    if x.grid is None or len(x.shape) != 2 + len(call.draft.grids[x.grid].sizes):
        return False
    local = call.draft.grids[x.grid].local
    at = [call.whole(dim) for dim in x.known[2:]]
    return any(local) and not all(local) and all((d is not None) == here for d, here in zip(at, local, strict=True))


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
    # As many elements go out as come in: numbers that are whole axes, or products of them, can only be those axes.
    grids = call.draft.grids
    anew = not any(d.count < grids[d.grid].sizes[d.axis] for dim in dims for d in digits(dim))
    for entry, dim in zip(wanted, dims, strict=False):
        held = [d for d in digits(dim) if d.count > 1]
        if held and not isinstance(entry, Extent) and entry > 0:
            by = "x".join(str(whole(e)) for e in wanted)
            call.pin("size", held[0].grid, f"reshaped to {by}, a constant of the file", anew=anew)
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


def _read_parts(call: Call) -> Reading:
    """Complex numbers as two real ones each, in a dimension behind the others, and back."""
    x = call.value(0)
    if "real" in call.target:
        return Reading(outs=[((*x.known, (2,)), x.grid)], spread=x.spread)
    if digits(x.known[-1]):
        raise LayoutError("positions taken for parts of complex numbers")
    return Reading(outs=[(x.known[:-1], x.grid)], spread=x.spread)


def _space_parts(draw: Draw, target: str) -> Trial:
    return Trial(
        call=target, shape=draw.shape(), args=(Complex(X) if "real" in target else Given("heads"),), runs=False
    )


def _read_tile(call: Call) -> Reading:
    """Operand 0 repeated as a whole along its dims: a map put end to end with itself, a batch, channels."""
    x, shape = call.value(0), call.outs[0]
    lead = len(shape) - len(x.shape)
    dims = [(size,) for size in shape[:lead]] + [
        d if digits(d) else (n,) for d, n in zip(x.known, shape[lead:], strict=True)
    ]
    grid = x.grid
    for at, (size, out) in enumerate(zip(x.shape, shape[lead:], strict=True), lead):
        if out == size or not digits(dims[at]):
            continue
        whole_dim = call.whole(dims[at])
        if whole_dim is None:
            raise LayoutError("positions that are split or merged repeated as a whole")
        source = call.draft.grids[whole_dim.grid]
        sizes = tuple(out if a == whole_dim.axis else n for a, n in enumerate(source.sizes))
        grid = call.draft.add("concat", sizes, (source.index,) * (out // size), axis=whole_dim.axis)
        dims = list(relabelled(tuple(dims), {source.index: grid}))
        dims[at] = (Digit(grid, whole_dim.axis, 1, out),)
    made = grid if grid != x.grid else None
    return Reading(outs=[(tuple(dims), grid)], grid=made, spread=tuple(dims) != x.dims or x.spread)


def _space(draw: Draw, target: str) -> Trial:
    """Tokens and back, channels in groups, dimensions exchanged: what networks do with views."""
    shape = draw.shape()
    channels, height, width = shape
    order = draw.of(([0, 2, 3, 1], [0, 1, 3, 2]))
    by_name: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "_reshape_alias": ((X, [1, channels * height, width], [channels * height * width, width, 1]), {}),
        "unflatten": ((X, 1, [2, channels // 2]), {}),
        "permute": ((X, order), {}),
        "transpose": ((X, 1, draw.of((2, 3))), {}),
        "t": ((Given("rows"),), {}),
        "unsqueeze": ((X, draw.whole(0, 4)), {}),
        "squeeze": ((X, 0), {}),
        "expand": ((Given("means"), [1, channels, height, width]), {}),
        "Flatten": ((X,), {"axis": 1}),
        "Reshape": ((X, Ints((0, 2, channels // 2, -1))), {}),
        "Transpose": ((X,), {"perm": order}),
        "Unsqueeze": ((X, Ints((draw.whole(0, 4),))), {}),
        "Squeeze": ((X, Ints((0,))), {}),
        "Expand": ((Given("means"), Ints((1, channels, height, width))), {}),
        "Tile": ((X, Ints((1, 2, 1, 1))), {}),
    }
    args, facts = by_name.get(name_in(target), ((X, draw.of(([1, 2, channels // 2, -1], [1, channels, -1]))), {}))
    runs = target != "aten._reshape_alias"  # which wants numbers
    return Trial(call=target, shape=shape, args=args, kwargs=facts, runs=runs)


register(
    Op(
        name="view",
        about="reshape; tokens, windows and shuffles keep their positions",
        mixes="nothing",
        dilated=("same",),
        space=_space,
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
        space=_space,
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
        space=_space,
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
        space=_space,
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
        space=_space,
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
        space=_space,
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
        space=_space,
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
        space=_space,
        between="never",
        functions={},
        torch=("aten.repeat", "aten.tile"),
        onnx=("Tile",),
        read=_read_tile,
    )
)
register(
    Op(
        name="complex parts",
        about="complex numbers as real ones and back",
        mixes="nothing",
        dilated=("same",),
        space=_space_parts,
        between="never",
        functions={},
        passes_lost=True,
        torch=("aten.view_as_real", "aten.view_as_complex"),
        read=_read_parts,
    )
)
