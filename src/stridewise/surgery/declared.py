"""Strides a model states about itself follow the real ones: timm's `feature_info`."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from torch import nn

from stridewise.analyses.strides import components
from stridewise.ir import Graph
from stridewise.rewrites.cumulative import cumulative, steps_of
from stridewise.rewrites.places import is_within
from stridewise.surgery.undo import Undo


def follow(model: nn.Module, graph: Graph, undo: Undo) -> list[str]:
    """Set every `reduction` in the model's feature info to the stride its module has in `graph`; a line for each."""
    info = getattr(model, "feature_info", None)
    rows: Any = getattr(info, "info", info)
    if not isinstance(rows, list | tuple) or not all(isinstance(r, Mapping) and "reduction" in r for r in rows):
        return []
    reach = [cumulative(graph, components(graph, a), steps_of(graph, a)) for a in range(graph.axes)]
    lines = []
    for row in rows:
        now = _stride(graph, reach, str(row.get("module", "")))
        if now is None or now == row["reduction"] or not isinstance(row, dict):
            continue
        lines.append(f"feature_info {row.get('module')}: reduction {row['reduction']} -> {now}")
        undo.item(row, "reduction", now)
    return lines


def _stride(graph: Graph, reach: list[list[Fraction]], module: str) -> Any:
    """The cumulative stride behind a module: a number, or one an axis where they differ; None where it has none."""
    last = next((n for n in reversed(graph.nodes) if module and is_within(n.path, module) and n.outputs), None)
    grid = graph.tensors[last.outputs[0]].grid if last is not None else None
    if grid is None:
        return None
    found = [reach[a][components(graph, a).of[grid]] for a in range(graph.axes)]
    whole = [int(f) if f.denominator == 1 else float(f) for f in found]
    return whole[0] if len(set(whole)) == 1 else tuple(whole)
