"""What each op does differently once steps have become dilation: one rule from two numbers (DESIGN 3.4).

It follows from two numbers alone: the m that the op's operand comes with and the m that its output goes with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from stridewise.analyses.sizes import where
from stridewise.analyses.strides import components
from stridewise.axis import IDENTITY, Adaptive, AxisMap, Resize, Slice, Transposed, Whole, Window
from stridewise.errors import PlanError
from stridewise.ir import Graph, Grid, Node
from stridewise.rewrites.reach import cumulative, steps_of
from stridewise.rewrites.times import Times

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


def widened(window: Window, came: int, goes: int, size: int) -> Window:
    """The window that makes goes * (old output size) positions of an operand with `size` = came * (old size) ones."""
    old = size // came
    out = goes * window.out_size(old)
    stride, dilation = window.stride * came // goes, window.dilation * came
    begin = window.padding(old)[0] * came
    end = (out - 1) * stride + (window.kernel - 1) * dilation + 1 - size - begin
    return Window(kernel=window.kernel, stride=stride, dilation=dilation, pad_begin=begin, pad_end=end)


def act_of(graph: Graph, node: Node, grids: Sequence[Grid], times: Sequence[Times], means: str) -> Act | None:
    """What `node`, which made `grids`, does differently; None for nothing.

    times: m of every grid; means: the plan's. Raises: PlanError naming the node where its op has no dilated form.
    """
    grid = grids[-1]
    source = grids[0].sources[0] if grids[0].sources else grid.index
    came, goes = times[source], times[grid.index]
    if all(m == 1 for m in (*came, *goes)):
        return None
    if grid.kind in ("join", "concat"):
        if not grid.mixes:
            return None
        apart = means == "grid" and node.op in _SAME_SHAPE
        return Act(kind="phases" if apart else "mixes", came=came, goes=goes)
    key = where(graph, grid)
    if len(grids) > 1:
        raise PlanError(f"{key}: rearranges positions between blocks; it has no dilated form")
    maps = grid.maps
    if grid.kind == "map" and all(m == IDENTITY for m in maps) and came == goes:
        return None
    if any(isinstance(m, Whole) for m in maps) and node.op != "select":
        return _whole(graph, key, node, grid, came, goes, means)
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


def _whole(graph: Graph, key: str, node: Node, grid: Grid, came: Times, goes: Times, means: str) -> Act:
    """An op that takes in all positions along some axes, and leaves those along the others or resizes them."""
    moved = [not isinstance(m, Whole) and m != IDENTITY for m in grid.maps]
    if any(moves and (a > 1 or b > 1) for moves, a, b in zip(moved, came, goes, strict=True)):
        if means != "grid":
            raise PlanError(
                f"{key}: takes a mean along one axis and resizes another; with --means grid it has a dilated form"
            )
        return _resizing(graph, key, grid, came, goes)
    coarse = means == "grid" and node.op in ("reduce", "adaptive_pool")
    taken = tuple(m if isinstance(change, Whole) else 1 for m, change in zip(came, grid.maps, strict=True))
    if not coarse or all(m == 1 for m in taken):
        return Act(kind="mixes", came=came, goes=goes)
    last = _is_channels_last(graph, node, grid.sources[0])
    return Act(kind="coarse", came=taken, goes=goes, channels_last=last)


def _is_channels_last(graph: Graph, node: Node, grid: int) -> bool:
    """Whether the operand holds its positions before its channels."""
    shape, sizes = graph.tensors[node.inputs[0]].shape, graph.grids[grid].sizes
    return len(shape) == len(sizes) + 2 and shape[1:-1] == sizes and shape[2:] != sizes


def _enlarges(change: AxisMap) -> bool:
    return isinstance(change, Resize | Transposed | Adaptive)


def _windowed(key: str, node: Node, came: Times, goes: Times, maps: Sequence[AxisMap]) -> Act:
    """A window steps by stride * came / goes, which has to be whole."""
    for change, a, b in zip(maps, came, goes, strict=True):
        assert isinstance(change, Window)
        if change.stride * a % b:
            raise PlanError(f"{key}: would step by {Fraction(change.stride * a, b)}; a step is a whole number")
    more = (1,) * (len(node.attrs.get("maps", maps)) - len(maps))  # a window over channels too (a 3-D convolution)
    same = tuple(m for m in maps if isinstance(m, Window) and m.same)
    if 0 < len(same) < len(maps):
        raise PlanError(f"{key}: computes its padding from the size along some axes only; it has no dilated form")
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
