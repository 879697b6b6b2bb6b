"""Where the positions of a tensor lie among its dimensions, when that shows plainly."""

from __future__ import annotations

from collections.abc import Sequence

from stridewise.ir import Graph, Sizes, Tensor


def laid_out(graph: Graph, tensor: Tensor, sizes: Sequence[Sizes]) -> tuple[int, ...] | None:
    """The dims that hold the axes of a tensor's grid, whole and in order: behind batch and channels, or between them.

    None where no positions are told apart, or not so.
    """
    if tensor.grid is None or not tensor.known or not all(graph.grids[tensor.grid].local):
        return None
    size, axes = sizes[tensor.grid], len(sizes[tensor.grid])
    over = tensor.volume.over
    if len(tensor.shape) != axes + 2 or tensor.volume.plus or over != tuple((tensor.grid, a) for a in range(axes)):
        return None
    if tensor.shape[2:] == size and tensor.shape[1:-1] != size:
        return tuple(range(2, 2 + axes))
    if tensor.shape[1:-1] == size and tensor.shape[2:] != size:
        return tuple(range(1, 1 + axes))
    return None
