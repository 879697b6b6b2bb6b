"""What-ifs as vectors: sizes, multiply-adds and activations of a network under many plans, or at many input sizes, at
once. Equal to `restride` row by row: what a step makes of a size is asked of its own map, once for each size met. The
step of a slot is a site here too (`+layer1`), at which windows are as large as their step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stridewise.analyses.cost import computed
from stridewise.analyses.strides import site_grids
from stridewise.axis import AxisMap, Window
from stridewise.errors import GeometryError, PlanError
from stridewise.fronts.pareto import Ints
from stridewise.ir import Graph, Grid, Volume, check_graph
from stridewise.plans import Setting
from stridewise.rewrites.places import spread_out
from stridewise.rewrites.reconciliation import keeps_size, paddable_windows, reconciled, shortfall
from stridewise.rewrites.restride import pool_of

_FEW = 2**20  # numbers below this are looked up in a table
_MOST = 2**62  # beyond it volumes are counted in Python's whole numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WhatIfs:
    """A row for each plan. fits: whether it can be carried out (then all else is `restride`'s, else 0).

    Shapes: fits, macs, activations (plans,); sizes (plans, grids, axes), in positions.
    """

    fits: NDArray[np.bool_]
    sizes: Ints
    macs: Ints
    activations: Ints

    def __len__(self) -> int:
        return len(self.fits)


def what_ifs(
    graph: Graph, sites: Sequence[str] = (), strides: Any = None, inputs: Any = None, *, sizes: bool = True
) -> WhatIfs:
    """The network under many plans: row p gives `sites[s]` the stride strides[p, s].

    strides: whole numbers, (plans, sites), or (plans, sites, axes) where axes differ. inputs: sizes of the main input,
    (axes,) for all or (plans, axes); as traced unless given. sizes: False leaves the sizes of grids out.
    Raises: PlanError for a site that is not there, a step or a size below 1, or arrays that do not fit together.
    """
    check_graph(graph, "what_ifs")
    return _Rows(graph, *_checked(graph, sites, strides, inputs)).answer(sizes)


def _checked(graph: Graph, sites: Sequence[str], strides: Any, inputs: Any) -> tuple[dict[int, list[Ints]], list[Ints]]:
    """Per stepped grid its strides, and the input's sizes: an array (plans,) an axis, one for all axes that agree."""
    table = np.asarray(np.ones((1, 0), dtype=np.int64) if strides is None else strides)
    given = np.asarray(graph.grids[0].sizes if inputs is None else inputs)
    for name, values in (("strides", table), ("inputs", given)):
        if values.size and (values.dtype.kind not in "iu" or values.min() < 1):
            raise PlanError(f"{name}: whole numbers from 1 are wanted")
    if table.ndim == 2:
        table = np.repeat(table[:, :, None], graph.axes, axis=2)
    if table.ndim != 3 or table.shape[1:] != (len(sites), graph.axes):
        raise PlanError(f"strides: plans x {len(sites)} sites (x {graph.axes} axes) are wanted, not {table.shape}")
    given = given[None] if given.ndim == 1 else given
    if given.ndim != 2 or given.shape[1] != graph.axes:
        raise PlanError(f"inputs: plans x {graph.axes} axes are wanted, not {given.shape}")
    if strides is None:
        table = np.repeat(table, len(given), axis=0)
    if len(given) not in (1, len(table)):
        raise PlanError(f"inputs: {len(given)} rows for {len(table)} plans")
    steppable = site_grids(graph)
    steps: dict[int, list[Ints]] = {}
    for at, name in enumerate(sites):
        for key in spread_out(graph, {name: Setting(stride=(), was=())}):
            node = graph.node_named(key)
            if node is None or node.index not in steppable:
                raise PlanError(f"{name}: {graph.model} has no such site")
            steps[steppable[node.index]] = _shared(table[:, at])
    return steps, _shared(np.broadcast_to(given, (len(table), graph.axes)))


def _shared(table: Ints) -> list[Ints]:
    """The columns of an array, equal ones as one object: what follows from them is then reckoned once."""
    out: list[Ints] = []
    for column in np.ascontiguousarray(table.T, dtype=np.int64):
        out.append(next((c for c in out if np.array_equal(c, column)), column))
    return out


class _Rows:
    """The columns of all grids, one an axis: `columns[g][a]` holds a size for each plan. Equal ones are shared."""

    def __init__(self, graph: Graph, steps: dict[int, list[Ints]], inputs: list[Ints]) -> None:
        self.graph, self.steps, self.inputs = graph, steps, inputs
        self.count = len(inputs[0])
        self.fits = np.ones(self.count, dtype=bool)
        self.columns: list[list[Ints]] = []
        self.known: dict[object, Ints] = {}
        self.slots = {graph.nodes[s.node].grid for s in graph.slots if s.node is not None}
        for grid in graph.grids:
            self.columns.append(self._grid(grid))
        self._padded()

    def _constant(self, size: int) -> Ints:
        found = self.known.get(size)
        if found is None:
            found = self.known[size] = np.full(self.count, size, dtype=np.int64)
        return found

    def _grid(self, grid: Grid) -> list[Ints]:
        """See `analyses.sizes.size_of`."""
        first = self.columns[grid.sources[0]] if grid.sources else []
        if grid.kind == "map":
            own = self.steps.get(grid.index)
            return [
                self._mapped(m, c, None if own is None else own[a], grid.index in self.slots)
                for a, (m, c) in enumerate(zip(grid.maps, first, strict=True))
            ]
        if grid.kind == "join":
            return first if grid.mixes else [self._joined(grid, axis) for axis in range(len(grid.local))]
        if grid.kind == "input" and grid.index == 0:
            return list(self.inputs)
        if grid.kind == "follow":
            return [self.columns[grid.followed(axis)][axis] for axis in range(len(grid.sizes))]
        if grid.kind == "concat":
            out = list(first)
            out[grid.axis] = np.sum([self.columns[s][grid.axis] for s in grid.sources], axis=0)
            return out
        return [self._constant(size) for size in grid.sizes]

    def _joined(self, grid: Grid, axis: int) -> Ints:
        found = [self.columns[s][axis] for s in grid.sources if self.graph.grids[s].local[axis]]
        for other in found[1:]:
            if other is not found[0]:
                self.fits &= other == found[0]
        return found[0] if found and grid.local[axis] else self._constant(1)

    def _mapped(self, change: AxisMap, before: Ints, steps: Ints | None, slot: bool) -> Ints:
        """The output's sizes: each pair of size and step is asked of the map once. 0 where nothing fits."""
        if steps is None or not isinstance(change, Window):
            if keeps_size(change):
                return before
            steps, maps = self._constant(0), {0: change}
        else:
            each = np.flatnonzero(np.bincount(steps)) if steps.max() < _FEW else np.unique(steps)
            maps = {int(s): _stepping(change, int(s), slot) for s in each}
        key = (change, slot, id(before), tuple(maps), id(steps) if len(maps) > 1 else 0)
        if key in self.known:
            return self.known[key]
        kinds, most = list(maps), int(before.max(initial=0)) + 1
        first = {step: at * most for at, step in enumerate(kinds)}
        pairs = _each(first.__getitem__, steps) + before if len(kinds) > 1 else before
        out = _each(lambda pair: _out_size(maps[kinds[pair // most]], pair % most), pairs)
        self.fits &= out > 0
        self.known[key] = out
        return out

    def _padded(self) -> None:
        """Reckon anew, one by one, the plans whose paths do not meet but may with the missing end padding."""
        if self.fits.all() or not self._may_pad():
            return
        self.columns = [[np.array(c) for c in columns] for columns in self.columns]
        for row in np.flatnonzero(~self.fits).tolist():
            maps = {}
            for at, steps in self.steps.items():
                own = self.graph.grids[at].maps
                new = tuple(
                    _stepping(m, int(s[row]), at in self.slots) if isinstance(m, Window) else m
                    for m, s in zip(own, steps, strict=True)
                )
                if new != own:
                    maps[at] = new
            try:
                sizes, _, _ = reconciled(self.graph, maps, tuple(int(column[row]) for column in self.inputs))
            except GeometryError:
                continue
            self.fits[row] = True
            for columns, size in zip(self.columns, sizes, strict=True):
                for column, n in zip(columns, size, strict=True):
                    column[row] = n

    def _may_pad(self) -> bool:
        """Whether any window on a way to a join falls short at any size, at any of its steps."""
        for axis in range(self.graph.axes):
            for chains in paddable_windows(self.graph, axis).values():
                for at in {at for chain in chains for at in chain if at in self.steps}:
                    window = self.graph.grids[at].maps[axis]
                    for step in np.unique(self.steps[at][axis]).tolist():
                        if isinstance(window, Window):
                            short = _stepping(window, step, at in self.slots)
                            if any(shortfall(short, short.span * step * 2 + r) for r in range(step)):
                                return True
        return False

    def answer(self, sizes: bool) -> WhatIfs:
        """The columns and what they cost."""
        graph, count = self.graph, self.count
        counted = [node for node in graph.nodes if node.counted]
        macs, made = (
            self._sum([node.macs for node in counted]),
            self._sum([volume for node in counted for volume in computed(graph, node)]),
        )
        table = np.zeros((len(graph.grids) if sizes else 0, graph.axes, count), dtype=np.int32)
        for at, columns in enumerate(self.columns if sizes else ()):
            for axis, column in enumerate(columns):
                np.multiply(column, self.fits, out=table[at, axis], casting="unsafe")
        return WhatIfs(fits=self.fits, sizes=np.moveaxis(table, 2, 0), macs=macs, activations=made)

    def _sum(self, volumes: Sequence[Volume]) -> Ints:
        """The sum of volumes for each plan, each term rounded down as in `Volume.at`; 0 where a plan does not fit."""
        whole: dict[tuple[int, ...], tuple[int, list[Ints]]] = {}
        rounded: list[tuple[Fraction, list[Ints]]] = []
        for term in (t for volume in volumes for t in (volume, *volume.plus)):
            over = [self.columns[g][a] for g, a in term.over]
            if isinstance(term.scale, Fraction) and term.scale.denominator > 1:
                rounded.append((term.scale, over))
                continue
            key = tuple(sorted(map(id, over)))
            whole[key] = (whole.get(key, (0, over))[0] + int(term.scale), over)
        most = sum(abs(s) * _bound(o) for s, o in whole.values()) + sum(
            abs(s.numerator) * _bound(o) for s, o in rounded
        )
        kind = np.int64 if most < _MOST else object
        out: Ints = np.zeros(self.count, dtype=kind)
        for scale, over in whole.values():
            out += _product(over, self.count, kind) * scale
        for share, over in rounded:
            out += _product(over, self.count, kind) * share.numerator // share.denominator
        return out * self.fits


def _stepping(window: Window, step: int, slot: bool) -> Window:
    """The window of a site, or of a slot's step, at this step."""
    if not slot or window.stride == step:
        return replace(window, stride=step)
    (pool,) = pool_of((step,))
    assert isinstance(pool, Window)
    return pool


def _product(over: Sequence[Ints], count: int, kind: Any) -> Ints:
    out: Ints = np.ones(count, dtype=kind) if not over else over[0].astype(kind, copy=False)
    for column in over[1:]:
        out = out * column
    return out


def _bound(over: Sequence[Ints]) -> int:
    out = 1
    for column in over:
        out *= int(column.max(initial=0))
    return out


def _each(value: Callable[[int], int], of: Ints) -> Ints:
    """`value` of every entry, asked once for each number met."""
    most = int(of.max(initial=0))
    if most < _FEW:
        met = np.zeros(most + 1, dtype=bool)
        met[of] = True
        table = np.zeros(most + 1, dtype=np.int64)
        table[met] = [value(number) for number in np.flatnonzero(met).tolist()]
        return table[of]
    numbers, at = np.unique(of, return_inverse=True)
    found: Ints = np.array([value(number) for number in numbers.tolist()], dtype=np.int64)[at]
    return found


def _out_size(change: AxisMap, size: int) -> int:
    """The output's size, 0 where nothing fits."""
    try:
        return change.out_size(size) if size else 0
    except GeometryError:
        return 0
