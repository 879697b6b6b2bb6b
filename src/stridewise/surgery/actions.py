"""What single function calls do instead, once steps have become dilation (`rewrites.actions.Action`).

Every replacement works from the operand it meets, so it is exact at every input size: an operand that comes with m
times the positions tells the old size, size // m. The formulas are `rewrites.actions.widened` and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from stridewise.axis import AxisMap, Computed, Slice, Window
from stridewise.ops.registry import Op, op_named
from stridewise.rewrites.actions import Action, Kind, counted, may_read_nothing, widened
from stridewise.rewrites.multipliers import Multipliers
from stridewise.tracing.calls import functions

# An override around this one counts calls of torch's functions (`patched.py`); the dispatcher's ops it does not count.
_aten: Any = torch.ops.aten
Pairs: TypeAlias = tuple[tuple[int, int], ...]
_CONV, _MAX, _AVERAGE, _COLUMNS = (
    next(iter((op_named(name).functions or {}).values())) for name in ("conv", "max_pool", "avg_pool", "columns")
)


def end_pad(x: torch.Tensor, pairs: Sequence[tuple[int, int]], value: float = 0.0) -> torch.Tensor:
    """The last axes padded by (begin, end) each; negative crops. Nothing is copied where there is nothing to do."""
    if all(b == 0 and e == 0 for b, e in pairs):
        return x
    out: torch.Tensor = _aten.constant_pad_nd(x, [n for pair in reversed(pairs) for n in pair], value)
    return out


def every(x: torch.Tensor, starts: Sequence[int], steps: Sequence[int], first: int) -> torch.Tensor:
    """x[..., start::step] on the dims from `first` on."""
    for i, (start, step) in enumerate(zip(starts, steps, strict=True)):
        x = _aten.slice(x, first + i, start, None, step) if start or step > 1 else x
    return x


def interleaved(parts: Sequence[torch.Tensor], times: Multipliers) -> torch.Tensor:
    """Maps of one shape, phase by phase, put together so that part number b lies at [..., b::times]."""
    if len(parts) == 1:
        return parts[0]
    axes = len(times)
    whole = torch.stack(list(parts)).reshape([*times, *parts[0].shape])
    lead = whole.dim() - 2 * axes
    order = [axes + i for i in range(lead)]
    for axis in range(axes):
        order += [axes + lead + axis, axis]
    shape = [*parts[0].shape[:-axes], *(n * m for n, m in zip(parts[0].shape[-axes:], times, strict=True))]
    out: torch.Tensor = whole.permute(order).reshape(shape)
    return out


def _bound(names: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**names, **dict(zip(names, args[1:], strict=False)), **kwargs}


def _each(value: Any, axes: int) -> list[int]:
    entries = list(value) if isinstance(value, list | tuple) else [value]
    return entries * axes if len(entries) == 1 else entries


def windows(found: Mapping[str, Any], axes: int) -> list[Window]:
    """The windows of a call, one an axis, from its parameters by name."""
    kernel = _each(found["kernel_size"], axes) if "kernel_size" in found else sizes_of(found["weight"], axes)
    stride = _each(found["stride"], axes) if found["stride"] not in (None, [], ()) else kernel
    dilation = _each(found.get("dilation", 1), axes)
    padding = found["padding"]
    if padding == "same":
        pads = [((k - 1) * d // 2, (k - 1) * d - (k - 1) * d // 2) for k, d in zip(kernel, dilation, strict=True)]
    else:
        pads = [(p, p) for p in _each(0 if padding == "valid" else padding, axes)]
    ceil = bool(found.get("ceil_mode", False))
    return [
        Window(kernel=k, stride=s, dilation=d, pad_begin=b, pad_end=e, ceil_mode=ceil)
        for k, s, d, (b, e) in zip(kernel, stride, dilation, pads, strict=True)
    ]


def restrided(
    parameters: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any], stride: Multipliers
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments of a window function with these parameters behind its operand, with another stride."""
    at = 1 + parameters.index("stride")
    if len(args) > at:
        return [*args[:at], list(stride), *args[at + 1 :]], kwargs
    return args, {**kwargs, "stride": list(stride)}


def sizes_of(x: torch.Tensor, axes: int) -> list[int]:
    """The last sizes, as numbers also while torch.jit traces (which says so in a warning: the trace holds for them)."""
    return [int(n) if isinstance(n, torch.Tensor) else n for n in x.shape[x.dim() - axes :]]


def wide_windows(x: torch.Tensor, old: Sequence[Window], action: Action) -> list[Window]:
    """The windows that take the place of `old` on the operand x."""
    sizes = sizes_of(x, len(old))
    return [widened(w, a, b, n) for w, a, b, n in zip(old, action.m_in, action.m_out, sizes, strict=True)]


def _convolution(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, found = args[0], _bound(_CONV, args, kwargs)
    new = wide_windows(x, action.same or windows(found, len(action.m_in)), action)
    x = end_pad(x, [(w.pad_begin, w.pad_end) for w in new])
    steps, spread = [w.stride for w in new], [w.dilation for w in new]
    return func(x, found["weight"], found["bias"], steps, 0, spread, found["groups"])


def something(x: torch.Tensor) -> torch.Tensor:
    """The map with zeros where a window between the old ones read padding alone, whose maximum is no number to go on
    with: a mean over all positions would drown in it."""
    return x.masked_fill(x == float("-inf"), 0.0)


def _maximum(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, found = args[0], _bound(_MAX, args, kwargs)
    old = action.same or windows(found, len(action.m_in))
    new = wide_windows(x, old, action)
    x = end_pad(x, [(w.pad_begin, w.pad_end) for w in new], float("-inf"))
    out = func(x, [w.kernel for w in new], [w.stride for w in new], 0, [w.dilation for w in new])
    return something(out) if any(map(may_read_nothing, old, action.m_out)) else out


def _average(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Sums over the spread window, divided by what the old op counted: padding and overhang as it did."""
    x, found = args[0], _bound(_AVERAGE, args, kwargs)
    axes = len(action.m_in)
    old = action.same or windows(found, axes)
    new = wide_windows(x, old, action)
    first = x.dim() - axes
    sizes, override = sizes_of(x, axes), found["divisor_override"]
    out = end_pad(x, [(w.pad_begin, w.pad_end) for w in new])
    for axis, w in enumerate(new):
        reach = out.shape[first + axis] - (w.kernel - 1) * w.dilation
        taps = [out.narrow(first + axis, t * w.dilation, reach) for t in range(w.kernel)]
        out = every(torch.stack(taps).sum(0) if len(taps) > 1 else taps[0], [0], [w.stride], first + axis)
        if override is None:
            count = counted(old[axis], w, action.m_in[axis], sizes[axis], found["count_include_pad"])
            if len(set(count)) == 1:
                out = out / count[0]
            else:
                shape = [1] * out.dim()
                shape[first + axis] = -1
                out = out / torch.tensor(count, dtype=x.dtype, device=x.device).view(shape)
    return out if override is None else out / override


def _columns(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, found = args[0], _bound(_COLUMNS, args, kwargs)
    new = wide_windows(x, action.same or windows(found, len(action.m_in)), action)
    x = end_pad(x, [(w.pad_begin, w.pad_end) for w in new])
    return func(x, [w.kernel for w in new], [w.dilation for w in new], 0, [w.stride for w in new])


def _padded(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A padding, m times as wide.

    Reflection and replication look from the last old position, so what lies behind it is cut off first.
    """
    names = ["input", "pad", "mode", "value"]
    found = {"mode": "constant", "value": None, **dict(zip(names, args, strict=False)), **kwargs}
    x, flat, mode = found["input"], list(found["pad"]), found["mode"]
    axes = len(action.m_in)
    pairs = [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)][::-1]
    rest = pairs[: max(len(pairs) - axes, 0)]
    pairs = [(0, 0)] * (axes - len(pairs)) + pairs[len(rest) :]
    wide = [(b * m, e * m) for (b, e), m in zip(pairs, action.m_in, strict=True)]
    if mode == "constant" or mode == "circular":
        flat = [n for pair in reversed([*rest, *wide]) for n in pair]
        return func(x, flat, mode, found["value"])
    cut = [m - 1 if b or e else 0 for (b, e), m in zip(pairs, action.m_in, strict=True)]
    x = end_pad(x, [(0, -c) for c in cut])
    x = func(x, [n for pair in reversed(wide) for n in pair], mode)
    return end_pad(x, [(0, c) for c in cut])


def _dropped(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return args[0]


def _sliced(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """x[index] with the slices of the last axes at m times their starts, and as many positions as the rule wants."""
    x, index = args[0], args[1] if isinstance(args[1], tuple) else (args[1],)
    first = x.dim() - len(action.m_in)
    if any(entry is Ellipsis for entry in index):
        at = next(i for i, entry in enumerate(index) if entry is Ellipsis)
        index = (*index[:at], *[slice(None)] * (x.dim() - len(index) + 1), *index[at + 1 :])
    out = list(index)
    for dim, entry in enumerate(index):
        axis = dim - first
        if axis < 0 or not isinstance(entry, slice):
            continue
        m_in, m_out, size = action.m_in[axis], action.m_out[axis], sizes_of(x, len(action.m_in))[axis]
        where = _old_positions(entry, action.cuts[axis], size // m_in, m_out)
        step, count = where.step * m_in // m_out, len(where) * m_out
        start = where.start * m_in
        short = start + (count - 1) * step + 1 - size
        if short > 0:
            x = _aten.constant_pad_nd(x, [0] * (2 * (x.dim() - 1 - dim)) + [0, short])
        out[dim] = slice(start, start + (count - 1) * step + 1, step)
    return func(x, tuple(out))


def _old_positions(entry: slice, cut: tuple[AxisMap, bool], size: int, m_out: int) -> range:
    """The positions that a slice takes of the old `size`. What the forward works out of sizes is worked out of those of
    now: where it is another tensor's size, its old one says how many, and the rule where they begin."""
    change, follows = cut
    out = (entry.stop - (entry.start or 0)) // m_out if follows else 0
    if isinstance(change, Computed):
        change = change.at(size, out)
        assert isinstance(change, Slice)
        return range(*slice(change.start, change.stop, change.stride).indices(size))
    if follows and isinstance(change, Slice):
        return range(change.start, change.start + out)
    return range(*entry.indices(size))


def _resized(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The old op on coarse grids of its operand, one for each phase of the output."""
    x = args[0]
    first = x.dim() - len(action.m_in)
    rest, named = list(args[1:]), dict(kwargs)
    resizes = any(func is f for name in op_named("resize").functions or () for f in functions()[name])
    if resizes and (rest[:1] or [named.get("size")])[0] is not None:
        size = _each(rest[0] if rest else named["size"], len(action.m_out))
        size = [n // m for n, m in zip(size, action.m_out, strict=True)]
        if rest:
            rest[0] = size
        else:
            named["size"] = size
    parts = []
    for phase in itertools.product(*(range(m) for m in action.m_out)):
        starts = [b * h for b, h in zip(phase, action.offset, strict=True)]
        parts.append(func(every(x, starts, action.m_in, first), *rest, **named))
    return interleaved(parts, action.m_out)


def _coarse(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The old op on the old positions alone."""
    x = args[0]
    first = 1 if action.channels_last else x.dim() - len(action.m_in)
    return func(every(x, [0] * len(action.m_in), action.m_in, first), *args[1:], **kwargs)


def _apart(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The old op on each phase by itself."""
    x = args[0]
    first = x.dim() - len(action.m_in)
    phases = itertools.product(*(range(m) for m in action.m_in))
    return interleaved([func(every(x, p, action.m_in, first), *args[1:], **kwargs) for p in phases], action.m_in)


def _by_phases(action: Action, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The old op on coarse grids of its operand, one for each phase of the output, each of the old size.

    Phase 0 is the old op on the old positions, whatever that is. What others read behind the last position is zeros.
    """
    x, axes = args[0], len(action.m_in)
    first, old = x.dim() - axes, [n // m for n, m in zip(sizes_of(x, axes), action.m_in, strict=True)]
    parts = []
    for phase in itertools.product(*(range(m) for m in action.m_out)):
        starts = [b * h for b, h in zip(phase, action.offset, strict=True)]
        coarse = every(x, starts, action.m_in, first)
        coarse = end_pad(coarse, [(0, n - have) for n, have in zip(old, sizes_of(coarse, axes), strict=True)])
        parts.append(func(coarse, *args[1:], **kwargs))
    return interleaved(parts, action.m_out)


_Replacement: TypeAlias = Callable[[Action, Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]
_BY_OP: Mapping[tuple[Kind, str], _Replacement] = {
    ("window", "conv"): _convolution,
    ("window", "max_pool"): _maximum,
    ("window", "avg_pool"): _average,
    ("window", "columns"): _columns,
    ("pad", "pad"): _padded,
}
_BY_KIND: Mapping[Kind, _Replacement] = {
    "window": _by_phases,
    "drop": _dropped,
    "resize": _resized,
    "coarse": _coarse,
    "phases": _apart,
}


def replacement(op: Op, kind: Kind, name: str) -> _Replacement | None:
    """What runs instead of the function `name`, which became a call of `op`; None where there is no such form."""
    if name not in (op.functions or ()):
        # Another op's function came down to this one, as adaptive pooling to one position comes down to a mean.
        return _BY_KIND.get(kind) if name in functions() and kind != "window" else None
    if kind == "slice" and name == "__getitem__":
        return _sliced
    return op.form or _BY_OP.get((kind, op.name)) or _BY_KIND.get(kind)
