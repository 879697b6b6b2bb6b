"""Position tables of a live model, made for other sizes: interpolated as timm does it for a finer or coarser grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from stridewise.errors import PlanError, by
from stridewise.ir import Graph, Pin, Sizes, Table
from stridewise.rewrites.places import is_within
from stridewise.surgery.undo import Undo

_MODES = {1: "linear", 2: "bicubic", 3: "trilinear"}


def resample_tables(model: nn.Module, before: Graph, after: Graph, undo: Undo) -> list[str]:
    """Make every position table for the sizes that `after` has where `before` had others; a line for each.

    Raises: PlanError where the table is no weight of the model as it stands there.
    """
    lines = []
    for old, new in zip(before.pins, after.pins, strict=True):
        if old.table is None or old.sizes == new.sizes:
            continue
        path, module, name = _owner(model, before, old, old.table)
        held = getattr(module, name)
        made: torch.Tensor = resampled(held.detach(), old.table, old.sizes, new.sizes)
        undo.set(module, name, nn.Parameter(made, held.requires_grad) if isinstance(held, nn.Parameter) else made)
        how = _MODES[len(old.sizes)]
        lines.append(f"{path}: position table {by(old.sizes)} -> {by(new.sizes)}, {how} interpolation")
    return lines


def _owner(model: nn.Module, graph: Graph, pin: Pin, table: Table) -> tuple[str, nn.Module, str]:
    """(path, module, name) of the weight that a position table is."""
    inside = graph.nodes[pin.node].path
    found = [
        (f"{path}.{name}" if path else name, module, name)
        for path, module in model.named_modules()
        for name, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None and tuple(tensor.shape) == table.shape and is_within(path, inside)
    ]
    named = [each for each in found if "pos" in each[0].lower()]
    for among in (named, found):
        if len(among) == 1:
            return among[0]
    raise PlanError(
        f"{graph.nodes[pin.node].key or inside or 'the model'}: {pin.message} ({pin.kind}), and no weight of that "
        "shape is the table itself: leave the size of its map as it is"
    )


def resampled(table: torch.Tensor, layout: Table, old: Sizes, new: Sizes) -> torch.Tensor:
    """The table for `new` sizes. Entries beside the positions stay.

    Source: timm.layers.resample_abs_pos_embed: bicubic, antialiased, over the grid of positions, in float32.
    """
    if len(layout.dims) > 1:
        return _interpolated(table.movedim(layout.dims, tuple(range(-len(old), 0))), new).movedim(
            tuple(range(-len(old), 0)), layout.dims
        )
    dim = layout.dims[0]
    begin, positions, end = table.split([layout.begin, table.shape[dim] - layout.begin - layout.end, layout.end], dim)
    last = positions.movedim(dim, -1)
    made = _interpolated(last.reshape(*last.shape[:-1], *old), new).flatten(-len(new)).movedim(-1, dim)
    return torch.cat([begin, made, end], dim)


def _interpolated(maps: torch.Tensor, new: Sequence[int]) -> torch.Tensor:
    """(..., *old) -> (..., *new)."""
    axes = len(new)
    flat = maps.reshape(1, -1, *maps.shape[-axes:]).float()
    made = functional.interpolate(flat, size=tuple(new), mode=_MODES[axes], antialias=axes == 2)
    return made.reshape(*maps.shape[:-axes], *new).to(maps.dtype)
