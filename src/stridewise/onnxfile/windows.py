"""Windows of an ONNX file with m times the dilation, padded so that every size gives what the old one gave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from stridewise.axis import Window
from stridewise.onnxfile.average import average
from stridewise.onnxfile.edit import OPERANDS
from stridewise.onnxfile.job import Job
from stridewise.onnxfile.pads import fixed_pad, padded_before, pads_of, takes
from stridewise.rewrites.actions import may_read_nothing, widened

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
