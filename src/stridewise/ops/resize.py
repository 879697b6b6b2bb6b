"""Interpolation: by a factor, to a constant size, or to the size of another tensor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from stridewise.axis import IDENTITY, AxisMap, Resize, Window
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.extent import Extent, whole
from stridewise.ops.layout import Digit, Dim, LayoutError, digits, is_plain, plain
from stridewise.ops.registry import Op, always, register
from stridewise.ops.space import Draw, Number, Trial, X, is_torch, name_in
from stridewise.ops.worked import resized, tied

_MODES = {
    "nearest": "nearest",
    "_nearest": "nearest",
    "_nearest_exact": "nearest-exact",
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
    "bicubic": "cubic",
}


def resizing(call: Call, axes: int, factors: list[float | None], mode: str, align: bool, antialias: bool) -> Reading:
    """Operand 0 resized over its last dims; without factors, to the traced sizes (which may follow another tensor)."""
    x = call.value(0)
    where = range(len(x.shape) - axes, len(x.shape))
    out = call.outs[0][-axes:]
    facts: dict[str, Any] = {
        "mode": mode,
        "align_corners": align,
        "to": tuple(out),
        "kernel": (),
        "antialias": antialias,
    }
    facts["channels"] = (x.shape[1], call.outs[0][1])
    if all(is_plain(x.known[w]) for w in where):
        # A pooled value spread out again, as in atrous pyramid pooling: it broadcasts.
        return Reading(outs=[(tuple((s,) for s in call.outs[0]), x.grid)], spread=True, attrs=facts)
    if all(factor is not None for factor in factors):
        maps: list[AxisMap] = [
            Resize(factor=Fraction(f).limit_denominator(4096), mode=mode, align_corners=align, antialias=antialias)
            for f in factors
            if f is not None
        ]
        x, grid = call.windowed(x, where, maps)
        assert grid is not None
        facts["maps"] = tuple(maps)
        facts["factor"] = tuple(m.factor for m in maps if isinstance(m, Resize))
        return call.dense(grid, x, where, site=True, attrs=facts)
    x = call.settle(x, where)
    like = Resize(to=1, mode=mode, align_corners=align, antialias=antialias)
    told = _to_told(call, x, where, like, facts)
    if told is not None:
        return told
    axes_of = call.axes_of(x, where)
    if any(a is None and to > x.shape[w] for a, w, to in zip(axes_of, where, out, strict=True)):
        raise LayoutError("makes positions along an axis on which none are left")
    source = x.grid if x.grid is not None else 0
    by_axis: list[AxisMap] = [Resize(factor=Fraction(1))] * len(call.draft.grids[source].sizes)
    sizes = list(call.draft.grids[source].sizes)
    for axis, to in zip(axes_of, out, strict=True):
        if axis is not None:
            by_axis[axis] = Resize(to=to, mode=mode, align_corners=align, antialias=antialias)
            sizes[axis] = to
    # Whether these sizes follow another tensor is settled after a second trace (`tracing.links`).
    grid = call.draft.add("fixed", tuple(sizes), (source,), tuple(by_axis))
    dims: list[Dim] = [(s,) for s in call.outs[0]]
    for w, axis in zip(where, axes_of, strict=True):
        if axis is not None:
            dims[w] = (Digit(grid, axis, 1, sizes[axis]),)
    return Reading(outs=[(tuple(dims), grid)], grid=grid, attrs={**facts, "maps": tuple(by_axis)})


def _to_told(call: Call, x: Value, where: Sequence[int], like: Resize, facts: dict[str, Any]) -> Reading | None:
    """`x` resized to sizes that the forward worked out from others; None where they are not followed."""
    changes: list[tuple[int, AxisMap, int | None]] = []
    for w, to in zip(where, call.arg(1, "output_size"), strict=True):
        own = call.whole(x.known[w])
        found = resized(call, own, to, like) if own is not None else None
        if found is None:
            return None
        change, reference = found
        changes.append((w, replace(like, to=int(to)) if change == like else change, reference))
    dims, grid = tied(call, x, changes)
    assert grid is not None
    out = tuple(d if digits(d) else (n,) for d, n in zip(dims, call.outs[0], strict=True))
    return Reading(outs=[(out, grid)], grid=grid, attrs={**facts, "maps": call.draft.grids[grid].maps})


def _read_onnx(call: Call) -> Reading:
    """Resize and Upsample of every opset: by scales, to sizes of the file, or to sizes read from a tensor."""
    x = call.value(0)
    like = _onnx_mode(call)
    rank, at_scales = len(x.shape), 2 if call.kwargs.get("since", 11) >= 11 and call.target == "Resize" else 1
    axes = [a % rank for a in call.kwargs.get("axes") or range(rank)]
    scales, sizes = call.constant(at_scales, "scales"), call.constant(at_scales + 1, "sizes")
    if sizes and call.kwargs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise LayoutError("resized with its aspect ratio kept")
    x = call.settle(x, [w for w in range(rank) if digits(x.known[w])])
    facts: dict[str, Any] = {"mode": like.mode, "align_corners": like.align_corners, "antialias": like.antialias}
    facts |= {"kernel": (), "channels": (x.shape[1], call.outs[0][1])}
    where = [w for w in range(rank) if digits(x.known[w])]
    facts["to"] = tuple(call.outs[0][w] for w in where)
    if not where:
        return Reading(outs=[(plain(call.outs[0]), x.grid)], spread=True, attrs=facts)
    if scales and not any(isinstance(scale, Extent) for scale in scales):
        by = dict(zip(axes, scales, strict=True))
        factors = [Fraction(by.get(w, 1)).limit_denominator(4096) for w in where]
        maps: list[AxisMap] = [replace(like, factor=factor) for factor in factors]
        x, grid = call.windowed(x, where, maps)
        assert grid is not None
        facts |= {"maps": tuple(maps), "factor": tuple(factors)}
        return call.dense(grid, x, where, site=True, attrs=facts)
    wanted = dict(zip(axes, sizes or [Extent(call.outs[0][a]) for a in axes], strict=True))
    return _to_sizes(call, x, where, [wanted.get(w, call.outs[0][w]) for w in where], like, facts)


def _onnx_mode(call: Call) -> Resize:
    """The interpolation, its coordinates and rounding. Source: ONNX operator specification, Resize."""
    mode = {"bilinear": "linear"}.get(call.kwargs.get("mode", "nearest"), call.kwargs.get("mode", "nearest"))
    # Resize 10 and Upsample know one coordinate and one rounding.
    place = call.kwargs.get("coordinate_transformation_mode", "asymmetric")
    if place not in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"):
        raise LayoutError(f"resized with coordinates '{place}'")
    asymmetric, align = place == "asymmetric", place == "align_corners"
    rounding = call.kwargs.get("nearest_mode", "floor").removeprefix("round_") if mode == "nearest" else ""
    if mode == "nearest" and (asymmetric, rounding) == (True, "floor"):
        return Resize(factor=Fraction(1), mode="nearest")
    return Resize(
        factor=Fraction(1),
        mode=mode,
        align_corners=align,
        antialias=bool(call.kwargs.get("antialias", 0)),
        asymmetric=asymmetric,
        rounding=rounding,
    )


def _to_sizes(
    call: Call, x: Value, where: Sequence[int], wanted: Sequence[Any], like: Resize, facts: dict[str, Any]
) -> Reading:
    """`x` resized to `wanted` positions: a number is fixed for ever, an Extent follows what it was read from."""
    axes, grids = call.axes_of(x, where), call.draft.grids
    source = digits(x.known[where[0]])[0].grid
    by_axis = {a: e for a, e in zip(axes, wanted, strict=True) if a is not None}
    own = [isinstance(e, Extent) and e.grid == source and e.axis == a and not e.offset for a, e in by_axis.items()]
    if all(own):
        maps: list[AxisMap] = [replace(like, factor=entry.factor) for entry in by_axis.values()]
        x, made = call.windowed(x, where, maps)
        assert made is not None
        return call.dense(made, x, where, attrs={**facts, "maps": tuple(maps)})
    to = {a: whole(e) for a, e in by_axis.items()}
    steps = tuple(
        replace(like, factor=None, to=to[a]) if a in to else IDENTITY for a in range(len(grids[source].sizes))
    )
    sizes = tuple(to.get(a, size) for a, size in enumerate(grids[source].sizes))
    reference = _reference(call, by_axis)
    if reference is not None:
        grid = call.draft.add("follow", sizes, (source, reference), steps)
    else:
        grid = call.draft.add("fixed", sizes, (source,), steps)
        by = "x".join(str(whole(e)) for e in wanted)
        computed = any(isinstance(entry, Extent) for entry in wanted)
        how = "computed from sizes in a way that is not followed" if computed else "a constant of the file"
        call.pin("size", grid, f"resized to {by}, {how}")
    return call.dense(grid, x, where, attrs={**facts, "maps": steps})


def _reference(call: Call, wanted: dict[int, Any]) -> int | None:
    """The grid whose sizes are `wanted` (one Extent an axis), made where they are its sizes times a factor."""
    if any(not isinstance(e, Extent) or e.grid is None or e.axis != a for a, e in wanted.items()):
        return None
    named = {entry.grid for entry in wanted.values()}
    if len(named) != 1:
        return None
    grid: int = named.pop()
    if len(wanted) != len(call.draft.grids[grid].sizes):
        return None
    for change in ("factor", "offset"):
        maps: list[AxisMap] = [
            Resize(factor=wanted[a].factor) if change == "factor" else Window(pad_end=int(wanted[a].offset))
            for a in sorted(wanted)
        ]
        if any(e.factor != 1 if change == "factor" else e.offset for e in wanted.values()):
            grid = call.mapped(grid, maps)
    return grid if call.draft.grids[grid].sizes == tuple(whole(wanted[a]) for a in sorted(wanted)) else None


def _read(call: Call) -> Reading:
    name = call.target.split(".")[1].removeprefix("upsample_").removeprefix("_upsample_")
    antialias = name.endswith("_aa")
    kind, axes = name.removesuffix("_aa").rsplit("d", 1)[0][:-1].strip("_"), int(name.removesuffix("_aa")[-2])
    mode = _MODES["_nearest_exact" if "nearest_exact" in call.target else kind]
    first = 2 if mode.startswith("nearest") else 3
    align = False if mode.startswith("nearest") else bool(call.arg(2, "align_corners", False))
    factors = [call.arg(first + i, "", None) for i in range(axes)]
    return resizing(call, axes, factors, mode, align, antialias)


def _space(draw: Draw, target: str) -> Trial:
    if not is_torch(target):
        return _onnx_space(draw, target)
    name = name_in(target)
    axes = int(re.findall(r"(\d)d", name)[0])
    mode = next(m for m in ("nearest_exact", "nearest", "bilinear", "trilinear", "linear", "bicubic") if m in name)
    shape = draw.shape(axes, 2)
    align = None if "nearest" in mode else draw.of((False, True))
    by = draw.each(axes, 1, 3)
    if draw.of((True, False)):
        return Trial(
            call="interpolate",
            shape=shape,
            args=(X, draw.each(axes, 3, 14), None, mode.replace("_", "-"), align),
            kwargs={"antialias": name.endswith("_aa")},
        )
    align = None if align is None else False
    facts = {"antialias": name.endswith("_aa")}
    return Trial(call="interpolate", shape=shape, args=(X, None, by, mode.replace("_", "-"), align), kwargs=facts)


def _onnx_space(draw: Draw, target: str) -> Trial:
    shape = draw.shape()
    mode = draw.of(("nearest", "linear"))
    scales = Number((1.0, 1.0, *map(float, draw.each(2, 1, 3))))
    if target == "Upsample":
        return Trial(call=target, shape=shape, args=(X, scales), kwargs={"mode": mode}, opset=9)
    place = draw.of(("half_pixel", "asymmetric", "pytorch_half_pixel"))
    facts = {"mode": mode, "coordinate_transformation_mode": place}
    facts |= {"nearest_mode": draw.of(("floor", "round_prefer_floor"))} if mode == "nearest" else {}
    return Trial(call=target, shape=shape, args=(X, None, scales), kwargs=facts)


register(
    Op(
        name="resize",
        about="interpolation by a factor (a site), to a size, or to another tensor's size",
        mixes="window",
        dilated=("same", "resize"),
        space=_space,
        between="never",
        functions={key: {"size": None} for key in ("interpolate", "upsample")},
        shapes={f"aten.upsample_{way}2d.default": "resized" for way in ("nearest", "bilinear", "bicubic")},
        named=always("interpolate"),
        torch=(
            *(f"aten.{p}upsample_nearest{e}{n}d" for p, e in (("", ""), ("_", "_exact")) for n in (1, 2, 3)),
            "aten.upsample_linear1d",
            "aten.upsample_bilinear2d",
            "aten.upsample_trilinear3d",
            "aten.upsample_bicubic2d",
            "aten._upsample_bilinear2d_aa",
            "aten._upsample_bicubic2d_aa",
        ),
        onnx=("Resize", "Upsample"),
        read=_read,
        read_onnx=_read_onnx,
        site=True,
    )
)
