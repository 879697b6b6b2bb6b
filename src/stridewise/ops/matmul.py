"""Matrix products: linear layers, attention. Positions that are summed over are let in."""

from __future__ import annotations

import math

from stridewise.axis import IDENTITY, AxisMap, Whole
from stridewise.ir import Volume
from stridewise.ops.call import Call, Reading, Value, volume_of
from stridewise.ops.layout import Dim, Dims, digits, is_plain, relabelled
from stridewise.ops.registry import Op, register


def product(call: Call, a: Value, b: Value, out: Dims, summed: tuple[Dim, int]) -> Reading:
    """The product of `a` and `b` laid out as `out`, summed over the dim `summed` (its layout, its size)."""
    grids = call.draft.grids
    data = [v for v in (a, b) if v.origin == "data"]
    macs = volume_of(out, call.outs[0], grids).times(volume_of((summed[0],), (summed[1],), grids))
    gone = digits(summed[0])
    facts = {"channels": (summed[1], call.outs[0][-1])}
    kept = {d.grid for dim in out for d in digits(dim)}
    sources = [v.grid for v in data if v.grid is not None]
    grid: int | None = sources[0] if sources else None
    if gone and kept:
        base = max(kept)
        grid = call.draft.add(
            "join", grids[base].sizes, (base, *(s for s in {d.grid for d in gone} if s != base)), mixes=True
        )
        out = relabelled(out, dict.fromkeys(kept, grid))
    elif gone:
        source = max(d.grid for d in gone)
        axes = {d.axis for d in gone}
        maps: list[AxisMap] = [Whole() if i in axes else IDENTITY for i in range(len(grids[source].sizes))]
        if len(data) == 1:
            call.pin("flatten", source, f"positions are flattened into {summed[1]} features of a linear layer")
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
    return Reading(outs=[(out, grid)], grid=made, counted=True, macs=macs, attrs=facts, keeps="inputs")


def _read(call: Call) -> Reading:
    name = call.target.split(".")[1].rstrip("_")
    a, b = (
        (call.value(1), call.value(2))
        if name in ("addmm", "baddbmm", "addbmm", "addmv")
        else (call.value(0), call.value(1))
    )
    out = (*_batch(a, b), a.known[-2], b.known[-1])
    reading = product(call, a, b, out, (a.known[-1] if digits(a.known[-1]) else b.known[-2], a.shape[-1]))
    return reading


def _batch(a: Value, b: Value) -> Dims:
    return tuple(x if not is_plain(x) else y for x, y in zip(a.known[:-2], b.known[:-2], strict=True))


def _read_attention(call: Call) -> Reading:
    query, key, value = call.value(0), call.value(1), call.value(2)
    out = (*query.known[:-1], value.known[-1])
    grids = call.draft.grids
    scores = volume_of((*query.known[:-1], key.known[-2]), (*query.shape[:-1], key.shape[-2]), grids)
    reading = product(call, query, value, out, (value.known[-2], value.shape[-2]))
    per = Volume(query.shape[-1] + value.shape[-1])
    reading.macs = scores.times(per)
    reading.attrs["products"] = math.prod(query.shape[:-1]) * key.shape[-2]
    reading.outs += [(None, None)] * (len(call.outs) - 1)
    return reading


register(
    Op(
        name="matmul",
        about="matrix products: linear layers, attention",
        torch=("aten.mm", "aten.addmm", "aten.addmm_", "aten.bmm", "aten.baddbmm", "aten.baddbmm_"),
        read=_read,
    )
)
register(
    Op(
        name="attention",
        about="fused scaled dot-product attention",
        torch=(
            "aten._scaled_dot_product_flash_attention_for_cpu",
            "aten._scaled_dot_product_flash_attention",
            "aten._scaled_dot_product_efficient_attention",
            "aten._scaled_dot_product_fused_attention_overrideable",
            "aten._scaled_dot_product_attention_math",
            "aten._scaled_dot_product_attention_math_for_mps",
            "aten.scaled_dot_product_attention",
        ),
        read=_read_attention,
    )
)
