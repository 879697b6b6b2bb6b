"""A tensor's traced shape at other sizes of its grid."""

from __future__ import annotations

from collections.abc import Sequence

from stridewise.ir import Sizes, Tensor


def resized(tensor: Tensor, old: Sequence[Sizes], new: Sequence[Sizes]) -> Tensor:
    """The tensor's shape at new sizes, where its spatial dims show plainly which they are."""
    if not tensor.volume.over or tensor.grid is None or len(tensor.shape) < 3:
        return tensor
    before, after = old[tensor.grid], new[tensor.grid]
    if before == after:
        return tensor
    if tensor.shape[-len(before) :] == before:
        return tensor.shaped((*tensor.shape[: -len(before)], *after))
    if tensor.shape[1:-1] == before:
        return tensor.shaped((tensor.shape[0], *after, tensor.shape[-1]))
    return tensor
