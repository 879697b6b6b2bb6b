"""Ops of several operands: sums, products, gates, comparisons (broadcast against each other); concatenation."""

from __future__ import annotations

from typing import Any

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.layout import Digit, Dim, Extra, LayoutError, digits, is_plain
from stridewise.ops.registry import Op, register
from stridewise.ops.space import BITS, MASK, OTHER, Draw, Trial, Weight, X, is_torch, name_in

_NAMES = (
    "add sub rsub mul div pow maximum minimum fmax fmin addcmul addcdiv lerp where masked_fill eq ne lt le gt "
    "ge logical_and logical_or logical_xor bitwise_and bitwise_or remainder fmod atan2 floor_divide prelu "
    "_prelu_kernel true_divide copysign hypot xlogy"
).split()
_ONNX = (
    "Add Sub Mul Div Pow Max Min Sum Mean Mod Where PRelu Equal Less LessOrEqual Greater GreaterOrEqual And "
    "Or Xor BitShift BitwiseAnd BitwiseOr BitwiseXor"
).split()
# Settled by a second trace: a network that takes another input size fixes nothing here.
OWN_ORDER = "positions are put in an order of their own, made for this many of them"
# Of torch's functions those that often stand behind a step.
_FUNCTIONS = (
    "prelu add add_ sub mul mul_ div pow addcmul maximum minimum __add__ __radd__ __iadd__ __sub__ __mul__ __rmul__ "
    "__imul__ __truediv__ __itruediv__"
).split()
_SHAPES = {
    **{f"aten.{name}.Tensor": "broadcast" for name in ("add", "sub", "mul", "div")},
    **{f"aten.{name}_.Tensor": "broadcast in place" for name in ("add", "sub", "mul", "div")},
    "aten.maximum.default": "broadcast",
    "aten.addcmul.default": "broadcast of three",
}
# With a number or a value of each channel: a scale or a shift.
_AFFINE = {f"{name}{end}" for name in ("add", "sub", "mul", "div") for end in ("", "_")}
_LINEAR = {"add", "sub", "rsub", "add_", "sub_", "Add", "Sub", "Sum", "Mean"}


def joining(call: Call) -> Reading:
    """The broadcast of all operands; one data operand among numbers and channel vectors stays where it lies."""
    values = call.values()
    data = [value for value in values if value.origin == "data"]
    name = call.target.split(".")[1] if "." in call.target else call.target
    keeps = "none" if name in _LINEAR else "inputs"
    facts = {"affine": True} if len(data) == 1 and name.lower() in _AFFINE else {}
    if len(data) == 1 and len(values) == 1 and data[0].shape == call.outs[0]:
        return call.same(data[0], keeps="none" if facts or name in _LINEAR else "input", attrs=facts)
    lost = [value for value in data if value.dims is None and value.lost is not None]
    whole = next((value for value in data if value.dims is not None and value.shape == call.outs[0]), None)
    if lost and whole is not None and whole.grid is not None and all(v.dims is not None or v.lost for v in data):
        # Relative positions beside the scores of attention: which pairs they stand for does not matter here.
        call.pin("window", whole.grid, OWN_ORDER)
        reading = call.let_in(whole, lost)
        reading.keeps = "inputs"
        return reading
    dims, grid = call.joined(values)
    made = grid if grid is not None and call.draft.grids[grid].node == call.draft.node else None
    spread = all(value.spread or value.grid is None for value in data)
    outs = [(dims, grid)] * len(call.outs)
    return Reading(outs=outs, grid=made, keeps=keeps, spread=spread, attrs=facts)  # type: ignore[arg-type]


_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "addcmul": (X, OTHER, OTHER),
    "addcdiv": (X, OTHER, OTHER),
    "lerp": (X, OTHER, 0.3),
    "where": (MASK, X, OTHER),
    "masked_fill": (X, MASK, 0.5),
    "prelu": (X, Weight((4,))),
    "_prelu_kernel": (X, Weight((1, 4, 1, 1))),
    "floor_divide": (X, OTHER),
    **{f"bitwise_{name}": (BITS, BITS) for name in ("and", "or")},
    "Where": (MASK, X, OTHER),
    "PRelu": (X, Weight((4, 1, 1))),
    **dict.fromkeys(("And", "Or", "Xor"), (MASK, MASK)),
    **{f"Bitwise{name}": (BITS, BITS) for name in ("And", "Or", "Xor")},
    "BitShift": (BITS, BITS),
}


def _space(draw: Draw, target: str) -> Trial:
    name = name_in(target)
    if name in _ARGUMENTS or not is_torch(target) or draw.of((True, True, False)):
        axes = 2 if "prelu" in name.lower() else draw.whole(1, 3)
        by_name: dict[str, dict[str, Any]] = {"BitShift": {"direction": "LEFT"}, "Mod": {"fmod": 1}}
        facts = by_name.get(name, {})
        return Trial(call=target, shape=draw.shape(axes), args=_ARGUMENTS.get(name, (X, OTHER)), kwargs=facts)
    shape = draw.shape(draw.whole(1, 3))
    by_channel = Weight((4, *[1] * (len(shape) - 1)), 0.5, 1.0)
    return Trial(call=target, shape=shape, args=(X, by_channel))


register(
    Op(
        name="join",
        about="sums, products, gates: operands must agree in size where both have positions",
        mixes="nothing",
        dilated=("same", "mixes"),
        space=_space,
        between="bends",
        functions={key: {} for key in _FUNCTIONS},
        passes_lost=True,
        shapes=_SHAPES,
        torch=tuple(f"aten.{name}{end}" for name in _NAMES for end in ("", "_")),
        onnx=tuple(_ONNX),
        read=joining,
    )
)


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


def _read_concat(call: Call) -> Reading:
    return concatenation(call, call.values(), call.arg(1, "dim", 0))


def _read_stack(call: Call) -> Reading:
    dim = call.arg(1, "dim", 0) % len(call.outs[0])
    lifted = []
    for v in call.values():
        dims = None if v.dims is None else (*v.dims[:dim], (1,), *v.dims[dim:])
        lifted.append(Value((*v.shape[:dim], 1, *v.shape[dim:]), dims, v.grid, v.index, v.origin))
    return concatenation(call, lifted, dim)


def _read_concat_onnx(call: Call) -> Reading:
    return concatenation(call, call.values(), call.kwargs.get("axis", 1))


def _space_concat(draw: Draw, target: str) -> Trial:
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
        space=_space_concat,
        between="never",
        functions={},
        passes_lost=True,
        shapes={"aten.cat.default": "concatenation"},
        torch=("aten.cat",),
        onnx=("Concat",),
        read=_read_concat,
        read_onnx=_read_concat_onnx,
    )
)
register(
    Op(
        name="stack",
        about="stacking along a new dimension",
        mixes="nothing",
        dilated=("same", "mixes"),
        space=_space_concat,
        between="never",
        functions={},
        torch=("aten.stack",),
        read=_read_stack,
    )
)
