"""Numbers that a forward worked out from sizes, as a rule reads them: of its operand's axis, or of another tensor's."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from typing import Any

from stridewise.axis import IDENTITY, AxisMap, Computed, Resize, Slice, Window
from stridewise.counted import OUT, OWN, Count, Counted, Leaf, Part
from stridewise.ir import Grid
from stridewise.ops.call import Call
from stridewise.ops.draft import Value
from stridewise.ops.layout import Digit, Dims, LayoutError, relabelled

_OWN, _OUT = Count.size(*OWN), Count.size(*OUT)


def _alike(grids: Sequence[Grid], axis: int) -> list[int]:
    """By grid the first one that measures the same along an axis under every plan (joins see to that)."""
    first = list(range(len(grids)))

    def find(grid: int) -> int:
        while first[grid] != grid:
            grid = first[grid]
        return grid

    for grid in grids:
        if axis >= len(grid.sizes):
            continue
        sources = grid.sources[:1] if grid.mixes or grid.kind == "map" else grid.sources
        sources = (grid.followed(axis),) if grid.kind == "follow" else sources
        if grid.kind == "map" and grid.maps[axis] != IDENTITY:
            continue
        if grid.kind in ("fixed", "unknown", "input") or (grid.kind == "concat" and grid.axis == axis):
            continue
        for source in sources:
            if axis < len(grids[source].sizes) and grids[source].local[axis] == grid.local[axis]:
                one, other = sorted((find(source), find(grid.index)))
                first[other] = one
    return [find(grid) for grid in range(len(grids))]


def expressed(call: Call, number: Any, own: Digit) -> Count | None:
    """A number as an expression of OWN, the size of the axis `own`, and of the sizes of others along the same axis;
    None where it was worked out from the sizes of another axis."""
    if not isinstance(number, Counted):
        return Count().plus(number)
    alike = _alike(call.draft.grids, own.axis)

    def size(atom: Leaf | Part) -> Count | None:
        if isinstance(atom, Part) or atom[1] != own.axis:
            return None
        return _OWN if alike[atom[0]] == alike[own.grid] else Count.size(alike[atom[0]], own.axis)

    found = (way.replaced(size) for way in number.ways)
    return next((way for way in found if way is not None), None)


def sliced(call: Call, own: Digit, start: Any, stop: Any, stride: int) -> tuple[AxisMap, int | None] | None:
    """The map of x[start:stop:stride] along `own`, and the grid whose size it takes where that is another tensor's;
    None where the numbers are not followed. Plain numbers are what the forward wrote."""
    begin = expressed(call, 0 if start is None else start, own)
    end = expressed(call, stop, own) if stop is not None else None
    if begin is None or (end is None and stop is not None):
        return None
    if all(count is None or count.leaves <= {OWN} for count in (begin, end)):
        plain = [_plain(begin), None if end is None else _plain(end)]
        inner = Slice(start=_or_zero(plain[0]), stop=_or_zero(plain[1]), stride=stride)
        named = (("start", begin, plain[0]), ("stop", end, plain[1]))
        numbers = tuple((n, c) for n, c, p in named if isinstance(p, Count) and c is not None)
        return (Computed(inner=inner, numbers=numbers) if numbers else inner), None
    if end is None or stride != 1:
        return None
    length = end.plus(begin, -1)
    ours = _of_both(begin, length)
    reference = _measuring(call, own, length) if ours is not None else None
    if reference is None or ours is None:
        return None
    if not ours.terms:  # as it stands at this size: the size that it takes says the rest
        first = int(ours.const)
        return Slice(start=first, stop=first + call.draft.grids[reference].sizes[own.axis]), reference
    return Computed(inner=Slice(), numbers=(("start", ours), ("stop", ours.plus(_OUT)))), reference


def padded(call: Call, own: Digit, begin: Any, end: Any) -> tuple[AxisMap, int | None] | None:
    """The map of a padding along `own`, and the grid whose size it fills; None as of `sliced`."""
    before, after = expressed(call, begin, own), expressed(call, end, own)
    if before is None or after is None:
        return None
    if before.plus(after).leaves <= {OWN} and before.leaves <= {OWN}:
        inner = Window(pad_begin=_or_zero(_plain(before)) or 0, pad_end=_or_zero(_plain(after)) or 0)
        named = (("pad_begin", before), ("pad_end", after))
        numbers = tuple((n, c) for n, c in named if c.terms)
        return (Computed(inner=inner, numbers=numbers) if numbers else inner), None
    length = _OWN.plus(before).plus(after)
    ours = _of_both(before, length)
    reference = _measuring(call, own, length) if ours is not None else None
    if reference is None or ours is None:
        return None
    rest = _OUT.plus(_OWN, -1).plus(ours, -1)
    return Computed(inner=Window(), numbers=(("pad_begin", ours), ("pad_end", rest))), reference


def resized(call: Call, own: Digit, to: Any, like: Resize) -> tuple[AxisMap, int | None] | None:
    """The map of a resize of `own` to so many positions, and the grid whose size it takes; None as of `sliced`."""
    count = expressed(call, to, own)
    if count is None or not count.terms:
        return None
    if count.leaves <= {OWN}:
        if count.terms == ((OWN, count.slope),) and not count.const:
            return Resize(factor=count.slope, mode=like.mode, align_corners=like.align_corners), None
        return (Computed(inner=like, numbers=(("to", count),)), None) if count.slope > 0 else None
    reference = _measuring(call, own, count)
    return None if reference is None else (like, reference)


def _plain(count: Count) -> int | Count | None:
    """The number as a slice counts it: from the front, from the back (negative), None for the end."""
    return int(count.const) if not count.terms else None if count == _OWN else count


def _or_zero(found: int | Count | None) -> Any:
    return 0 if isinstance(found, Count) else found


def _of_both(count: Count, length: Count) -> Count | None:
    """A number of the operand's size and of the output's, which measures `length`; None where it is of others too."""
    atom, factor = next(((a, f) for a, f in length.terms if abs(f) == 1), (None, Fraction(1)))
    stands = None if atom is None else _OUT.plus(length, -1).times(factor).plus(Count(terms=((atom, Fraction(1)),)))
    return count.replaced(lambda a: stands if a == atom else _OWN if a == OWN else None)


def _measuring(call: Call, own: Digit, length: Count) -> int | None:
    """A grid that measures `length` along the axis, which depends on no more than one other tensor; made where its
    size is not that but follows from it."""
    if len(length.leaves) != 1 or OWN in length.leaves:
        return None
    ((grid, axis),) = length.leaves
    if length == Count.size(grid, axis):
        return grid
    ours = length.replaced(lambda atom: None if isinstance(atom, Part) else _OWN)
    if ours is None or ours.slope <= 0:
        return None
    maps: list[AxisMap] = [IDENTITY] * len(call.draft.grids[grid].sizes)
    maps[axis] = Computed(inner=Resize(to=1), numbers=(("to", ours),))
    return call.mapped(grid, maps)


def tied(call: Call, x: Value, changes: Sequence[tuple[int, AxisMap, int | None]]) -> tuple[Dims, int | None]:
    """Dims and grid of `x` with a map each of some dims, every one a whole axis; of each the grid whose size it takes,
    None for what follows from its operand's. Dims of one and the same reference are tied together."""
    dims, grid = x.known, x.grid
    for reference, group in groupby(changes, key=lambda change: change[2]):
        found = [(dim, change, call.whole(dims[dim])) for dim, change, _ in group]
        own = [digit for _, _, digit in found if digit is not None]
        if len(own) < len(found) or len({digit.grid for digit in own}) > 1:
            raise LayoutError("positions of two grids")
        source = call.draft.grids[own[0].grid]
        maps: list[AxisMap] = [IDENTITY] * len(source.sizes)
        for digit, (_, change, _) in zip(own, found, strict=True):
            maps[digit.axis] = change
        if reference is None:
            grid = call.mapped(source.index, maps)
        else:
            there = call.draft.grids[reference].sizes
            sizes = (n if m == IDENTITY else there[a] for a, (n, m) in enumerate(zip(source.sizes, maps, strict=True)))
            grid = call.draft.add("follow", tuple(sizes), (source.index, reference), tuple(maps))
        out = list(relabelled(dims, {source.index: grid}))
        for digit, (dim, _, _) in zip(own, found, strict=True):
            out[dim] = (Digit(grid, digit.axis, 1, call.draft.grids[grid].sizes[digit.axis]),)
        dims = tuple(out)
    return dims, grid
