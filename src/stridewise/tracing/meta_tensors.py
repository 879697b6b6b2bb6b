"""Tensors on the meta device made in the least time, and which part of one a view of it shows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

META = torch.device("meta")


def like(tensor: torch.Tensor) -> torch.Tensor:
    """A new tensor of the same shape, dtype and memory layout; on the meta device a clone is no more than that."""
    return tensor.clone() if tensor.is_contiguous() or is_dense(tensor) else torch.empty_like(tensor)


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill a block of memory in some order of the dimensions (a permuted tensor)."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def new(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return _example(shape, dtype).clone()  # half the time of `torch.empty`


@lru_cache(maxsize=4096)
def _example(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=META)


def is_float(*tensors: Any) -> bool:
    """Whether these are floating point tensors of one dtype."""
    first = tensors[0]
    return (
        isinstance(first, torch.Tensor)
        and first.is_floating_point()
        and all(isinstance(t, torch.Tensor) and t.dtype is first.dtype for t in tensors[1:])
    )


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
