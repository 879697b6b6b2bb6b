"""Input sizes: the smallest that works, and those whose windows leave no remainder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stridewise.analyses.sizes import Maps, spreads_one
from stridewise.axis import AxisMap, Computed, Slice, Window
from stridewise.errors import GeometryError
from stridewise.ir import Graph, Grid, Pin, remembered

# Sizes tried above the traced one before a search gives up.
_FURTHEST = 4096
Found = TypeVar("Found")


def remainder(window: Window, size: int) -> int:
    """Positions that make the window lie one-sided on `size` positions: 0 when both ends are served alike.

    Without ceil_mode the rows, padding included, that a further window would have read; with it, the rows its last
    window lacks; with dynamic SAME padding, the odd padded row. Gaps between windows narrower than their stride are not
    counted: those positions are never read at any size (SW101).
    """
    begin, end = window.padding(size)
    if window.same:
        return abs(begin - end)
    span, stride = window.span, window.stride
    rest = (size + begin + end - span) % stride
    if window.ceil_mode:
        return -rest % stride
    return max(rest - max(stride - span, 0), 0)


@dataclass(frozen=True, slots=True)
class Step:
    """One size to compute from earlier ones: `of(sizes)`, with the fewest positions it needs and what it must equal.

    grid: the first that measures so. change: the map that it comes through; parts: what it is the sum of; cut: what
    it is cut out of, to the size of its source where there is so much.
    """

    of: Callable[[Sequence[int]], int]
    source: int
    grid: int
    change: AxisMap | None = None
    above: int = 0
    agree: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    pinned: int | None = None
    block: int = 1
    spreads: bool = False
    constant: bool = False
    cut: int | None = None

    @property
    def reads(self) -> tuple[int, ...]:
        """The sizes that it is computed from."""
        return (*(self.agree or self.parts or (self.source,)), *(() if self.cut is None else (self.cut,)))

    @property
    def window(self) -> Window | None:
        """The window among its maps."""
        return self.change if isinstance(self.change, Window) else None

    def fits(self, sizes: Sequence[int], size: int) -> bool:
        """Whether `size`, made of `sizes`, is what the network takes here."""
        if self.agree and any(sizes[s] != size and not (self.spreads and sizes[s] == 1) for s in self.agree):
            return False
        return size % self.block == 0 and self.pinned in (None, size)


class AxisSizes:
    """The sizes along one axis as a short list of steps: maps that keep the size are left out, equal ones shared."""

    __slots__ = ("_known", "_pins", "axis", "slots", "steps", "traced")

    def __init__(self, graph: Graph, axis: int, maps: Maps) -> None:
        self.axis = axis
        self.traced = graph.grids[0].sizes[axis]
        self.steps: list[Step] = []
        self._known: dict[Any, int] = {}
        self.slots: list[int] = []
        self._pins: dict[int, list[Pin]] = {}
        for pin in graph.pins:
            if pin.kind in ("flatten", "position table", "window") and (not pin.axes or axis in pin.axes):
                self._pins.setdefault(pin.grid, []).append(pin)
        live = _live(graph)
        for grid in graph.grids:
            used = maps.get(grid.index) or grid.maps
            if grid.index not in live and any(isinstance(m, Slice) for m in used):
                self.slots.append(0)  # a slice that nothing reads may be empty
            else:
                self.slots.append(self._slot(graph, grid, used))

    def _add(self, key: Any, step: Step) -> int:
        if key not in self._known:
            self.steps.append(step)
            self._known[key] = len(self.steps)
        return self._known[key]

    def _slot(self, graph: Graph, grid: Grid, maps: Sequence[AxisMap]) -> int:
        """Where the size of `grid` is found; 0 is the input, -1 a grid without this axis."""
        if self.axis >= len(grid.sizes):
            return -1
        size = grid.sizes[self.axis]
        sources = [self.slots[s] for s in grid.sources]
        if grid.kind == "input":
            slot = 0 if size == self.traced else self._constant(grid, size)
        elif grid.alone:  # elsewhere not known, which `sizes` and `out_size` say
            slot = self._constant(grid, size)
        elif grid.kind == "map":
            slot = self._mapped(sources[0], maps[self.axis], grid, _reflected(graph, grid, self.axis))
        elif grid.kind == "join":
            local = [s for s, g in zip(sources, grid.sources, strict=True) if graph.grids[g].local[self.axis]]
            slot = self._joined(sources, local, grid, spreads_one(graph, grid))
        elif grid.kind == "concat" and grid.axis == self.axis:
            parts = tuple(sources)
            total = Step(lambda n: sum(n[s] for s in parts), parts[0], grid.index, parts=parts)
            slot = self._add(("sum", *sources), total)
        elif grid.kind == "follow":
            slot = self._followed(graph, sources[0], maps, grid)
        elif grid.kind == "concat":
            slot = sources[-1]
        else:
            slot = self._constant(grid, size)
        for pin in self._pins.get(grid.index, ()):
            slot = self._pinned(slot, pin)
        return slot

    def _constant(self, grid: Grid, size: int) -> int:
        return self._add(("constant", size), Step(lambda _: size, 0, grid.index, constant=True))

    def _pinned(self, slot: int, pin: Pin) -> int:
        """Where the size is found behind something that fixes it: one position may be spread, parts may be many."""
        pinned = pin.sizes[self.axis]
        if pin.multiple:
            block = pin.blocks[self.axis]
            return self._add(("parts", slot, block), Step(lambda n: n[slot], slot, pin.grid, block=block))
        if pin.spreads:
            spread = Step(lambda n: pinned if n[slot] == 1 else n[slot], slot, pin.grid, pinned=pinned, spreads=True)
            return self._add(("spread", slot, pinned), spread)
        return self._add(("pin", slot, pinned), Step(lambda n: n[slot], slot, pin.grid, pinned=pinned))

    def _mapped(self, source: int, change: AxisMap, grid: Grid, above: int) -> int:
        if isinstance(change, Window) and change.stride == 1 and not above:
            grows = change.pad_begin + change.pad_end + 1 - change.span
            if change.same or grows == 0:
                return source
        step = Step(lambda n: change.out_size(n[source]), source, grid.index, change, above)
        return self._add((source, change, above), step)

    def _followed(self, graph: Graph, source: int, maps: Sequence[AxisMap], grid: Grid) -> int:
        """Where a size is found that is another tensor's: what is cut to it measures less where there is less."""
        slot, change = self.slots[grid.followed(self.axis)], maps[self.axis] if maps else None
        if source < 0 or not isinstance(change.inner if isinstance(change, Computed) else change, Slice):
            return slot
        # A slice that the forward did not write so begins elsewhere at other sizes.
        written = grid.node is not None and "written" in graph.nodes[grid.node].attrs
        first = change.start if written and isinstance(change, Slice) else 0

        def size_of(n: Sequence[int]) -> int:
            if isinstance(change, Computed):
                return change.at(n[source], n[slot]).out_size(n[source])
            return min(n[slot], n[source] - first)

        cut = Step(size_of, slot, grid.index, cut=source)
        return self._add(("cut", source, slot, change), cut)

    def _joined(self, sources: Sequence[int], local: Sequence[int], grid: Grid, spreads: bool) -> int:
        if grid.mixes or len(set(local)) == 1:
            return sources[0] if grid.mixes else local[0]
        if not local:
            return self._constant(grid, 1)
        agree = tuple(sorted(set(local)))
        largest = Step(lambda n: max(n[s] for s in agree), agree[0], grid.index, agree=agree, spreads=spreads)
        return self._add(("agree", agree, spreads), largest)

    def works(self, size: int) -> bool:
        """Whether the network runs on `size` positions: every window fits, every join agrees, every pin is met."""
        return self._run(size) is not None

    def lossless(self, size: int) -> bool:
        """Whether it runs and no window leaves a remainder."""
        return self._run(size, lossless=True) is not None

    def _run(self, size: int, *, lossless: bool = False) -> list[int] | None:
        """All sizes, None at the first that does not fit, or where a window leaves a remainder if none is to."""
        sizes = [size]
        try:
            for step in self.steps:
                window = step.window
                if lossless and window is not None and window.stride > 1 and remainder(window, sizes[step.source]):
                    return None
                if step.above and sizes[step.source] <= step.above:
                    return None
                made = step.of(sizes)
                if not step.fits(sizes, made):
                    return None
                sizes.append(made)
        except GeometryError:
            return None
        return sizes

    def at(self, size: int, grids: Sequence[int]) -> list[int] | None:
        """The sizes of some grids when the input measures `size`; None where the network does not run."""
        sizes = self._run(size)
        return None if sizes is None else [sizes[self.slots[g]] if self.slots[g] >= 0 else 1 for g in grids]

    def smallest(self) -> int | None:
        """Fewest input positions on which the network runs; None when no size up to the traced one does."""
        return next((n for n in range(1, self.traced + 1) if self.works(n)), None)

    def nearest(self) -> tuple[int | None, int | None]:
        """The nearest sizes below and above the traced one (itself included) that leave no remainder."""
        here = self.traced
        if not any(step.window and step.window.stride > 1 for step in self.steps):
            return here, here
        span = min(2 * self._period(), _FURTHEST)
        below = next((n for n in range(here, max(here - span, 0), -1) if self.lossless(n)), None)
        above = next((n for n in range(here, here + span) if self.lossless(n)), None)
        return below, above

    def _period(self) -> int:
        """Input positions after which remainders repeat: the largest product of strides on a path."""
        reach = [1] * (len(self.steps) + 1)
        for at, step in enumerate(self.steps, 1):
            before = max((reach[s] for s in step.agree), default=reach[step.source])
            reach[at] = before * (step.window.stride if step.window else 1)
        return max(reach)


def _live(graph: Graph) -> set[int]:
    """The grids that the outputs lie on or come from."""
    tensors = set(graph.outputs)
    live: set[int] = set()
    for node in reversed(graph.nodes):
        if not tensors.isdisjoint(node.outputs):
            tensors.update(node.inputs)
    live.update(g for t in tensors if (g := graph.tensors[t].grid) is not None)
    for grid in reversed(graph.grids):
        if grid.index in live:
            live.update(grid.sources)
    return live


def _reflected(graph: Graph, grid: Grid, axis: int) -> int:
    """The size that a pad (reflecting, wrapping, cropping), or a pool that looks at its operand first, must exceed."""
    node = None if grid.node is None else graph.nodes[grid.node]
    if node is None:
        return 0
    if "needs" in node.attrs:
        return int(node.attrs["needs"][axis]) - 1
    change, mode = grid.maps[axis], str(node.attrs.get("mode", ""))
    if not isinstance(change, Window):
        return 0
    if node.target.startswith("aten.avg_pool3d"):  # padding does not count there
        return change.kernel - 1
    if node.op == "pad" and mode == "constant":  # what is cropped goes first, and may not be more than there is
        return -min(change.pad_begin, 0) - min(change.pad_end, 0) - 1
    if node.op not in ("pad", "write") or not mode.startswith(("refl", "circ", "wrap")):
        return 0
    widest = max(change.pad_begin, change.pad_end, 0)
    return widest if mode.startswith("refl") else max(widest - 1, 0)


def smallest_input(graph: Graph, maps: Maps | None = None) -> tuple[int | None, ...]:
    """Fewest positions of the main input on which the network runs: per axis, the other axes as traced.

    Where statistics of a single number are refused (instance norm on one position), axes depend on each other: if
    those sizes fail together, the smallest number that will do on every axis at once. None: no size up to the traced
    one will do, or what other sizes do is not known.
    """
    if any(grid.alone for grid in graph.grids):
        return (None,) * graph.axes
    alone, axes, grids = _alone(graph, maps)
    traced = tuple(sizes.traced for sizes in axes)
    least = [n or 0 for n in alone]
    if not grids or None in alone or _together(axes, least, grids):
        return alone
    each = ([max(a, n) for a in least] for n in range(1, max(traced) + 1))
    return next((tuple(sizes) for sizes in each if _together(axes, sizes, grids)), alone)


def smallest_alone(graph: Graph) -> tuple[int | None, ...]:
    """The same of each axis by itself, the others as traced."""
    return _alone(graph, None)[0]


def _alone(graph: Graph, maps: Maps | None) -> tuple[tuple[int | None, ...], tuple[AxisSizes, ...], list[int]]:
    """(Fewest positions along each axis, the sizes along the axes, the grids that need more than one position)."""
    axes = axes_of(graph, maps) if maps else axes_as_traced(graph)
    several = [graph.tensors[n.inputs[0]].grid for n in graph.nodes if n.attrs.get("several")]
    grids = [g for g in several if g is not None]
    if not grids:
        found = {id(sizes): sizes.smallest() for sizes in dict.fromkeys(axes)}
        return tuple(found[id(sizes)] for sizes in axes), axes, grids
    traced = tuple(sizes.traced for sizes in axes)
    alone = (
        next((n for n in range(1, size + 1) if _together(axes, (*traced[:a], n, *traced[a + 1 :]), grids)), None)
        for a, size in enumerate(traced)
    )
    return tuple(alone), axes, grids


def _together(axes: Sequence[AxisSizes], sizes: Sequence[int], grids: Sequence[int]) -> bool:
    """Whether the network runs on these sizes with more than one position left on each of `grids`."""
    found = [axis.at(size, grids) for axis, size in zip(axes, sizes, strict=True)]
    there = [f for f in found if f is not None]
    return len(there) == len(found) and all(math.prod(each) > 1 for each in zip(*there, strict=True))


def _by_axis(graph: Graph, maps: Maps, ask: Callable[[AxisSizes], Found]) -> tuple[Found, ...]:
    """What is found along each axis, once for axes that are alike."""
    axes = axes_of(graph, maps) if maps else axes_as_traced(graph)
    found = {id(sizes): ask(sizes) for sizes in dict.fromkeys(axes)}
    return tuple(found[id(sizes)] for sizes in axes)


@remembered
def axes_as_traced(graph: Graph) -> tuple[AxisSizes, ...]:
    return axes_of(graph, {})


def axes_of(graph: Graph, maps: Maps) -> tuple[AxisSizes, ...]:
    """The sizes along each axis, the same object for neighbours that are alike."""
    out: list[AxisSizes] = []
    for axis in range(graph.axes):
        out.append(out[-1] if axis and _alike(graph, maps, axis - 1, axis) else AxisSizes(graph, axis, maps))
    return tuple(out)


def _alike(graph: Graph, maps: Maps, one: int, other: int) -> bool:
    """Whether two axes have the same sizes, maps, positions and pins throughout."""
    for grid in graph.grids:
        if len(grid.sizes) <= other or grid.sizes[one] != grid.sizes[other] or grid.local[one] != grid.local[other]:
            return False
        used = maps.get(grid.index) or grid.maps
        if (used and used[one] != used[other]) or (grid.kind == "concat" and grid.axis in (one, other)):
            return False
    return all(
        p.sizes[one] == p.sizes[other]
        and (one in p.axes) == (other in p.axes)
        and (not p.blocks or p.blocks[one] == p.blocks[other])
        for p in graph.pins
        if len(p.sizes) > other
    )


def lossless_inputs(graph: Graph, maps: Maps | None = None) -> tuple[tuple[int | None, int | None], ...]:
    """Per axis the nearest input sizes, at most and at least the traced one, that leave no remainder anywhere."""
    return _by_axis(graph, maps or {}, AxisSizes.nearest)
