"""What a plan does, as lines: each change with the sizes before and after it, added padding, costs before and after."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from stridewise.analyses.cost import macs, peak_bytes
from stridewise.analyses.sizes import grid_sizes
from stridewise.analyses.strides import components
from stridewise.errors import once
from stridewise.ir import Graph, Sizes
from stridewise.plans import Plan, Setting, how_of
from stridewise.report.units import binary, count
from stridewise.rewrites.kinds import filled
from stridewise.rewrites.multipliers import cumulative, steps_of
from stridewise.rewrites.places import shared_alone
from stridewise.rewrites.restride import restride
from stridewise.shown import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One changed site or slot (slots begin with +): its strides, and its output's sizes, before and after.

    how: the kind of step in words, "" for the op's own. macs: multiply-adds of the op (before, after) and of the step
    inserted for it.
    """

    key: str
    was: Sizes
    stride: Sizes
    how: str
    before: Sizes
    after: Sizes
    macs: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(Shown):
    """A plan's effect. pads: rows added so that parallel paths meet, (key, axis, rows); totals are (before, after);
    graph: the network under the plan; notes: what else is worth knowing, a line each."""

    changes: tuple[Change, ...]
    pads: tuple[tuple[str, int, int], ...]
    output_stride: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
    macs: tuple[int, int]
    params: tuple[int, int]
    peak_bytes: tuple[int, int]
    graph: Graph = field(repr=False)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.changes:
            return "the network is that way already: the plan changes nothing"
        rows = [
            (
                c.key,
                f"stride {once(c.was)} -> {once(c.stride)}{c.how and f' by {c.how}'}",
                f"size {once(c.before)} -> {once(c.after)}",
                _work(c.macs),
            )
            for c in self.changes
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join(f"{a:<{w}}" for a, w in zip(row, (*widths, 0), strict=True)).rstrip() for row in rows]
        lines += [f"{k}: {n} more at the end of axis {a}, to meet its parallel path" for k, a, n in self.pads]
        before, after = self.macs
        lines += [
            f"output stride {' -> '.join(once(s) or 'unknown' for s in self.output_stride)}",
            f"multiply-adds {count(before)} -> {count(after)} ({after / max(before, 1):.2f}x)",
            *_weights(self.params),
            f"peak activation memory {binary(self.peak_bytes[0])} -> {binary(self.peak_bytes[1])}, batch 1",
            *self.notes,
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values: "changes", "pads", and "totals" before and after."""
        totals = [
            {
                "output_stride": [int(s) if s.denominator == 1 else str(s) for s in stride],
                "macs": macs,
                "params": params,
                "peak_activation_bytes": peak,
            }
            for stride, macs, params, peak in zip(
                self.output_stride, self.macs, self.params, self.peak_bytes, strict=True
            )
        ]
        return {
            "totals": {"before": totals[0], "after": totals[1]},
            "changes": [
                {
                    "key": c.key,
                    "stride": list(c.stride),
                    "was": list(c.was),
                    "how": c.how or "stride",
                    "size": {"before": list(c.before), "after": list(c.after)},
                    "macs": {"before": c.macs[0], "after": c.macs[1], "step": c.macs[2]},
                }
                for c in self.changes
            ],
            **({"notes": list(self.notes)} if self.notes else {}),
            "pads": [{"key": key, "axis": axis, "rows": rows} for key, axis, rows in self.pads],
        }


def preview(graph: Graph, plan: Plan) -> Preview:
    """What `plan` does to `graph`. Raises PlanError where it does not fit."""
    found = restride(graph, plan)
    after = found.graph
    plan = filled(graph, plan)
    sizes = grid_sizes(graph), grid_sizes(after)
    rows = []
    for key, setting in plan.sites.items():
        node, new = graph.node_named(key), after.node_named(key)
        assert node is not None and node.grid is not None and new is not None and new.grid is not None
        step = after.node_named(f"{node.key}/{setting.downsample}")
        last = new if step is None or step.index < new.index else step
        assert last.grid is not None
        work = node.macs.at(sizes[0]), new.macs.at(sizes[1]), 0 if step is None else step.macs.at(sizes[1])
        rows.append(_row(key, setting, sizes[0][node.grid], sizes[1][last.grid], work))
    for key, setting in plan.insert.items():
        slot = next(s for s in graph.slots if s.key == key or key in s.aliases)
        there = after.node_named(f"+{key}")
        size = sizes[1][there.grid] if there is not None and there.grid is not None else sizes[0][slot.grid]
        work = 0, 0, 0 if there is None else there.macs.at(sizes[1])
        rows.append(_row(f"+{key}", setting, sizes[0][slot.grid], size, work))
    return Preview(
        changes=tuple(rows),
        pads=found.pads,
        output_stride=(output_stride(graph), output_stride(after)),
        macs=(macs(graph, sizes[0]), macs(after, sizes[1])),
        params=(graph.params, after.params),
        peak_bytes=(peak_bytes(graph, sizes[0]), peak_bytes(after, sizes[1])),
        graph=after,
        notes=shared_alone(graph, plan),
    )


def output_stride(graph: Graph) -> tuple[Fraction, ...]:
    """Cumulative stride of the last feature map, per axis."""
    if graph.last is None:
        return ()
    grid = graph.tensors[graph.last].grid
    assert grid is not None
    out = []
    for axis in range(graph.axes):
        parts = components(graph, axis)
        out.append(cumulative(graph, parts, steps_of(graph, axis))[parts.of[grid]])
    return tuple(out)


def _row(key: str, setting: Setting, before: Sizes, after: Sizes, work: tuple[int, int, int]) -> Change:
    how = how_of(setting)
    return Change(key=key, was=setting.was, stride=setting.stride, how=how, before=before, after=after, macs=work)


def _weights(params: tuple[int, int]) -> list[str]:
    before, after = params
    return [f"parameters {count(before)} -> {count(after)}"] if before != after else []


def _work(macs: tuple[int, int, int]) -> str:
    before, after, own = macs
    if before == after and not own:
        return ""
    step = f", its step {count(own)}" if own else ""
    return f"multiply-adds {count(before)} -> {count(after)}{step}"
