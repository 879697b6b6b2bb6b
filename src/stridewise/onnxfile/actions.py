"""What the ops of an ONNX file do instead, once steps have become dilation (`rewrites.actions.Action`).

A file that fixes its sizes gets constants: attributes where they say it, padding, slices and factors elsewhere. A file
that leaves sizes open computes its end padding when it runs, so that it is exact at every size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from stridewise.axis import Slice, Window
from stridewise.errors import once
from stridewise.onnxfile.edit import OPERANDS, Editor, Spot
from stridewise.onnxfile.job import Job, every
from stridewise.onnxfile.windows import window
from stridewise.ops.layout import whole_axis
from stridewise.rewrites.actions import Action, Kind
from stridewise.rewrites.dilate import Dilation
from stridewise.rewrites.multipliers import Multipliers
from stridewise.rewrites.places import is_within

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
    for w, at, m in zip(windows, dims, m_in, strict=True):
        if at is not None:
            begin[at], end[at] = w.pad_begin * m, w.pad_end * m
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
    maps = [change for change, _ in action.cuts]
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


_FORMS: dict[Kind, Callable[[Job], str]] = {
    "window": window,
    "pad": pad,
    "drop": dropped,
    "slice": sliced,
    "resize": resized,
    "coarse": coarse,
    "phases": apart,
}


def dilate_file(edit: Editor, found: Dilation, is_open: bool) -> list[str]:
    """Carry the actions out on the file's nodes; a line for each. Raises: PlanError where one has no such form."""
    lines = [_enter(edit, found, path, m_in) for path, m_in in found.entries.items()]
    for index, action in found.actions.items():
        if action.kind == "mixes":
            continue
        node = found.graph.nodes[index]
        made = [g.index for g in found.graph.grids if g.node == index][-1]
        spot = edit.at(index)
        old = found.graph.grids[made]
        sizes = found.graph.grids[old.sources[0]].sizes if old.sources else old.sizes
        job = Job(spot, str(spot.node.input[0]), node, action, old, sizes, is_open)
        lines.append(f"{node.key or job.spot.name}: {_FORMS[action.kind](job)}")
    return lines


def _enter(edit: Editor, found: Dilation, path: str, m_in: Multipliers) -> str:
    """Give a module that fixes its size the old positions alone."""
    graph = found.graph
    inside = [n for n in graph.nodes if is_within(n.path, path)]
    made = {t for node in inside for t in node.outputs}
    coarser = ""
    for node in inside:
        spot = edit.at(node.index)
        for at, name in enumerate(spot.node.input):
            value = edit.walk.values.get(name)
            if value is None or value.index is None or value.index in made or not value.dims:
                continue
            if any(whole_axis(dim) is not None for dim in value.dims):
                action, grid = Action(kind="coarse", m_in=m_in, m_out=m_in), graph.grids[0]
                job = Job(spot, name, node, action, grid, grid.sizes, False)
                coarser = coarser or every(job, name, value, [0] * len(m_in), m_in)
                spot.node.input[at] = coarser
    return f"{path}: given one position in {once(m_in)}, since its size is fixed"
