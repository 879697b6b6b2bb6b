"""Average pools of an ONNX file that divide by the positions the old ones counted, whatever was padded since."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import helper

from stridewise.axis import Window
from stridewise.onnxfile.edit import OPERANDS, Spot
from stridewise.onnxfile.job import Job
from stridewise.onnxfile.pads import fixed_pad, own_pads, padded_before, pads_of, takes
from stridewise.rewrites.actions import counted, hits


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
