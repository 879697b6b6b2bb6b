"""Interpolation: by a factor, to a constant size, or to the size of another tensor."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from stridewise.axis import AxisMap, Resize
from stridewise.ops.call import Call, Reading
from stridewise.ops.layout import Digit, Dim, is_plain
from stridewise.ops.registry import Op, register

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
    axes_of = call.axes_of(x, where)
    source = x.grid if x.grid is not None else 0
    by_axis: list[AxisMap] = [Resize(factor=Fraction(1))] * len(call.draft.grids[source].sizes)
    sizes = list(call.draft.grids[source].sizes)
    for axis, to in zip(axes_of, out, strict=True):
        if axis is not None:
            by_axis[axis] = Resize(to=to, mode=mode, align_corners=align, antialias=antialias)
            sizes[axis] = to
    # Whether these sizes follow another tensor is settled after a second trace (frontends).
    grid = call.draft.add("fixed", tuple(sizes), (source,), tuple(by_axis))
    dims: list[Dim] = [(s,) for s in call.outs[0]]
    for w, axis in zip(where, axes_of, strict=True):
        if axis is not None:
            dims[w] = (Digit(grid, axis, 1, sizes[axis]),)
    return Reading(outs=[(tuple(dims), grid)], grid=grid, attrs={**facts, "maps": tuple(by_axis)})


def _read(call: Call) -> Reading:
    name = call.target.split(".")[1].removeprefix("upsample_").removeprefix("_upsample_")
    antialias = name.endswith("_aa")
    kind, axes = name.removesuffix("_aa").rsplit("d", 1)[0][:-1].strip("_"), int(name.removesuffix("_aa")[-2])
    mode = _MODES["_nearest_exact" if "nearest_exact" in call.target else kind]
    first = 2 if mode.startswith("nearest") else 3
    align = False if mode.startswith("nearest") else bool(call.arg(2, "align_corners", False))
    factors = [call.arg(first + i, "", None) for i in range(axes)]
    return resizing(call, axes, factors, mode, align, antialias)


register(
    Op(
        name="resize",
        about="interpolation by a factor (a site), to a size, or to another tensor's size",
        torch=(
            *(f"aten.{p}upsample_nearest{e}{n}d" for p, e in (("", ""), ("_", "_exact")) for n in (1, 2, 3)),
            "aten.upsample_linear1d",
            "aten.upsample_bilinear2d",
            "aten.upsample_trilinear3d",
            "aten.upsample_bicubic2d",
            "aten._upsample_bilinear2d_aa",
            "aten._upsample_bicubic2d_aa",
        ),
        read=_read,
        site=True,
    )
)
