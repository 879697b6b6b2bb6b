"""Numbers in a live model that still assume the strides it had before a plan (SW201, SW202).

Nobody but their author knows what a number in a model is for, so these are hints: a stride that no map has any more,
in an attribute with a name that speaks of strides; a size that no map has any more, in an attribute that speaks of
sizes or in the shape of a table or buffer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from stridewise.analyses.fields import fields
from stridewise.analyses.strides import components
from stridewise.errors import by
from stridewise.findings import Finding
from stridewise.ir import Graph, Sizes
from stridewise.rewrites.multipliers import cumulative, steps_of

_OF_STRIDES = re.compile(r"stride|reduction|downsampl|subsampl|^steps$", re.I)
_OF_SCALES = re.compile(r"scales$", re.I)  # positions of a map for one of the picture, as pools of regions hold them
_OF_SIZES = re.compile(r"(feat|grid|map|input|img|image|anchor|spatial).*(size|shape|resolution)|resolution|hw$", re.I)
# What belongs to the op: its geometry is the plan's, and its weights have channels, not positions.
_OPS = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.Linear,
    nn.Unfold,
)


def still_assumed(model: nn.Module, before: Graph, after: Graph) -> tuple[Finding, ...]:
    """Attributes, parameters and buffers of `model` that fit the graph before a plan and not the one after it."""
    old_strides, new_strides = _strides(before), _strides(after)
    old_sizes, new_sizes = _sizes(before), _sizes(after)
    gone, left = old_strides - new_strides, old_sizes - new_sizes
    of_ops = {node.path for node in before.sites}
    found: list[Finding] = []
    for path, module in model.named_modules():
        if isinstance(module, _OPS):
            continue
        for name, value in vars(module).items():
            if name.startswith("_") or (path in of_ops and name in ("stride", "dilation")):
                continue
            where = f"{path}.{name}" if path else name
            found += _attribute(where, name, value, gone, left)
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                where = f"{path}.{name}" if path else name
                found += _tensor(where, name, tensor, gone, left)
    return tuple(found)


def _attribute(where: str, name: str, value: Any, gone: set[int], left: set[Sizes]) -> Iterator[Finding]:
    if _OF_SCALES.search(name) and isinstance(value, list | tuple):
        value = [round(1 / n, 6) if isinstance(n, float) and 0 < n < 1 else n for n in value]
        yield from _stale(where, _numbers(value) or (), gone)
    numbers = _numbers(value)
    if numbers is None:
        return
    if _OF_STRIDES.search(name):
        yield from _stale(where, numbers, gone)
    elif _OF_SIZES.search(name) and tuple(numbers) in left:
        yield _sized(where, f"is {by(numbers)}", tuple(numbers))


def _tensor(where: str, name: str, tensor: torch.Tensor, gone: set[int], left: set[Sizes]) -> Iterator[Finding]:
    if _OF_STRIDES.search(name):
        numbers = _numbers(tensor)
        if numbers is not None:
            yield from _stale(where, numbers, gone)
        return
    shape = tuple(tensor.shape)
    for size in sorted(left, reverse=True):
        cells = math.prod(size)
        if len(size) > 1 and shape[-len(size) :] == size:
            yield _sized(where, f"has the shape {by(shape)}", size)
            return
        if len(shape) > 1 and cells > 16 and any(n in (cells, cells + 1) for n in shape):
            yield _sized(where, f"has the shape {by(shape)}: {cells} positions", size)
            return


def _stale(where: str, numbers: Sequence[int], gone: set[int]) -> Iterator[Finding]:
    if len(numbers) == 1 and numbers[0] < 8:
        return  # a small number alone is a block's own step
    wrong = sorted({n for n in numbers if n in gone})
    if wrong:
        yield Finding(
            rule="SW201",
            severity="warning",
            key=where,
            message=f"{where}: still says stride {', '.join(map(str, wrong))}, which no map has under the plan. "
            "Set it to the new stride",
        )


def _sized(where: str, what: str, size: Sizes) -> Finding:
    return Finding(
        rule="SW202",
        severity="warning",
        key=where,
        message=f"{where}: {what}, made for a map of {by(size)}, which the plan changes. Make it anew for the new map",
    )


def _numbers(value: Any) -> list[int] | None:
    """Whole numbers in a number, a list or tuple of them, or a small tensor; None for anything else."""
    if isinstance(value, torch.Tensor):
        if value.device.type == "meta" or value.dim() > 1 or value.numel() > 64:
            return None
        value = value.tolist()
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and n == int(n) for n in value):
        return None
    return [int(n) for n in value]


def _strides(graph: Graph) -> set[int]:
    """Whole cumulative strides of all maps, along any axis; of the input, and of what the forward resizes it to."""
    known = fields(graph, [grid.sizes for grid in graph.grids], smallest=False).full
    every = [f.jump for grid, found in zip(graph.grids, known, strict=True) if all(grid.local) for f in found]
    for axis in range(graph.axes):
        every += cumulative(graph, components(graph, axis), steps_of(graph, axis))
    return {int(jump) for jump in every if jump.denominator == 1}


def _sizes(graph: Graph) -> set[Sizes]:
    """Sizes of all maps of more than one position."""
    return {grid.sizes for grid in graph.grids if all(grid.local) and any(n > 1 for n in grid.sizes)}
