"""Which part of a tensor an in-place op on a view of it has overwritten."""

from __future__ import annotations

import torch


def whole_of(view: torch.Tensor) -> torch.Tensor | None:
    """The tensor that `view` shows a part of, None where it is a tensor of its own."""
    return view._base


def place_of(view: torch.Tensor, whole: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(begins, shape): where the part begins in each dimension of `whole`, and the part's sizes there.

    A dimension that was selected away has size 1. None where the part is no block: steps, merged dimensions.
    """
    offset = int(view.storage_offset() - whole.storage_offset())
    begins, sizes, at = [], [], 0
    shape, strides = view.shape, view.stride()
    if not whole.is_contiguous():
        return None
    for size, stride in zip(whole.shape, whole.stride(), strict=True):
        begin, offset = divmod(offset, stride) if stride else (0, offset)
        begins.append(begin)
        left = whole.dim() - len(begins)
        if at < len(shape) and (strides[at] == stride or (shape[at] == 1 and len(shape) - at > left)):
            sizes.append(shape[at])
            at += 1
        else:
            sizes.append(1)
        if begin + sizes[-1] > size:
            return None
    return (tuple(begins), tuple(sizes)) if at == len(shape) and not offset else None
