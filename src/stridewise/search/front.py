"""The exact front of a network's stride plans: few multiply-adds and a low peak against much computed (DESIGN 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from stridewise.analyses import cost
from stridewise.analyses.strides import components
from stridewise.errors import PlanError
from stridewise.ir import Graph, Sizes, check_graph
from stridewise.plans import Plan, Setting, check_stride
from stridewise.report.units import once
from stridewise.rewrites.reach import cumulative, steps_of
from stridewise.rewrites.restride import with_sizes
from stridewise.search.compile import compiled, unknown_of
from stridewise.search.follow import Follower, Spent
from stridewise.search.paths import stages
from stridewise.search.program import Program
from stridewise.search.result import Front, OutputStride, Point, Points
from stridewise.search.space import Space, Step, space
from stridewise.search.sweep import NO_ROWS, Layer, Limits, Rows, TooManyPointsError, swept
from stridewise.search.watch import Wanted

Budget: TypeAlias = str | int | None

# Points half-way at which the whole front is given up for a thinned one; and the tolerances then tried.
EASY_POINTS = 1_300_000
TOLERANCES = (0.01, 0.05)
THINNED_POINTS = 2_100_000
MOST_POINTS = 5_000_000  # where no tolerance is allowed: minutes and gigabytes


def front(
    graph: Graph,
    *,
    max_macs: Budget = None,
    max_activations: Budget = None,
    max_peak_bytes: Budget = None,
    output_stride: int | Sequence[int] | None = None,
    pyramid: Sequence[int] = (),
    min_field: int = 0,
    smallest_map: int = 1,
    steps: Sequence[int] = (1, 2),
    slots: bool | None = None,
    sites: Sequence[str] | None = None,
    per_axis: bool = False,
    inputs: Sizes | None = None,
    tolerance: float | None = None,
) -> Front:
    """Every plan that no other consistent plan beats in multiply-adds, peak bytes and activations, per output stride.

    Where those are too many they are thinned, and the result's `tolerance` says to what: to 0.01 every plan (that
    keeps the limits with as much to spare) has one on the front that takes at most 1.01 times its multiply-adds and
    peak and keeps at least 1 / 1.01 of its activations. tolerance: the largest that will do; 0 for a whole front.

    Budgets: "0.7x" of the network as it is, or a whole number (multiply-adds, elements, bytes). output_stride: that of
    the last feature map. pyramid: cumulative strides at which some map must lie. min_field: input positions, per axis,
    that the last map must see. smallest_map: positions that every map keeps on each axis. steps, slots, sites,
    per_axis: see `space`. inputs: sizes of the main input, as traced unless given.
    Raises: PlanError in one line where nothing is free, no plan meets the limits, or there are too many to weigh.
    """
    check_graph(graph, "front")
    graph = graph if inputs is None else with_sizes(graph, tuple(inputs))
    sizes = [g.sizes for g in graph.grids]
    now = Spent(cost.macs(graph, sizes), cost.peak_bytes(graph, sizes), cost.activations(graph, sizes), 0)
    limits = Limits(
        macs=budget("max_macs", max_macs, now.macs),
        activations=budget("max_activations", max_activations, now.activations),
        peak_bytes=budget("max_peak_bytes", max_peak_bytes, now.peak),
    )
    wanted = Wanted(
        pyramid=tuple(dict.fromkeys(check_stride("pyramid", list(pyramid)) if pyramid else ())), min_field=min_field
    )
    found = space(graph, steps=steps, slots=slots, sites=sites, per_axis=per_axis)
    if not found.free:
        raise PlanError(f"{graph.model}: no site or slot may step otherwise here, so there is nothing to choose")
    asked = _Asked(output_stride=output_stride, smallest_map=smallest_map, wanted=wanted, limits=limits)
    ran = _run(found, asked, _tries(tolerance))
    if not len(ran.points):
        raise PlanError(_nothing_left(found, asked))
    return _result(graph, ran, asked.said(), now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Everything a plan must meet."""

    output_stride: int | Sequence[int] | None
    smallest_map: int
    wanted: Wanted
    limits: Limits

    def said(self) -> dict[str, Any]:
        """What was asked for, in plain values."""
        stride = self.output_stride
        said = {
            "max_macs": self.limits.macs,
            "max_activations": self.limits.activations,
            "max_peak_bytes": self.limits.peak_bytes,
            "output_stride": [stride] if isinstance(stride, int) else stride and list(stride),
            "pyramid": list(self.wanted.pyramid) or None,
            "min_field": self.wanted.min_field or None,
            "smallest_map": self.smallest_map if self.smallest_map > 1 else None,
        }
        return {key: value for key, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """A program swept: the kept points of each block, those of the last, how far plans may be from them."""

    program: Program
    layers: list[Layer]
    points: Rows
    tolerance: float


_Tries: TypeAlias = Sequence[tuple[float, int]]


def _tries(tolerance: float | None) -> _Tries:
    """The (tolerance, most points) to try, one after the other. Raises: PlanError."""
    if tolerance is None:
        return ((0.0, EASY_POINTS), *((t, THINNED_POINTS) for t in TOLERANCES))
    if not 0 <= tolerance < 1:
        raise PlanError(f"tolerance: a share from 0 to below 1 is wanted, not {tolerance!r}")
    return ((0.0, EASY_POINTS), (tolerance, MOST_POINTS)) if tolerance else ((0.0, MOST_POINTS),)


def _run(found: Space, asked: _Asked, tries: _Tries) -> _Ran:
    """The program of a space and the points that meet what is asked."""
    program = compiled(found, _given(found, asked.output_stride), asked.wanted)
    ways = stages(program, Follower(program, asked.smallest_map, asked.wanted))
    if not ways:
        return _Ran(program=program, layers=[], points=NO_ROWS, tolerance=0.0)
    count = 0
    for tolerance, most in tries:
        try:
            layers, points = swept(ways, asked.limits, most=most, tolerance=tolerance)
        except TooManyPointsError as error:
            count = error.count
        else:
            return _Ran(program=program, layers=layers, points=points, tolerance=tolerance)
    raise PlanError(
        f"{found.graph.model}: too many plans for a front ({count} half-way); name the sites that may change, an "
        "output stride or a budget" + ("" if tries[-1][0] else ", or allow a tolerance")
    )


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


def _given(found: Space, output_stride: int | Sequence[int] | None) -> Mapping[int, Fraction]:
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


def _result(graph: Graph, ran: _Ran, limits: Mapping[str, Any], now: Spent) -> Front:
    """The points of the last block, by output stride and multiply-adds."""
    program, layers, points = ran.program, ran.layers, ran.points
    at = {
        _output_stride(program, key): np.arange(points.starts[i], points.starts[i + 1])
        for i, key in enumerate(points.states)
        if points.starts[i] < points.starts[i + 1]
    }
    assert len(at) <= len(points.states)  # nothing but the output stride is open behind the last block
    strides = tuple(sorted(at))
    rows = [at[stride] for stride in strides]
    row = np.concatenate(rows)

    def steps(at: int) -> tuple[Step, ...]:
        return steps_to(program, layers, int(row[at]))

    return Front(
        graph=graph,
        space=program.space,
        steps=steps,
        points=Points(
            macs=points.macs[row],
            peak_bytes=points.peak[row],
            activations=points.activations[row],
            changes=points.changes[row],
            stride=np.repeat(np.arange(len(strides)), [len(r) for r in rows]),
            strides=strides,
            make=lambda at: completed(graph, program, steps(at)),
        ),
        current=Point(
            macs=now.macs,
            peak_bytes=now.peak,
            activations=now.activations,
            output_stride=today(graph),
            changes=0,
            make=lambda: Plan(model=graph.model, input=graph.input),
        ),
        limits=limits,
        tolerance=ran.tolerance,
    )


def _output_stride(program: Program, key: Sequence[Any]) -> OutputStride:
    """The cumulative stride of the last feature map in a final state."""
    state = dict(zip(program.blocks[-1].open_unknowns, key, strict=False))
    each = [Fraction(state.get(u[0], program.unknowns[u[0]] or 0)) * u[1] if u else Fraction(1) for u in program.last]
    every = program.space.graph.axes if program.space.same_axes else 1
    return tuple(int(s) if s.denominator == 1 else s for s in each) * every


def today(graph: Graph) -> OutputStride:
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


def steps_to(program: Program, layers: Sequence[Layer], row: int) -> tuple[Step, ...]:
    """The step of each move at a point, rebuilt from the options that led to it."""
    options = []
    for layer in reversed(layers):
        options.append(int(layer.option[row]))
        row = int(layer.parent[row])
    follower = Follower(program)
    for number, option in enumerate(reversed(options)):
        assert follower.run(number, option) is not None
    return tuple(follower.steps)


def completed(graph: Graph, program: Program, steps: Sequence[Step]) -> Plan:
    """The plan that gives each move its step: only what differs, as `make_plan` writes it."""
    sites, insert = {}, {}
    for move, step in zip(program.moves, steps, strict=True):
        if step != move.today:
            if move.slot:
                insert[move.slot] = Setting(stride=step, was=move.today, downsample=move.kind)
            else:
                sites[move.key] = Setting(stride=step, was=move.today)
    return Plan(sites=sites, insert=insert, model=graph.model, input=graph.input)


def _nothing_left(found: Space, asked: _Asked) -> str:
    """Why no plan meets what is asked: the budget that even the best plan exceeds, or what else stands in the way."""
    model = found.graph.model
    free = replace(asked, limits=Limits())
    points = _run(found, free, _tries(None)).points
    if len(points):
        limits = asked.limits
        for name, limit, column in (
            ("max_macs", limits.macs, points.macs),
            ("max_peak_bytes", limits.peak_bytes, points.peak),
            ("max_activations", limits.activations, points.activations),
        ):
            if limit is None:
                continue
            least = int(column.min())
            if name == "max_activations":  # the front keeps many; the fewest are asked for here
                least = min(least, _fewest(found, free))
            if least > limit:
                return f"{model}: no plan keeps to {name} {limit}; the cheapest takes {least}"
        return f"{model}: no plan meets all budgets at once, though each can be met alone; raise one of {_named(asked)}"
    if asked.output_stride is not None:
        ran = _run(found, replace(free, output_stride=None), _tries(None))
        strides = sorted({_output_stride(ran.program, key) for key in ran.points.states})
        if strides:
            those = ", ".join(once(s) for s in strides)
            return f"{model}: no consistent plan has {_named(free)}; possible output strides: {those}"
    return f"{model}: no consistent plan has {_named(free)}"


def _fewest(found: Space, asked: _Asked) -> int:
    """The fewest activations of any plan: the last that a falling limit leaves."""
    low, high = 0, None
    while high is None or high - low > 1:
        limit = None if high is None else (low + high) // 2
        points = _run(found, replace(asked, limits=Limits(activations=limit)), _tries(None)).points
        if len(points):
            high = int(points.activations.min())
        else:
            low = limit or 0
    return high


def _named(asked: _Asked) -> str:
    """What is asked for, for a message."""
    said = {k: v for k, v in asked.said().items() if v is not None}
    return (
        ", ".join(f"{k} {v[0] if isinstance(v, list) and len(v) == 1 else v}" for k, v in said.items()) or "these sites"
    )
