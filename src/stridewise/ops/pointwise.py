"""Ops of one operand whose every element depends on its own position only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
from stridewise.ops.layout import is_plain, plain
from stridewise.ops.registry import Op, register
from stridewise.ops.space import BITS, MASK, OTHER, Bytes, Number, X, plain_space

_IN_PLACE_TOO = (
    "relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid hardsigmoid hardswish hardtanh tanh softplus "
    "softsign logsigmoid threshold clamp clamp_min clamp_max abs neg exp exp2 expm1 log log2 log10 log1p sqrt "
    "rsqrt square reciprocal sin cos tan erf floor ceil round trunc sign sgn bitwise_not logical_not "
    "nan_to_num dropout native_dropout rrelu rrelu_with_noise hardshrink softshrink tanhshrink "
    "log_sigmoid_forward frac"
).split()
_COPIES = (
    "clone",
    "detach",
    "detach_",
    "alias",
    "_to_copy",
    "contiguous",
    "lift_fresh",
    "lift_fresh_copy",
    "isnan",
    "isinf",
)
# What torch's derivatives.yaml takes from the result, or from nothing; all others keep the operand.
_KEEP_OUTPUT = {f"{n}{end}" for n in "relu sigmoid tanh exp sqrt rsqrt reciprocal".split() for end in ("", "_")} | {
    "leaky_relu_",
    "elu_",
    "celu_",
    "selu_",
}
_KEEP_NOTHING = {f"{n}{end}" for n in "neg floor ceil round trunc sign sgn".split() for end in ("", "_")}

_ONNX = (
    "LeakyRelu Elu Selu Celu Gelu Mish HardSwish HardSigmoid Swish Softplus Softsign ThresholdedRelu Shrink "
    "Clip Abs Neg Log Reciprocal Sin Cos Tan Sinh Cosh Asin Acos Atan Asinh Acosh Atanh Erf Floor Ceil Round "
    "Sign Not BitwiseNot Bernoulli"
).split()
_ONNX_COPIES = [
    "Identity",
    "Cast",
    "CastLike",
    "Dropout",
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "IsNaN",
    "IsInf",
]


def _read(call: Call) -> Reading:
    free = call.target.removeprefix("aten.").split(".")[0] in _KEEP_NOTHING
    return call.same(call.value(0), keeps="none" if free else "input")


def _read_output_kept(call: Call) -> Reading:
    return call.same(call.value(0), keeps="output")


def _read_free(call: Call) -> Reading:
    return call.same(call.value(0))


def _read_onnx_copy(call: Call) -> Reading:
    x = call.value(0)
    same = [len(shape) == len(x.shape) for shape in call.outs]
    return Reading(outs=[(x.known, x.grid) if s else (plain(o), None) for s, o in zip(same, call.outs, strict=True)])


def _read_triangle(call: Call) -> Reading:
    """Which entries of the last two dimensions are kept depends on where they lie."""
    x = call.value(0)
    return call.same(x) if all(is_plain(dim) for dim in x.known[-2:]) else call.placed(x)


def _layer(name: str, *numbers: float) -> Callable[..., Any]:
    """How a layer says its call of an op of this name, in place or not; "": it gives its operand out as it is."""
    targets = {in_place: f"aten.{name}{'_' * in_place}.default" if name else None for in_place in (False, True)}
    return lambda layer, holder, rank: (targets[bool(getattr(layer, "inplace", False))], (), numbers)


# Of torch's functions those that often stand behind a step.
_FUNCTIONS = (
    "relu6 leaky_relu leaky_relu_ elu elu_ celu selu gelu silu mish hardsigmoid hardswish hardtanh softplus softsign "
    "logsigmoid threshold rrelu clamp clamp_ clamp_min abs log square"
).split()
_targets = [f"aten.{name}{end}" for name in _IN_PLACE_TOO for end in ("", "_")]
_output = tuple(t for t in _targets if t.removeprefix("aten.") in _KEEP_OUTPUT)
_MORE: dict[str, tuple[Any, ...]] = {
    "threshold": (X, 0.5, 0.0),
    "clamp": (X, 0.3, 0.7),
    "clamp_min": (X, 0.4),
    "clamp_max": (X, 0.6),
    "dropout": (X, 0.5, False),
    "native_dropout": (X, 0.5, False),
    "rrelu_with_noise": (X, OTHER),
    "bitwise_not": (BITS,),
    "BitwiseNot": (BITS,),
    "Not": (MASK,),
    "Clip": (X, Number(0.3), Number(0.7)),
    "QuantizeLinear": (X, Number(0.1), Bytes(Number(0))),
    "DequantizeLinear": (Bytes(X), Number(0.1)),
}
_ATTRIBUTES = {"Cast": {"to": 11}, "_to_copy": {}}
_RANDOM = ("Bernoulli", "rrelu_with_noise")
_space = plain_space(_MORE, _ATTRIBUTES, _RANDOM)


register(
    Op(
        name="activation",
        about="pointwise functions; backward keeps the input",
        mixes="nothing",
        dilated=("same",),
        space=_space,
        between="bends",
        functions={key: {} for key in _FUNCTIONS},
        layers={
            "ReLU6": _layer("hardtanh", 0.0, 6.0),
            "SiLU": _layer("silu"),
            "Hardswish": _layer("hardswish"),
            "Hardsigmoid": _layer("hardsigmoid"),
        },
        passes_lost=True,
        torch=tuple(t for t in _targets if t not in _output),
        onnx=tuple(_ONNX),
        read=_read,
        pointwise=True,
    )
)
register(
    Op(
        name="saturating",
        about="pointwise functions whose derivative follows from the output (ReLU, sigmoid, tanh)",
        mixes="nothing",
        dilated=("same",),
        space=_space,
        between="bends",
        functions={key: {} for key in "relu relu_ sigmoid sigmoid_ tanh tanh_ exp sqrt".split()},
        layers={"ReLU": _layer("relu"), "Sigmoid": _layer("sigmoid")},
        passes_lost=True,
        torch=_output,
        onnx=("Relu", "Sigmoid", "Tanh", "Exp", "Sqrt"),
        read=_read_output_kept,
        pointwise=True,
    )
)
register(
    Op(
        name="triangle",
        about="a triangle of the last two dimensions kept",
        mixes="nothing",
        dilated=("same", "mixes"),
        space=plain_space({}),
        between="never",
        functions={},
        torch=("aten.tril", "aten.triu", "aten.tril_", "aten.triu_"),
        onnx=("Trilu",),
        read=_read_triangle,
    )
)
register(
    Op(
        name="copy",
        about="copies, casts and aliases",
        mixes="nothing",
        dilated=("same",),
        space=_space,
        between="affine",
        functions={"contiguous": {}},
        layers=dict.fromkeys(("Identity", "Dropout", "Dropout2d"), _layer("")),
        passes_lost=True,
        torch=tuple(f"aten.{name}" for name in _COPIES),
        onnx=tuple(_ONNX_COPIES),
        read=_read_free,
        read_onnx=_read_onnx_copy,
    )
)
