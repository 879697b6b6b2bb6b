"""What each op does differently once steps have become dilation: one rule from two numbers.

It follows from two numbers alone: the m that the op's operand comes with and the m that its output goes with. So does
what spread windows read: the positions an average divides by, and whether a window may read none at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from stridewise.analyses.sizes import where
from stridewise.analyses.strides import components
from stridewise.axis import IDENTITY, Adaptive, AxisMap, Computed, Resize, Slice, Transposed, Whole, Window
from stridewise.errors import PlanError
from stridewise.ir import Graph, Grid, Node
from stridewise.ops.registry import Dilated, op_named
from stridewise.rewrites.multipliers import Multipliers, cumulative, steps_of
from stridewise.rewrites.places import IN_A_LOOP

Kind: TypeAlias = Literal["window", "pad", "drop", "slice", "resize", "coarse", "phases", "mixes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What one op does differently: `kind`, and the m its operand comes with and its output goes with, per axis.

    window: stride * m_in / m_out, dilation * m_in, left pad * m_in, right pad as the size asks. pad, slice: the same
    for paddings and slices. drop: a dynamic SAME padding, which its window (`same`) makes instead. resize: on the
    first `m_out` coarse grids, `offset` positions apart. coarse: phase 0 alone goes in (`channels_last`: of an operand
    that holds its positions before its channels). cuts: of a slice by axis its map, and whether it takes the size of
    another tensor: what the forward works out of sizes is worked out of the old ones. phases: each phase by itself.
    mixes: nothing changes, and its mean is over all positions, not the old ones.
    """

    kind: Kind
    m_in: Multipliers
    m_out: Multipliers
    offset: Multipliers = ()
    same: tuple[Window, ...] = ()
    channels_last: bool = False
    cuts: tuple[tuple[AxisMap, bool], ...] = ()


def widened(window: Window, m_in: int, m_out: int, size: int) -> Window:
    """The window that makes m_out * (old output size) positions of an operand with `size` = m_in * (old size) ones."""
    old = size // m_in
    out = m_out * window.out_size(old)
    stride, dilation = window.stride * m_in // m_out, window.dilation * m_in
    begin = window.padding(old)[0] * m_in
    end = (out - 1) * stride + (window.kernel - 1) * dilation + 1 - size - begin
    return Window(kernel=window.kernel, stride=stride, dilation=dilation, pad_begin=begin, pad_end=end)


def action_of(
    graph: Graph, node: Node, grids: Sequence[Grid], multipliers: Sequence[Multipliers], means: str
) -> Action | None:
    """What `node`, which made `grids`, does differently; None for nothing.

    multipliers: m of every grid; means: the plan's. Raises: PlanError naming the node where its op has no dilated form.
    """
    grid = grids[-1]
    source = grids[0].sources[0] if grids[0].sources else grid.index
    m_in, m_out = multipliers[source], multipliers[grid.index]
    held = [multipliers[at] for g in grids for at in (g.index, *g.sources) if len(grids) > 1 or g.kind == "follow"]
    if all(m == 1 for each in (m_in, m_out, *held) for m in each):
        return None
    forms, key = op_named(node.op).dilated, where(graph, grid)
    if "repeated" in node.attrs:
        raise PlanError(f"{key}: {IN_A_LOOP}")
    if len(grids) == 1 and grid.along and all(m_in[axis] == 1 for axis in grid.along):
        return None  # each line by itself, of as many positions as before
    if grid.kind in ("join", "concat"):
        if not grid.mixes:  # what the forward makes from the map's own size is another thing at another size
            return Action(kind="mixes", m_in=m_in, m_out=m_out) if grid.placed else None
        return Action(kind=_mixing(forms, means, "phases", key, node, m_in), m_in=m_in, m_out=m_out)
    if (
        node.op == "slice"
        and m_in == m_out
        and all(g.sources[0] == h.index for g, h in zip(grids[1:], grids, strict=False))
    ):
        return Action(kind="slice", m_in=m_in, m_out=m_out, cuts=_cuts(grids))
    computed = any(isinstance(m, Computed) for g in grids for m in g.maps)
    if computed and (
        len(grids) > 1
        or any((a, b) != (1, 1) for m, a, b in zip(grid.maps, m_in, m_out, strict=True) if isinstance(m, Computed))
    ):
        raise PlanError(f"{key}: works with the size of a map, which the plan changes; it has no dilated form")
    if len(grids) > 1:
        raise PlanError(f"{key}: rearranges positions between blocks; it has no dilated form")
    maps = grid.maps
    if grid.kind == "map" and all(m == IDENTITY for m in maps) and m_in == m_out:
        return None
    if any(isinstance(m, Whole) for m in maps) and "slice" not in forms:
        return _whole(graph, key, node, grid, m_in, m_out, means)
    if "window" in forms and all(isinstance(m, Window) for m in maps):
        before = graph.grids[source].sizes
        if all(n < m.stride for n, m in zip(before, maps, strict=True) if isinstance(m, Window)) and max(m_out) == 1:
            return Action(kind="coarse", m_in=m_in, m_out=m_out)  # it takes all there is to one position
        return _windowed(key, node, m_in, m_out, maps)
    if m_in == m_out and ("pad" in forms or "phases" in forms):
        return Action(kind="pad" if "pad" in forms else "phases", m_in=m_in, m_out=m_out)
    if "slice" in forms:
        if any(isinstance(m, Slice) and m.stride * a % b for m, a, b in zip(maps, m_in, m_out, strict=True)):
            raise PlanError(f"{key}: a slice that steps cannot step by a fraction")
        return Action(kind="slice", m_in=m_in, m_out=m_out, cuts=_cuts(grids))
    if "resize" in forms and (grid.kind in ("follow", "fixed") or any(_enlarges(m) for m in maps)):
        return _resizing(graph, key, grid, m_in, m_out)
    raise _no_form(key, node, (*m_in, *m_out))


def _cuts(grids: Sequence[Grid]) -> tuple[tuple[AxisMap, bool], ...]:
    """By axis what a call with slices does there, one grid or another."""
    cuts: list[tuple[AxisMap, bool]] = [(IDENTITY, False)] * len(grids[-1].sizes)
    for grid in grids:
        cuts = [(m, grid.kind == "follow") if m != IDENTITY else cut for cut, m in zip(cuts, grid.maps, strict=True)]
    return tuple(cuts)


def _mixing(forms: Sequence[Dilated], means: str, alone: Kind, key: str, node: Node, m_in: Multipliers) -> Kind:
    """What an op does that lets all positions in: as it is, or `alone`, on the old positions, where that is wanted.

    Raises: PlanError where it has neither form.
    """
    if means == "grid" and alone in forms:
        return alone
    if "mixes" not in forms:
        raise _no_form(key, node, m_in)
    return "mixes"


def _no_form(key: str, node: Node, multipliers: Multipliers) -> PlanError:
    return PlanError(f"{key}: '{node.op}' has no dilated form, and {max(multipliers)} times the positions reach it")


def _whole(
    graph: Graph, key: str, node: Node, grid: Grid, m_in: Multipliers, m_out: Multipliers, means: str
) -> Action | None:
    """An op that takes in all positions along some axes, and leaves those along the others or resizes them."""
    moved = [not isinstance(m, Whole) and m != IDENTITY for m in grid.maps]
    if any(moves and (a > 1 or b > 1) for moves, a, b in zip(moved, m_in, m_out, strict=True)):
        if means != "grid":
            raise PlanError(
                f"{key}: takes a mean along one axis and resizes another; with --means grid it has a dilated form"
            )
        return _resizing(graph, key, grid, m_in, m_out)
    taken = tuple(m if isinstance(change, Whole) else 1 for m, change in zip(m_in, grid.maps, strict=True))
    if all(m == 1 for m in taken) and not any(moved) and not grid.mixes:
        return None  # as many positions as before are taken in
    kind = _mixing(op_named(node.op).dilated, means, "coarse", key, node, m_in)
    if kind == "mixes" or all(m == 1 for m in taken):
        return Action(kind="mixes", m_in=m_in, m_out=m_out)
    last = _is_channels_last(graph, node, grid.sources[0])
    if not last and graph.tensors[node.inputs[0]].shape[-len(m_in) :] != graph.grids[grid.sources[0]].sizes:
        raise _no_form(key, node, m_in)  # of positions that were flattened, every m-th is no coarse grid
    return Action(kind=kind, m_in=taken, m_out=m_out, channels_last=last)


def _is_channels_last(graph: Graph, node: Node, grid: int) -> bool:
    """Whether the operand holds its positions before its channels."""
    shape, sizes = graph.tensors[node.inputs[0]].shape, graph.grids[grid].sizes
    return len(shape) == len(sizes) + 2 and shape[1:-1] == sizes and shape[2:] != sizes


def _enlarges(change: AxisMap) -> bool:
    return isinstance(change, Resize | Transposed | Adaptive)


def _windowed(key: str, node: Node, m_in: Multipliers, m_out: Multipliers, maps: Sequence[AxisMap]) -> Action:
    """A window steps by stride * m_in / m_out, which has to be whole."""
    for change, a, b in zip(maps, m_in, m_out, strict=True):
        assert isinstance(change, Window)
        if change.stride * a % b:
            raise PlanError(f"{key}: would step by {Fraction(change.stride * a, b)}; a step is a whole number")
    more = (1,) * (len(node.attrs.get("maps", maps)) - len(maps))  # a window over channels too (a 3-D convolution)
    same = tuple(m for m in maps if isinstance(m, Window) and m.same)
    if 0 < len(same) < len(maps):
        raise PlanError(f"{key}: computes its padding from the size along some axes only; it has no dilated form")
    offset = tuple(m.stride * a // b for m, a, b in zip(maps, m_in, m_out, strict=True) if isinstance(m, Window))
    return Action(kind="window", m_in=more + m_in, m_out=more + m_out, offset=more + offset, same=same)


def _resizing(graph: Graph, key: str, grid: Grid, m_in: Multipliers, m_out: Multipliers) -> Action:
    """A resize reads coarse grid number b * offset for its output's phase b, which lies as far from phase 0 as that."""
    offsets = []
    for axis, (a, b) in enumerate(zip(m_in, m_out, strict=True)):
        parts = components(graph, axis)
        before = cumulative(graph, parts, steps_of(graph, axis))
        ratio = before[parts.of[grid.index]] / before[parts.of[grid.sources[0]]] if grid.local[axis] else Fraction(1)
        offset = ratio * a / b  # the output's positions in its operand's
        if b > 1 and (offset.denominator != 1 or (b - 1) * offset >= a):
            raise PlanError(f"{key}: a fixed factor ties the strides on both sides; no grid gives {b} times its size")
        offsets.append(int(offset) if b > 1 else 1)
    return Action(kind="resize", m_in=m_in, m_out=m_out, offset=tuple(offsets))


def counted(old: Window, new: Window, m_in: int, size: int, padding: bool) -> list[int]:
    """Positions along one axis that an average pool divides by at each place of its spread window.

    Source: ATen avg_pool2d: the divisor counts padding up to size + pad, never the overhang of ceil_mode.
    """
    if old.same:  # padded beforehand, so that padding counts like anything else
        return [old.kernel] * new.out_size(size)
    low, high = (-old.pad_begin * m_in, size + old.pad_end * m_in) if padding else (0, size)
    return [max(n, 1) for n in hits(new, size, low, high)]


def hits(window: Window, size: int, low: int, high: int) -> list[int]:
    """How many of a window's elements lie in low..high - 1, at each of its places along `size` positions."""
    counts = []
    for place in range(window.out_size(size)):
        start = place * window.stride - window.pad_begin
        at = range(start, start + window.kernel * window.dilation, window.dilation)
        counts.append(sum(low <= n < high for n in at))
    return counts


def may_read_nothing(old: Window, m_out: int) -> bool:
    """Whether, at some size, a window between the old ones lies in the end padding alone.

    The last of them starts step * (goes - 1) / m_out behind the last old one, which itself reads something; with
    ceil_mode or SAME that one may start as late as the last position.
    """
    late = old.stride - 1 >= 1 if old.ceil_mode or old.same else False
    return m_out > 1 and (late or old.stride * (m_out - 1) >= m_out * (old.span - old.pad_end))
