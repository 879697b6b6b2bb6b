"""Shape arithmetic of an ONNX file, evaluated while its nodes are walked: constants stay numbers, sizes stay followed.

`Shape` of a tensor gives an `Extent` for each axis of a grid; what the file computes from it keeps knowing where it
came from. So a Resize to a constant is told from a Resize to another tensor's size without a second reading.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stridewise.ir import Grid
from stridewise.onnxfile.inference import Kind
from stridewise.onnxfile.nodes import LIMIT
from stridewise.ops import extent
from stridewise.ops.draft import Value
from stridewise.ops.extent import Extent, number, whole
from stridewise.ops.layout import is_plain, whole_axis

Array: TypeAlias = "np.ndarray[Any, Any]"


def shape_entries(value: Value, grids: Sequence[Grid]) -> list[Any]:
    """The sizes of a tensor: a number for a dimension without positions, an Extent for one that holds an axis."""
    entries: list[Any] = []
    for at, size in enumerate(value.shape):
        if value.dims is None:
            entries.append(Extent(size))
            continue
        dim = value.dims[at]
        digit = whole_axis(dim)
        if is_plain(dim):
            entries.append(size)
        elif digit is not None and digit.count == grids[digit.grid].sizes[digit.axis]:
            entries.append(Extent(size, digit.grid, digit.axis))
        else:
            entries.append(Extent(size))
    return entries


def resized(shape: Sequence[int], scales: Sequence[Any], axes: Sequence[int]) -> tuple[int, ...]:
    """What runtimes make of `shape` by scales: 0.7 of 10 positions are 7, though the nearest float is a little less."""
    by = dict(zip(axes, scales, strict=True))
    return tuple(
        math.floor(size * Fraction(number(by.get(at, 1))).limit_denominator(4096)) for at, size in enumerate(shape)
    )


def folded(
    node: onnx.NodeProto,
    inputs: Sequence[Array | None],
    facts: Mapping[str, Any],
    opset: int,
    kinds: Sequence[Kind | None],
) -> list[Array] | None:
    """The outputs of a node whose inputs are all known entries; None where they cannot be told or are too many.

    kinds: what inference says of the outputs. What gives more than `LIMIT` entries is never run.
    """
    sizes = [math.prod(kind.shape) if kind is not None and kind.shape is not None else None for kind in kinds]
    if any(a is not None and a.size > LIMIT for a in inputs) or any(size and size > LIMIT for size in sizes):
        return None
    rule = _RULES.get(node.op_type)
    if rule is not None:
        return [np.asarray(out, dtype=object) for out in rule(list(inputs), facts)]
    if node.domain or node.op_type not in _EVALUATED or None in sizes:
        return None
    plain = [None if a is None else _numbers(a) for a in inputs]
    outs = _evaluated(node, plain, opset)
    if outs is None or any(isinstance(e, Extent) for a in inputs if a is not None for e in a.ravel()):
        return outs and [_marked(out) for out in outs]
    return outs


def _marked(array: Array) -> Array:
    """The entries, said to be computed from sizes in a way that is not followed."""
    out = np.empty(array.shape, dtype=object)
    for at, entry in np.ndenumerate(array):
        out[at] = Extent(entry)
    return out


def _numbers(array: Array) -> Array:
    entries = [number(e) for e in array.ravel()]
    return np.array(entries, dtype=None if entries else np.int64).reshape(array.shape)


def _evaluated(node: onnx.NodeProto, inputs: Sequence[Array | None], opset: int) -> list[Array] | None:
    """What onnx's own evaluator gives for a node of numbers."""
    from onnx.reference import ReferenceEvaluator

    names = [name for name in node.input if name]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_value_info(name, onnx.TypeProto()) for name in names],
        [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name],
    )
    try:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        outs = ReferenceEvaluator(model).run(None, dict(zip(node.input, inputs, strict=True)))
    except Exception:  # noqa: BLE001 - an evaluator that cannot is no error: the entries stay unknown
        return None
    if any(not isinstance(out, np.ndarray | np.generic) or np.asarray(out).size > LIMIT for out in outs):
        return None
    return [np.asarray(out).astype(object) for out in outs]


def as_tensor(entries: Array, elem_type: int) -> TensorProto | None:
    """Known entries as a constant for onnx's shape inference."""
    try:
        dtype = helper.tensor_dtype_to_np_dtype(elem_type)
        return numpy_helper.from_array(
            np.array([number(e) for e in entries.ravel()]).reshape(entries.shape).astype(dtype)
        )
    except (KeyError, TypeError, ValueError):
        return None


# What onnx's evaluator is asked for: ops that need no more room than their operands and outputs.
_EVALUATED = frozenset(
    """Abs And ArgMax ArgMin BitShift Clip CumSum DepthToSpace EyeLike Flatten GatherElements GatherND Greater Less Log
    MatMul Mod Not OneHot Or Pow Range Reciprocal ReduceMax ReduceMean ReduceMin Round ScatterElements ScatterND Sign
    Split Sqrt Tile TopK Trilu Xor Exp Sum""".split()
)

# -- rules ----------------------------------------------------------------------------------------------------

_Rule: TypeAlias = Callable[[list[Any], Mapping[str, Any]], Sequence[Any]]


def _each(function: Callable[..., Any], count: int) -> _Rule:
    lifted = np.frompyfunc(function, count, 1)
    return lambda inputs, _: [lifted(*inputs[:count])] if _fits(inputs) else []


def _fits(inputs: Sequence[Any]) -> bool:
    """Whether operands broadcast to few entries."""
    return math.prod(np.broadcast_shapes(*(np.shape(a) for a in inputs))) <= LIMIT


def _any_number(function: Callable[[Any, Any], Any]) -> _Rule:
    lifted = np.frompyfunc(function, 2, 1)

    def run(inputs: list[Any], _: Mapping[str, Any]) -> Sequence[Any]:
        return [reduce(lifted, inputs)] if _fits(inputs) else []

    return run


def _compared(function: Callable[[Any, Any], Any]) -> _Rule:
    return _each(lambda a, b: bool(function(number(a), number(b))), 2)


def _reduced(function: Callable[[Any, Any], Any], start: Any) -> _Rule:
    lifted = np.frompyfunc(function, 2, 1)

    def run(inputs: list[Any], facts: Mapping[str, Any]) -> Sequence[Any]:
        axes = _ints(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else facts.get("axes")
        over = range(inputs[0].ndim) if not axes else sorted({a % inputs[0].ndim for a in axes})
        out = inputs[0]
        for axis in reversed(over):
            out = lifted.reduce(out, axis=axis, keepdims=bool(facts.get("keepdims", 1)), initial=start)
        return [out]

    return run


def _ints(array: Any) -> list[int]:
    return [whole(entry) for entry in np.asarray(array, dtype=object).ravel()]


def _cast(inputs: list[Any], facts: Mapping[str, Any]) -> Sequence[Any]:
    kind = helper.tensor_dtype_to_np_dtype(facts["to"]).kind

    def convert(entry: Any) -> Any:
        if isinstance(entry, Extent):
            return replace(entry, value=float(entry.value)) if kind == "f" else entry.floored()
        return bool(entry) if kind == "b" else float(entry) if kind == "f" else int(entry)

    return [np.frompyfunc(convert, 1, 1)(inputs[0])]


def _gathered(inputs: list[Any], facts: Mapping[str, Any]) -> Sequence[Any]:
    index = np.array(_ints(inputs[1]), dtype=np.int64).reshape(np.shape(inputs[1]))
    axis = facts.get("axis", 0)
    if inputs[0].size // max(inputs[0].shape[axis], 1) * index.size > LIMIT:
        return []
    return [np.take(inputs[0], index, axis=axis)]


def _sliced(inputs: list[Any], facts: Mapping[str, Any]) -> Sequence[Any]:
    x, *rest = inputs
    given = [_ints(r) if r is not None else None for r in rest] + [None] * (4 - len(rest))
    starts, ends = given[0] or facts.get("starts"), given[1] or facts.get("ends")
    axes = given[2] or facts.get("axes") or list(range(len(starts or [])))
    cuts = [slice(None)] * x.ndim
    for at, axis in enumerate(axes):
        step = given[3][at] if given[3] else 1
        start, end = (starts or [])[at], (ends or [])[at]
        cuts[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return [x[tuple(cuts)]]


def _axes(inputs: list[Any], facts: Mapping[str, Any]) -> list[int] | None:
    return _ints(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else facts.get("axes")


def _unsqueezed(inputs: list[Any], facts: Mapping[str, Any]) -> Sequence[Any]:
    return [np.expand_dims(inputs[0], tuple(_axes(inputs, facts) or ()))]


def _squeezed(inputs: list[Any], facts: Mapping[str, Any]) -> Sequence[Any]:
    axes = _axes(inputs, facts)
    return [np.squeeze(inputs[0], None if axes is None else tuple(axes))]


def _reshaped(inputs: list[Any], facts: Mapping[str, Any]) -> Sequence[Any]:
    shape = _ints(inputs[1])
    if not facts.get("allowzero", 0):
        shape = [inputs[0].shape[at] if size == 0 else size for at, size in enumerate(shape)]
    return [np.reshape(inputs[0], shape)]


def _filled(inputs: list[Any], facts: Mapping[str, Any]) -> Sequence[Any]:
    value = facts.get("value")
    fill = numpy_helper.to_array(value).ravel()[0].item() if value is not None else 0.0
    shape = _ints(inputs[0])
    return [np.full(shape, fill, dtype=object)] if math.prod(shape) <= LIMIT else []


def _expanded(inputs: list[Any], facts: Mapping[str, Any]) -> Sequence[Any]:
    shape = np.broadcast_shapes(inputs[0].shape, tuple(_ints(inputs[1])))
    return [np.broadcast_to(inputs[0], shape)] if math.prod(shape) <= LIMIT else []


def _chosen(inputs: list[Any], _: Mapping[str, Any]) -> Sequence[Any]:
    return [np.frompyfunc(lambda c, a, b: a if c else b, 3, 1)(*inputs)] if _fits(inputs) else []


_RULES: dict[str, _Rule] = {
    "Add": _each(extent.plus, 2),
    "Sub": _each(extent.minus, 2),
    "Mul": _each(extent.times, 2),
    "Div": _each(extent.divided, 2),
    "Mod": _each(extent.modulo, 2),
    "Max": _any_number(extent.larger),
    "Min": _any_number(extent.smaller),
    "Neg": _each(lambda a: extent.times(a, -1), 1),
    "Floor": _each(extent.floor, 1),
    "Ceil": _each(extent.ceil, 1),
    "Cast": _cast,
    "Identity": lambda inputs, _: [inputs[0]],
    "Concat": lambda inputs, facts: [np.concatenate(inputs, axis=facts["axis"])],
    "Gather": _gathered,
    "Slice": _sliced,
    "Unsqueeze": _unsqueezed,
    "Squeeze": _squeezed,
    "Reshape": _reshaped,
    "Transpose": lambda inputs, facts: [np.transpose(inputs[0], facts.get("perm"))],
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Where": _chosen,
    "Equal": _compared(operator.eq),
    "Less": _compared(operator.lt),
    "LessOrEqual": _compared(operator.le),
    "Greater": _compared(operator.gt),
    "GreaterOrEqual": _compared(operator.ge),
    "ReduceProd": _reduced(extent.times, 1),
    "ReduceSum": _reduced(extent.plus, 0),
}
