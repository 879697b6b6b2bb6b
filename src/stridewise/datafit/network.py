"""A network against a data set: the strides of what it gives out, as a fit wants them."""

from __future__ import annotations

from collections.abc import Iterable

from stridewise.analyses.fields import State, evaluate
from stridewise.axis import Resize
from stridewise.datafit.strides import Stride, StrideSet
from stridewise.errors import UsageError
from stridewise.ir import Graph


def output_strides(graph: Graph) -> StrideSet:
    """The cumulative strides of a network's output maps, finest first; of its last map where it gives out no map.

    A map that is only enlarged at the end counts with the stride it had before: enlarging brings nothing back.
    Raises: UsageError where no map of two axes with whole strides is known.
    """
    state = evaluate(graph)
    found = _whole(state, graph.outputs)
    if not found and graph.last is not None:
        found = _whole(state, (graph.last,))
    if not found:
        raise UsageError(f"{graph.model}: gives out no map over two axes whose strides are known")
    return tuple(sorted(found, key=lambda stride: (stride[0] * stride[1], stride)))


def receptive_field(graph: Graph) -> tuple[int, int] | None:
    """The receptive field of the last map, in input pixels; None where it is not known over two axes."""
    grid = None if graph.last is None else graph.tensors[graph.last].grid
    if grid is None or len(graph.grids[grid].sizes) != 2:
        return None
    high, wide = (field.size for field in evaluate(graph).fields.full[grid])
    return high, wide


def _whole(state: State, tensors: Iterable[int]) -> set[Stride]:
    graph, found = state.graph, set()
    for tensor in tensors:
        grid = graph.tensors[tensor].grid
        if grid is None or len(graph.grids[grid].sizes) != 2 or not all(graph.grids[grid].local):
            continue
        jumps = [field.jump for field in state.fields.full[_before_enlarging(graph, grid)]]
        if all(jump.denominator == 1 for jump in jumps):
            found.add(tuple(int(jump) for jump in jumps))
    return found


def _before_enlarging(graph: Graph, grid: int) -> int:
    made = graph.grids[grid]
    while made.kind in ("map", "follow") and made.maps and all(isinstance(m, Resize) for m in made.maps):
        source = graph.grids[made.sources[0]]
        if any(a > b for a, b in zip(source.sizes, made.sizes, strict=True)):
            break
        made = source
    return made.index
