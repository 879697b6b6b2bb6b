"""Space-to-depth and back, channel shuffle, rolled and mirrored positions."""

from __future__ import annotations

from typing import Any

from stridewise.axis import AxisMap, Repeat, Window
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
from stridewise.ops.layout import digits
from stridewise.ops.registry import Op, register
from stridewise.ops.space import Draw, Trial, X, is_torch, name_in


def rearranging(call: Call, times: int, window: int) -> Reading:
    """Operand 0 with each position repeated `times` or blocks of `window` gathered, over its last two dims."""
    x = call.value(0)
    where = range(len(x.shape) - 2, len(x.shape))
    maps: list[AxisMap] = [Repeat(times=times, window=window)] * 2
    x, grid = call.windowed(x, where, maps)
    if grid is None or grid == x.grid:
        return Reading(outs=[(tuple((s,) for s in call.outs[0]), grid)])
    return call.dense(grid, x, where)


def _read(call: Call) -> Reading:
    factor = call.arg(1, "factor", 1)
    return rearranging(call, 1, factor) if "unshuffle" in call.target else rearranging(call, factor, 1)


def _read_onnx(call: Call) -> Reading:
    block = call.kwargs["blocksize"]
    return rearranging(call, block, 1) if call.target == "DepthToSpace" else rearranging(call, 1, block)


def _read_channels(call: Call) -> Reading:
    return call.same(call.value(0))


def _read_roll(call: Call) -> Reading:
    x = call.value(0)
    shifts, dims = call.arg(1, "shifts"), call.arg(2, "dims", [])
    where = [d % len(x.shape) for d in dims]
    used = [(w, s) for w, s in zip(where, shifts, strict=True) if digits(x.known[w])]
    if not used:
        return call.same(x)
    maps: list[AxisMap] = [Window(pad_begin=s, pad_end=-s) for _, s in used]
    settled, grid = call.windowed(x, [w for w, _ in used], maps)
    assert grid is not None
    where = [i for i, d in enumerate(settled.known) if digits(d)]
    return call.dense(grid, settled, where, attrs={"border": "circular"})


def _read_flip(call: Call) -> Reading:
    """Mirrored positions run against the input's: each has let in its line from end to end, which no field says."""
    x = call.value(0)
    where = [d % len(x.shape) for d in call.arg(1, "dims", []) if digits(x.known[d])]
    return call.mixed(x, where) if where else call.same(x)


def _space(draw: Draw, target: str) -> Trial:
    name, sizes = name_in(target), [2 * n for n in draw.each(2, 3, 6)]
    if not is_torch(target):
        return Trial(call=target, shape=(4, *sizes), kwargs={"blocksize": 2})
    shape = (4, *sizes) if "pixel" in name else draw.shape(draw.whole(1, 3))
    more: dict[str, tuple[Any, ...]] = {
        "roll": (draw.each(2, -3, 3), [-2, -1]) if len(shape) > 2 else ([draw.whole(-3, 3)], [-1]),
        "flip": ([draw.of((1, 1, len(shape)))],),
    }
    return Trial(call="roll" if name == "roll" else target, shape=shape, args=(X, *more.get(name, (2,))))


register(
    Op(
        name="shuffle",
        about="space-to-depth and depth-to-space (pixel shuffle)",
        mixes="window",
        dilated=("never",),
        space=_space,
        between="never",
        functions={},
        torch=("aten.pixel_shuffle", "aten.pixel_unshuffle"),
        onnx=("DepthToSpace", "SpaceToDepth"),
        read=_read,
        read_onnx=_read_onnx,
    )
)
register(
    Op(
        name="channel_shuffle",
        about="channels in another order",
        mixes="nothing",
        dilated=("same",),
        space=_space,
        between="never",
        functions={},
        torch=("aten.channel_shuffle", "aten.native_channel_shuffle"),
        read=_read_channels,
    )
)
register(
    Op(
        name="roll",
        about="positions moved round (circular shift)",
        mixes="window",
        dilated=("same", "phases"),
        space=_space,
        between="never",
        functions={"roll": {}},
        torch=("aten.roll",),
        read=_read_roll,
    )
)
register(
    Op(
        name="flip",
        about="entries in reverse order",
        mixes="axis",
        dilated=("same",),
        space=_space,
        between="never",
        functions={},
        passes_lost=True,
        torch=("aten.flip",),
        read=_read_flip,
    )
)
