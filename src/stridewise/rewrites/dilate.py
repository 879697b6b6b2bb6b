"""Keeping trained weights: the one rule that turns steps into dilation (DESIGN 3.4). Pure geometry, no torch.

A plan brings cumulative strides c down to c' with m = c / c' whole, per grid and axis. Every tensor then has m times
the positions it had, and the old tensor is every m-th of the new ones. What each op must do follows from two numbers
alone: the m its operand came with and the m its output goes with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from stridewise.analyses.sizes import grid_sizes, where
from stridewise.analyses.strides import components
from stridewise.axis import IDENTITY, Adaptive, AxisMap, Resize, Slice, Transposed, Whole, Window
from stridewise.errors import PlanError
from stridewise.ir import Graph, Grid, Node, Sizes
from stridewise.plans import Plan
from stridewise.rewrites.places import is_within
from stridewise.rewrites.reach import cumulative, steps_of
from stridewise.rewrites.resized import resized

Times: TypeAlias = tuple[int, ...]
Kind: TypeAlias = Literal["window", "pad", "drop", "slice", "resize", "coarse", "phases", "mixes"]

_WINDOWS = {"conv", "max_pool", "avg_pool", "columns"}
_RESIZES = {"resize", "conv", "adaptive_pool"}
_SAME_SHAPE = {"group_norm", "batch_norm", "layer_norm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What one op does differently: `kind`, and the m its operand comes with and its output goes with, per axis.

    window: stride * came / goes, dilation * came, left pad * came, right pad as the size asks. pad, slice: the same
    for paddings and slices. drop: a dynamic SAME padding, which its window (`same`) makes instead. resize: on the
    first `goes` coarse grids, `hop` positions apart. coarse: phase 0 alone goes in (`channels_last`: of an operand
    that holds its positions before its channels). phases: each phase by itself.
    mixes: nothing changes, and its mean is over all positions, not the old ones.
    """

    kind: Kind
    came: Times
    goes: Times
    hop: Times = ()
    same: tuple[Window, ...] = ()
    channels_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dilation:
    """times: m of each grid, per axis. acts: by node index, what it does differently.

    entries: modules that fix a size and let no position out (a flattened or position-coded head), with the m of what
    comes in; every m-th position is all they are given.
    """

    graph: Graph
    times: tuple[Times, ...]
    acts: Mapping[int, Act]
    entries: Mapping[str, Times]


def widened(window: Window, came: int, goes: int, size: int) -> Window:
    """The window that makes goes * (old output size) positions of an operand with `size` = came * (old size) ones."""
    old = size // came
    out = goes * window.out_size(old)
    stride, dilation = window.stride * came // goes, window.dilation * came
    begin = window.padding(old)[0] * came
    end = (out - 1) * stride + (window.kernel - 1) * dilation + 1 - size - begin
    return Window(kernel=window.kernel, stride=stride, dilation=dilation, pad_begin=begin, pad_end=end)


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
    per_axis = [_times(graph, plan, axis) for axis in range(graph.axes)]
    times: list[Times] = []
    for grid in graph.grids:
        axes = len(grid.sizes)
        times.append(tuple(per_axis[a][grid.index] if a < len(per_axis) and grid.local[a] else 1 for a in range(axes)))
    entries = _entries(graph, times)
    acts = _acts(graph, plan, times, entries)
    return Dilation(graph=graph, times=tuple(times), acts=acts, entries=entries)


def _times(graph: Graph, plan: Plan, axis: int) -> list[int]:
    """m of every grid along one axis."""
    parts = components(graph, axis)
    steps = dict(steps_of(graph, axis))
    before = cumulative(graph, parts, steps)
    for key, setting in plan.sites.items():
        node = graph.node_named(key)
        if node is None or node.index not in steps:
            raise PlanError(f"{key}: {graph.model} has no such site; the plan was made for {plan.model or 'another'}")
        steps[node.index] = setting.stride[axis]
    after: list[Fraction | None] = [None] * parts.count
    if parts.count:
        after[0] = Fraction(1)
    for sites_only in (True, False):  # a resize gives way to what sites say of its other side
        changed = True
        while changed:
            changed = False
            for edge in parts.edges:
                a, b = after[edge.source], after[edge.target]
                if edge.site and a is not None and b is None:
                    after[edge.target] = a * steps[edge.node]
                elif edge.site and b is not None and a is None:
                    after[edge.source] = b / steps[edge.node]
                elif not edge.site and not sites_only and a is not None and b is None:
                    after[edge.target] = _beyond(graph, edge.grid, axis, a, before[edge.target], edge.ratio)
                else:
                    continue
                changed = True
                if not edge.site:
                    break  # let sites speak again before the next resize
    out = []
    for grid in graph.grids:
        home = parts.of[grid.index] if axis < len(grid.sizes) else -1
        new = after[home] if home >= 0 else None
        if home < 0 or new is None or not grid.local[axis]:
            out.append(1)
            continue
        m = before[home] / new
        if m.denominator != 1:
            old = before[home]
            choices = [d for d in range(1, int(old) + 1) if old.denominator == 1 and int(old) % d == 0]
            raise PlanError(
                f"{where(graph, grid)}: its cumulative stride {old} becomes {new}, which does not divide it; with kept "
                f"weights possible are {', '.join(map(str, choices))}"
            )
        out.append(int(m))
    return out


def _beyond(graph: Graph, grid: int, axis: int, source: Fraction, target: Fraction, ratio: Fraction) -> Fraction:
    """The new cumulative stride behind a map of fixed factor: never finer than its operand's when it enlarges."""
    change = graph.grids[grid].maps[axis]
    if isinstance(change, Adaptive):
        return target
    return min(target, source) if ratio < 1 else source * ratio


def _entries(graph: Graph, times: list[Times]) -> dict[str, Times]:
    """Modules to feed the coarse grid alone; `times` inside them become 1. Raises: PlanError elsewhere."""
    entries: dict[str, Times] = {}
    for pin in graph.pins:
        node, came = graph.nodes[pin.node], times[pin.grid]
        if all(m == 1 for m in came) or any(is_within(node.path, entry) for entry in entries):
            continue
        parts = node.path.split(".")
        around = [".".join(parts[:n]) for n in range(len(parts), 0, -1)] if node.path else []
        closed = next((path for path in around if _lets_nothing_out(graph, path, times, came)), None)
        if closed is None:
            what = pin.message if pin.kind == "window" else f"{pin.message} ({pin.kind})"
            raise PlanError(f"{node.key or node.path or node.target}: {what}; its size cannot grow by {max(came)}")
        entries[closed] = came
        for grid in graph.grids:
            if grid.node is not None and is_within(graph.nodes[grid.node].path, closed):
                times[grid.index] = (1,) * len(grid.sizes)
    return entries


def _lets_nothing_out(graph: Graph, path: str, times: Sequence[Times], came: Times) -> bool:
    """Whether one map, with `came` times its positions, comes into a module and none leaves it."""
    inside = {n.index for n in graph.nodes if is_within(n.path, path)}
    made = {t for i in inside for t in graph.nodes[i].outputs}
    into = {t for i in inside for t in graph.nodes[i].inputs if t not in made and _spreads(graph, t)}
    used = {t for n in graph.nodes if n.index not in inside for t in n.inputs} | set(graph.outputs)
    if len(into) != 1 or any(_spreads(graph, t) for t in made & used):
        return False
    found = graph.tensors[into.pop()]
    sizes = graph.grids[found.grid].sizes if found.grid is not None else ()
    return found.shape[-len(sizes) :] == sizes and found.grid is not None and times[found.grid] == came


def _spreads(graph: Graph, tensor: int) -> bool:
    """Whether positions are told apart in a tensor."""
    found = graph.tensors[tensor]
    return found.grid is not None and bool(found.volume.over)


def _acts(graph: Graph, plan: Plan, times: Sequence[Times], entries: Mapping[str, Times]) -> dict[int, Act]:
    made: dict[int, list[Grid]] = {}
    for grid in graph.grids:
        if grid.node is not None:
            made.setdefault(grid.node, []).append(grid)
    for unknown in graph.unknown:
        if any(any(m != 1 for m in _of(graph, times, t)) for t in graph.nodes[unknown.node].inputs):
            raise PlanError(f"{unknown.message}; with kept weights nothing may be unknown there")
    acts: dict[int, Act] = {}
    for node in graph.nodes:
        grids = made.get(node.index, [])
        if not grids or any(is_within(node.path, entry) for entry in entries):
            continue
        found = _act(graph, plan, node, grids, times)
        if found is not None:
            acts[node.index] = found
            if found.same:  # the padding before it came from the old size; the window pads by itself now
                pad = max((n.index for n in graph.nodes if set(n.outputs) & set(node.inputs[:1])), default=0)
                if graph.nodes[pad].op == "pad" and all(m == IDENTITY for g in made.get(pad, ()) for m in g.maps):
                    acts[pad] = Act(kind="drop", came=found.came, goes=found.came)
    return dict(sorted(acts.items()))


def _of(graph: Graph, times: Sequence[Times], tensor: int) -> Times:
    grid = graph.tensors[tensor].grid
    return () if grid is None else times[grid]


def _act(graph: Graph, plan: Plan, node: Node, grids: Sequence[Grid], times: Sequence[Times]) -> Act | None:
    """What `node`, which made `grids`, does differently; None for nothing."""
    grid = grids[-1]
    source = grids[0].sources[0] if grids[0].sources else grid.index
    came, goes = times[source], times[grid.index]
    if all(m == 1 for m in (*came, *goes)):
        return None
    if grid.kind in ("join", "concat"):
        if not grid.mixes:
            return None
        apart = plan.means == "grid" and node.op in _SAME_SHAPE
        return Act(kind="phases" if apart else "mixes", came=came, goes=goes)
    key = where(graph, grid)
    if len(grids) > 1:
        raise PlanError(f"{key}: rearranges positions between blocks; it has no dilated form")
    maps = grid.maps
    if grid.kind == "map" and all(m == IDENTITY for m in maps) and came == goes:
        return None
    if any(isinstance(m, Whole) for m in maps) and node.op != "select":
        coarse = plan.means == "grid" and node.op in ("reduce", "adaptive_pool")
        last = coarse and _is_channels_last(graph, node, source)
        return Act(kind="coarse" if coarse else "mixes", came=came, goes=goes, channels_last=last)
    if node.op in _WINDOWS and all(isinstance(m, Window) for m in maps):
        return _windowed(key, node, came, goes, maps)
    if node.op in ("pad", "roll") and came == goes:
        return Act(kind="pad" if node.op == "pad" else "phases", came=came, goes=goes)
    if node.op in ("slice", "split", "select"):
        if any(isinstance(m, Slice) and m.stride * a % b for m, a, b in zip(maps, came, goes, strict=True)):
            raise PlanError(f"{key}: a slice that steps cannot step by a fraction")
        return Act(kind="slice", came=came, goes=goes)
    if node.op in _RESIZES and (grid.kind in ("follow", "fixed") or any(_enlarges(m) for m in maps)):
        return _resizing(graph, key, grid, came, goes)
    raise PlanError(f"{key}: '{node.op}' has no dilated form, and {max(*came, *goes)} times the positions reach it")


def _is_channels_last(graph: Graph, node: Node, grid: int) -> bool:
    """Whether the operand holds its positions before its channels."""
    shape, sizes = graph.tensors[node.inputs[0]].shape, graph.grids[grid].sizes
    return len(shape) == len(sizes) + 2 and shape[1:-1] == sizes and shape[2:] != sizes


def _enlarges(change: AxisMap) -> bool:
    return isinstance(change, Resize | Transposed | Adaptive)


def _windowed(key: str, node: Node, came: Times, goes: Times, maps: Sequence[AxisMap]) -> Act:
    for change, a, b in zip(maps, came, goes, strict=True):
        assert isinstance(change, Window)
        if change.stride * a % b:
            raise PlanError(f"{key}: would step by {Fraction(change.stride * a, b)}, which is not whole")
    more = (1,) * (len(node.attrs.get("maps", maps)) - len(maps))  # a window over channels too (a 3-D convolution)
    same = tuple(m for m in maps if isinstance(m, Window) and m.same)
    if 0 < len(same) < len(maps):
        raise PlanError(f"{key}: pads dynamically along some axes only")
    return Act(kind="window", came=more + came, goes=more + goes, same=same)


def _resizing(graph: Graph, key: str, grid: Grid, came: Times, goes: Times) -> Act:
    """A resize reads coarse grid number b * hop for its output's phase b, which lies as far from phase 0 as that."""
    hops = []
    for axis, (a, b) in enumerate(zip(came, goes, strict=True)):
        parts = components(graph, axis)
        before = cumulative(graph, parts, steps_of(graph, axis))
        ratio = before[parts.of[grid.index]] / before[parts.of[grid.sources[0]]] if grid.local[axis] else Fraction(1)
        hop = ratio * a / b  # the output's positions in its operand's
        if b > 1 and (hop.denominator != 1 or (b - 1) * hop >= a):
            raise PlanError(f"{key}: a fixed factor ties the strides on both sides; no grid gives {b} times its size")
        hops.append(int(hop) if b > 1 else 1)
    return Act(kind="resize", came=came, goes=goes, hop=tuple(hops))


def dilated_graph(found: Dilation, inputs: Sizes | None = None) -> Graph:
    """The graph whose windows are dilated, at the traced or the given input size."""
    graph = found.graph
    old = grid_sizes(graph, inputs)
    sizes = [tuple(n * m for n, m in zip(s, t, strict=True)) for s, t in zip(old, found.times, strict=True)]
    grids = []
    for grid in graph.grids:
        act = found.acts.get(grid.node) if grid.node is not None else None
        maps = grid.maps
        if act is not None and act.kind not in ("mixes", "drop"):
            maps = tuple(
                _map(m, act, axis, len(grid.maps), sizes[grid.sources[0]][axis], sizes[grid.index][axis])
                for axis, m in enumerate(grid.maps)
            )
        kind = "map" if act is not None and act.kind == "resize" else grid.kind
        sources = grid.sources[:1] if kind == "map" else grid.sources
        grids.append(_replaced(grid, sizes[grid.index], maps, kind, sources))
    tensors = tuple(resized(t, old, sizes) for t in graph.tensors)
    nodes = tuple(_told(n, grids) if n.index in found.acts else n for n in graph.nodes)
    return replace(graph, grids=tuple(grids), tensors=tensors, nodes=nodes)


def _replaced(grid: Grid, sizes: Sizes, maps: tuple[AxisMap, ...], kind: str, sources: tuple[int, ...]) -> Grid:
    if (sizes, maps, kind, sources) == (grid.sizes, grid.maps, grid.kind, grid.sources):
        return grid
    return replace(grid, sizes=sizes, maps=maps, kind=kind, sources=sources)  # type: ignore[arg-type]


def _map(change: AxisMap, act: Act, axis: int, axes: int, size: int, out: int) -> AxisMap:
    """The map of one of `axes` axes under an act, from `size` to `out` positions."""
    came, goes = act.came[len(act.came) - axes + axis], act.goes[len(act.goes) - axes + axis]
    if isinstance(change, Window) and act.kind in ("window", "pad"):
        return widened(change, came, goes, size)
    if isinstance(change, Slice):
        stop = change.stop if change.stop is None else change.stop * came
        return Slice(start=change.start * came, stop=stop, stride=change.stride * came // goes)
    if isinstance(change, Resize | Adaptive):
        mode = change.mode if isinstance(change, Resize) else "area"
        return Resize(factor=Fraction(out, size), mode=mode)
    return change


def _told(node: Node, grids: Sequence[Grid]) -> Node:
    """The node with the windows it now has."""
    if node.grid is None or "maps" not in node.attrs or len(node.attrs["maps"]) != len(grids[node.grid].maps):
        return node
    return replace(node, attrs={**node.attrs, "maps": grids[node.grid].maps})
