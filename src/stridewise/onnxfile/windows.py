"""Windows of an ONNX file with m times the dilation: padded so that every size gives what the old one gave, averages
divided by the positions the old ones counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import helper

from stridewise.axis import Window
from stridewise.onnxfile.edit import OPERANDS, Ints, Spot
from stridewise.onnxfile.job import Job
from stridewise.rewrites.actions import counted, hits, may_read_nothing, widened


def pads_of(windows: Sequence[Window]) -> list[int]:
    """An ONNX `pads` attribute: all begins, then all ends."""
    return [*(w.pad_begin for w in windows), *(w.pad_end for w in windows)]


def takes(windows: Sequence[Window]) -> bool:
    """Whether runtimes take these pads at a pool. Source: onnxruntime pool_attributes.h: pads smaller than kernel."""
    return all(p < w.kernel for w in windows for p in (w.pad_begin, w.pad_end))


def fixed_pad(job: Job, windows: Sequence[Window], value: float) -> None:
    """Constant padding with `value` in front of the node, which then pads no more."""
    pads = job.spot.ints(0, 0, *(w.pad_begin for w in windows), 0, 0, *(w.pad_end for w in windows))
    _put_before(job, pads, value)


def padded_before(job: Job, old: Sequence[Window], windows: Sequence[Window]) -> str:
    """Padding in front of the node that the file computes from the size it meets; the name of the pads."""
    spot = job.spot
    begin, end = _reach(job, old, windows)
    zeros = spot.ints(0, 0)
    pads = spot.add("Concat", zeros, begin, zeros, end, axis=0)
    _put_before(job, pads, -math.inf if spot.node.op_type == "MaxPool" else 0)
    return pads


def _put_before(job: Job, pads: str, value: float) -> None:
    spot = job.spot
    spot.node.input[0] = spot.add("Pad", job.x, pads, spot.number(value, job.elem), since=OPERANDS)
    spot.set("pads", None)


def own_pads(job: Job, old: Sequence[Window]) -> str:
    """The padding of the old windows at m times the positions, whole as a Pad takes it, where it follows the size."""
    spot, m_in = job.spot, job.action.m_in
    size = spot.sizes(job.x, range(2, 2 + len(old))) // m_in
    stride = [w.stride for w in old]
    begin, end = _same(old, size, (size + [s - 1 for s in stride]) // stride)
    zeros = spot.ints(0, 0)
    return spot.add("Concat", zeros, (begin * m_in).name, zeros, (end * m_in).name, axis=0)


def _same(old: Sequence[Window], size: Ints, out: Ints) -> tuple[Ints, Ints]:
    """Begin and end padding that the old windows made for themselves, so that `size` positions give `out`."""
    total = ((out - 1) * [w.stride for w in old] + [w.span for w in old] - size).at_least(0)
    less = total // 2
    return (less, total - less) if old[0].same == "end" else (total - less, less)


def _reach(job: Job, old: Sequence[Window], windows: Sequence[Window]) -> tuple[str, str]:
    """Begin and end padding as `rewrites.actions.widened` has them, computed when the file runs."""
    spot, m_in, m_out = job.spot, job.action.m_in, job.action.m_out
    now = spot.sizes(job.x, range(2, 2 + len(old)))
    size = now // m_in
    stride, span = [w.stride for w in old], [w.span for w in old]
    if any(w.same for w in old):
        out = (size + [s - 1 for s in stride]) // stride
        first = _same(old, size, out)[0] * m_in
    else:
        ends = [w.pad_begin + w.pad_end for w in old]
        more = [s - 1 if w.ceil_mode else 0 for w, s in zip(old, stride, strict=True)]
        out = (size + [e + m - n for e, m, n in zip(ends, more, span, strict=True)]) // stride + 1
        if any(w.ceil_mode for w in old):  # a last window that would start in the end padding is dropped
            out = out - ((out - 1) * stride).reaches(size + [w.pad_begin for w in old])
        first = Ints(spot, spot.ints(*(w.pad_begin * m for w, m in zip(old, m_in, strict=True))))
    steps = [w.stride for w in windows]
    reach = (out * m_out - 1) * steps + [(w.kernel - 1) * w.dilation + 1 for w in windows]
    return first.name, (reach - now - first).at_least(0).name


def average(job: Job, old: Sequence[Window], windows: Sequence[Window], sizes: Sequence[int], computed: bool) -> None:
    """Make the node, once its window is widened, divide as the old one (`old`) did.

    sizes: of what comes in; computed: whether the padding has to be worked out when the file runs.
    """
    spot, m_in = job.spot, job.action.m_in
    inside = not job.attributes.get("count_include_pad", 0)
    spot.set("count_include_pad", None)
    if computed:
        _average_open(job, old, windows, inside)
        return
    plain = [
        replace(w, same="", pad_begin=w.padding(n // m)[0], pad_end=w.padding(n // m)[1])
        for w, n, m in zip(old, sizes, m_in, strict=True)
    ]
    wanted = [counted(o, w, m, n, not inside) for o, w, m, n in zip(plain, windows, m_in, sizes, strict=True)]
    natural = [hits(w, n, 0, n) for w, n in zip(windows, sizes, strict=True)]
    if takes(windows) and wanted == natural:
        spot.set("pads", pads_of(windows))
    elif takes(windows) and all(n == w.kernel for w, counts in zip(windows, wanted, strict=True) for n in counts):
        spot.set("pads", pads_of(windows))
        spot.set("count_include_pad", 1)
    elif job.is_open:
        _average_open(job, old, windows, inside)
    else:
        fixed_pad(job, windows, 0)
        _scale(job, windows, wanted)


def _scale(job: Job, windows: Sequence[Window], wanted: Sequence[Sequence[int]]) -> None:
    """Multiply by what the pool divides by and divide by what is wanted, at each position."""
    factor = np.ones((1,) * (2 + len(windows)))
    for axis, (w, counts) in enumerate(zip(windows, wanted, strict=True), 2):
        shape = [1] * factor.ndim
        shape[axis] = -1
        factor = factor * (w.kernel / np.array(counts, dtype=np.float64)).reshape(shape)
    _behind(job.spot, "Mul", job.spot.edit.constant(factor.astype(helper.tensor_dtype_to_np_dtype(job.elem))))


def _average_open(job: Job, old: Sequence[Window], windows: Sequence[Window], inside: bool) -> None:
    """Divide by what is counted: the same window over ones where the old op counted, zeros elsewhere."""
    spot, elem, axes = job.spot, job.elem, len(old)
    sizes = spot.sizes(job.x, range(2, 2 + axes))
    pads = padded_before(job, old, windows)
    shape = spot.add("Concat", spot.ints(1, 1), sizes.name, axis=0)
    ones = spot.add("ConstantOfShape", shape, value=helper.make_tensor("", elem, [1], [1]))
    if not inside:
        own = [(w.pad_begin * m, w.pad_end * m) for w, m in zip(old, job.action.m_in, strict=True)]
        flat = spot.ints(0, 0, *(b for b, _ in own), 0, 0, *(e for _, e in own))
        if any(w.same for w in old):
            flat = own_pads(job, old)
        ones = spot.add("Pad", ones, flat, spot.number(1, elem), since=OPERANDS)
        pads = spot.add("Sub", pads, flat)
    ones = spot.add("Pad", ones, pads, spot.number(0, elem), since=OPERANDS)
    window: dict[str, Any] = {"kernel_shape": [w.kernel for w in windows], "strides": [w.stride for w in windows]}
    if any(w.dilation > 1 for w in windows):
        window["dilations"] = [w.dilation for w in windows]
    share = spot.add("AveragePool", ones, **window)
    least = spot.number(1 / math.prod(w.kernel for w in windows), elem)
    _behind(spot, "Div", spot.add("Max", share, least, since=OPERANDS))


def _behind(spot: Spot, op: str, operand: str) -> None:
    """Another op behind the node, which gives what the node gave."""
    output = spot.node.output[0]
    spot.ends(output, op, spot.inner(), operand)


# From here on an average pool can spread its window.
_SPREAD = 19
_QUANTIZED = ("QLinearConv", "ConvInteger", "QLinearAveragePool")


def window(job: Job) -> str:
    """A window with m times the dilation; its end padding reaches what the size asks for.

    Raises: PlanError where the op has no dilated form in a file.
    """
    spot, action = job.spot, job.action
    old = tuple(m for m in job.old.maps if isinstance(m, Window))
    op = spot.node.op_type
    if len(old) != len(action.m_in) or op not in ("Conv", "MaxPool", "AveragePool", *_QUANTIZED):
        raise job.refuse("has no dilated form")
    held = [at for at in job.dims(job.value(job.x), action.m_in, "reads no axis whole") if at is not None]
    if held != sorted(held):
        raise job.refuse("reads its axes in another order than the input has them; apply it to the model, then export")
    if len([name for name in spot.node.output if name]) > 1:
        raise job.refuse("gives indices, which dilation would change")
    sizes = [n * m for n, m in zip(job.sizes, action.m_in, strict=True)]
    # Never a crop: what is too much at the end is less than a step (`override.Fit`).
    wide = [widened(w, a, b, n) for w, a, b, n in zip(old, action.m_in, action.m_out, sizes, strict=True)]
    windows = [replace(w, pad_end=max(w.pad_end, 0)) for w in wide]
    spot.set("auto_pad", None)
    if op != "Conv":
        spot.set("ceil_mode", None)
    spot.set("kernel_shape", [w.kernel for w in windows])
    spot.set("strides", [w.stride for w in windows])
    _pad(job, old, windows, sizes)
    if op == "MaxPool" and any(map(may_read_nothing, old, action.m_out)):
        _zeros_for_nothing(job)
    if any(w.dilation > 1 for w in windows):
        if op == "AveragePool":
            spot.edit.needs(_SPREAD)
        spot.set("dilations", [w.dilation for w in windows])
    before, after = (dict.fromkeys(f"step {w.stride} dilation {w.dilation}" for w in each) for each in (old, windows))
    return ", ".join(f"{a} -> {b}" for a, b in zip(before, after, strict=False))


def _pad(job: Job, old: Sequence[Window], windows: Sequence[Window], sizes: Sequence[int]) -> None:
    """Pad as the windows want it: by the node's own attribute where that can say it, in front of it otherwise."""
    op = job.spot.node.op_type
    # A window that kept every position needs m times its padding; one that steps ends where the size says.
    computed = job.is_open and any(w.same or w.ceil_mode or w.stride > 1 for w in old)
    if op == "AveragePool":
        average(job, old, windows, sizes, computed)
    elif computed and op in _QUANTIZED:
        raise job.refuse("a quantized window of open size; export the file with fixed sizes")
    elif computed:
        padded_before(job, old, windows)
    elif op == "MaxPool" and not takes(windows):
        fixed_pad(job, windows, -math.inf)
    else:
        job.spot.set("pads", pads_of(windows))


def _zeros_for_nothing(job: Job) -> None:
    """Zeros where a window between the old ones read padding alone, whose maximum is no number to go on with."""
    spot = job.spot
    output, inner = spot.node.output[0], spot.inner()
    empty = spot.add("Equal", inner, spot.number(-math.inf, job.elem), behind=True, since=OPERANDS)
    spot.ends(output, "Where", empty, spot.number(0, job.elem), inner)
