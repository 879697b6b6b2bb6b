"""Where the positions of a grid lie among the dimensions of a tensor, through views, permutations and splits.

A dimension is a row-major product of digits. A digit is either a plain number (channels, heads, batch) or a part of a
grid axis: `Digit(grid, axis, unit, count)` stands for `position // unit % count`. The whole axis of n positions is
`Digit(g, a, 1, n)`; a window split of it into n/7 windows of 7 is `Digit(g, a, 7, n/7)` then `Digit(g, a, 1, 7)`, and
neighbours that belong together merge back. So flattening to tokens and back, window partition, channel shuffle,
space-to-depth and depth-to-space need no rule of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias


class Digit(NamedTuple):
    """The part `position // unit % count` of an axis of a grid."""

    grid: int
    axis: int
    unit: int
    count: int  # type: ignore[assignment]  # a digit is read by name, never searched like a tuple


class Extra(NamedTuple):
    """Elements beside the positions (class tokens): `begin` before and `end` behind. First in its dimension."""

    begin: int
    end: int


Atom: TypeAlias = int | Digit | Extra
Dim: TypeAlias = tuple[Atom, ...]
Dims: TypeAlias = tuple[Dim, ...]


class LayoutError(Exception):
    """A rearrangement that cannot be followed; the op that met it becomes unknown."""


def atom_size(atom: Atom) -> int:
    """Elements a digit counts."""
    if isinstance(atom, int):
        return atom
    assert isinstance(atom, Digit)
    return atom.count


def plain(shape: Sequence[int]) -> Dims:
    """Dimensions that hold no positions."""
    return tuple((size,) for size in shape)


def digits(dim: Dim) -> list[Digit]:
    """The grid digits of a dimension."""
    return [atom for atom in dim if isinstance(atom, Digit)]


def is_plain(dim: Dim) -> bool:
    """Whether a dimension holds no positions."""
    for atom in dim:  # noqa: SIM110  a generator takes twice as long, and every op asks
        if isinstance(atom, Digit):
            return False
    return True


def whole_axis(dim: Dim) -> Digit | None:
    """The digit of a dimension that is exactly one whole axis (unit 1), else None."""
    if len(dim) == 1 and isinstance(dim[0], Digit) and dim[0].unit == 1:
        return dim[0]
    return None


TURNED = "a map whose axes are exchanged"


def is_turned(dims: Dims) -> bool:
    """Whether a map's whole axes stand in another order than its grid's: (N, C, W, H)."""
    axes = [whole_axis(dim) for dim in dims[2:]]
    found = [digit.axis for digit in axes if digit is not None]
    return len(found) == len(axes) == len(set(found)) and found != sorted(found)


def merged(atoms: Sequence[Atom]) -> Dim:
    """Neighbouring digits joined where they belong together; plain numbers multiplied."""
    out: list[Atom] = []
    for atom in atoms:
        last = out[-1] if out else None
        if isinstance(atom, int) and isinstance(last, int):
            out[-1] = last * atom
        elif (
            isinstance(atom, Digit)
            and isinstance(last, Digit)
            and (last.grid, last.axis, last.unit) == (atom.grid, atom.axis, atom.unit * atom.count)
        ):
            out[-1] = Digit(atom.grid, atom.axis, atom.unit, last.count * atom.count)
        elif not (atom == 1 and isinstance(atom, int) and out):
            if last == 1 and isinstance(last, int):
                out[-1] = atom
            else:
                out.append(atom)
    return tuple(out) or (1,)


def reshaped(dims: Dims, shape: Sequence[int]) -> Dims:
    """The dimensions of a row-major view as `shape`. Raises LayoutError where a digit does not divide."""
    if len(shape) == 2 < len(dims) and is_plain(dims[-1]) and shape[1] == math.prod(map(atom_size, dims[-1])) > 1:
        # Rows of features, as a linear layer makes them: an axis of one position belongs to the rows.
        return (*reshaped(dims[:-1], shape[:1]), dims[-1])
    atoms: list[Atom] = []
    for dim in dims:
        if dim and isinstance(dim[0], Extra):
            if math.prod(shape) and any(dim is d and _extent(d) in shape for d in dims):
                return _reshaped_around_extra(dims, shape)
            raise LayoutError("class tokens inside a reshaped dimension")
        atoms.extend(dim)
    atoms.reverse()  # a stack: the next digit is last
    out: list[Dim] = []
    for index, size in enumerate(shape):
        taken: list[Atom] = []
        product = 1
        while product < size:
            if not atoms:
                raise LayoutError("more elements than before")
            atom = atoms.pop()
            count = atom_size(atom)
            if product * count > size:
                need, rest = size // product, count * product // size
                if need * rest != count or product * need != size:
                    raise LayoutError(f"{count} does not divide into {need}")
                head, tail = _split(atom, need, rest)
                atoms.append(tail)
                atom, count = head, need
            taken.append(atom)
            product *= count
        if size == 1 and atoms and atom_size(atoms[-1]) == 1:
            taken.append(atoms.pop())
        elif any(isinstance(a, Digit) for a in taken) and 1 not in shape[index + 1 : index + 2]:
            while atoms and isinstance(atoms[-1], Digit) and atom_size(atoms[-1]) == 1:
                taken.append(atoms.pop())  # an axis of one position belongs to the positions before it
        # Digits that count one position go with the dimension before them when no dimension is left for them.
        left = len(shape) - index - 1
        taken_next = any(n > 1 for n in shape[index + 1 :])
        while not taken_next and len(atoms) > left and atom_size(atoms[-1]) == 1 and isinstance(atoms[-1], Digit):
            taken.append(atoms.pop())
        out.append(merged(taken))
    if any(atom_size(atom) != 1 for atom in atoms):
        raise LayoutError("fewer elements than before")
    return tuple(out)


def _extent(dim: Dim) -> int:
    extra = dim[0]
    assert isinstance(extra, Extra)
    return math.prod(atom_size(atom) for atom in dim[1:]) + extra.begin + extra.end


def _reshaped_around_extra(dims: Dims, shape: Sequence[int]) -> Dims:
    """A view that leaves a dimension with class tokens alone: what is before and behind it is reshaped by itself."""
    at = next(i for i, dim in enumerate(dims) if dim and isinstance(dim[0], Extra))
    before = math.prod(atom_size(a) for dim in dims[:at] for a in dim)
    for cut, size in enumerate(shape):
        if size == _extent(dims[at]) and math.prod(shape[:cut]) == before:
            head = reshaped(dims[:at], shape[:cut])
            return (*head, dims[at], *reshaped(dims[at + 1 :], shape[cut + 1 :]))
    raise LayoutError("class tokens inside a reshaped dimension")


def _split(atom: Atom, outer: int, inner: int) -> tuple[Atom, Atom]:
    if isinstance(atom, int):
        return outer, inner
    assert isinstance(atom, Digit)
    head = Digit(atom.grid, atom.axis, atom.unit * inner, outer)
    return head, Digit(atom.grid, atom.axis, atom.unit, inner)


def relabelled(dims: Dims, grids: Mapping[int, int]) -> Dims:
    """The same dimensions with digits of grid `old` said of grid `grids[old]`."""
    return tuple(
        [
            tuple([Digit(grids.get(a.grid, a.grid), *a[1:]) if isinstance(a, Digit) else a for a in dim])
            if len(dim) > 1 or not isinstance(dim[0], int)
            else dim
            for dim in dims
        ]
    )


def blocks(inner: Sequence[Digit], rest: Sequence[Digit], sizes: Sequence[int]) -> dict[int, int] | None:
    """By axis the size of the blocks whose places are `inner` and whose numbers are among `rest`, all other digits of
    the same grid; None where they are not that, also where an axis is a place alone. sizes: of the grid's axes."""
    found: dict[int, int] = {}
    for axis in {d.axis for d in inner}:
        block = math.prod(d.count for d in inner if d.axis == axis)
        numbers = [d for d in rest if d.axis == axis]
        counted = math.prod(d.count for d in numbers) * block == sizes[axis]
        if not numbers or not counted or any(d.unit % block for d in numbers):
            return None
        found[axis] = block
    return found or None


def by_blocks(dim: Dim, grid: int, block: Mapping[int, int]) -> Dim:
    """A dimension whose digits number blocks, as digits of `grid`, which has one position a block."""
    return tuple(
        Digit(grid, a.axis, a.unit // block.get(a.axis, 1), a.count) if isinstance(a, Digit) else a for a in dim
    )
