"""Padding and cropping: constant, reflect, replicate, circular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stridewise.axis import IDENTITY, AxisMap, Window
from stridewise.counted import Counted
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.extent import whole
from stridewise.ops.layout import digits
from stridewise.ops.registry import Op, register
from stridewise.ops.space import Draw, Ints, Trial, X, is_torch, name_in
from stridewise.ops.worked import padded, tied


def padding(call: Call, pairs: list[tuple[int, int]], mode: str) -> Reading:
    """Operand 0 padded (negative: cropped) by (begin, end) pairs, one for each of its last dims."""
    x = call.value(0)
    where = [len(x.shape) - len(pairs) + i for i in range(len(pairs))]
    facts: dict[str, Any] = {"mode": mode, "pads": tuple((int(b), int(e)) for b, e in pairs)}
    filled = _filling(call, x, where, pairs)
    if filled is not None:
        dims, grid = tied(call, x, filled)
        return Reading(outs=[(dims, grid)], grid=grid, attrs=facts)
    maps: list[AxisMap] = []
    used = []
    for w, (begin, end) in zip(where, pairs, strict=True):
        if digits(x.known[w]) and (begin or end):
            used.append(w)
            maps.append(Window(pad_begin=begin, pad_end=end))
    if not used:
        dims = tuple(d if digits(d) else (s,) for d, s in zip(x.known, call.outs[0], strict=True))
        return Reading(outs=[(dims, x.grid)], attrs=facts)
    settled, grid = call.windowed(x, used, maps)
    assert grid is not None
    positions = [i for i, d in enumerate(settled.known) if digits(d)]
    return call.dense(grid, settled, positions, attrs=facts)


def _filling(
    call: Call, x: Value, where: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> list[tuple[int, AxisMap, int | None]] | None:
    """The maps of a padding (or cropping) to the size of another tensor; None where it is none."""
    if not any(isinstance(n, Counted) for pair in pairs for n in pair):
        return None
    out = []
    for w, (begin, end) in zip(where, pairs, strict=True):
        own = call.whole(x.known[w])
        found = padded(call, own, begin, end) if own is not None else None
        if found is None or (found[1] is None and found[0] != IDENTITY):
            return None
        out += [(w, *found)] if found[0] != IDENTITY else []
    return out or None


def _read(call: Call) -> Reading:
    flat = call.arg(1, "pad")
    pairs = [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)][::-1]
    name = call.target.split(".")[1]
    return padding(call, pairs, "constant" if name.startswith("constant") else name.split("_")[0])


_ONNX_MODES = {"edge": "replication", "reflect": "reflection", "wrap": "circular"}


def _read_onnx(call: Call) -> Reading:
    rank = len(call.value(0).shape)
    flat = [whole(e) for e in call.constant(1, "pads") or call.kwargs.get("paddings") or []]
    axes = [whole(e) % rank for e in call.constant(3, "axes") or range(rank)]
    pairs = [(0, 0)] * rank
    for axis, begin, end in zip(axes, flat[: len(axes)], flat[len(axes) :], strict=True):
        pairs[axis] = (begin, end)
    mode = call.kwargs.get("mode", "constant")
    return padding(call, pairs, _ONNX_MODES.get(mode, mode))


def _space(draw: Draw, target: str) -> Trial:
    constant = "constant" in target
    axes = draw.whole(1, 3) if constant or not is_torch(target) else int(target[-2])
    begin, end = draw.each(axes, -2 if constant else 0, 3), draw.each(axes, -2 if constant else 0, 3)
    if not is_torch(target):
        mode = draw.of(("constant", "reflect", "edge", "wrap"))
        pads = Ints((0, 0, *begin, 0, 0, *end))
        return Trial(call=target, shape=draw.shape(axes), args=(X, pads), kwargs={"mode": mode})
    flat = [n for pair in reversed(list(zip(begin, end, strict=True))) for n in pair]
    kind = name_in(target).split("_")[0]
    mode = {"reflection": "reflect", "replication": "replicate"}.get(kind, "constant")
    return Trial(call="pad", shape=draw.shape(axes), args=(X, flat, mode))


register(
    Op(
        name="pad",
        about="padding (constant, reflect, replicate) and cropping by negative padding",
        mixes="window",
        dilated=("same", "pad"),
        space=_space,
        between="never",
        functions={"pad": {"pad": None, "mode": "constant", "value": None}},
        shapes={"aten.constant_pad_nd.default": "padded"},
        passes_lost=True,
        torch=(
            "aten.constant_pad_nd",
            *(f"aten.{kind}_pad{axes}d" for kind in ("reflection", "replication") for axes in (1, 2, 3)),
        ),
        onnx=("Pad",),
        read=_read,
        read_onnx=_read_onnx,
    )
)
