"""What the ops of an ONNX file do instead, once steps have become dilation (`rewrites.dilate.Act`).

A file that fixes its sizes gets constants: attributes where they say it, padding, slices and factors elsewhere. A file
that leaves sizes open computes its end padding when it runs, so that it is exact at every size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from onnx import helper

from stridewise.axis import Slice, Window
from stridewise.errors import PlanError, once
from stridewise.frontends.onnx_edit import OPERANDS, Editor, Ints, Spot
from stridewise.ir import Grid, Node, Sizes
from stridewise.ops.call import Value
from stridewise.ops.layout import whole_axis
from stridewise.rewrites.counts import counted, hits, may_read_nothing
from stridewise.rewrites.dilate import Act, Dilation, Times, widened

_END = np.iinfo(np.int64).max
# From here on an average pool can spread its window.
_SPREAD = 19
_QUANTIZED = ("QLinearConv", "ConvInteger", "QLinearAveragePool")


@dataclass(frozen=True, slots=True)
class Job:
    """One node to change: its place in the file, its node and act in the graph, the grid it made before and after.

    x: the name of its first operand as the file has it; sizes: those of its positions before the change, as runtimes
    have them (onnx's own inference counts a last window of ceil_mode that starts in the padding, which they drop).
    """

    spot: Spot
    x: str
    node: Node
    act: Act
    old: Grid
    new: Grid
    sizes: Sizes
    is_open: bool

    def value(self, name: str) -> Value:
        """What is known of an operand."""
        return self.spot.edit.walk.values[name]

    @property
    def elem(self) -> int:
        """The element type of the first operand."""
        return int(self.spot.edit.walk.types[self.x].tensor_type.elem_type)

    @property
    def attributes(self) -> dict[str, Any]:
        """The node's attributes as they stand there."""
        return {a.name: helper.get_attribute_value(a) for a in self.spot.node.attribute}

    def refuse(self, why: str) -> PlanError:
        """The error that says why this node has no other form."""
        return PlanError(f"{self.node.key or self.spot.name} ({self.spot.node.op_type}): {why}")


def dilate_file(edit: Editor, found: Dilation, new: Sequence[Grid], is_open: bool) -> list[str]:
    """Carry the acts out on the file's nodes; a line for each change. Raises: PlanError where one has no such form."""
    lines = []
    for path, came in found.entries.items():
        lines.append(_enter(edit, found, path, came))
    for index, act in found.acts.items():
        if act.kind == "mixes":
            continue
        node = found.graph.nodes[index]
        made = [g.index for g in found.graph.grids if g.node == index][-1]
        spot = edit.at(index)
        old = found.graph.grids[made]
        sizes = found.graph.grids[old.sources[0]].sizes if old.sources else old.sizes
        job = Job(spot, str(spot.node.input[0]), node, act, old, new[made], sizes, is_open)
        lines.append(f"{node.key or job.spot.name}: {_ACTS[act.kind](job)}")
    return lines


def positions(value: Value, came: Times) -> list[int | None]:
    """The dim that holds each axis whole, None where it holds none. Raises: KeyError where an axis has to be found."""
    dims: list[int | None] = [None] * len(came)
    for at, dim in enumerate(value.dims or ()):
        digit = whole_axis(dim)
        if digit is not None and digit.count == value.shape[at] and digit.axis < len(dims):
            dims[digit.axis] = at
    if any(m > 1 and at is None for m, at in zip(came, dims, strict=True)):
        raise KeyError
    return dims


def every(job: Job, x: str, value: Value, starts: Sequence[int], came: Times) -> str:
    """x[..., start::m] along each axis, in front of the node."""
    try:
        dims = positions(value, came)
    except KeyError:
        raise job.refuse("its operand holds no axis whole; the old positions cannot be picked out of it") from None
    picked = [(at, start, m) for at, start, m in zip(dims, starts, came, strict=True) if m > 1 and at is not None]
    if not picked:
        return x
    ints = job.spot.ints
    where, first, step = zip(*picked, strict=True)
    operands = ints(*first), ints(*[_END] * len(picked)), ints(*where), ints(*step)
    return job.spot.add("Slice", x, *operands, since=OPERANDS)


def _enter(edit: Editor, found: Dilation, path: str, came: Times) -> str:
    """Give a module that fixes its size the old positions alone."""
    graph = found.graph
    inside = [n for n in graph.nodes if n.path == path or n.path.startswith(f"{path}.")]
    made = {t for node in inside for t in node.outputs}
    sliced = ""
    for node in inside:
        spot = edit.at(node.index)
        for at, name in enumerate(spot.node.input):
            value = edit.walk.values.get(name)
            if value is None or value.index is None or value.index in made or not value.dims:
                continue
            if any(whole_axis(dim) is not None for dim in value.dims):
                act, grid = Act(kind="coarse", came=came, goes=came), graph.grids[0]
                job = Job(spot, name, node, act, grid, grid, grid.sizes, False)
                sliced = sliced or every(job, name, value, [0] * len(came), came)
                spot.node.input[at] = sliced
    return f"{path}: given one position in {once(came)}, since its size is fixed"


# -- windows --------------------------------------------------------------------------------------------------


def _window(job: Job) -> str:
    """A window with m times the dilation; its end padding reaches what the size asks for."""
    spot, act = job.spot, job.act
    old = tuple(m for m in job.old.maps if isinstance(m, Window))
    op = spot.node.op_type
    if len(old) != len(act.came) or op not in ("Conv", "MaxPool", "AveragePool", *_QUANTIZED):
        raise job.refuse("has no dilated form")
    if len([name for name in spot.node.output if name]) > 1:
        raise job.refuse("gives indices, which dilation would change")
    sizes = _sizes_of(job)
    windows = [widened(w, a, b, n) for w, a, b, n in zip(old, act.came, act.goes, sizes, strict=True)]
    # Never a crop: what is too much at the end is less than a step (`override.Fit`).
    windows = [replace(w, pad_end=max(w.pad_end, 0)) for w in windows]
    before = [_shown(w) for w in old]
    # A window that kept every position needs m times its padding; one that steps ends where the size says.
    computed = job.is_open and any(w.same or w.ceil_mode or w.stride > 1 for w in old)
    spot.set("auto_pad", None)
    if op != "Conv":
        spot.set("ceil_mode", None)
    spot.set("kernel_shape", [w.kernel for w in windows])
    spot.set("strides", [w.stride for w in windows])
    if op == "AveragePool":
        _average(job, old, windows, sizes, computed)
    elif computed:
        if op in _QUANTIZED:
            raise job.refuse("a quantized window of open size; export the file with fixed sizes")
        _padded_before(job, old, windows)
    elif op == "MaxPool" and not _takes(windows):
        _fixed_pad(job, windows, -math.inf)
    else:
        spot.set("pads", _pads(windows))
    if op == "MaxPool" and any(map(may_read_nothing, old, act.goes)):
        _something(job)
    if any(w.dilation > 1 for w in windows):
        if op == "AveragePool":
            spot.edit.needs(_SPREAD)
        spot.set("dilations", [w.dilation for w in windows])
    after = [_shown(w) for w in windows]
    return ", ".join(f"{a} -> {b}" for a, b in zip(dict.fromkeys(before), dict.fromkeys(after), strict=False))


def _shown(window: Window) -> str:
    return f"step {window.stride} dilation {window.dilation}"


def _sizes_of(job: Job) -> Sequence[int]:
    """Sizes of what comes in, after the change, at the size the file was read at."""
    return [n * m for n, m in zip(job.sizes, job.act.came, strict=True)]


def _pads(windows: Sequence[Window]) -> list[int]:
    return [*(w.pad_begin for w in windows), *(w.pad_end for w in windows)]


def _takes(windows: Sequence[Window]) -> bool:
    """Whether runtimes take these pads at a pool. Source: onnxruntime pool_attributes.h: pads smaller than kernel."""
    return all(p < w.kernel for w in windows for p in (w.pad_begin, w.pad_end))


def _fixed_pad(job: Job, windows: Sequence[Window], value: float) -> str:
    """Constant padding in front of the node, which then pads no more."""
    spot = job.spot
    pads = spot.ints(0, 0, *(w.pad_begin for w in windows), 0, 0, *(w.pad_end for w in windows))
    spot.node.input[0] = spot.add("Pad", job.x, pads, spot.number(value, job.elem), since=OPERANDS)
    spot.set("pads", None)
    return pads


def _padded_before(job: Job, old: Sequence[Window], windows: Sequence[Window]) -> str:
    """Padding in front of the node that the file computes from the size it meets; the name of the pads."""
    spot = job.spot
    begin, end = _reach(job, old, windows)
    zeros = spot.ints(0, 0)
    pads = spot.add("Concat", zeros, begin, zeros, end, axis=0)
    value = -math.inf if spot.node.op_type == "MaxPool" else 0
    spot.node.input[0] = spot.add("Pad", job.x, pads, spot.number(value, job.elem), since=OPERANDS)
    spot.set("pads", None)
    return pads


def _reach(job: Job, old: Sequence[Window], windows: Sequence[Window]) -> tuple[str, str]:
    """Begin and end padding as `rewrites.dilate.widened` has them, computed when the file runs."""
    spot, came, goes = job.spot, job.act.came, job.act.goes
    now = spot.sizes(job.x, range(2, 2 + len(old)))
    size = now // came
    stride, span = [w.stride for w in old], [w.span for w in old]
    if any(w.same for w in old):
        out = (size + [s - 1 for s in stride]) // stride
        total = ((out - 1) * stride + span - size).at_least(0)
        less = total // 2
        first = (less if old[0].same == "end" else total - less) * came
    else:
        ends = [w.pad_begin + w.pad_end for w in old]
        more = [s - 1 if w.ceil_mode else 0 for w, s in zip(old, stride, strict=True)]
        out = (size + [e + m - n for e, m, n in zip(ends, more, span, strict=True)]) // stride + 1
        if any(w.ceil_mode for w in old):  # a last window that would start in the end padding is dropped
            out = out - ((out - 1) * stride).reaches(size + [w.pad_begin for w in old])
        first = Ints(spot, spot.ints(*(w.pad_begin * m for w, m in zip(old, came, strict=True))))
    steps = [w.stride for w in windows]
    reach = (out * goes - 1) * steps + [(w.kernel - 1) * w.dilation + 1 for w in windows]
    return first.name, (reach - now - first).at_least(0).name


def _average(job: Job, old: Sequence[Window], windows: Sequence[Window], sizes: Sequence[int], computed: bool) -> None:
    """An average that divides by the positions the old one counted, whatever was padded since."""
    spot, came = job.spot, job.act.came
    inside = not job.attributes.get("count_include_pad", 0)
    spot.set("count_include_pad", None)
    if computed:
        _average_open(job, old, windows, inside)
        return
    plain = [
        replace(w, same="", pad_begin=w.padding(n // m)[0], pad_end=w.padding(n // m)[1])
        for w, n, m in zip(old, sizes, came, strict=True)
    ]
    wanted = [counted(o, w, m, n, not inside) for o, w, m, n in zip(plain, windows, came, sizes, strict=True)]
    natural = [hits(w, n, 0, n) for w, n in zip(windows, sizes, strict=True)]
    if _takes(windows) and wanted == natural:
        spot.set("pads", _pads(windows))
    elif _takes(windows) and all(n == w.kernel for w, counts in zip(windows, wanted, strict=True) for n in counts):
        spot.set("pads", _pads(windows))
        spot.set("count_include_pad", 1)
    elif job.is_open:
        _average_open(job, old, windows, inside)
    else:
        _fixed_pad(job, windows, 0)
        factor = np.ones((1, 1))
        for axis, (w, counts) in enumerate(zip(windows, wanted, strict=True)):
            shape = [1] * (2 + len(windows))
            shape[2 + axis] = -1
            factor = factor.reshape(factor.shape + (1,) * (2 + len(windows) - factor.ndim))
            factor = factor * (w.kernel / np.array(counts, dtype=np.float64)).reshape(shape)
        _behind(spot, "Mul", spot.edit.constant(factor.astype(helper.tensor_dtype_to_np_dtype(job.elem))))


def _average_open(job: Job, old: Sequence[Window], windows: Sequence[Window], inside: bool) -> None:
    """Divide by what is counted: the same window over ones where the old op counted, zeros elsewhere."""
    spot, elem, axes = job.spot, job.elem, len(old)
    sizes = spot.sizes(job.x, range(2, 2 + axes))
    pads = _padded_before(job, old, windows)
    shape = spot.add("Concat", spot.ints(1, 1), sizes.name, axis=0)
    ones = spot.add("ConstantOfShape", shape, value=helper.make_tensor("", elem, [1], [1]))
    if not inside:
        if any(w.same for w in old):
            raise job.refuse("counts padding that follows an open size; export the file with fixed sizes")
        own = [(w.pad_begin * m, w.pad_end * m) for w, m in zip(old, job.act.came, strict=True)]
        flat = spot.ints(0, 0, *(b for b, _ in own), 0, 0, *(e for _, e in own))
        ones = spot.add("Pad", ones, flat, spot.number(1, elem), since=OPERANDS)
        pads = spot.add("Sub", pads, flat)
    ones = spot.add("Pad", ones, pads, spot.number(0, elem), since=OPERANDS)
    window: dict[str, Any] = {"kernel_shape": [w.kernel for w in windows], "strides": [w.stride for w in windows]}
    if any(w.dilation > 1 for w in windows):
        window["dilations"] = [w.dilation for w in windows]
    share = spot.add("AveragePool", ones, **window)
    least = spot.number(1 / math.prod(w.kernel for w in windows), elem)
    _behind(spot, "Div", spot.add("Max", share, least, since=OPERANDS))


def _something(job: Job) -> None:
    """Zeros where a window between the old ones read padding alone, whose maximum is no number to go on with."""
    spot = job.spot
    output, inner = spot.node.output[0], spot.edit.name(spot.name)
    spot.node.output[0] = inner
    lowest = spot.number(-math.inf, job.elem)
    empty = spot.add("Equal", inner, lowest, behind=True, since=OPERANDS)
    out = spot.add("Where", empty, spot.number(0, job.elem), inner, behind=True)
    spot.behind[-1].output[0] = output
    spot.behind[-1].name = out


def _behind(spot: Spot, op: str, operand: str) -> None:
    """Another op behind the node, which gives what the node gave."""
    output = spot.node.output[0]
    inner = spot.edit.name(spot.name)
    spot.node.output[0] = inner
    out = spot.add(op, inner, operand, behind=True)
    spot.behind[-1].output[0] = output
    spot.behind[-1].name = out


# -- everything else ------------------------------------------------------------------------------------------


def _pad(job: Job) -> str:
    """m times the padding; reflection and repetition look from the last old position."""
    spot, came = job.spot, job.act.came
    value = job.value(job.x)
    try:
        dims = positions(value, came)
    except KeyError:
        raise job.refuse("pads positions that are split or merged") from None
    rank = len(value.shape)
    windows = [w for w in job.old.maps if isinstance(w, Window)]
    begin, end = [0] * rank, [0] * rank
    for window, at in zip(windows, dims, strict=True):
        if at is not None:
            begin[at], end[at] = window.pad_begin, window.pad_end
    if job.spot.node.op_type != "Pad" or (job.is_open and not _is_constant(job, 1)):
        raise job.refuse("its padding is computed from sizes when it runs")
    times = [1] * rank
    for m, at in zip(came, dims, strict=True):
        if at is not None:
            times[at] = m
    flat = spot.ints(*(p * m for p, m in zip(begin + end, times + times, strict=True)))
    mode = job.attributes.get("mode", b"constant").decode()
    value_at = list(spot.node.input)[2:3]
    metadata = {"mode": mode}
    spot.edit.needs(OPERANDS)
    if mode in ("constant", "wrap"):
        spot.becomes("Pad", job.x, flat, *value_at, **metadata)
        return f"{once(came)} times the padding"
    cut = [m - 1 if b or e else 0 for b, e, m in zip(begin, end, times, strict=True)]
    inner = spot.add("Pad", job.x, spot.ints(*[0] * rank, *(-c for c in cut)), since=OPERANDS)
    inner = spot.add("Pad", inner, flat, since=OPERANDS, **metadata)
    spot.becomes("Pad", inner, spot.ints(*[0] * rank, *cut))
    return f"{once(came)} times the padding ({mode}), from the last old position"


def _is_constant(job: Job, at: int) -> bool:
    """Whether an operand stands in the file as numbers."""
    names = list(job.spot.node.input)
    if at >= len(names) or not names[at]:
        return True
    content = job.value(names[at]).content
    return content is not None and all(isinstance(entry, int | float) for entry in content)


def _dropped(job: Job) -> str:
    job.spot.becomes("Identity", job.x)
    return "nothing, since the window pads for itself"


def _sliced(job: Job) -> str:
    """A slice of m times the positions."""
    spot, act = job.spot, job.act
    if spot.node.op_type != "Slice":
        raise job.refuse("cuts positions apart; it has no dilated form")
    maps = job.old.maps
    if job.old.kind == "follow" and act.came == act.goes and all(getattr(m, "start", 0) == 0 for m in maps):
        return "cut to the size of the other map, as before"
    value = job.value(job.x)
    try:
        dims = positions(value, act.came)
    except KeyError:
        raise job.refuse("cuts positions that are split or merged") from None
    if job.is_open:
        raise job.refuse("a slice at open sizes; export the file with fixed sizes")
    rows = []
    for change, at, came, goes in zip(maps, dims, act.came, act.goes, strict=True):
        if at is None or not isinstance(change, Slice) or change == Slice():
            continue
        old = range(*slice(change.start, change.stop, change.stride).indices(value.shape[at]))
        step, count = change.stride * came // goes, len(old) * goes
        rows.append((at, old.start * came, old.start * came + (count - 1) * step + 1, step, value.shape[at] * came))
    ends = [0] * len(value.shape)
    for at, _, stop, _, size in rows:
        ends[at] = max(stop - size, 0)
    x = job.x
    if any(ends):
        x = spot.add("Pad", x, spot.ints(*[0] * len(ends), *ends), since=OPERANDS)
    where, starts, stops, steps, _ = zip(*rows, strict=True)
    spot.edit.needs(OPERANDS)
    spot.becomes("Slice", x, spot.ints(*starts), spot.ints(*stops), spot.ints(*where), spot.ints(*steps))
    return f"a slice of {once(act.came)} times the positions, giving {once(act.goes)} times as many"


def _resized(job: Job) -> str:
    """The op on coarse grids of its operand, one for each phase of its output."""
    spot, act = job.spot, job.act
    if spot.node.op_type == "Resize" and len(spot.node.input) > 3 and spot.node.input[3]:
        _divide_sizes(job)
    _on_phases(job, act.came, act.goes, act.hop)
    return f"on one position in {once(act.came)}, giving {once(act.goes)} times as many"


def _divide_sizes(job: Job) -> None:
    """Sizes that are computed from a map with m times the positions, brought back to the old ones."""
    spot, act, grid = job.spot, job.act, job.old
    if _is_constant(job, 3):
        return
    times = act.goes if grid.kind == "follow" else act.came
    factors = [1] * len(job.value(job.x).shape)
    for at, m in zip(positions(job.value(job.x), act.came), times, strict=True):
        if at is not None:
            factors[at] = m
    axes = job.attributes.get("axes")
    factors = factors if axes is None else [factors[a] for a in axes]
    spot.node.input[3] = spot.add("Div", spot.node.input[3], spot.ints(*factors))


def _coarse(job: Job) -> str:
    spot = job.spot
    spot.node.input[0] = every(job, job.x, job.value(job.x), [0] * len(job.act.came), job.act.came)
    return f"itself on one position in {once(job.act.came)}"


def _apart(job: Job) -> str:
    _on_phases(job, job.act.came, job.act.came, (1,) * len(job.act.came))
    return f"itself on each of {once(job.act.came)} phases"


def _on_phases(job: Job, came: Times, goes: Times, hop: Times) -> None:
    """The node on grid number b * hop for each phase b of its output, put together again."""
    spot, x, value = job.spot, job.x, job.value(job.x)
    if math.prod(goes) == 1:
        spot.node.input[0] = every(job, x, value, [0] * len(came), came)
        return
    try:
        dims = positions(value, tuple(max(a, b) for a, b in zip(came, goes, strict=True)))
    except KeyError:
        raise job.refuse("its operand holds no axis whole; its phases cannot be picked out of it") from None
    parts = []
    for phase in itertools.product(*(range(m) for m in goes)):
        starts = [b * h for b, h in zip(phase, hop, strict=True)]
        parts.append(spot.clone(every(job, x, value, starts, came)))
    rank = len(value.shape)
    for axis in reversed(range(len(goes))):  # the last axis counts fastest
        m, at = goes[axis], dims[axis]
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


_Act: TypeAlias = Callable[[Job], str]
_ACTS: dict[str, _Act] = {
    "window": _window,
    "pad": _pad,
    "drop": _dropped,
    "slice": _sliced,
    "resize": _resized,
    "coarse": _coarse,
    "phases": _apart,
}
