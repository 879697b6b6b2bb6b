"""The exact front of a network's stride plans: few multiply-adds and a low peak against much computed (DESIGN 4.3).

Dynamic programming over the network in executed order. A state holds every size and cumulative stride that something
later reads, so that two plans in one state have the same future; of those only the ones that no other beats are kept.
Multiply-adds and activations of the future add the same to both, and a peak is the larger of past and future: what is
beaten in a state stays beaten. Nothing else is dropped, so the front is whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from stridewise.analyses import cost
from stridewise.analyses.strides import components
from stridewise.errors import PlanError
from stridewise.ir import Graph, Sizes
from stridewise.plans import Plan, Setting, check_stride
from stridewise.rewrites.complete import cumulative, steps_of
from stridewise.rewrites.restride import with_sizes
from stridewise.search.follow import Follower, Spent
from stridewise.search.pareto import Ints, undominated
from stridewise.search.program import Program, compiled, unknown_of
from stridewise.search.result import Front, OutputStride, Point, Points
from stridewise.search.space import Space, Step, space

Budget: TypeAlias = str | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan may cost and must keep, in whole numbers; None where nothing is asked."""

    macs: int | None = None
    activations: int | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class _Layer:
    """The kept points behind one block: of which point of the block before, and by which option."""

    parent: Ints
    option: Ints


@dataclass(slots=True)
class _Points:
    """Points in columns; the rows of a state lie together, at `states[key]` = (first, past the last)."""

    states: dict[tuple[Any, ...], tuple[int, int]]
    macs: Ints
    peak: Ints
    activations: Ints
    changes: Ints


def front(
    graph: Graph,
    *,
    max_macs: Budget = None,
    max_activations: Budget = None,
    max_peak_bytes: Budget = None,
    output_stride: int | Sequence[int] | None = None,
    smallest_map: int = 1,
    steps: Sequence[int] = (1, 2),
    slots: bool | None = None,
    sites: Sequence[str] | None = None,
    per_axis: bool = False,
    inputs: Sizes | None = None,
) -> Front:
    """Every plan that no other consistent plan beats in multiply-adds, peak bytes and activations, per output stride.

    Budgets: "0.7x" of the network as it is, or a whole number (MACs, elements, bytes). smallest_map: positions that
    every map keeps on each axis. steps, slots, sites, per_axis: see `space`. inputs: sizes of the main input, as traced
    unless given. Raises: PlanError in one line where nothing is free or no plan meets the limits.
    """
    graph = graph if inputs is None else with_sizes(graph, tuple(inputs))
    sizes = [g.sizes for g in graph.grids]
    now = Spent(cost.macs(graph, sizes), cost.peak_bytes(graph, sizes), cost.activations(graph, sizes), 0)
    limits = Limits(
        macs=budget("max_macs", max_macs, now.macs),
        activations=budget("max_activations", max_activations, now.activations),
        peak_bytes=budget("max_peak_bytes", max_peak_bytes, now.peak),
    )
    found = space(graph, steps=steps, slots=slots, sites=sites, per_axis=per_axis)
    if not found.free:
        raise PlanError(_nothing_free(graph))
    program = compiled(found, _wanted(found, output_stride))
    follower = Follower(program, smallest_map)
    layers, points = _swept(program, follower, limits)
    if not len(points.macs):
        raise PlanError(_nothing_left(graph, found, output_stride, smallest_map, limits))
    return _result(graph, program, layers, points, _said(limits, output_stride, smallest_map), now)


def _said(limits: Limits, output_stride: int | Sequence[int] | None, smallest_map: int) -> dict[str, Any]:
    """What was asked for, in plain values."""
    stride = [output_stride] if isinstance(output_stride, int) else output_stride and list(output_stride)
    said = {
        "max_macs": limits.macs,
        "max_activations": limits.activations,
        "max_peak_bytes": limits.peak_bytes,
        "output_stride": stride,
        "smallest_map": smallest_map if smallest_map > 1 else None,
    }
    return {key: value for key, value in said.items() if value is not None}


def budget(name: str, value: Budget, today: int) -> int | None:
    """A budget in whole numbers: "0.7x" is a share of `today`. Raises PlanError."""
    if value is None:
        return None
    if isinstance(value, str) and value.endswith("x"):
        try:
            share = Fraction(value[:-1])
        except (ValueError, ZeroDivisionError):
            share = Fraction(0)
        if share > 0:
            return int(share * today)
    elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise PlanError(f'{name}: a budget is "0.7x" of the network as it is, or a whole number, not {value!r}')


def _wanted(found: Space, output_stride: int | Sequence[int] | None) -> Mapping[int, Fraction]:
    """The unknowns that a wanted output stride fixes."""
    if output_stride is None:
        return {}
    graph = found.graph
    entries = check_stride("output stride", output_stride if isinstance(output_stride, int) else list(output_stride))
    if len(entries) not in (1, graph.axes):
        raise PlanError(f"output stride: {len(entries)} entries for {graph.axes} axes")
    each = entries * graph.axes if len(entries) == 1 else entries
    if found.same_axes and len(set(each)) > 1:
        raise PlanError(f"output stride {'x'.join(map(str, each))}: unequal steps are tried with per_axis")
    grid = graph.tensors[graph.last].grid if graph.last is not None else None
    if grid is None:
        raise PlanError("output stride: the network has no last feature map")
    out: dict[int, Fraction] = {}
    for axis in (0,) if found.same_axes else range(graph.axes):
        unknown = unknown_of(found, axis, grid)
        if unknown and out.setdefault(unknown[0], each[axis] / unknown[1]) != each[axis] / unknown[1]:
            raise PlanError(f"output stride: its axes are tied and cannot be {'x'.join(map(str, each))}")
    return out


def _swept(program: Program, follower: Follower, limits: Limits) -> tuple[list[_Layer], _Points]:
    """All blocks from first to last: the kept points of each, and those of the last."""
    points = _Points({(): (0, 1)}, *(np.zeros(1, dtype=np.int64) for _ in range(4)))
    layers = []
    for number in range(len(program.blocks)):
        states, arrivals = _outgoing(program, follower, number, points)
        layer, points = _merged(states, arrivals, points, limits, final=number == len(program.blocks) - 1)
        layers.append(layer)
        if not len(points.macs):
            break
    return layers, points


def _outgoing(program: Program, follower: Follower, number: int, points: _Points) -> tuple[list[tuple[Any, ...]], Ints]:
    """The states behind the block, and one row for each (state before, option) that leads to one: state, first and past
    the last of its points, option, multiply-adds, peak, activations, changes."""
    block = program.blocks[number]
    before = program.blocks[number - 1] if number else None
    options = range(block.options * block.guesses)
    states: dict[tuple[Any, ...], int] = {}
    rows = []
    for key, (first, last) in points.states.items():
        for option in options:
            if before is not None:
                follower.load(before, key)
            spent = follower.run(number, option)
            if spent is not None:
                at = states.setdefault(follower.key(block), len(states))
                rows.append((at, first, last, option, spent.macs, spent.peak, spent.activations, spent.changes))
    return list(states), np.array(rows, dtype=np.int64).reshape(-1, 8)


def _merged(
    states: Sequence[tuple[Any, ...]], arrivals: Ints, points: _Points, limits: Limits, *, final: bool
) -> tuple[_Layer, _Points]:
    """Per state the points that none beats, and where each came from."""
    state, first, last, option, macs, peak, made, changes = arrivals.T
    many = last - first
    state, option = np.repeat(state, many), np.repeat(option, many)
    parent = np.arange(many.sum()) + np.repeat(first - (np.cumsum(many) - many), many)
    macs = points.macs[parent] + np.repeat(macs, many)
    peak = np.maximum(points.peak[parent], np.repeat(peak, many))
    made = points.activations[parent] + np.repeat(made, many)
    changes = points.changes[parent] + np.repeat(changes, many)
    within = np.ones(len(state), dtype=bool)
    for column, limit in ((macs, limits.macs), (made, limits.activations), (peak, limits.peak_bytes)):
        if limit is not None:
            within &= column <= limit
    kept = np.flatnonzero(within)
    if len(kept):
        kept = kept[undominated(state[kept], macs[kept], peak[kept], made[kept], changes[kept], final=final)]
    starts = np.searchsorted(state[kept], np.arange(len(states) + 1))
    found = {key: (int(starts[i]), int(starts[i + 1])) for i, key in enumerate(states) if starts[i] < starts[i + 1]}
    columns = (macs[kept], peak[kept], made[kept], changes[kept])
    return _Layer(parent[kept], option[kept]), _Points(found, *columns)


def _result(
    graph: Graph, program: Program, layers: Sequence[_Layer], points: _Points, limits: Mapping[str, Any], now: Spent
) -> Front:
    """The points of the last block, by output stride and multiply-adds."""
    at = {_output_stride(program, key): np.arange(*rows) for key, rows in points.states.items()}
    assert len(at) == len(points.states)  # nothing but the output stride is open behind the last block
    strides = tuple(sorted(at))
    rows = [at[stride] for stride in strides]
    row = np.concatenate(rows)
    shape = graph.tensors[graph.inputs[0][1]].shape[1:]
    today = _today(graph, program)
    return Front(
        model=graph.model,
        input=shape,
        points=Points(
            macs=points.macs[row],
            peak_bytes=points.peak[row],
            activations=points.activations[row],
            changes=points.changes[row],
            stride=np.repeat(np.arange(len(strides)), [len(r) for r in rows]),
            strides=strides,
            make=lambda at: plan_of(graph, program, layers, int(row[at])),
        ),
        current=Point(
            macs=now.macs,
            peak_bytes=now.peak,
            activations=now.activations,
            output_stride=today,
            changes=0,
            make=lambda: Plan(model=graph.model, input=shape),
        ),
        limits=limits,
    )


def _output_stride(program: Program, key: Sequence[Any]) -> OutputStride:
    """The cumulative stride of the last feature map in a final state."""
    state = dict(zip(program.blocks[-1].open_unknowns, key, strict=False))
    each = [Fraction(state.get(u[0], program.unknowns[u[0]] or 0)) * u[1] if u else Fraction(1) for u in program.last]
    every = program.space.graph.axes if program.space.same_axes else 1
    return tuple(int(s) if s.denominator == 1 else s for s in each) * every


def _today(graph: Graph, program: Program) -> OutputStride:
    """The cumulative stride of the last feature map as the network is."""
    grid = graph.tensors[graph.last].grid if graph.last is not None else None
    if grid is None:
        return ()
    out: list[int | Fraction] = []
    for axis in range(graph.axes):
        parts = components(graph, axis)
        reach = cumulative(graph, parts, steps_of(graph, axis))[parts.of[grid]] if parts.of[grid] >= 0 else Fraction(1)
        out.append(int(reach) if reach.denominator == 1 else reach)
    return tuple(out)


def plan_of(graph: Graph, program: Program, layers: Sequence[_Layer], row: int) -> Plan:
    """The plan of a point, rebuilt from the options that led to it."""
    options = []
    for layer in reversed(layers):
        options.append(int(layer.option[row]))
        row = int(layer.parent[row])
    follower = Follower(program)
    for number, option in enumerate(reversed(options)):
        assert follower.run(number, option) is not None
    return completed(graph, program, follower.steps)


def completed(graph: Graph, program: Program, steps: Sequence[Step]) -> Plan:
    """The plan that gives each move its step: only what differs, as `make_plan` writes it."""
    sites, insert = {}, {}
    for move, step in zip(program.moves, steps, strict=True):
        if step != move.today:
            if move.slot:
                insert[move.slot] = Setting(stride=step, was=move.today, downsample=move.kind)
            else:
                sites[move.key] = Setting(stride=step, was=move.today)
    shape = graph.tensors[graph.inputs[0][1]].shape[1:]
    return Plan(sites=sites, insert=insert, model=graph.model, input=shape)


def _nothing_free(graph: Graph) -> str:
    return f"{graph.model}: no step is free to change here; nothing to choose from"


def _nothing_left(
    graph: Graph, found: Space, output_stride: int | Sequence[int] | None, smallest_map: int, limits: Limits
) -> str:
    return f"{graph.model}: no plan meets the limits"
