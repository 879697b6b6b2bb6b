"""Padding in front of a window of an ONNX file: constant, or computed from the size that the file meets."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stridewise.axis import Window
from stridewise.onnxfile.edit import OPERANDS, Ints
from stridewise.onnxfile.job import Job


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
