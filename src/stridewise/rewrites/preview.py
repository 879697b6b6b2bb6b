"""What a plan does, as lines: each change with the sizes before and after it, added padding, costs before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from stridewise.analyses.cost import macs, peak_bytes
from stridewise.analyses.sizes import grid_sizes
from stridewise.analyses.strides import components
from stridewise.ir import Graph, Sizes
from stridewise.plans import Plan, Setting
from stridewise.rewrites.reach import cumulative, steps_of
from stridewise.rewrites.restride import restride


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One changed site or slot (slots begin with +): its strides, and its output's sizes, before and after."""

    key: str
    was: Sizes
    stride: Sizes
    kind: str
    before: Sizes
    after: Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A plan's effect. pads: rows added so that parallel paths meet, (key, axis, rows); totals are (before, after)."""

    changes: tuple[Change, ...]
    pads: tuple[tuple[str, int, int], ...]
    output_stride: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
    macs: tuple[int, int]
    peak_bytes: tuple[int, int]

    def __str__(self) -> str:
        if not self.changes:
            return "the network is that way already: the plan changes nothing"
        rows = [
            (c.key, f"stride {_by(c.was)} -> {_by(c.stride)}{_kind(c)}", f"{_by(c.before)} -> {_by(c.after)}")
            for c in self.changes
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  size {c}" for a, b, c in rows]
        lines += [f"{k}: {n} more at the end of axis {a}, to meet its parallel path" for k, a, n in self.pads]
        before, after = self.macs
        lines += [
            f"output stride {_by(self.output_stride[0])} -> {_by(self.output_stride[1])}",
            f"multiply-adds {before / 1e9:.3f} G -> {after / 1e9:.3f} G ({after / max(before, 1):.2f}x)",
            f"peak activation memory {self.peak_bytes[0] / 2**20:.1f} -> {self.peak_bytes[1] / 2**20:.1f} MiB, batch 1",
        ]
        return "\n".join(lines)


def preview(graph: Graph, plan: Plan) -> Preview:
    """What `plan` does to `graph`. Raises PlanError where it does not fit."""
    found = restride(graph, plan)
    after = found.graph
    rows = []
    for key, setting in plan.sites.items():
        node, new = graph.node_named(key), after.node_named(key)
        assert node is not None and node.grid is not None and new is not None and new.grid is not None
        rows.append(_row(key, setting, graph.grids[node.grid].sizes, after.grids[new.grid].sizes))
    for key, setting in plan.insert.items():
        slot = next(s for s in graph.slots if s.key == key or key in s.aliases)
        there = after.node_named(f"+{key}")
        size = after.grids[there.grid].sizes if there is not None and there.grid is not None else ()
        rows.append(_row(f"+{key}", setting, graph.grids[slot.grid].sizes, size or graph.grids[slot.grid].sizes))
    sizes = grid_sizes(graph), grid_sizes(after)
    return Preview(
        changes=tuple(rows),
        pads=found.pads,
        output_stride=(output_stride(graph), output_stride(after)),
        macs=(macs(graph, sizes[0]), macs(after, sizes[1])),
        peak_bytes=(peak_bytes(graph, sizes[0]), peak_bytes(after, sizes[1])),
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


def _row(key: str, setting: Setting, before: Sizes, after: Sizes) -> Change:
    return Change(key=key, was=setting.was, stride=setting.stride, kind=setting.downsample, before=before, after=after)


def _kind(change: Change) -> str:
    return "" if change.kind == "stride" else f" by {change.kind}"


def _by(sizes: Sequence[int | Fraction]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))
