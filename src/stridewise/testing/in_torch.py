"""The contract on a live network: sizes, fields, multiply-adds and plans against PyTorch in float64."""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from stridewise.analyses.cost import macs
from stridewise.analyses.fields import fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.api import apply, plan
from stridewise.errors import GeometryError, PlanError, TraceError
from stridewise.ir import Graph, Sizes
from stridewise.ops.registry import Op, find_torch
from stridewise.ops.space import Bytes, Complex, Given, Ints, Number, Trial, Weight
from stridewise.plans import Plan
from stridewise.rewrites.certify import certify
from stridewise.rewrites.dilate import dilation
from stridewise.rewrites.restride import restride
from stridewise.testing.broken import Broken
from stridewise.testing.layout import laid_out
from stridewise.tracing.steps import Step
from stridewise.tracing.trace import trace

TOLERANCE = 1e-9
_STEMS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def check_call(op: Op, target: str, trial: Trial, counts: Counter[str]) -> None:
    """Hold every promise on one call. Raises: Broken."""
    if trial.call not in ("fold of unfold",) and isinstance(trial.call, str) and not _exists(trial.call):
        counts["not in this torch"] += 1
        return
    model = Net(trial)
    try:
        graph = trace(model, trial.shape, name="the call")
    except TraceError:  # said before anything is planned
        counts["not read"] += 1
        return
    if not any(find_torch(node.target) is op or node.op == op.name for node in graph.nodes):
        counts["another op in this torch"] += 1
        return
    _check_shape(model, graph, trial)
    if graph.unknown:
        counts["unknown"] += 1
        return
    counts["known"] += 1
    _check_macs(model, graph, trial)
    _check_sizes(model, graph, trial)
    _check_fields(op, model, graph, trial)
    if trial.runs and len(trial.shape) > 1:
        stepping = Net(trial, step=2)
        _check_kept(stepping, trial, counts)
        _check_plain(stepping, trial, counts)


class Net(nn.Module):
    """A network of one call behind a convolution, 1x1 or (`step` 2) one of three positions that steps."""

    def __init__(self, trial: Trial, step: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        channels, axes = trial.shape[0], len(trial.shape) - 1
        self.stem = _STEMS[axes](channels, channels, 2 * step - 1, step, step - 1)
        self.trial, self.call = trial, _callable(trial.call)
        self.held = nn.ParameterList()
        self.args = [self._held(arg) for arg in trial.args]
        self.double().eval()
        self.changes = isinstance(trial.call, str) and trial.call.startswith("aten.") and trial.call.endswith("_")

    def _held(self, arg: Any) -> Any:
        if isinstance(arg, Weight):
            low, high = arg.low, arg.high
            self.held.append(nn.Parameter(torch.rand(arg.shape, dtype=torch.float64) * (high - low) + low))
            return _Held(len(self.held) - 1)
        if isinstance(arg, Ints | Number):
            value = arg.values if isinstance(arg, Ints) else arg.value
            self.held.append(nn.Parameter(torch.tensor(value), requires_grad=False))
            return _Held(len(self.held) - 1)
        if isinstance(arg, list) and any(isinstance(a, Weight | Ints | Given) for a in arg):
            return [self._held(a) for a in arg]
        return arg

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.sigmoid(self.stem(x))
        args = [self._given(arg, x) for arg in self.args]
        if self.changes:
            args[0] = args[0].clone()
        out = self.call(*args, **self.trial.kwargs)
        return out if isinstance(out, torch.Tensor) else out[0]

    def _given(self, arg: Any, x: torch.Tensor) -> Any:
        if isinstance(arg, _Held):
            return self.held[arg.index]
        if isinstance(arg, Given):
            return _GIVEN[arg.kind](x)
        if isinstance(arg, Bytes):
            return (self._given(arg.of, x) * 255).to(torch.uint8)
        if isinstance(arg, Complex):
            return self._given(arg.of, x) * 1j
        if isinstance(arg, list) and any(isinstance(a, _Held | Given) for a in arg):
            return [self._given(a, x) for a in arg]
        return arg


class _Held:
    """The place of a tensor of the network's own."""

    def __init__(self, index: int) -> None:
        self.index = index


def _tokens(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).transpose(1, 2)


_GIVEN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "x": lambda x: x,
    "other": lambda x: 1 - 0.7 * x * x,
    "mask": lambda x: x > 0.5,
    "bits": lambda x: (x * 7).to(torch.int64),
    "means": lambda x: x.mean(list(range(2, x.dim())), keepdim=True),
    "last": lambda x: x.movedim(1, -1),
    "rows": lambda x: _tokens(x).squeeze(0),
    "tokens": _tokens,
    "tokens turned": lambda x: x.flatten(2),
    "heads": lambda x: _tokens(x).unflatten(2, (2, -1)).transpose(1, 2),
}


def _fold_of_unfold(x: torch.Tensor, *columns: Any) -> torch.Tensor:
    out: torch.Tensor = functional.fold(functional.unfold(x, *columns), x.shape[2:], *columns)
    return out


def _exists(name: str) -> bool:
    try:
        _callable(name)
    except AttributeError:
        return False
    return True


def _callable(call: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function of a trial. Raises: AttributeError where torch has none of that name."""
    if not isinstance(call, str):
        return call
    if call == "fold of unfold":
        return _fold_of_unfold
    if call == "__getitem__":
        return operator.getitem
    if call.startswith("stridewise."):
        return lambda x, made: Step(made, "step").on(x)
    if "." in call:
        found: Any = reduce(getattr, call.split("."), torch.ops)
        return cast("Callable[..., Any]", found)
    room = next((room for room in (functional, torch, torch.Tensor) if hasattr(room, call)), torch)
    function: Callable[..., Any] = getattr(room, call)
    return function


def _traced(model: nn.Module, shape: Sizes) -> Graph:
    try:
        return trace(model, shape, name="the call")
    except TraceError as error:
        raise Broken(f"cannot be read: {error}") from error


def _input(shape: Sizes, seed: int = 0) -> torch.Tensor:
    """Values between 0 and 1, away from both."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, *shape, dtype=torch.float64, generator=generator) * 0.9 + 0.05


def _run(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(x.clone())
    return out


def _check_shape(model: nn.Module, graph: Graph, trial: Trial) -> None:
    """What is read is what comes out."""
    if not trial.runs:
        return
    read, real = graph.tensors[graph.outputs[0]].shape, tuple(_run(model, _input(trial.shape)).shape)
    if read != real:
        raise Broken(f"reads {read}, and {real} comes out")


def _check_macs(model: Net, graph: Graph, trial: Trial) -> None:
    """Multiply-adds are half of torch's floating point operations (which leave out what is done in place)."""
    if not trial.runs or model.changes:
        return
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(_input(trial.shape))
    counted, real = macs(graph, grid_sizes(graph)), counter.get_total_flops() // 2
    if counted != real:
        raise Broken(f"counts {counted} multiply-adds, and FlopCounterMode counts {real}")


def _others(shape: Sizes) -> Iterator[Sizes]:
    """Other input sizes: every remainder, unequal by axis."""
    for more in (1, 2, 3, 6):
        yield (shape[0], *(n + more + at for at, n in enumerate(shape[1:])))


def _check_sizes(model: nn.Module, graph: Graph, trial: Trial) -> None:
    """Sizes at other inputs: what the graph works out is what comes out, and what another trace reads."""
    out = graph.tensors[graph.outputs[0]]
    if graph.pins or not trial.runs or not out.known:
        return
    for shape in _others(trial.shape):
        try:
            real = _run(model, _input(shape))
        except (RuntimeError, IndexError, ValueError):
            continue  # its arguments were drawn for one size
        try:
            sizes = grid_sizes(graph, shape[1:])
        except GeometryError as error:
            raise Broken(f"refuses {shape[1:]}, which runs: {error}") from error
        if out.volume.at(sizes) != real.numel():
            raise Broken(f"works out {out.volume.at(sizes)} elements at {shape[1:]}, and {real.numel()} come out")
        again = _traced(model, shape)
        other = again.tensors[again.outputs[0]]
        if out.grid is not None and other.grid is not None and other.volume.over and out.volume.over:
            there = grid_sizes(again)[other.grid]
            if sizes[out.grid] != there:
                raise Broken(f"works out positions {sizes[out.grid]} at {shape[1:]}, and a trace there reads {there}")


def _check_fields(op: Op, model: nn.Module, graph: Graph, trial: Trial) -> None:
    """Every input position that changes an output position lies in its field; where an op reads a window or less, the
    field is no larger than that."""
    out, sizes = graph.tensors[graph.outputs[0]], grid_sizes(graph)
    where = laid_out(graph, out, sizes)
    if where is None or not trial.runs or out.grid is None:
        return
    found = fields(graph, sizes)
    if found.everything[out.grid]:
        return
    # A padding that goes on with the map's own values reads inside what a field counts as outside.
    wraps = any({"mode", "border"} & set(node.attrs) for node in graph.nodes)
    for axis, dim in enumerate(where):
        reached = _reached(model, trial.shape, axis, dim)
        field, size = found.full[out.grid][axis], trial.shape[1 + axis]
        tight = []
        for position, hits in enumerate(reached):
            span = field.at(position)
            outside = span is not None and (span[0] < 0 or span[1] >= size)
            if hits and not (outside and wraps) and (span is None or hits[0] < span[0] or hits[-1] > span[1]):
                raise Broken(f"position {position} of axis {axis} hangs on {hits}, outside its field {span}")
            if span is not None and span[0] >= 0 and span[1] < size:
                tight.append((hits[0], hits[-1]) == span if hits else False)
        exact = not field.approximate and op.mixes in ("nothing", "channels", "window")
        if exact and tight and not any(tight) and any(reached):
            raise Broken(f"the field {field.spans} of axis {axis} is larger than what any position hangs on")


def _reached(model: nn.Module, shape: Sizes, axis: int, dim: int) -> list[list[int]]:
    """For every output position the input positions that change it, found by changing each."""
    x = _input(shape)
    base = _run(model, x)
    reached: list[list[int]] = [[] for _ in range(base.shape[dim])]
    for at in range(shape[1 + axis]):
        changed = torch.zeros(base.shape[dim], dtype=torch.bool)
        for value in (0.96, 0.04, None):
            other = x.clone()
            row = other.select(2 + axis, at)
            row.copy_(torch.full_like(row, value) if value is not None else _input(shape, 1).select(2 + axis, at))
            now = _run(model, other)
            if now.shape != base.shape:
                continue
            changed |= (now != base).movedim(dim, 0).flatten(1).any(1)
        for position in changed.nonzero().flatten().tolist():
            reached[position].append(at)
    return reached


def _stemmed(shape: Sizes, rest: int) -> Sizes:
    """The input of a network with a stem, so that the call gets `shape`; rest: 0 or 1 of the stem's step."""
    return (shape[0], *(2 * n - rest for n in shape[1:]))


def _planned(graph: Graph, keep: bool, step: int, counts: Counter[str]) -> Plan | None:
    try:
        return plan(graph, {"stem": step}, keep_weights=keep)
    except PlanError:
        counts["refused"] += 1
        return None


def _applied(model: nn.Module, wanted: Plan, shape: Sizes) -> Any:
    """What applying gives. Raises: Broken where a plan that was made cannot be carried out."""
    try:
        return apply(model, wanted, input=shape)
    except Exception as error:
        raise Broken(f"is planned and then fails: {type(error).__name__}: {error}") from error


def _check_kept(model: Net, trial: Trial, counts: Counter[str]) -> None:
    """Kept weights: what the certificate says is so, at every size and remainder, and no more is called inexact."""
    shape = _stemmed(trial.shape, 0)
    graph = _traced(model, shape)
    wanted = None if graph.unknown else _planned(graph, True, 1, counts)
    if wanted is None:
        return
    try:
        found = dilation(graph, wanted)
    except PlanError:  # as `set` and `apply` say it, before anything changes
        counts["refused"] += 1
        return
    certificate, out = certify(found), graph.tensors[graph.outputs[0]]
    where = laid_out(graph, out, grid_sizes(graph))
    changed = copy.deepcopy(model)
    _applied(changed, wanted, shape)
    m = found.multipliers[out.grid] if out.grid is not None else ()
    if where is None and any(n > 1 for n in m) and out.volume.over:
        counts["in a layout of its own"] += 1
        return
    worst, old = 0.0, torch.empty(0)
    for other in (shape, _stemmed(trial.shape, 1), *(_others(shape) if not graph.pins else ())):
        for seed in (0, 1):
            x = _input(other, seed)
            try:
                old = _run(model, x)
            except (RuntimeError, IndexError, ValueError):
                continue
            try:
                new = _run(changed, x)
            except Exception as error:
                raise Broken(f"runs at {other[1:]} no more: {type(error).__name__}: {error}") from error
            worst = max(worst, _difference(old, new, where or (), m))
    tainted = out.index in certificate.tainted
    if worst > TOLERANCE and not tainted:
        raise Broken(f"is certified exact and differs by {worst:.3g}")
    if worst <= TOLERANCE and tainted and old.is_floating_point() and old.abs().max() > 0:
        raise Broken("is called exact except means, and nothing differs")
    counts["inexact" if tainted else "exact"] += 1


def _difference(old: torch.Tensor, new: torch.Tensor, where: Sequence[int], m: Sequence[int]) -> float:
    """The largest difference of phase 0 from the old output; infinite where its sizes are others."""
    index: list[Any] = [slice(None)] * new.dim()
    for dim, times in zip(where, m, strict=False):
        index[dim] = slice(None, None, times)
        if new.shape[dim] != old.shape[dim] * times:
            return float("inf")
    picked = new[tuple(index)]
    if picked.shape != old.shape:
        return float("inf")
    if not picked.is_floating_point():
        return float((picked != old).any())
    same = (picked == old) | (picked.isnan() & old.isnan())
    return float((picked - old).abs().masked_fill(same, 0.0).nan_to_num(nan=float("inf")).max()) if old.numel() else 0.0


def _check_plain(model: Net, trial: Trial, counts: Counter[str]) -> None:
    """Other steps without kept weights: what is planned is carried out, and measures what was promised."""
    shape = _stemmed(trial.shape, 0)
    graph = _traced(model, shape)
    for step in (1, 3):
        wanted = None if graph.unknown else _planned(graph, False, step, counts)
        if wanted is None:
            continue
        try:
            expected = restride(graph, wanted).graph
        except PlanError:
            counts["refused"] += 1
            continue
        changed = copy.deepcopy(model)
        _applied(changed, wanted, shape)
        out, real = expected.tensors[expected.outputs[0]], _run(changed, _input(shape))
        promised = out.volume.at(grid_sizes(expected))
        if promised != real.numel():
            raise Broken(f"promises {promised} elements with a step of {step} before it, and {real.numel()} come out")
        counts["carried out"] += 1
