"""Ops of an ONNX file that run on coarse grids of their operand, one for each phase of their output."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from stridewise.errors import once
from stridewise.onnxfile.edit import OPERANDS, Spot
from stridewise.onnxfile.job import Job, every
from stridewise.rewrites.multipliers import Multipliers

_NOT_WHOLE = "its operand holds no axis whole; its phases cannot be picked out of it"


def resized(job: Job) -> str:
    """The op on coarse grids of its operand, one for each phase of its output."""
    spot, action = job.spot, job.action
    if spot.node.op_type == "Resize" and len(spot.node.input) > 3 and spot.node.input[3]:
        _divide_sizes(job)
    _on_phases(job, action.m_in, action.m_out, action.offset)
    return f"on one position in {once(action.m_in)}, giving {once(action.m_out)} times as many"


def _divide_sizes(job: Job) -> None:
    """Sizes that are computed from a map with m times the positions, brought back to the old ones."""
    spot, action, grid = job.spot, job.action, job.old
    if job.is_constant(3):
        return
    times = action.m_out if grid.kind == "follow" else action.m_in
    factors = [1] * len(job.value(job.x).shape)
    for at, m in zip(job.dims(job.value(job.x), action.m_in, _NOT_WHOLE), times, strict=True):
        if at is not None:
            factors[at] = m
    axes = job.attributes.get("axes")
    factors = factors if axes is None else [factors[a] for a in axes]
    spot.node.input[3] = spot.add("Div", spot.node.input[3], spot.ints(*factors))


def coarse(job: Job) -> str:
    """The op on phase 0 alone: a mean over the positions that the old network had."""
    spot = job.spot
    spot.node.input[0] = every(job, job.x, job.value(job.x), [0] * len(job.action.m_in), job.action.m_in)
    return f"itself on one position in {once(job.action.m_in)}"


def apart(job: Job) -> str:
    """The op on each phase by itself: statistics over the positions that the old network had."""
    _on_phases(job, job.action.m_in, job.action.m_in, (1,) * len(job.action.m_in))
    return f"itself on each of {once(job.action.m_in)} phases"


def _on_phases(job: Job, m_in: Multipliers, m_out: Multipliers, offset: Multipliers) -> None:
    """The node on grid number b * offset for each phase b of its output, put together again."""
    spot, x, value = job.spot, job.x, job.value(job.x)
    if math.prod(m_out) == 1:
        spot.node.input[0] = every(job, x, value, [0] * len(m_in), m_in)
        return
    dims = job.dims(value, tuple(map(max, m_in, m_out)), _NOT_WHOLE)
    parts = []
    for phase in itertools.product(*(range(m) for m in m_out)):
        starts = [b * h for b, h in zip(phase, offset, strict=True)]
        parts.append(spot.clone(every(job, x, value, starts, m_in)))
    rank = len(value.shape)
    for axis in reversed(range(len(m_out))):  # the last axis counts fastest
        m, at = m_out[axis], dims[axis]
        if m == 1 or at is None:
            continue
        parts = [_woven(spot, parts[i : i + m], at, rank) for i in range(0, len(parts), m)]
    spot.becomes("Identity", parts[0])


def _woven(spot: Spot, parts: Sequence[str], at: int, rank: int) -> str:
    """Maps of one shape put together so that part b lies at b::m of dim `at`."""
    apart = [spot.add("Unsqueeze", part, spot.ints(at + 1), since=OPERANDS) for part in parts]
    whole = spot.add("Concat", *apart, axis=at + 1)
    # The two dims to merge go last, where a reshape needs no sizes.
    order = [d for d in range(rank + 1) if d not in (at, at + 1)] + [at, at + 1]
    merged = spot.add("Reshape", spot.add("Transpose", whole, perm=order), spot.ints(*[0] * (rank - 1), -1))
    back = [*range(at), rank - 1, *range(at, rank - 1)]
    return spot.add("Transpose", merged, perm=back)
