"""Gridding: stacked dilated windows whose neighbouring outputs share no input position (SW107).

Per axis, each grid stands in a lattice above the last grid where neighbours still mixed (`base`): position i reaches
the base positions anchor + i * jump + any multiple of `gap`. Neighbours share some exactly when `gap` divides `jump`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from stridewise.analyses.sites import axis_names
from stridewise.analyses.state import State
from stridewise.axis import Window
from stridewise.findings import Finding


class _Lattice(NamedTuple):
    base: int
    jump: int = 1
    anchor: int = 0
    gap: int = 0
    stack: tuple[int, ...] = ()  # nodes of the dilated windows on the longest path from the base


def _windowed(before: _Lattice, window: Window, size: int, grid: int, node: int | None) -> _Lattice:
    begin, _ = window.padding(size)
    gap = math.gcd(before.gap, before.jump * window.dilation) if window.kernel > 1 else before.gap
    jump = before.jump * window.stride
    if gap and jump % gap == 0:
        return _Lattice(grid)
    stack = (*before.stack, node) if window.kernel > 1 and node is not None else before.stack
    return _Lattice(before.base, jump, before.anchor - begin * before.jump, gap, stack)


def _joined(parts: Sequence[_Lattice], grid: int) -> _Lattice:
    first = parts[0]
    if any((p.base, p.jump) != (first.base, first.jump) for p in parts):
        return _Lattice(grid)
    gap = math.gcd(*(p.gap for p in parts), *(p.anchor - first.anchor for p in parts))
    if gap and first.jump % gap == 0:
        return _Lattice(grid)
    return first._replace(gap=gap, stack=max((p.stack for p in parts), key=len))


def _lattices(state: State, axis: int) -> list[_Lattice]:
    """The lattice of every grid along one axis."""
    found: list[_Lattice] = []
    for grid in state.graph.grids:
        parts = [found[s] for s in grid.sources]
        if axis >= len(grid.sizes) or not grid.local[axis] or grid.mixes or not parts:
            found.append(_Lattice(grid.index))
        elif grid.kind == "map":
            change = (state.maps.get(grid.index) or grid.maps)[axis]
            size = state.sizes[grid.sources[0]][axis]
            known = isinstance(change, Window)
            found.append(_windowed(parts[0], change, size, grid.index, grid.node) if known else _Lattice(grid.index))  # type: ignore[arg-type]
        elif grid.kind == "join" or (grid.kind == "concat" and grid.axis != axis):
            local = [p for p, s in zip(parts, grid.sources, strict=True) if state.graph.grids[s].local[axis]]
            found.append(_joined(local or parts, grid.index))
        else:
            found.append(_Lattice(grid.index))
    return found


def gridding(state: State) -> Iterator[Finding]:
    """SW107: one finding for each stack of dilated windows that nothing mixes again afterwards."""
    graph = state.graph
    if not any(
        isinstance(w, Window) and w.dilation > 1 for g in graph.grids for w in state.maps.get(g.index) or g.maps
    ):
        return
    stacks: dict[tuple[int, ...], dict[int, _Lattice]] = {}
    for axis in range(graph.axes):
        lattices = _lattices(state, axis)
        continued, mixed = _after(state, axis, lattices)
        for index, lattice in enumerate(lattices):
            if lattice.gap and len(lattice.stack) > 1 and index not in continued and index not in mixed:
                stacks.setdefault(lattice.stack, {})[axis] = lattice
    for stack, axes in stacks.items():
        lattice = next(iter(axes.values()))
        last = graph.nodes[stack[-1]]
        first = graph.nodes[stack[0]]
        yield Finding(
            rule="SW107",
            severity="info",
            key=last.key,
            message=f"{last.key}: {len(stack)} dilated windows from {first.key} on reach only every "
            f"{_ordinal(lattice.gap)} position{axis_names(sorted(axes), graph.axes)}, so neighbours never mix. "
            f"Give them dilations without a common divisor, or end with a window of dilation 1",
        )


def _after(state: State, axis: int, lattices: Sequence[_Lattice]) -> tuple[set[int], set[int]]:
    """Grids whose lattice a later grid continues, and grids whose neighbours some later window reads together."""
    continued: set[int] = set()
    mixed: set[int] = set()
    for grid in reversed(state.graph.grids):
        if axis >= len(grid.sizes) or not grid.local[axis]:
            continue
        fresh = lattices[grid.index].base == grid.index
        if (fresh and grid.kind == "map") or grid.mixes or grid.index in mixed:
            mixed.update(grid.sources)
        if not fresh:
            continued.update(grid.sources)
    return continued, mixed


def _ordinal(number: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{ends.get(number % 10, 'th') if number % 100 not in (11, 12, 13) else 'th'}"
