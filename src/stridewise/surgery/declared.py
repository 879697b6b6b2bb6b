"""What a model states about its own maps follows the real ones: position tables, timm's `feature_info`, a detector's
stride and anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from stridewise.analyses.strides import components
from stridewise.errors import PlanError, by
from stridewise.ir import Graph, Pin, Sizes, Table
from stridewise.rewrites.multipliers import cumulative, steps_of
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


Reach: TypeAlias = Sequence[Sequence[Fraction]]


def follow(model: nn.Module, before: Graph, graph: Graph, undo: Undo) -> list[str]:
    """Set what the model states of its strides to those it has in `graph`, by `before` that of old; a line for each."""
    old, new = _reach(before), _reach(graph)
    return [*_feature_info(model, graph, new, undo), *_tables(model, (before, old), (graph, new), undo)]


def _reach(graph: Graph) -> Reach:
    return [cumulative(graph, components(graph, a), steps_of(graph, a)) for a in range(graph.axes)]


def _feature_info(model: nn.Module, graph: Graph, reach: Reach, undo: Undo) -> list[str]:
    """Every `reduction` in the model's feature info."""
    info = getattr(model, "feature_info", None)
    rows: Any = getattr(info, "info", info)
    if not isinstance(rows, list | tuple) or not all(isinstance(r, Mapping) and "reduction" in r for r in rows):
        return []
    lines = []
    for row in rows:
        now = _stride(graph, reach, str(row.get("module", "")))
        if now is None or now == row["reduction"] or not isinstance(row, dict):
            continue
        lines.append(f"feature_info {row.get('module')}: reduction {row['reduction']} -> {now}")
        undo.item(row, "reduction", now)
    return lines


def _stride(graph: Graph, reach: Reach, module: str) -> Any:
    """The cumulative stride behind a module: a number, or one an axis where they differ; None where it has none."""
    last = next((n for n in reversed(graph.nodes) if module and is_within(n.path, module) and n.outputs), None)
    grid = graph.tensors[last.outputs[0]].grid if last is not None else None
    if grid is None:
        return None
    whole = [int(f) if f.denominator == 1 else float(f) for f in _at(graph, reach, grid)]
    return whole[0] if len(set(whole)) == 1 else tuple(whole)


def _at(graph: Graph, reach: Reach, grid: int) -> list[Fraction]:
    """The cumulative stride of a grid, an axis."""
    return [reach[a][components(graph, a).of[grid]] for a in range(graph.axes)]


def _tables(model: nn.Module, before: tuple[Graph, Reach], after: tuple[Graph, Reach], undo: Undo) -> list[str]:
    """Tensors `stride` with an entry a level, as detection heads hold, and what is made of them: anchors in steps of
    the level, and what the head keeps of the last forward."""
    lines: list[str] = []
    rewritten: dict[int, tuple[list[float], torch.Tensor, list[float]]] = {}
    paths = dict(model.named_modules())
    for path in sorted(paths, key=lambda p: -p.count(".") - bool(p)):  # the head itself before what holds it
        module = paths[path]
        table = getattr(module, "stride", None)
        if not isinstance(table, torch.Tensor) or table.dim() != 1 or table.is_meta:
            continue
        stated = [float(s) for s in table.tolist()]
        same = rewritten.get(id(table)) or next((r for r in rewritten.values() if r[0] == stated), None)
        now = same[2] if same else _levels(path, stated, before, after)
        if now is None or now == stated:
            continue
        new = same[1] if same else torch.tensor(now, dtype=table.dtype, device=table.device)
        rewritten[id(table)] = stated, new, now
        undo.set(module, "stride", new)
        lines.append(f"{path + '.' if path else ''}stride: {_said(stated)} -> {_said(now)}")
        lines += _anchors(path, module, [a / b for a, b in zip(stated, now, strict=True)], undo)
        _forget(module, undo)
    return lines


def _levels(
    path: str, stated: Sequence[float], before: tuple[Graph, Reach], after: tuple[Graph, Reach]
) -> list[float] | None:
    """The new strides of the levels that a head states; None where they are not told apart, or differ by axis."""
    graph, reach = before
    inside = [
        g for n in graph.nodes if is_within(n.path, path) for t in n.outputs if (g := graph.tensors[t].grid) is not None
    ]
    now = []
    for stride in stated:
        level = next(
            (g for g in inside if len(graph.grids[g].sizes) == graph.axes and set(_at(graph, reach, g)) == {stride}),
            None,
        )
        found = set() if level is None else set(_at(*after, level))
        if len(found) != 1:
            return None
        now.append(float(found.pop()))
    return now


def _anchors(path: str, module: nn.Module, ratios: Sequence[float], undo: Undo) -> list[str]:
    """Anchors (levels, anchors, 2) held in steps of their level keep their size in pixels."""
    anchors = module._buffers.get("anchors")
    if anchors is None or anchors.dim() != 3 or anchors.shape[0] != len(ratios):
        return []
    undo.set(module, "anchors", anchors * torch.tensor(ratios, dtype=anchors.dtype).to(anchors.device).view(-1, 1, 1))
    return [f"{path + '.' if path else ''}anchors: held in steps of their level, times {_said(ratios)}"]


def _forget(module: nn.Module, undo: Undo) -> None:
    """What a head keeps of its last forward, where its class says what it begins with: nothing."""
    for name, value in list(vars(module).items()):
        first = vars(type(module)).get(name, module)
        for kind in type(module).__mro__:
            first = vars(kind).get(name, first)
            if first is not module:
                break
        empty = first is None or (isinstance(first, torch.Tensor) and first.numel() == 0)
        if empty and isinstance(value, torch.Tensor | torch.Size | tuple):
            undo.set(module, name, first)


def _said(numbers: Sequence[float]) -> str:
    return ", ".join(f"{n:g}" for n in numbers)
