"""Keeping trained weights: the one rule that turns steps into dilation. Pure geometry, no torch.

A plan brings cumulative strides c down to c' with m = c / c' whole, per grid and axis. Every tensor then has m times
the positions it had, and the old tensor is every m-th of the new ones. What each op must do follows from two numbers
alone: the m its operand comes with and the m its output goes with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from stridewise.analyses.sizes import grid_sizes
from stridewise.axis import IDENTITY, Adaptive, AxisMap, Computed, Phased, Resize, Slice, Transposed, Window
from stridewise.errors import PlanError
from stridewise.ir import Graph, Grid, Node, Sizes, Tensor
from stridewise.ops.registry import only_pads
from stridewise.plans import Plan
from stridewise.rewrites.actions import Action, action_of, widened
from stridewise.rewrites.multipliers import Multipliers, multipliers_of
from stridewise.rewrites.places import is_within


@dataclass(frozen=True, slots=True, kw_only=True)
class Dilation:
    """multipliers: m of each grid, per axis. actions: by node index, what it does differently.

    entries: modules that fix a size and let no position out (a flattened or position-coded head), with the m of what
    comes in; every m-th position is all they are given.
    """

    graph: Graph
    multipliers: tuple[Multipliers, ...]
    actions: Mapping[int, Action]
    entries: Mapping[str, Multipliers]


def dilation(graph: Graph, plan: Plan) -> Dilation:
    """What each op of `graph` must do for `plan` to keep the weights' meaning.

    Raises: PlanError naming the site, table, window, flatten or factor that forbids it, and what is possible.
    """
    if plan.insert:
        key = next(iter(plan.insert))
        raise PlanError(f"+{key}: an inserted step throws positions away; it cannot be had with --keep-weights")
    for key, setting in plan.sites.items():
        if setting.downsample != "stride":
            kind = setting.downsample
            raise PlanError(f"{key}: downsampling by '{kind}' changes values; plan without --keep-weights")
    multipliers = multipliers_of(graph, plan)
    entries = _entries(graph, multipliers)
    actions = _actions(graph, plan, multipliers, entries)
    return Dilation(graph=graph, multipliers=tuple(multipliers), actions=actions, entries=entries)


def _entries(graph: Graph, multipliers: list[Multipliers]) -> dict[str, Multipliers]:
    """Modules to feed the coarse grid alone; `multipliers` inside them become 1. Raises: PlanError elsewhere."""
    entries: dict[str, Multipliers] = {}
    for pin in graph.pins:
        node, m_in = graph.nodes[pin.node], multipliers[pin.grid]
        if pin.anew or pin.ends or all(m == 1 for m in m_in) or any(is_within(node.path, entry) for entry in entries):
            continue
        parts = node.path.split(".")
        around = [".".join(parts[:n]) for n in range(len(parts), 0, -1)] if node.path else []
        closed = next((path for path in around if _lets_nothing_out(graph, path, multipliers, m_in)), None)
        if closed is None:
            what = pin.message if pin.kind == "window" else f"{pin.message} ({pin.kind})"
            anew = "; a plan that does not keep weights makes it anew" if pin.table is not None else ""
            raise PlanError(
                f"{node.key or node.path or node.target}: {what}; its size cannot grow by {max(m_in)}{anew}"
            )
        entries[closed] = m_in
        for grid in graph.grids:
            if grid.node is not None and is_within(graph.nodes[grid.node].path, closed):
                multipliers[grid.index] = (1,) * len(grid.sizes)
    return entries


def _lets_nothing_out(graph: Graph, path: str, multipliers: Sequence[Multipliers], m_in: Multipliers) -> bool:
    """Whether one map, with `m_in` times its positions, comes into a module and none leaves it."""
    inside = {n.index for n in graph.nodes if is_within(n.path, path)}
    made = {t for i in inside for t in graph.nodes[i].outputs}
    into = {t for i in inside for t in graph.nodes[i].inputs if t not in made and _spreads(graph, t)}
    used = {t for n in graph.nodes if n.index not in inside for t in n.inputs} | set(graph.outputs)
    if len(into) != 1 or any(_spreads(graph, t) for t in made & used):
        return False
    found = graph.tensors[into.pop()]
    sizes = graph.grids[found.grid].sizes if found.grid is not None else ()
    return found.shape[-len(sizes) :] == sizes and found.grid is not None and multipliers[found.grid] == m_in


def _spreads(graph: Graph, tensor: int) -> bool:
    """Whether positions are told apart in a tensor."""
    found = graph.tensors[tensor]
    return found.grid is not None and bool(found.volume.over)


def _actions(
    graph: Graph, plan: Plan, multipliers: Sequence[Multipliers], entries: Mapping[str, Multipliers]
) -> dict[int, Action]:
    """What each node does differently, by its index, outside the modules that are fed the coarse grid."""
    _check_known(graph, multipliers)
    made: dict[int, list[Grid]] = {}
    for grid in graph.grids:
        if grid.node is not None:
            made.setdefault(grid.node, []).append(grid)
    actions: dict[int, Action] = {}
    for node in graph.nodes:
        grids = made.get(node.index, [])
        if not grids or any(is_within(node.path, entry) for entry in entries):
            continue
        found = action_of(graph, node, grids, multipliers, plan.means)
        if found is None:
            continue
        actions[node.index] = found
        if found.same:  # the padding before it came from the old size; the window pads by itself now
            pad = max((n.index for n in graph.nodes if set(n.outputs) & set(node.inputs[:1])), default=0)
            if only_pads(graph.nodes[pad]) and all(m == IDENTITY for g in made.get(pad, ()) for m in g.maps):
                actions[pad] = Action(kind="drop", m_in=found.m_in, m_out=found.m_in)
    return dict(sorted(actions.items()))


def _check_known(graph: Graph, multipliers: Sequence[Multipliers]) -> None:
    """Refuse a node without a rule that would meet more positions than it had."""
    for unknown in graph.unknown:
        grids = [graph.tensors[t].grid for t in graph.nodes[unknown.node].inputs]
        if any(m != 1 for grid in grids if grid is not None for m in multipliers[grid]):
            raise PlanError(f"{unknown.message}; keeping the weights needs a rule for what comes here")


def dilated_graph(found: Dilation, inputs: Sizes | None = None) -> Graph:
    """The graph whose windows are dilated, at the traced or the given input size."""
    graph = found.graph
    old = grid_sizes(graph, inputs)
    sizes = [tuple(n * m for n, m in zip(s, t, strict=True)) for s, t in zip(old, found.multipliers, strict=True)]
    grids = [_dilated(grid, found.actions.get(-1 if grid.node is None else grid.node), sizes) for grid in graph.grids]
    tensors = tuple(resized(t, old, sizes) for t in graph.tensors)
    nodes = tuple(_told(n, grids, found.actions[n.index]) if n.index in found.actions else n for n in graph.nodes)
    return replace(graph, grids=tuple(grids), tensors=tensors, nodes=nodes)


def _dilated(grid: Grid, action: Action | None, sizes: Sequence[Sizes]) -> Grid:
    """The grid at its new size; where its node acts differently, with the maps that it then has."""
    if action is None:
        return grid if grid.sizes == sizes[grid.index] else replace(grid, sizes=sizes[grid.index])
    maps = grid.maps
    if action.kind not in ("mixes", "drop", "coarse", "phases"):
        maps = tuple(
            _map(m, action, axis, len(grid.maps), sizes[grid.sources[0]][axis], sizes[grid.index][axis])
            for axis, m in enumerate(grid.maps)
        )
    if action.kind == "resize":
        return replace(grid, sizes=sizes[grid.index], maps=maps, kind="map", sources=grid.sources[:1])
    return replace(grid, sizes=sizes[grid.index], maps=maps)


def _map(change: AxisMap, action: Action, axis: int, axes: int, size: int, out: int) -> AxisMap:
    """The map of one of `axes` axes under an action, from `size` to `out` positions."""
    m_in, m_out = action.m_in[len(action.m_in) - axes + axis], action.m_out[len(action.m_out) - axes + axis]
    if isinstance(change, Window) and action.kind in ("window", "pad"):
        return widened(change, m_in, m_out, size)
    if isinstance(change, Computed):
        change = change.at(size // m_in, out // m_out)
    if isinstance(change, Slice):
        stop = change.stop if change.stop is None else change.stop * m_in
        return Slice(start=change.start * m_in, stop=stop, stride=change.stride * m_in // m_out)
    if isinstance(change, Transposed | Resize | Adaptive):
        if isinstance(change, Resize) and change.to is not None:  # to another tensor's size: to the old one now
            change = replace(change, factor=Fraction(out // m_out, size // m_in), to=None)
        return Phased(inner=change, m_in=m_in, m_out=m_out, offset=action.offset[len(action.offset) - axes + axis])
    return change


def _told(node: Node, grids: Sequence[Grid], action: Action) -> Node:
    """The node with the windows it now has, and the work where that follows the positions read of its input."""
    if node.grid is None or "maps" not in node.attrs or len(node.attrs["maps"]) != len(grids[node.grid].maps):
        return node
    work = node.macs
    if action.kind == "resize" and node.attrs.get("transposed"):
        work = work.scaled(Fraction(math.prod(action.m_out), math.prod(action.m_in)))
    return replace(node, attrs={**node.attrs, "maps": grids[node.grid].maps}, macs=work)


def resized(tensor: Tensor, old: Sequence[Sizes], new: Sequence[Sizes]) -> Tensor:
    """The tensor's shape at new sizes, where its spatial dims show plainly which they are."""
    if not tensor.volume.over or tensor.grid is None or len(tensor.shape) < 3:
        return tensor
    before, after = old[tensor.grid], new[tensor.grid]
    if before == after:
        return tensor
    if tensor.shape[-len(before) :] == before:
        return tensor.shaped((*tensor.shape[: -len(before)], *after))
    if tensor.shape[1:-1] == before:
        return tensor.shaped((tensor.shape[0], *after, tensor.shape[-1]))
    return tensor
