"""What an op's rule sees: a framework's call in plain values, with what most rules answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stridewise.axis import IDENTITY, AxisMap, Repeat, Whole
from stridewise.errors import by
from stridewise.ir import Pin, Table, Volume
from stridewise.ops.draft import Draft, Reading, Value
from stridewise.ops.layout import (
    Digit,
    Dim,
    Dims,
    Extra,
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

    def mapped(self, source: int, maps: Sequence[AxisMap], mixes: bool = False) -> int:
        """A new grid: `maps` applied to grid `source`, one an axis (axes without positions stay as they are)."""
        grid = self.draft.grids[source]
        if all(grid.local) and not any(isinstance(change, Whole) for change in maps):
            sizes_of_all = tuple([change.out_size(size) for change, size in zip(maps, grid.sizes, strict=True)])
            return self.draft.add("map", sizes_of_all, (source,), tuple(maps), grid.local, mixes)
        sizes, local, used = [], [], []
        for size, is_local, change in zip(grid.sizes, grid.local, maps, strict=True):
            keep = change if is_local else IDENTITY
            sizes.append(keep.out_size(size))
            local.append(is_local and not isinstance(keep, Whole))
            used.append(keep)
        return self.draft.add("map", tuple(sizes), (source,), tuple(used), tuple(local), mixes)

    def windowed(self, value: Value, where: Sequence[int], maps: Sequence[AxisMap]) -> tuple[Value, int | None]:
        """The settled value and the grid that `maps` (one for each of the dims `where`) make of its grid."""
        source = self.aligned(value, where)
        if source is not None:
            return value, self.mapped(source, maps)
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
        shape = self.outs[0]
        dims: list[Dim] = [(size,) for size in shape]
        groups: list[set[int]] = []
        gates: list[int] = []
        for position in range(len(shape)):
            if position != skip:
                dims[position] = self._meet(values, position - len(shape), groups) or dims[position]
        for value in values:
            held = value.origin == "data" and not all(map(is_plain, value.known))
            if value.grid is not None and not held and value.grid not in gates:
                gates.append(value.grid)
        self._pin_tables(values, dims)
        placed = self._placed_along(values, dims)
        if not groups:
            if len({self.draft.grids[g].sizes for g in gates}) > 1:  # tokens of maps of several sizes (CrossViT)
                gates = [self.mapped(g, [Whole()] * len(self.draft.grids[g].sizes)) for g in gates]
            return tuple(dims), self._join(gates) if len(gates) > 1 else gates[0] if gates else None
        new: dict[int, int] = {}
        last = max(max(group) for group in groups)
        for group in sorted(groups, key=max):
            extra = [g for g in gates if g not in group] if last in group else []
            if len(group) + len(extra) > 1 or placed is not None:
                grid = self._join([*sorted(group), *extra], placed)
                new.update(dict.fromkeys(group, grid))
        return relabelled(tuple(dims), new), new.get(last, last)

    def _meet(self, values: Sequence[Value], at: int, groups: list[set[int]]) -> Dim | None:
        """What the operands hold at output dim `at` (counted from the end); grids that meet there share a group."""
        chosen: Dim | None = None
        order: list[tuple[int, ...]] = []
        met: set[int] = set()
        for value in values:
            if -at > len(value.shape) or value.origin != "data":
                continue
            dim = value.known[at]
            found = digits(dim) if dim != chosen else []
            if not found:
                continue
            met.update([d.grid for d in found])
            if chosen is None:
                chosen, order = dim, [d[1:] for d in found]
            elif order != [d[1:] for d in found]:
                raise LayoutError("operands lay out their positions differently")
        if met:
            touching = [g for g in groups if g & met]
            for group in touching:
                groups.remove(group)
                met |= group
            groups.append(met)
        return chosen

    def _placed_along(self, values: Sequence[Value], dims: Sequence[Dim]) -> tuple[int, ...] | None:
        """The axes along which values vary that the forward made itself: () for all, None where there are no such
        values here. An axis of one position hides whether they vary along it."""
        held = {
            digit
            for value in values
            if value.varies
            for at, size in enumerate(value.shape)
            if size > 1 and at - len(value.shape) + len(dims) >= 0
            for digit in digits(dims[at - len(value.shape) + len(dims)])
        }
        for value in values:
            self._check_made(value, dims)
        small = any(1 in self.draft.grids[d.grid].sizes for d in held)
        return tuple(sorted({d.axis for d in held if not small})) if held else None

    def _check_made(self, value: Value, dims: Sequence[Dim]) -> None:
        """Refuse values that vary along an axis on which no positions are left: they make some again."""
        grids = {d.grid for dim in dims for d in digits(dim)}
        if not value.varies or len(grids) != 1:
            return
        local = self.draft.grids[grids.pop()].local
        if len(dims) == 2 + len(local):
            for here, size in zip(local[::-1], value.shape[::-1], strict=False):
                if not here and size > 1:
                    raise LayoutError("makes positions along an axis on which none are left")

    def _join(self, sources: Sequence[int], placed: tuple[int, ...] | None = None) -> int:
        """A join of these grids (those of another number of axes only let in what they let in).

        placed: the axes along which it takes in values made from the map's own size.
        """
        grids = [self.draft.grids[s] for s in sources]
        axes = max(len(g.sizes) for g in grids)
        grids = [g for g in grids if len(g.sizes) == axes]
        local = tuple(any(g.local[a] for g in grids) for a in range(axes))
        sizes = tuple(max((g.sizes[a] for g in grids if g.local[a]), default=1) for a in range(axes))
        indices = tuple(g.index for g in grids)
        is_placed = placed is not None
        return self.draft.add("join", sizes, indices, local=local, placed=is_placed, along=placed or ())

    def _pin_tables(self, values: Sequence[Value], dims: Sequence[Dim]) -> None:
        """A parameter that extends over positions holds the size it was made for."""
        for value in values:
            if value.origin != "weight":
                continue
            held: list[list[Digit]] = []
            for at, size in enumerate(value.shape):
                position = at - len(value.shape) + len(dims)
                found = digits(dims[position]) if position >= 0 else []
                if size > 1 and found:
                    held.append(found)
            if held:
                grid, axes = held[0][0].grid, tuple(sorted({d.axis for found in held for d in found}))
                axes = () if len(axes) == len(self.draft.grids[grid].sizes) else axes
                spreads = all(len(found) == 1 for found in held)
                message = f"a parameter of shape {by(value.shape)} is added here"
                self.pin("position table", grid, message, axes, spreads=spreads, table=self._table(value, dims, grid))

    def _table(self, value: Value, dims: Sequence[Dim], grid: int) -> Table | None:
        """How a position table is laid out: all axes row by row in one dimension, or one whole axis a dimension."""
        lead = len(dims) - len(value.shape)
        sizes = self.draft.grids[grid].sizes
        every = tuple(Digit(grid, axis, 1, size) for axis, size in enumerate(sizes))
        held = [(at, dims[at + lead]) for at, size in enumerate(value.shape) if size > 1 and digits(dims[at + lead])]
        if len(held) == 1 and len(sizes) > 1:
            at, dim = held[0]
            extra = dim[0] if isinstance(dim[0], Extra) else Extra(0, 0)
            if dim[isinstance(dim[0], Extra) :] == every and value.shape[at] == math.prod(sizes) + sum(extra):
                return Table(shape=value.shape, dims=(at,), begin=extra.begin, end=extra.end)
        if len(held) == len(sizes) and all(dim == (one,) for (_, dim), one in zip(held, every, strict=True)):
            return Table(shape=value.shape, dims=tuple(at for at, _ in held))
        return None

    def pin(self, kind: Any, grid: int, message: str, axes: tuple[int, ...] = (), **facts: Any) -> None:
        """Record that something fixes the sizes of `grid`, along `axes` alone where they are given."""
        facts_of = (grid, kind, axes, facts.get("anew", False))
        if not any((p.grid, p.kind, p.axes, p.anew) == facts_of for p in self.draft.pins):
            sizes = self.draft.grids[grid].sizes
            node = self.draft.node
            pin = Pin(kind=kind, grid=grid, node=node, sizes=sizes, message=message, axes=axes, **facts)
            self.draft.pins.append(pin)

    # -- volumes -----------------------------------------------------------------------------------------------

    def volume(self, dims: Dims | None, shape: Sequence[int]) -> Volume:
        """The elements of a tensor of `shape` laid out as `dims`."""
        return self.draft.volume(dims, shape)


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
