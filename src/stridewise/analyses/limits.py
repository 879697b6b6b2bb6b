"""Input sizes: the smallest that works, and those whose windows leave no remainder (DESIGN 3.3, SW102)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from stridewise.analyses.sizes import Maps
from stridewise.axis import AxisMap, Window
from stridewise.errors import GeometryError
from stridewise.ir import Graph, Grid
from stridewise.ops.registry import only_pads

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
class _Step:
    """One size to compute from earlier ones: `of(sizes)`, with the fewest positions it needs and what it must equal."""

    of: Callable[[list[int]], int]
    source: int
    window: Window | None = None
    above: int = 0
    agree: tuple[int, ...] = ()
    pinned: int | None = None


class AxisSizes:
    """The sizes along one axis as a short list of steps: maps that keep the size are left out, equal ones shared."""

    __slots__ = ("_known", "_pins", "_slots", "_steps", "axis", "traced")

    def __init__(self, graph: Graph, axis: int, maps: Maps) -> None:
        self.axis = axis
        self.traced = graph.grids[0].sizes[axis]
        self._steps: list[_Step] = []
        self._known: dict[Any, int] = {}
        self._slots: list[int] = []
        held = [p for p in graph.pins if p.kind in ("flatten", "position table", "window")]
        self._pins = {p.grid: p.sizes for p in held if not p.axes or axis in p.axes}
        for grid in graph.grids:
            self._slots.append(self._slot(graph, grid, maps.get(grid.index) or grid.maps))

    def _add(self, key: Any, step: _Step) -> int:
        if key not in self._known:
            self._steps.append(step)
            self._known[key] = len(self._steps)
        return self._known[key]

    def _slot(self, graph: Graph, grid: Grid, maps: Sequence[AxisMap]) -> int:
        """Where the size of `grid` is found; 0 is the input, -1 a grid without this axis."""
        if self.axis >= len(grid.sizes):
            return -1
        size = grid.sizes[self.axis]
        sources = [self._slots[s] for s in grid.sources]
        if grid.kind == "input":
            slot = 0 if size == self.traced else self._add(("constant", size), _Step(lambda _, n=size: n, 0))  # type: ignore[misc]
        elif grid.kind == "map":
            slot = self._mapped(sources[0], maps[self.axis], _reflected(graph, grid, self.axis))
        elif grid.kind == "join":
            local = [s for s, g in zip(sources, grid.sources, strict=True) if graph.grids[g].local[self.axis]]
            slot = self._joined(sources, local, grid)
        elif grid.kind == "concat" and grid.axis == self.axis:
            slot = self._add(("sum", *sources), _Step(lambda n, of=tuple(sources): sum(n[s] for s in of), 0))  # type: ignore[misc]
        elif grid.kind in ("concat", "follow"):
            slot = sources[-1]
        else:
            slot = self._add(("constant", size), _Step(lambda _, n=size: n, 0))  # type: ignore[misc]
        if grid.index in self._pins:
            pinned = self._pins[grid.index][self.axis]
            self._add(("pin", slot, pinned), _Step(lambda n, s=slot: n[s], slot, pinned=pinned))  # type: ignore[misc]
        return slot

    def _mapped(self, source: int, change: AxisMap, above: int) -> int:
        window = change if isinstance(change, Window) else None
        if window and window.stride == 1 and not above:
            grows = window.pad_begin + window.pad_end + 1 - window.span
            if window.same or grows == 0:
                return source
        step = _Step(lambda n, m=change, s=source: m.out_size(n[s]), source, window, above)  # type: ignore[misc]
        return self._add((source, change, above), step)

    def _joined(self, sources: Sequence[int], local: Sequence[int], grid: Grid) -> int:
        if grid.mixes or len(set(local)) == 1:
            return sources[0] if grid.mixes else local[0]
        if not local:
            return self._add(("constant", 1), _Step(lambda _: 1, 0))
        agree = tuple(sorted(set(local)))
        return self._add(("agree", agree), _Step(lambda n, s=agree[0]: n[s], agree[0], agree=agree))  # type: ignore[misc]

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
            for step in self._steps:
                window = step.window
                if lossless and window is not None and window.stride > 1 and remainder(window, sizes[step.source]):
                    return None
                if step.above and sizes[step.source] <= step.above:
                    return None
                sizes.append(step.of(sizes))
                if step.agree and any(sizes[s] != sizes[-1] for s in step.agree):
                    return None
                if step.pinned is not None and sizes[-1] != step.pinned:
                    return None
        except GeometryError:
            return None
        return sizes

    def smallest(self) -> int | None:
        """Fewest input positions on which the network runs; None when no size up to the traced one does."""
        return next((n for n in range(1, self.traced + 1) if self.works(n)), None)

    def nearest(self) -> tuple[int | None, int | None]:
        """The nearest sizes below and above the traced one (itself included) that leave no remainder."""
        here = self.traced
        if not any(step.window and step.window.stride > 1 for step in self._steps):
            return here, here
        span = min(2 * self._period(), _FURTHEST)
        below = next((n for n in range(here, max(here - span, 0), -1) if self.lossless(n)), None)
        above = next((n for n in range(here, here + span) if self.lossless(n)), None)
        return below, above

    def _period(self) -> int:
        """Input positions after which remainders repeat: the largest product of strides on a path."""
        reach = [1] * (len(self._steps) + 1)
        for at, step in enumerate(self._steps, 1):
            before = max((reach[s] for s in step.agree), default=reach[step.source])
            reach[at] = before * (step.window.stride if step.window else 1)
        return max(reach)


def _reflected(graph: Graph, grid: Grid, axis: int) -> int:
    """The size that reflecting (or wrapping) padding needs to exceed; 0 for other ops."""
    if grid.node is not None and "needs" in graph.nodes[grid.node].attrs:
        return int(graph.nodes[grid.node].attrs["needs"][axis]) - 1
    if grid.node is None or not only_pads(graph.nodes[grid.node]):
        return 0
    change, mode = grid.maps[axis], str(graph.nodes[grid.node].attrs.get("mode", ""))
    if not isinstance(change, Window) or not mode.startswith(("refl", "circ", "wrap")):
        return 0
    widest = max(change.pad_begin, change.pad_end, 0)
    return widest if mode.startswith("refl") else max(widest - 1, 0)


def smallest_input(graph: Graph, maps: Maps | None = None) -> tuple[int | None, ...]:
    """Fewest positions of the main input on which the network runs, per axis, the other axes as traced."""
    return _by_axis(graph, maps or {}, AxisSizes.smallest)


def _by_axis(graph: Graph, maps: Maps, ask: Callable[[AxisSizes], Found]) -> tuple[Found, ...]:
    """What is found along each axis, once for axes that are alike."""
    axes = _axes(graph, maps) if maps else _axes_as_traced(graph)
    found = {id(sizes): ask(sizes) for sizes in dict.fromkeys(axes)}
    return tuple(found[id(sizes)] for sizes in axes)


@lru_cache(maxsize=64)
def _axes_as_traced(graph: Graph) -> tuple[AxisSizes, ...]:
    return _axes(graph, {})


def _axes(graph: Graph, maps: Maps) -> tuple[AxisSizes, ...]:
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
    return all(p.sizes[one] == p.sizes[other] for p in graph.pins if len(p.sizes) > other)


def lossless_inputs(graph: Graph, maps: Maps | None = None) -> tuple[tuple[int | None, int | None], ...]:
    """Per axis the nearest input sizes, at most and at least the traced one, that leave no remainder anywhere."""
    return _by_axis(graph, maps or {}, AxisSizes.nearest)
