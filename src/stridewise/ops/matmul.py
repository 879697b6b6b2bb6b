"""Matrix products: linear layers, attention. Positions that are summed over are let in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from stridewise.axis import IDENTITY, AxisMap, Table, Whole
from stridewise.ir import Volume
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value, volume_of
from stridewise.ops.layout import Digit, Dim, Dims, LayoutError, digits, is_plain, merged, relabelled
from stridewise.ops.registry import Op, always, register
from stridewise.ops.space import Bytes, Draw, Given, Number, Trial, Weight, X, is_torch, name_in


def product(call: Call, a: Value, b: Value, out: Dims, summed: tuple[Dim, int], brings: int | None = None) -> Reading:
    """The product of `a` and `b` laid out as `out`, summed over the dim `summed` (its layout, its size).

    brings: the output dim that a table among the two brings along.
    """
    grids = call.draft.grids
    data = [v for v in (a, b) if v.origin == "data"]
    macs = volume_of((*out, summed[0]), (*call.outs[0], summed[1]), grids)
    gone = digits(summed[0])
    facts: dict[str, Any] = {"channels": (summed[1], call.outs[0][-1])}
    kept = {d.grid for dim in out for d in digits(dim)}
    sources = [v.grid for v in data if v.grid is not None]
    grid: int | None = sources[0] if sources else None
    if gone and len(data) == 1:
        lines = [d for d in gone if d.count > 1] or gone[:1]  # beside axes of one position
        is_axis = brings is not None and len(lines) == 1 and len(summed[0]) == len(gone)
        made_along = _along_axis(call, out, lines[0], brings) if is_axis and brings is not None else None
        if made_along is not None:
            out, grid = made_along
            return Reading(outs=[(out, grid)], grid=grid, counted=True, macs=macs, attrs=facts, keeps="inputs")
        facts["flattened"] = any(d.count > 1 for d in gone)
        fixed = max(d.grid for d in gone)
        call.pin("flatten", fixed, f"positions are flattened into {summed[1]} features of a linear layer")
    if gone and kept:
        base = max(kept)
        others = (s for s in {d.grid for d in gone} if s != base)
        along = _lines(out, gone)
        grid = call.draft.add("join", grids[base].sizes, (base, *others), mixes=True, along=along)
        out = relabelled(out, dict.fromkeys(kept, grid))
    elif gone:
        source = max(d.grid for d in gone)
        axes = {d.axis for d in gone}
        maps: list[AxisMap] = [Whole() if i in axes else IDENTITY for i in range(len(grids[source].sizes))]
        grid = call.mapped(source, maps)
    elif len(data) == 2 and len(set(sources)) > 1 and kept:
        # A product with something that has no positions left (or of two maps): it lets in what that let in.
        base = max(kept)
        if len(kept) == 1:
            rest = tuple(s for s in dict.fromkeys(sources) if s != base)
            grid = call.draft.add("join", grids[base].sizes, (base, *rest), local=grids[base].local, mixes=True)
            out = relabelled(out, {base: grid})
        else:
            grid = base
    elif kept:
        grid = max(kept)
    made = grid if grid is not None and grids[grid].node == call.draft.node else None
    # One number a row: the axis of a map that was pooled to one position, which a table makes several of again.
    pooled = len(data) == summed[1] == 1 and not gone and grid is not None and not any(grids[grid].local)
    loose = (bool(facts.pop("flattened", False)) or pooled) and not kept
    return Reading(outs=[(out, grid)], grid=made, counted=True, macs=macs, attrs=facts, keeps="inputs", loose=loose)


def _lines(out: Dims, gone: Sequence[Digit]) -> tuple[int, ...]:
    """The axes along which a product mixes positions, each line by itself (attention along rows); () for all of them.
    That it is where no row or column of the product lies along another axis."""
    axes = {d.axis for d in gone}
    return tuple(sorted(axes)) if all(d.axis in axes for dim in out[-2:] for d in digits(dim)) else ()


def _along_axis(call: Call, out: Dims, first: Digit, place: int) -> tuple[Dims, int] | None:
    """Dims and grid of a product with a table along one whole axis: its new positions are the dim `place`, the other
    axes stay what they are. None for other sums over positions."""
    source = call.draft.grids[first.grid]
    kept = [d for dim in out for d in digits(dim)]
    if first.count != source.sizes[first.axis] or first.unit != 1:
        return None
    if any(d.grid != first.grid or d.axis == first.axis for d in kept):
        return None
    if len(source.sizes) > 1 and not kept:  # all that is left of a map that was flattened
        return None
    size, to = first.count, call.outs[0][place]
    maps: list[AxisMap] = [IDENTITY] * len(source.sizes)
    # einsum hands its table over as a batch of one.
    spreads = "bmm" in call.target and any(v.origin != "data" and v.shape[0] == 1 for v in call.values())
    maps[first.axis] = Table(size=size, to=to, spreads=spreads)
    held = f"a product along positions, with a table for {size} of them"
    call.pin("flatten", first.grid, held, axes=(first.axis,), spreads=spreads)
    grid = call.mapped(first.grid, maps, mixes=True)
    dims = list(relabelled(out, {first.grid: grid}))
    dims[place] = (Digit(grid, first.axis, 1, to),)
    return tuple(dims), grid


def _read(call: Call) -> Reading:
    name = call.target.split(".")[1].rstrip("_")
    a, b = (
        (call.value(1), call.value(2))
        if name in ("addmm", "baddbmm", "addbmm", "addmv")
        else (call.value(0), call.value(1))
    )
    if b.origin == "weight":
        a = call.gathered(a, len(a.shape) - 1)
    out = (*_batch(a, b), a.known[-2], b.known[-1])
    brings = len(out) - 1 if b.origin != "data" else len(out) - 2 if a.origin != "data" else None
    return product(call, a, b, out, (a.known[-1] if digits(a.known[-1]) else b.known[-2], a.shape[-1]), brings)


def _batch(a: Value, b: Value) -> Dims:
    return tuple(x if not is_plain(x) else y for x, y in zip(a.known[:-2], b.known[:-2], strict=True))


_QUANTUM = Number(0.1), Bytes(Number(0))
_QUANTISED = {"QLinearMatMul": (0, 3), "MatMulInteger": (0, 1)}


def _read_onnx(call: Call) -> Reading:
    first, second = _QUANTISED.get(call.target, (0, 1))
    a, b = call.value(first), call.value(second)
    if b.origin == "weight" and not call.kwargs.get("transA", 0):
        a = call.gathered(a, len(a.shape) - 1)
    left = a.known if len(a.shape) > 1 else ((1,), *a.known)
    right = b.known if len(b.shape) > 1 else (*b.known, (1,))
    if call.kwargs.get("transA", 0):
        left = (*left[:-2], left[-1], left[-2])
    if call.kwargs.get("transB", 0):
        right = (*right[:-2], right[-1], right[-2])
    batch = _spread(left[:-2], right[:-2], call.outs[0])
    rows: Dims = (left[-2],) if len(a.shape) > 1 else ()
    columns: Dims = (right[-1],) if len(b.shape) > 1 else ()
    summed = left[-1] if digits(left[-1]) else right[-2]
    size = a.shape[-2] if call.kwargs.get("transA", 0) else a.shape[-1]
    brings = -1 if b.origin != "data" else -2 if a.origin != "data" else None
    out = (*batch, *rows, *columns)
    at = None if brings is None or len(a.shape) < 2 or len(b.shape) < 2 else len(out) + brings
    return product(call, a, b, out, (summed, size), at)


def _spread(a: Dims, b: Dims, shape: Sequence[int]) -> Dims:
    """Batch dims broadcast against each other, aligned at the last."""
    rank = max(len(a), len(b))
    a, b = ((1,),) * (rank - len(a)) + a, ((1,),) * (rank - len(b)) + b
    return tuple(x if not is_plain(x) else y if not is_plain(y) else (n,) for x, y, n in zip(a, b, shape, strict=False))


def _read_einsum(call: Call) -> Reading:
    """A product of two operands whose letters occur once in each."""
    equation = call.kwargs["equation"].replace(" ", "")
    operands, _, result = equation.partition("->")
    terms = operands.split(",")
    if len(terms) != 2 or "->" not in equation or "." in equation or any(len(set(t)) != len(t) for t in terms):
        raise LayoutError(f"the equation {equation} is not a product of two operands")
    a, b = call.value(0), call.value(1)
    left, right = dict(zip(terms[0], a.known, strict=True)), dict(zip(terms[1], b.known, strict=True))
    sizes = dict(zip(terms[0], a.shape, strict=True)) | dict(zip(terms[1], b.shape, strict=True))
    dims = {k: left[k] if k in left and (k not in right or not is_plain(left[k])) else right[k] for k in sizes}
    gone = [k for k in sizes if k not in result]
    summed = merged([atom for k in gone for atom in dims[k]])
    tables = [side for value, side in ((a, left), (b, right)) if value.origin != "data"]
    new = [i for i, k in enumerate(result) if len(tables) == 1 and k in tables[0] and (k not in left or k not in right)]
    brings = new[0] if len(new) == 1 else None
    return product(call, a, b, tuple(dims[k] for k in result), (summed, math.prod(sizes[k] for k in gone)), brings)


def _read_attention(call: Call) -> Reading:
    query, key, value = call.value(0), call.value(1), call.value(2)
    if query.dims is not None and key.lost and value.lost:
        return _attention_to_lost(call, query, key, value)
    out = (*query.known[:-1], value.known[-1])
    grids = call.draft.grids
    scores = volume_of((*query.known[:-1], key.known[-2]), (*query.shape[:-1], key.shape[-2]), grids)
    reading = product(call, query, value, out, (value.known[-2], value.shape[-2]))
    per = Volume(query.shape[-1] + value.shape[-1])
    reading.macs = scores.times(per)
    reading.attrs["width"] = query.shape[-1] + value.shape[-1]
    reading.outs += [(None, None)] * (len(call.outs) - 1)
    return reading


def _attention_to_lost(call: Call, query: Value, key: Value, value: Value) -> Reading:
    """Attention to tokens whose order is not followed: their number is what was traced, and all of them are let in."""
    reading = call.let_in(query, [key, value])
    out, grid = reading.outs[0]
    scores = volume_of(query.known[:-1], query.shape[:-1], call.draft.grids)
    width = query.shape[-1] + value.shape[-1]
    reading.outs = [((*(out or query.known)[:-1], (value.shape[-1],)), grid), *[(None, None)] * (len(call.outs) - 1)]
    reading.counted, reading.macs, reading.keeps = True, scores.scaled(key.shape[-2] * width), "inputs"
    reading.attrs = {"channels": (query.shape[-1], value.shape[-1]), "width": width}
    return reading


def _work(operands: Sequence[Value], shapes: Sequence[tuple[int, ...]], args: Sequence[Any]) -> int:
    """Multiply-adds of an output of the traced shape."""
    return math.prod(shapes[0]) * (operands[-2].shape[-1] if len(operands) > 1 else 1)


def _space(draw: Draw, target: str) -> Trial | None:
    shape = draw.shape()
    if is_torch(target):
        return _torch_space(draw, target, shape)
    rows = Given("rows")  # positions as rows of channels
    by_target: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "MatMul": ((rows, Weight((4, 6))), {}),
        "Gemm": ((Given("means"), Weight((6, 4))), {"transB": 1}),
        "MatMulInteger": ((Bytes(rows), Bytes(Weight((4, 6), 0.0, 1.0))), {}),
        "QLinearMatMul": (
            (Bytes(rows), *_QUANTUM, Bytes(Weight((4, 6), 0.0, 1.0)), *_QUANTUM, *_QUANTUM),
            {},
        ),
        "Einsum": ((X, Weight((6, 4))), {"equation": "bchw,oc->bohw"}),
    }
    if target == "Attention":
        return Trial(call=target, shape=shape, args=(Given("heads"),) * 3, opset=23)
    args, facts = by_target[target]
    return Trial(call=target, shape=shape, args=args, kwargs=facts)


def _torch_space(draw: Draw, target: str, shape: tuple[int, ...]) -> Trial:
    name, rows, tokens = name_in(target), Given("rows"), Given("tokens")
    if "dot_product" in name:
        heads = Given("heads")
        runs = "flash_attention_for_cpu" in name or name == "scaled_dot_product_attention"
        call = "scaled_dot_product_attention" if runs else target
        more = (None, False) if "efficient" in name or "overrideable" in name else ()
        return Trial(call=call, shape=shape, args=(heads, heads, heads, *more), runs=runs)
    count, in_place = math.prod(shape[1:]), target.endswith("_")
    if name in ("bmm", "baddbmm"):
        product = (tokens, Given("tokens turned"))
        added = Weight((1, count, count) if in_place else (1, 1, 1))
        return Trial(call=target, shape=shape, args=product if name == "bmm" else (added, *product))
    weight = Weight((4, 6))
    if in_place:
        return Trial(call=target, shape=shape, args=(Weight((count, 6)), rows, weight))
    return Trial(call=target, shape=shape, args=(rows, weight) if name == "mm" else (Weight((6,)), rows, weight))


def _attention_work(operands: Sequence[Value], shapes: Sequence[tuple[int, ...]], args: Sequence[Any]) -> int:
    """Multiply-adds of queries by keys, and of what comes out by values, at the traced shapes."""
    query, key, value = (v.shape for v in operands[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


register(
    Op(
        name="matmul",
        about="matrix products: linear layers, attention",
        mixes="axis",
        dilated=("same", "mixes"),
        space=_space,
        between="never",
        functions={},
        shapes={"aten.mm.default": "product", "aten.bmm.default": "product", "aten.addmm.default": "product and sum"},
        passes_lost=True,
        work=_work,
        named=lambda target, attrs, has_weights: "linear" if has_weights else "matmul",
        torch=("aten.mm", "aten.addmm", "aten.addmm_", "aten.bmm", "aten.baddbmm", "aten.baddbmm_"),
        onnx=("MatMul", "Gemm", "QLinearMatMul", "MatMulInteger"),
        read=_read,
        read_onnx=_read_onnx,
    )
)
register(
    Op(
        name="einsum",
        about="a product of two tensors by an equation: attention written out",
        mixes="axis",
        dilated=("same", "mixes"),
        space=_space,
        between="never",
        onnx=("Einsum",),
        read=_read_einsum,
    )
)
register(
    Op(
        name="attention",
        about="fused scaled dot-product attention",
        mixes="everything",
        dilated=("same", "mixes"),
        space=_space,
        between="never",
        functions={},
        work=_attention_work,
        named=always("scaled_dot_product_attention"),
        torch=(
            "aten._scaled_dot_product_flash_attention_for_cpu",
            "aten._scaled_dot_product_flash_attention",
            "aten._scaled_dot_product_efficient_attention",
            "aten._scaled_dot_product_fused_attention_overrideable",
            "aten._scaled_dot_product_attention_math",
            "aten._scaled_dot_product_attention_math_for_mps",
            "aten.scaled_dot_product_attention",
        ),
        onnx=("Attention",),
        read=_read_attention,
    )
)
