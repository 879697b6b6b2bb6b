"""A front from the rows that a sweep kept: points in order, and the plan behind each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from stridewise.analyses.strides import components
from stridewise.fronts.asked import Asked
from stridewise.fronts.chip import broken_by
from stridewise.fronts.follow import Follower, Spent
from stridewise.fronts.program import Program
from stridewise.fronts.result import Front, OutputStride, Point, Points
from stridewise.fronts.space import Step
from stridewise.fronts.sweep import Layer, Rows
from stridewise.ir import Graph
from stridewise.plans import Plan, Setting
from stridewise.rewrites.multipliers import cumulative, steps_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A program swept: the kept points of each block, those of the last, how far plans may be from them."""

    program: Program
    layers: list[Layer]
    points: Rows
    tolerance: float


def answer(graph: Graph, ran: Ran, asked: Asked, now: Spent) -> Front:
    """The points of the last block, by output stride and multiply-adds."""
    program, layers, points = ran.program, ran.layers, ran.points
    at = {
        output_stride_of(program, key): np.arange(points.starts[i], points.starts[i + 1])
        for i, key in enumerate(points.states)
        if points.starts[i] < points.starts[i + 1]
    }
    strides = tuple(sorted(at))
    rows = [at[stride] for stride in strides]
    row = np.concatenate(rows)
    assert len(row) == len(points)  # only the output stride is open behind the last block: no two states share one

    def steps(at: int) -> tuple[Step, ...]:
        return _steps_to(program, layers, int(row[at]))

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
            make=lambda at: _completed(graph, program, steps(at)),
        ),
        current=Point(
            macs=now.macs,
            peak_bytes=now.peak,
            activations=now.activations,
            output_stride=_today(graph),
            changes=0,
            make=lambda: Plan(model=graph.model, fingerprint=graph.fingerprint, input=graph.input),
        ),
        limits=asked.said(),
        tolerance=ran.tolerance,
        target=asked.target,
        breaks=broken_by(graph, Plan(), asked.target),
    )


def output_stride_of(program: Program, key: Sequence[Any]) -> OutputStride:
    """The cumulative stride of the last feature map in a final state."""
    state = dict(zip(program.blocks[-1].open_unknowns, key, strict=False))
    each = [Fraction(state.get(u[0], program.unknowns[u[0]] or 0)) * u[1] if u else Fraction(1) for u in program.last]
    every = program.space.graph.axes if program.space.same_axes else 1
    return tuple(int(s) if s.denominator == 1 else s for s in each) * every


def _today(graph: Graph) -> OutputStride:
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


def _steps_to(program: Program, layers: Sequence[Layer], row: int) -> tuple[Step, ...]:
    """The step of each move at a point, rebuilt from the options that led to it."""
    options = []
    for layer in reversed(layers):
        options.append(int(layer.option[row]))
        row = int(layer.parent[row])
    follower = Follower(program)
    for number, option in enumerate(reversed(options)):
        assert follower.run(number, option) is not None
    return tuple(follower.steps)


def _completed(graph: Graph, program: Program, steps: Sequence[Step]) -> Plan:
    """The plan that gives each move its step: only what differs, as `make_plan` writes it."""
    sites, insert = {}, {}
    for move, step in zip(program.moves, steps, strict=True):
        if step != move.today:
            if move.slot:
                insert[move.slot] = Setting(stride=step, was=move.today, downsample=move.kind)
            else:
                sites[move.key] = Setting(stride=step, was=move.today)
    return Plan(sites=sites, insert=insert, model=graph.model, fingerprint=graph.fingerprint, input=graph.input)
