"""What each block of a program costs: volumes as polynomials in its variables, settled where the last one is known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from stridewise.analyses.cost import computed, lifetimes
from stridewise.fronts.program import Floored, Line, Monomial
from stridewise.fronts.space import Move
from stridewise.ir import Graph, Volume

Sum = dict[Monomial, int]


def tally(graph: Graph, moves: Sequence[Move], line: Line, grids: Sequence[Sequence[int]]) -> None:
    """Add to each block its multiply-adds, activations and live bytes. grids: each grid's variables."""
    for node in graph.nodes:
        if node.counted:
            _count(line, "macs", polynomial(line, grids, node.macs))
            for volume in computed(graph, node):
                _count(line, "activations", polynomial(line, grids, volume))
    for block, live in zip(line.blocks, _alive(graph, moves, line, grids), strict=True):
        block.live = [(slot, tuple(now.items())) for slot, now in _largest(live)]
        used = {m for _, now in block.live for m, _ in now}
        block.monomials = tuple(used | set(block.macs) | set(block.activations))


def polynomial(line: Line, grids: Sequence[Sequence[int]], volume: Volume, times: int = 1) -> Sum:
    """A volume as {product of variables: factor}, `times` over."""
    out: Sum = {}
    for term in (volume, *volume.plus):
        scale: int | Fraction = term.scale
        variables = []
        for grid, axis in term.over:
            var = grids[grid][axis]
            if line.sizes[var]:
                scale *= line.sizes[var]
            else:
                variables.append(var)
        monomial = tuple(sorted(variables))
        if monomial and isinstance(scale, Fraction) and scale.denominator > 1:
            scale, monomial = 1, (_floored(line, Fraction(scale), monomial),)
        out[monomial] = out.get(monomial, 0) + int(scale) * times
    return out


def _floored(line: Line, scale: Fraction, monomial: Monomial) -> int:
    """A variable of its own for a product whose factor is broken: volumes are whole numbers, rounded down."""
    index, new = line.var(("floor", scale, monomial))
    if new:
        line.born[index] = line.settled(monomial)
        line.blocks[line.born[index]].instructions.append(Floored(index, scale, monomial))
    return index


def _count(line: Line, which: str, volume: Sum) -> None:
    """Count a volume towards the multiply-adds or activations of the block in which it is settled."""
    for monomial, factor in volume.items():
        sums: Sum = getattr(line.blocks[line.settled(monomial)], which)
        sums[monomial] = sums.get(monomial, 0) + factor


def _alive(
    graph: Graph, moves: Sequence[Move], line: Line, grids: Sequence[Sequence[int]]
) -> list[list[tuple[int, Sum]]]:
    """Per block the bytes alive at each node settled there, with the slot whose step makes that node (or -1)."""
    found = lifetimes(graph)
    born: dict[int, list[Sum]] = {}
    dies: dict[int, list[Sum]] = {}
    for start, end, root in found.spans:
        tensor = graph.tensors[root]
        size = polynomial(line, grids, tensor.volume, tensor.itemsize)
        born.setdefault(start, []).append(size)
        dies.setdefault(end, []).append(size)
    slots = {m.node: i for i, m in enumerate(moves) if m.slot and len(m.options) > 1}
    alive: Sum = {}
    each: list[list[tuple[int, Sum]]] = [[] for _ in line.blocks]
    for at in range(-1, found.nodes + 1):
        for size in born.get(at, ()):
            for monomial, count in size.items():
                alive[monomial] = alive.get(monomial, 0) + count
        now = {m: n for m, n in alive.items() if n}
        # An idle step is no op: its output is its input's memory, and the node before it had that alive too.
        each[line.settled(*now)].append((slots.get(at, -1), now))
        for size in dies.get(at, ()):
            for monomial, count in size.items():
                alive[monomial] -= count
    return each


def _largest(live: Sequence[tuple[int, Sum]]) -> list[tuple[int, Sum]]:
    """Without those that another one exceeds at every size."""
    kept: list[tuple[int, Sum]] = []
    for slot, now in sorted(live, key=lambda item: -sum(item[1].values())):
        if not any(_exceeds(more, now) for other, more in kept if other in (-1, slot)):
            kept.append((slot, now))
    return kept


def _exceeds(more: Sum, now: Sum) -> bool:
    return all(more.get(m, 0) >= n for m, n in now.items())
