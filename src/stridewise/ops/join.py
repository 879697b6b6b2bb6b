"""Ops of several operands that are broadcast against each other: sums, products, gates, comparisons."""

from __future__ import annotations

from typing import Any

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
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
