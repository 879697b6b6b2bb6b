"""A step inserted behind a module: a forward hook that pools the module's output. State dict keys stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_POOLS: dict[tuple[str, int], Callable[..., torch.Tensor]] = {
    ("max", 1): functional.max_pool1d,
    ("max", 2): functional.max_pool2d,
    ("max", 3): functional.max_pool3d,
    ("mean", 1): functional.avg_pool1d,
    ("mean", 2): functional.avg_pool2d,
    ("mean", 3): functional.avg_pool3d,
}


class Step:
    """Pools what a module returns, over windows as large as the step. kind: max or mean; stride: one entry an axis."""

    def __init__(self, kind: str, stride: tuple[int, ...]) -> None:
        self.kind = kind
        self.stride = stride

    def __call__(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        if all(s == 1 for s in self.stride):
            return output
        pooled: torch.Tensor = _POOLS[self.kind, len(self.stride)](output, self.stride, self.stride)
        return pooled

    def __repr__(self) -> str:
        return f"Step({self.kind!r}, {self.stride})"


def step_of(module: nn.Module) -> Step | None:
    """The step inserted behind a module, None where there is none."""
    return next((h for h in module._forward_hooks.values() if isinstance(h, Step)), None)


class EndPad:
    """Pads what a module takes at the end of its axes, by (begin, end) pairs as torch's pad wants them.

    Keeps a window that falls one short of a parallel path in step with it: the edge is repeated, so that an average
    is not darkened.
    """

    def __init__(self, rows: tuple[int, ...]) -> None:
        self.rows = rows

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        pad = [n for rows in reversed(self.rows) for n in (0, rows)]
        return (functional.pad(args[0], pad, mode="replicate"), *args[1:])
