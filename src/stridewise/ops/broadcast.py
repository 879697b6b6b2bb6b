"""Operands that are broadcast against each other: where their positions meet, and what fixes the sizes there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stridewise.axis import Whole
from stridewise.errors import by
from stridewise.ir import Table
from stridewise.ops.draft import Draft, Value
from stridewise.ops.layout import Digit, Dim, Dims, Extra, LayoutError, digits, is_plain, relabelled


def broadcast(
    draft: Draft, values: Sequence[Value], shape: Sequence[int], skip: int | None = None
) -> tuple[Dims, int | None]:
    """Dims and grid of the broadcast of `values` (aligned at the last dim); output dim `skip` is left plain."""
    dims: list[Dim] = [(size,) for size in shape]
    groups: list[set[int]] = []
    gates: list[int] = []
    for position in range(len(shape)):
        if position != skip:
            dims[position] = _meet(values, position - len(shape), groups) or dims[position]
    for value in values:
        held = value.origin == "data" and not all(map(is_plain, value.known))
        if value.grid is not None and not held and value.grid not in gates:
            gates.append(value.grid)
    _pin_tables(draft, values, dims)
    placed = _placed_along(draft, values, dims)
    if not groups:
        if len({draft.grids[g].sizes for g in gates}) > 1:  # tokens of maps of several sizes (CrossViT)
            gates = [draft.mapped(g, [Whole()] * len(draft.grids[g].sizes)) for g in gates]
        return tuple(dims), _join(draft, gates) if len(gates) > 1 else gates[0] if gates else None
    new: dict[int, int] = {}
    last = max(max(group) for group in groups)
    for group in sorted(groups, key=max):
        extra = [g for g in gates if g not in group] if last in group else []
        if len(group) + len(extra) > 1 or placed is not None:
            grid = _join(draft, [*sorted(group), *extra], placed)
            new.update(dict.fromkeys(group, grid))
    return relabelled(tuple(dims), new), new.get(last, last)


def _meet(values: Sequence[Value], at: int, groups: list[set[int]]) -> Dim | None:
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


def _placed_along(draft: Draft, values: Sequence[Value], dims: Sequence[Dim]) -> tuple[int, ...] | None:
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
        _check_made(draft, value, dims)
    small = any(1 in draft.grids[d.grid].sizes for d in held)
    return tuple(sorted({d.axis for d in held if not small})) if held else None


def _check_made(draft: Draft, value: Value, dims: Sequence[Dim]) -> None:
    """Refuse values that vary along an axis on which no positions are left: they make some again."""
    grids = {d.grid for dim in dims for d in digits(dim)}
    if not (value.varies or value.origin == "weight") or len(grids) != 1:
        return
    local = draft.grids[grids.pop()].local
    if len(dims) == 2 + len(local) and all(digits(dim) for dim, here in zip(dims[2:], local, strict=True) if here):
        for here, size in zip(local[::-1], value.shape[::-1], strict=False):
            if not here and size > 1:
                raise LayoutError("makes positions along an axis on which none are left")


def _join(draft: Draft, sources: Sequence[int], placed: tuple[int, ...] | None = None) -> int:
    """A join of these grids (those of another number of axes only let in what they let in).

    placed: the axes along which it takes in values made from the map's own size.
    """
    grids = [draft.grids[s] for s in sources]
    axes = max(len(g.sizes) for g in grids)
    grids = [g for g in grids if len(g.sizes) == axes]
    local = tuple(any(g.local[a] for g in grids) for a in range(axes))
    sizes = tuple(max((g.sizes[a] for g in grids if g.local[a]), default=1) for a in range(axes))
    indices = tuple(g.index for g in grids)
    is_placed = placed is not None
    return draft.add("join", sizes, indices, local=local, placed=is_placed, along=placed or ())


def _pin_tables(draft: Draft, values: Sequence[Value], dims: Sequence[Dim]) -> None:
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
            axes = () if len(axes) == len(draft.grids[grid].sizes) else axes
            spreads = all(len(found) == 1 for found in held)
            message = f"a parameter of shape {by(value.shape)} is added here"
            draft.pin("position table", grid, message, axes, spreads=spreads, table=_table(draft, value, dims, grid))


def _table(draft: Draft, value: Value, dims: Sequence[Dim], grid: int) -> Table | None:
    """How a position table is laid out: all axes row by row in one dimension, or one whole axis a dimension."""
    lead = len(dims) - len(value.shape)
    sizes = draft.grids[grid].sizes
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
