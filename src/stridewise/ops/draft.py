"""A traced call in plain values: operands, what a rule answers, and the draft of the graph it adds to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stridewise.axis import IDENTITY, AxisMap, Table, Whole
from stridewise.ir import NOTHING, Grid, Pin, Volume
from stridewise.ops.layout import Digit, Dims, Extra, LayoutError


@dataclass(slots=True)
class Value:
    """An operand. `dims` None: its geometry is unknown. origin: data, weight (a parameter or made from some), made
    (created in the forward: ranges, zeros). grid: the grid its positions lie on, also where none is left in the dims.
    varies: made in the forward, and not one number throughout (ranges, coordinates). loose: a vector of features that
    flattened positions were summed into.
    content: the entries of a small constant where they are known (numbers, or an Extent where a size was read).
    lost: where the dims are unknown only because positions were put in an order that cannot be followed: the grid they
    came from and the (node, target, reason) to report, should anything need to know where they lie.
    """

    shape: tuple[int, ...]
    dims: Dims | None
    grid: int | None = None
    index: int | None = None
    origin: Literal["data", "weight", "made"] = "data"
    spread: bool = False
    weights: int = 0
    content: tuple[Any, ...] | None = None
    lost: tuple[int, tuple[int, str, str]] | None = None
    varies: bool = False
    loose: bool = False

    @property
    def known(self) -> Dims:
        """The dims. Raises LayoutError where they are unknown."""
        if self.dims is None:
            raise LayoutError("follows an unknown op")
        return self.dims


@dataclass(slots=True)
class Reading:
    """What a rule answers: per output its dims and grid, and the facts of the node.

    >>> sw.Reading(outs=[(((1,), (8,)), None)], attrs={"channels": (3, 8)}).site
    False
    """

    outs: list[tuple[Dims | None, int | None]]
    grid: int | None = None
    site: bool = False
    counted: bool = False
    macs: Volume = NOTHING
    attrs: dict[str, Any] = field(default_factory=dict)
    keeps: Literal["input", "inputs", "output", "all", "none"] = "none"
    spread: bool = False
    loose: bool = False
    lost: tuple[int, tuple[int, str, str]] | None = None


@dataclass(slots=True)
class Draft:
    """The grids and pins found so far; `cuts`: grids cropped to another's size on some axes: (from, to, axes); turned:
    whether some map's axes stand in another order than its grid's."""

    grids: list[Grid] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)
    node: int = 0
    turned: bool = False
    cuts: dict[int, tuple[int, int, tuple[int, ...]]] = field(default_factory=dict)
    volumes: dict[int, tuple[Dims, Sequence[int], Volume]] = field(default_factory=dict)

    def volume(self, dims: Dims | None, shape: Sequence[int]) -> Volume:
        """The elements of a tensor of `shape` laid out as `dims`; worked out once for the same dims."""
        found = self.volumes.get(id(dims))
        if found is not None and found[1] == shape:
            return found[2]
        volume = volume_of(dims, shape, self.grids)
        if dims is not None:  # which is kept alive, so that its identity stays its own
            self.volumes[id(dims)] = dims, shape, volume
        return volume

    def add(
        self,
        kind: Any,
        sizes: tuple[int, ...],
        sources: tuple[int, ...] = (),
        maps: tuple[AxisMap, ...] = (),
        local: tuple[bool, ...] | None = None,
        mixes: bool = False,
        axis: int = 0,
        input_: bool = False,
        placed: bool = False,
        along: tuple[int, ...] = (),
    ) -> int:
        """A new grid, made by the node being read; returns its index."""
        if local is None:
            local = self.grids[sources[0]].local if sources else (True,) * len(sizes)
        grid = Grid(
            index=len(self.grids),
            kind=kind,
            sizes=sizes,
            local=local,
            node=None if input_ else self.node,
            sources=sources,
            maps=maps,
            axis=axis,
            mixes=mixes,
            along=along,
            placed=placed,
        )
        self.grids.append(grid)
        return grid.index

    def mapped(self, source: int, maps: Sequence[AxisMap], mixes: bool = False) -> int:
        """A new grid: `maps` applied to grid `source`, one an axis (axes without positions stay as they are)."""
        grid = self.grids[source]
        if all(grid.local) and not any(isinstance(change, Whole) for change in maps):
            sizes_of_all = tuple([change.out_size(size) for change, size in zip(maps, grid.sizes, strict=True)])
            return self.add("map", sizes_of_all, (source,), tuple(maps), grid.local, mixes)
        sizes, local, used = [], [], []
        for size, is_local, change in zip(grid.sizes, grid.local, maps, strict=True):
            keep = change if is_local else IDENTITY
            sizes.append(keep.out_size(size))
            local.append(is_local and not isinstance(keep, Whole))
            used.append(keep)
        return self.add("map", tuple(sizes), (source,), tuple(used), tuple(local), mixes)

    def positions_of_one(self, source: int, shape: Sequence[int]) -> tuple[Dims, int]:
        """Dims of `shape` and grid of a map made of what no positions are left of: each of its positions lets in all
        that it let in."""
        sizes = tuple(shape[2:])
        maps = tuple(Table(size=1, to=n) for n in sizes)
        made = self.add("map", sizes, (source,), maps, local=(True,) * len(sizes), mixes=True)
        return (*((n,) for n in shape[:2]), *((Digit(made, a, 1, n),) for a, n in enumerate(sizes))), made

    def pin(self, kind: Any, grid: int, message: str, axes: tuple[int, ...] = (), **facts: Any) -> None:
        """Record that something fixes the sizes of `grid`, along `axes` alone where they are given."""
        facts_of = (grid, kind, axes, facts.get("anew", False))
        if not any((p.grid, p.kind, p.axes, p.anew) == facts_of for p in self.pins):
            sizes = self.grids[grid].sizes
            node = self.node
            pin = Pin(kind=kind, grid=grid, node=node, sizes=sizes, message=message, axes=axes, **facts)
            self.pins.append(pin)

    def sizes(self) -> list[tuple[int, ...]]:
        """Traced sizes of every grid."""
        return [grid.sizes for grid in self.grids]


def volume_of(dims: Dims | None, shape: Sequence[int], grids: Sequence[Grid]) -> Volume:
    """The elements of a tensor of `shape` laid out as `dims`, as a product of grid sizes."""
    if dims is None:
        return Volume(math.prod(shape))
    scale, whole = 1, []
    for dim, size in zip(dims, shape, strict=True):
        first = dim[0]
        if len(dim) > 1:
            break
        if isinstance(first, Digit):
            grid, axis = first[:2]
            if size != grids[grid].sizes[axis]:
                break
            whole.append((grid, axis))
        else:
            scale *= size
    else:
        if len(whole) < 2 or len(set(whole)) == len(whole):  # the common case: channels and whole axes
            return Volume(scale, tuple(whole))
    for at, dim in enumerate(dims):
        if isinstance(dim[0], Extra):
            beside = dim[0].begin + dim[0].end
            rest = (*dims[:at], dim[1:], *dims[at + 1 :])
            among = volume_of(rest, (*shape[:at], shape[at] - beside, *shape[at + 1 :]), grids)
            others = volume_of((*dims[:at], *dims[at + 1 :]), (*shape[:at], *shape[at + 1 :]), grids)
            return among.add(others.scaled(beside))
    total = math.prod(shape)
    over: list[tuple[int, int]] = []
    for dim in dims:
        for atom in dim:
            if isinstance(atom, Digit):
                over.append((atom.grid, atom.axis))
    if not over:
        return Volume(total)
    # The parts of a split axis count once together, a token-by-token product twice, a part alone (a window) not at all.
    used: list[tuple[int, int]] = []
    for pair in dict.fromkeys(over):
        parts = [a.count for dim in dims for a in dim if isinstance(a, Digit) and (a.grid, a.axis) == pair]
        size = grids[pair[0]].sizes[pair[1]]
        repeats = 0 if size > 1 else 1
        while size > 1 and math.prod(parts) >= size ** (repeats + 1):
            repeats += 1
        used.extend([pair] * repeats)
    return Volume.of(total, tuple(used), [g.sizes for g in grids])
