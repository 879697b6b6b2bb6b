"""Tensors on the meta device that are a shape, a dtype and a layout, made in the least time."""

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
