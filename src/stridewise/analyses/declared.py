"""Declared strides against the real ones (SW201): `--declared`, timm's `feature_info`, a YOLO-style `stride`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TypeAlias

from stridewise.analyses.fields import State
from stridewise.analyses.sites import times
from stridewise.axis import Window
from stridewise.configs.values import Declared
from stridewise.findings import Finding
from stridewise.ir import Node

Stride: TypeAlias = tuple[Fraction, ...]


def cumulative_stride(state: State, tensor: int) -> Stride | None:
    """Input positions between neighbouring positions of a tensor, per axis; None where it has no positions left."""
    grid = state.graph.tensors[tensor].grid
    if grid is None or not all(state.graph.grids[grid].local) or not state.graph.tensors[tensor].volume.over:
        return None
    return tuple(f.jump for f in state.fields.full[grid])


def levels(state: State) -> tuple[Stride, ...]:
    """Cumulative strides at which features leave a level: before each downsampling, and of the last map, in order."""
    graph, found = state.graph, []
    for grid in graph.grids:
        if grid.kind == "map" and len(grid.sizes) == graph.axes and all(grid.local):
            before, after = state.fields.full[grid.sources[0]], state.fields.full[grid.index]
            if any(a.jump > b.jump for a, b in zip(after, before, strict=True)):
                found.append(tuple(f.jump for f in before))
    outputs = [cumulative_stride(state, t) for t in graph.outputs]
    if graph.last is not None:
        outputs.append(cumulative_stride(state, graph.last))
    found += [s for s in outputs if s is not None]
    return tuple(dict.fromkeys(found))


def pyramid(state: State) -> tuple[Stride, ...]:
    """The strides a declaration is about: those of the outputs where there are several maps, else of the levels."""
    outputs = [cumulative_stride(state, t) for t in state.graph.outputs]
    maps = tuple(dict.fromkeys(s for s in outputs if s is not None))
    return maps if len(maps) > 1 else levels(state)


def declared_differs(state: State, declared: Sequence[int | Sequence[int]] | None) -> Iterator[Finding]:
    """SW201 for what the caller declares and for what the model states about itself."""
    if declared:
        yield from _missing(state, declared, "declared", pyramid(state))
    modules = dict(state.graph.modules)
    for key, value in state.graph.declared:
        if isinstance(value, tuple) and key not in modules:
            every = {tuple(f.jump for f in fields) for fields in state.fields.full[1:]}
            real = pyramid(state)
            outputs = [s for s in (cumulative_stride(state, t) for t in state.graph.outputs) if s is not None]
            enough = max(len(real), len(outputs)) >= len(value)  # two outputs may have come to one stride
            missing = list(_missing(state, value, key, real if enough else tuple(sorted(every))))
            yield from missing
            stated = [(Fraction(entry),) * state.graph.axes for entry in value]
            if not missing and len(outputs) == len(value) and sorted(outputs) != sorted(stated):
                said, have = (", ".join(map(_short, strides)) for strides in (stated, outputs))
                yield _finding(key, f"{key}: declared strides {said}, the maps that go out have {have}")
        elif key in modules:
            found = cumulative_stride(state, modules[key])
            own = value if isinstance(value, tuple) else (value,) * state.graph.axes
            if found is not None and tuple(found) != tuple(own):
                yield _finding(key, f"{key}: declared stride {_short(own)}, the real one is {times(found)}")


def config_differs(state: State, stated: Sequence[Declared]) -> Iterator[Finding]:
    """SW201 for what a config declares, each with its line."""
    graph, outputs = state.graph, [s for s in (cumulative_stride(state, t) for t in state.graph.outputs) if s]
    for one in stated:
        if one.what == "levels":
            if len(outputs) > 1 and len(outputs) != len(one.entries):
                yield _of_config(one, f"made for {len(one.entries)} maps, and {len(outputs)} go out")
            continue
        if one.what == "dilations":
            real = sorted({d for node in graph.nodes for d in _dilations(state, node)})
            known = ", ".join(map(str, real)) or "none"
            for entry in one.entries:
                if entry[0] not in real:
                    yield _of_config(one, f"declared dilation {entry[0]} is of no layer; the real ones: {known}")
            continue
        every = {s for s in (_of_grid(state, grid.index) for grid in graph.grids) if s is not None}
        real_strides = pyramid(state)
        if one.what == "maps" or max(len(real_strides), len(outputs)) < len(one.entries):
            real_strides = tuple(sorted(every))
        about = f" ({one.about})" if one.about else ""
        for entry in one.entries:
            wanted = entry * graph.axes if len(entry) == 1 else entry
            if len(wanted) != graph.axes:
                yield _of_config(one, f"declares {len(wanted)} axes, and the network has {graph.axes}")
                break
            if wanted not in real_strides:
                have = ", ".join(_short(stride) for stride in real_strides) or "none"
                yield _of_config(one, f"declared stride {_short(wanted)}{about} is not among the real ones: {have}")


def _of_grid(state: State, grid: int) -> Stride | None:
    """The cumulative stride of a grid that has all positions."""
    found = state.graph.grids[grid]
    whole = len(found.sizes) == state.graph.axes and all(found.local)
    return tuple(f.jump for f in state.fields.full[grid]) if whole else None


def _dilations(state: State, node: Node) -> Iterator[int]:
    if node.site and node.grid is not None:
        yield from (w.dilation for w in state.windows(node) if isinstance(w, Window) and w.kernel > 1)


def _of_config(one: Declared, text: str) -> Finding:
    found = _finding(one.name, f"{one.file}:{one.line}: {one.name}: {text}")
    return replace(found, file=one.file, line=one.line)


def _missing(
    state: State, declared: Sequence[int | Sequence[int]], key: str, real: Sequence[Stride]
) -> Iterator[Finding]:
    for entry in declared:
        wanted = tuple(entry) if isinstance(entry, Sequence) else (entry,) * state.graph.axes
        if wanted not in real:
            known = ", ".join(_short(stride) for stride in real) or "none"
            yield _finding(key, f"{key}: declared stride {_short(wanted)} is not among the real ones: {known}")


def _short(stride: Sequence[object]) -> str:
    """A stride once where it is the same on every axis."""
    return str(stride[0]) if len(set(stride)) == 1 else times(stride)


def _finding(key: str, message: str) -> Finding:
    advice = "Correct the declaration, or change the strides with stridewise set"
    return Finding(rule="SW201", severity="warning", key=key, message=f"{message}. {advice}")
