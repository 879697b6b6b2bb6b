"""Padding and slices of an ONNX file that stand by themselves, at m times the positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from stridewise.axis import Slice, Window
from stridewise.errors import once
from stridewise.onnxfile.edit import OPERANDS
from stridewise.onnxfile.job import Job


def pad(job: Job) -> str:
    """m times the padding; reflection and repetition look from the last old position."""
    spot, m_in = job.spot, job.action.m_in
    value = job.value(job.x)
    dims = job.dims(value, m_in, "pads positions that are split or merged")
    if spot.node.op_type != "Pad" or (job.is_open and not job.is_constant(1)):
        raise job.refuse("its padding is computed from sizes when it runs")
    rank = len(value.shape)
    begin, end, cut = [0] * rank, [0] * rank, [0] * rank
    windows = [w for w in job.old.maps if isinstance(w, Window)]
    for window, at, m in zip(windows, dims, m_in, strict=True):
        if at is not None:
            begin[at], end[at] = window.pad_begin * m, window.pad_end * m
            cut[at] = m - 1 if begin[at] or end[at] else 0
    mode = job.attributes.get("mode", b"constant").decode()
    flat = spot.ints(*begin, *end)
    spot.edit.needs(OPERANDS)
    if mode in ("constant", "wrap"):
        constant = list(spot.node.input)[2:3]
        spot.becomes("Pad", job.x, flat, *constant, mode=mode)
        return f"{once(m_in)} times the padding"
    inner = spot.add("Pad", job.x, spot.ints(*[0] * rank, *(-c for c in cut)), since=OPERANDS)
    inner = spot.add("Pad", inner, flat, since=OPERANDS, mode=mode)
    spot.becomes("Pad", inner, spot.ints(*[0] * rank, *cut))
    return f"{once(m_in)} times the padding ({mode}), from the last old position"


def dropped(job: Job) -> str:
    """A dynamic SAME padding that its window makes now."""
    job.spot.becomes("Identity", job.x)
    return "nothing, since the window pads for itself"


def sliced(job: Job) -> str:
    """A slice of m times the positions."""
    spot, action = job.spot, job.action
    if spot.node.op_type != "Slice":
        raise job.refuse("cuts positions apart; it has no dilated form")
    maps = job.old.maps
    if job.old.kind == "follow" and action.m_in == action.m_out and all(getattr(m, "start", 0) == 0 for m in maps):
        return "cut to the size of the other map, as before"
    value = job.value(job.x)
    dims = job.dims(value, action.m_in, "cuts positions that are split or merged")
    cuts = {
        at: (change, m_in, m_out)
        for change, at, m_in, m_out in zip(maps, dims, action.m_in, action.m_out, strict=True)
        if at is not None and isinstance(change, Slice) and change != Slice()
    }
    spot.edit.needs(OPERANDS)
    (_sliced_open if job.is_open else _sliced_fixed)(job, cuts)
    return f"a slice of {once(action.m_in)} times the positions, giving {once(action.m_out)} times as many"


_Cuts: TypeAlias = Mapping[int, tuple[Slice, int, int]]


def _sliced_fixed(job: Job, cuts: _Cuts) -> None:
    """The slice with constant bounds. cuts: by dim, the old slice and the m of what goes in and comes out."""
    spot, shape = job.spot, job.value(job.x).shape
    rows, ends = [], [0] * len(shape)
    for at, (change, m_in, m_out) in cuts.items():
        old = range(*slice(change.start, change.stop, change.stride).indices(shape[at]))
        step, count = change.stride * m_in // m_out, len(old) * m_out
        rows.append((at, old.start * m_in, old.start * m_in + (count - 1) * step + 1, step))
        ends[at] = max(rows[-1][2] - shape[at] * m_in, 0)
    x = job.x
    if any(ends):
        x = spot.add("Pad", x, spot.ints(*[0] * len(ends), *ends), since=OPERANDS)
    where, starts, stops, steps = zip(*rows, strict=True)
    spot.becomes("Slice", x, spot.ints(*starts), spot.ints(*stops), spot.ints(*where), spot.ints(*steps))


def _sliced_open(job: Job, cuts: _Cuts) -> None:
    """The slice with bounds that the file computes from the size it meets, along all dims at once."""
    spot, rank = job.spot, len(job.value(job.x).shape)
    rows = [cuts.get(at, (Slice(), 1, 1)) for at in range(rank)]
    old, m_in, m_out = [change for change, _, _ in rows], [m for _, m, _ in rows], [m for _, _, m in rows]
    stride = [change.stride for change in old]
    step = [s * a // b for s, a, b in zip(stride, m_in, m_out, strict=True)]
    now = spot.sizes(job.x, range(rank))
    size = now // m_in
    first = (size * [int(c.start < 0) for c in old] + [c.start for c in old]).at_least(0)
    stops = [c.stop or 0 for c in old]
    last = (size * [int(c.stop is None or c.stop < 0) for c in old] + stops).at_most(size)
    count = (last - first + [s - 1 for s in stride]) // stride
    begin = first * m_in
    end = begin + (count * m_out - 1) * step + 1
    x = job.x
    if any(s > 1 for s in stride):  # the last step may end behind the last position
        pads = spot.add("Concat", spot.ints(*[0] * rank), (end - now).at_least(0).name, axis=0)
        x = spot.add("Pad", x, pads, since=OPERANDS)
    spot.becomes("Slice", x, begin.name, end.name, spot.ints(*range(rank)), spot.ints(*step))
