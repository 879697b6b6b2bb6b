"""What an op's rule sees: a framework's call in plain values, with what most rules answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stridewise.axis import IDENTITY, AxisMap, Repeat, Whole
from stridewise.ir import Volume
from stridewise.ops.broadcast import broadcast
from stridewise.ops.draft import Draft, Reading, Value
from stridewise.ops.layout import (
    Digit,
    Dim,
    Dims,
    LayoutError,
    blocks,
    by_blocks,
    digits,
    is_plain,
    relabelled,
    whole_axis,
)


class Call:
    """One call in plain values: `target`, `args` and `kwargs` with operands as Value, the outputs' shapes.

    >>> def read(call):  # the rule of an op (x, scale) that changes values and moves none
    ...     return call.same(call.value(0), attrs={"scale": call.arg(1, "scale", 1.0)})
    """

    __slots__ = ("args", "draft", "kwargs", "names", "outs", "path", "target")

    def __init__(
        self,
        target: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        outs: Sequence[tuple[int, ...]],
        draft: Draft,
        path: str = "",
    ) -> None:
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.outs = outs
        self.draft = draft
        self.path = path

    def arg(self, position: int, name: str, default: Any = None) -> Any:
        """The argument at `position`, or called `name`."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)

    def value(self, position: int = 0) -> Value:
        """The operand at `position`. Raises LayoutError where it is none or its geometry is unknown."""
        value = self.args[position]
        if not isinstance(value, Value):
            raise LayoutError("takes no tensor here")
        return value

    def values(self) -> list[Value]:
        """Every operand, in order, lists flattened."""
        found: list[Value] = []
        for arg in (*self.args, *self.kwargs.values()):
            if isinstance(arg, Value):
                found.append(arg)
            elif isinstance(arg, list | tuple):
                found.extend(a for a in arg if isinstance(a, Value))
        return found

    def constant(self, position: int, name: str) -> list[Any] | None:
        """The entries of the constant operand at `position`, or of the attribute `name`; None where neither is given.

        Raises: LayoutError where the operand's entries are computed from data.
        """
        value = self.args[position] if position < len(self.args) else None
        if value is None:
            given = self.kwargs.get(name)
            return list(given) if isinstance(given, list | tuple) else None if given is None else [given]
        if value.content is None:
            raise LayoutError(f"its {name} are computed from the data")
        return list(value.content)

    # -- answers -----------------------------------------------------------------------------------------------

    def same(self, value: Value, **facts: Any) -> Reading:
        """The output lies exactly where `value` lies. Raises LayoutError where that is unknown."""
        value.known  # noqa: B018
        return Reading(outs=[(value.dims, value.grid)] * len(self.outs), **facts)

    def dense(self, grid: int, value: Value, where: Sequence[int], **facts: Any) -> Reading:
        """Output of a window op: `value`'s dims with the positions of `grid` in the dims `where`, the rest plain."""
        made, shape = self.draft.grids[grid], self.outs[0]
        old = made.sources[0]
        dims: list[Dim] = [(size,) for size in shape]
        aligned = all(made.local) and self.aligned(value, where) is not None
        if aligned:
            for axis, at in enumerate(where):
                dims[at] = (Digit(grid, axis, 1, made.sizes[axis]),)
        for at, dim in enumerate(value.known):
            if len(dim) == 1 and (type(dim[0]) is int or (aligned and at in where)):
                continue
            whole = self.whole(dim)
            if at in where and whole is not None:
                if made.local[whole.axis]:
                    dims[at] = (Digit(grid, whole.axis, 1, made.sizes[whole.axis]),)
            elif not is_plain(dim) and shape[at] == value.shape[at]:
                dims[at] = relabelled((dim,), {old: grid})[0]
        return Reading(outs=[(tuple(dims), grid)] * len(self.outs), grid=grid, **facts)

    # -- grids -------------------------------------------------------------------------------------------------

    def axes_of(self, value: Value, where: Sequence[int]) -> list[int | None]:
        """The grid axis that each of the dims `where` holds, None for a plain dim."""
        axes: list[int | None] = []
        for dim in where:
            found = {d.axis for d in digits(value.known[dim])}
            if len(found) > 1:
                raise LayoutError("two axes in one dimension")
            axes.append(found.pop() if found else None)
        return axes

    def whole(self, dim: Dim) -> Digit | None:
        """The digit of a dimension that is exactly one whole axis, else None."""
        digit = whole_axis(dim)
        return digit if digit and digit.count == self.draft.grids[digit.grid].sizes[digit.axis] else None

    def is_settled(self, value: Value, where: Sequence[int]) -> bool:
        """Whether each of the dims `where` is plain or one whole axis."""
        return all(is_plain(value.known[d]) or self.whole(value.known[d]) for d in where)

    def aligned(self, value: Value, where: Sequence[int]) -> int | None:
        """The grid whose axes are, whole and in order, the dims `where` (the common case), else None."""
        dims = value.known
        first = dims[where[0]][0]
        if not isinstance(first, Digit):
            return None
        index = first[0]
        sizes = self.draft.grids[index].sizes
        if len(sizes) != len(where):
            return None
        for axis, at in enumerate(where):
            if dims[at] != ((index, axis, 1, sizes[axis]),):
                return None
        return index

    def with_ones(self, value: Value, where: Sequence[int]) -> Value:
        """The value with axes of one position, of which a view through merged dims leaves no trace, where they have to
        be: among the dims `where`, of which as many are plain and measure 1."""
        dims, grid = value.known, value.grid
        if grid is None or value.loose or len(where) != len(self.draft.grids[grid].sizes):
            return value
        of = self.draft.grids[grid]
        dims = tuple([_without_ones(dim) if i in where else dim for i, dim in enumerate(dims)])
        there = {d.axis for dim in dims for d in digits(dim) if d.grid == grid}
        gone = [
            a for a, (n, here) in enumerate(zip(of.sizes, of.local, strict=True)) if a not in there and here and n == 1
        ]
        free = [w for w in where if dims[w] == (1,)]
        if not gone or len(gone) != len(free):
            return value
        place = dict(zip(free, gone, strict=True))
        order = [place[w] if w in place else min((d.axis for d in digits(dims[w])), default=-1) for w in where]
        if len(gone) > 1 and order != sorted(order):  # a map that was turned: which is which is not known
            return value
        return replace(
            value, dims=tuple((Digit(grid, place[i], 1, 1),) if i in place else dim for i, dim in enumerate(dims))
        )

    def settle(self, value: Value, where: Sequence[int]) -> Value:
        """The value with its positions on one grid, each of the dims `where` a whole axis of it or plain.

        Rearrangements that left parts of an axis (space-to-depth, depth-to-space, patches) become a grid of their own.
        """
        dims = value.known
        if self.is_settled(value, where):
            return value
        found = [d for w in where for d in digits(dims[w])]
        grid = found[0].grid
        if any(d.grid != grid for d in found):
            raise LayoutError("positions of two grids")
        source = self.draft.grids[grid]
        maps: list[AxisMap] = [IDENTITY] * len(source.sizes)
        for w in where:
            if is_plain(dims[w]) or self.whole(dims[w]):
                continue
            (axis, change) = _rearrangement(dims[w], source.sizes)
            maps[axis] = change
        made = self.mapped(grid, maps)
        sizes = self.draft.grids[made].sizes
        out = list(dims)
        for w in where:
            if not is_plain(dims[w]):
                axis = digits(dims[w])[0].axis
                out[w] = (Digit(made, axis, 1, sizes[axis]),)
        for d, dim in enumerate(out):
            if d not in where and not is_plain(dim):
                if d == 0:
                    raise LayoutError("positions of one map in several entries of the batch")
                out[d] = (value.shape[d],)
        return Value(value.shape, tuple(out), made, value.index, value.origin)

    def gathered(self, value: Value, over: int) -> Value:
        """The value with what its dim `over` holds of positions as channels, where that is the inside of blocks whose
        numbers are the other dims' positions (space-to-depth, patch merging); elsewhere the value as it is."""
        found = self._in_blocks(value.known, (over,))
        if found is None:
            return value
        dims, made = found
        return Value(
            value.shape, (*dims[:over], (value.shape[over],), *dims[over + 1 :]), made, value.index, value.origin
        )

    def _in_blocks(self, dims: Dims, over: Sequence[int]) -> tuple[Dims, int] | None:
        """Where the dims `over` hold the inside of blocks that the others number: the others' dims on a grid with one
        position a block (those of `over` plain, size 1), and that grid. Else None."""
        inner = [d for i in over for d in digits(dims[i])]
        rest = [d for i, dim in enumerate(dims) if i not in over for d in digits(dim)]
        if not inner or len({d.grid for d in (*inner, *rest)}) != 1:
            return None
        source = inner[0].grid
        sizes = self.draft.grids[source].sizes
        block = blocks(inner, rest, sizes)
        if block is None:
            return None
        made = self.mapped(
            source, [Repeat(times=1, window=block[a]) if a in block else IDENTITY for a in range(len(sizes))]
        )
        return tuple((1,) if i in over else by_blocks(dim, made, block) for i, dim in enumerate(dims)), made

    def windowed(self, value: Value, where: Sequence[int], maps: Sequence[AxisMap]) -> tuple[Value, int | None]:
        """The settled value and the grid that `maps` (one for each of the dims `where`) make of its grid."""
        source = self.aligned(value, where)
        if source is not None:
            return value, self.mapped(source, maps)
        value = self.with_ones(value, where)
        kept = not self.is_settled(value, where) and all(
            change == IDENTITY or (_is_inner(value.known[w]) and change.out_size(value.shape[w]) == value.shape[w])
            for w, change in zip(where, maps, strict=True)
        )
        if not kept:
            value = self.settle(value, where)
        # Inside windows or on tokens, an op that keeps the size keeps the layout; only 1x1 may act on merged axes.
        found = [{d.axis for d in digits(value.known[w])} for w in where]
        grids = {d.grid for w in where for d in digits(value.known[w])}
        if not grids or (kept and len(grids) > 1 and all(change == IDENTITY for change in maps)):
            return value, value.grid
        grid = max(grids)
        by_axis: list[AxisMap] = [IDENTITY] * len(self.draft.grids[grid].sizes)
        for axes, change in zip(found, maps, strict=True):
            if len(axes) == 1:
                by_axis[next(iter(axes))] = change
            elif axes and change != IDENTITY:
                raise LayoutError("a window over two axes in one dimension")
        if len(grids) > 1:
            raise LayoutError("positions of two grids")
        return value, self.mapped(grid, by_axis)

    def mixed(self, value: Value, over: Sequence[int] = ()) -> Reading:
        """The output lies where `value` lies, and every position has let in every other, or those that share its place
        outside the dims `over`."""
        held = {(d.grid, d.axis) for at in over for d in digits(value.known[at])}

        def make(grid: int) -> int:
            along = tuple(sorted({axis for of, axis in held if of == grid}))
            return self.draft.add("join", self.draft.grids[grid].sizes, (grid,), mixes=True, along=along)

        return self.remade(value, make)

    def placed(self, value: Value) -> Reading:
        """The output lies where `value` lies, and what it holds depends on where in the map that is."""
        return self.remade(
            value, lambda grid: self.draft.add("join", self.draft.grids[grid].sizes, (grid,), placed=True)
        )

    def let_in(self, value: Value, others: Sequence[Value]) -> Reading:
        """The output lies where `value` lies, and lets in all of `others`, whose positions lost their order."""
        sources = tuple(dict.fromkeys(v.lost[0] for v in others if v.lost is not None))
        return self.remade(
            value,
            lambda grid: self.draft.add("join", self.draft.grids[grid].sizes, (grid, *sources), mixes=True),
        )

    def remade(self, value: Value, make: Any) -> Reading:
        """The output is `value` with its grids replaced by `make(grid)`."""
        used = {d.grid for dim in value.known for d in digits(dim)}
        if not used:
            return self.same(value)
        new = {grid: make(grid) for grid in sorted(used)}
        last = new[value.grid] if value.grid in new else max(new.values())
        return Reading(outs=[(relabelled(value.known, new), last)] * len(self.outs), grid=last)

    def collapsed(self, value: Value, where: Sequence[int], keepdim: bool) -> tuple[Dims, int | None]:
        """Dims and grid after a reduction over the dims `where`."""
        dims = value.known
        gone = [d for w in where for d in digits(dims[w])]
        grid, out = value.grid, list(dims)
        found = self._in_blocks(dims, where)
        if found is not None:
            out, grid = list(found[0]), found[1]
        elif gone:
            new: dict[int, int] = {}
            for source in sorted({d.grid for d in gone}):
                axes = {d.axis for d in gone if d.grid == source}
                kept = {d.axis for i, dim in enumerate(dims) if i not in where for d in digits(dim) if d.grid == source}
                maps: list[AxisMap] = [
                    Whole() if a in axes - kept else IDENTITY for a in range(len(self.draft.grids[source].sizes))
                ]
                new[source] = self.mapped(source, maps, mixes=bool(axes & kept))
            grid = new[value.grid] if value.grid in new else max(new.values())
            out = list(relabelled(dims, new))
        for w in where:
            out[w] = (1,)
        if not keepdim:
            out = [dim for i, dim in enumerate(out) if i not in set(where)]
        return tuple(out), grid

    def joined(self, values: Sequence[Value], skip: int | None = None) -> tuple[Dims, int | None]:
        """Dims and grid of the broadcast of `values` (aligned at the last dim); output dim `skip` is left plain."""
        return broadcast(self.draft, values, self.outs[0], skip)

    def mapped(self, source: int, maps: Sequence[AxisMap], mixes: bool = False) -> int:
        """A new grid: `maps` applied to grid `source`, one an axis (axes without positions stay as they are)."""
        return self.draft.mapped(source, maps, mixes)

    def pin(self, kind: Any, grid: int, message: str, axes: tuple[int, ...] = (), **facts: Any) -> None:
        """Record that something fixes the sizes of `grid`, along `axes` alone where they are given."""
        self.draft.pin(kind, grid, message, axes, **facts)

    # -- volumes -----------------------------------------------------------------------------------------------

    def volume(self, dims: Dims | None, shape: Sequence[int]) -> Volume:
        """The elements of a tensor of `shape` laid out as `dims`."""
        return self.draft.volume(dims, shape)


def _without_ones(dim: Dim) -> Dim:
    """A dimension that holds positions without the axes of one position merged into it."""
    if len(dim) < 2 or all(d.count == 1 for d in digits(dim)):
        return dim
    return tuple([a for a in dim if not isinstance(a, Digit) or a.count > 1])


def _is_inner(dim: Dim) -> bool:
    """Whether a dimension holds the neighbouring positions of a window (not one position of each block)."""
    return is_plain(dim) or all(digit.unit == 1 for digit in digits(dim))


def _rearrangement(dim: Dim, sizes: Sequence[int]) -> tuple[int, AxisMap]:
    """(axis, map) of a dim that holds a part of an axis and plain numbers: gathered and repeated positions."""
    parts = digits(dim)
    if len({d.axis for d in parts}) != 1:
        raise LayoutError("two axes in one dimension")
    first, axis = dim[0], parts[0].axis
    if not isinstance(first, Digit) or len(parts) != 1 or parts[0].unit * parts[0].count != sizes[axis]:
        raise LayoutError("positions in an order that no window gives")
    times = math.prod(a for a in dim[1:] if isinstance(a, int))
    return axis, Repeat(times=times, window=parts[0].unit)
