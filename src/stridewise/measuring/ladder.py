"""Where a network steps, and where its maps can be met: module paths with their strides, from its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from stridewise.analyses.fields import State, evaluate
from stridewise.ir import Graph
from stridewise.tracing.steps import step_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A map that a module gives out; geometry an entry an axis.

    stride: input pixels between its positions; start: the input pixel under the middle of what its position 0 sees;
    field: receptive field; depth: place in executed order; inserted: a step runs behind the module, and this is the
    map before it.
    """

    path: str
    stride: tuple[int, ...]
    start: tuple[int, ...]
    field: tuple[int, ...]
    size: tuple[int, ...]
    channels: int
    depth: int
    inserted: bool = False

    @property
    def watch(self) -> str:
        """The path to watch: the map is what "+path" takes, or what "path" gives."""
        return f"+{self.path}" if self.inserted else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepping:
    """A module that steps ("+path": the step inserted behind it). stride: its own; before, after: cumulative strides;
    kind: the op's name."""

    path: str
    kind: str
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


def maps(graph: Graph) -> tuple[Map, ...]:
    """One map for each cumulative stride and place before a step: the last module that gives it out, in order.

    Modules that run more than once, and maps whose strides are no whole numbers, are left out.
    """
    state = evaluate(graph)
    repeated = {node.path for node in graph.nodes if node.call > 1}
    best: dict[tuple[int, ...], Map] = {}
    behind = {slot.key: graph.nodes[slot.node].inputs[0] for slot in graph.slots if slot.node is not None}
    for path, index in (*graph.modules, *behind.items()):
        tensor = graph.tensors[index]
        if not path or tensor.grid is None or path in repeated or not tensor.known:
            continue
        grid = graph.grids[tensor.grid]
        jumps = [f.jump for f in state.fields.full[tensor.grid]]
        if not all(grid.local) or tensor.shape[2:] != grid.sizes or any(j.denominator != 1 for j in jumps):
            continue
        stride = tuple(int(j) for j in jumps)
        if stride in best and (best[stride].depth, -best[stride].path.count(".")) >= (index, -path.count(".")):
            continue
        fields = state.fields.full[tensor.grid]
        best[stride] = Map(
            path=path,
            stride=stride,
            start=tuple(int(f.centre) for f in fields),
            field=tuple(f.size for f in fields),
            size=grid.sizes,
            channels=tensor.shape[1],
            depth=index,
            inserted=behind.get(path) == index,
        )
    return tuple(sorted(best.values(), key=lambda m: m.depth))


def stepping(graph: Graph, model: nn.Module) -> tuple[tuple[Stepping, ...], tuple[str, ...]]:
    """The modules that step, in executed order, and the sites that do so without a module of their own."""
    state = evaluate(graph)
    modules = {path for path, _ in model.named_modules()}
    found: list[Stepping] = []
    without = []
    for node in graph.nodes:
        if not node.site or node.grid is None or not graph.grids[node.grid].sources:
            continue
        before, after = (_whole(state, g) for g in (graph.grids[node.grid].sources[0], node.grid))
        if before is None or after is None or not any(a > b for a, b in zip(after, before, strict=True)):
            continue
        path = node.key.split("#")[0]
        if node.path in modules and step_of(model.get_submodule(node.path)) is not None:
            path = f"+{node.path}"
        own = tuple(a // b for a, b in zip(after, before, strict=True))
        if path.removeprefix("+") in modules and node.call == 1:
            found.append(Stepping(path=path, kind=node.op, stride=own, before=before, after=after))
        else:
            without.append(node.key)
    return tuple(found), tuple(without)


def _whole(state: State, grid: int) -> tuple[int, ...] | None:
    jumps = [f.jump for f in state.fields.full[grid]]
    return tuple(int(j) for j in jumps) if all(j.denominator == 1 for j in jumps) else None


def powers(strides: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The sizes of detail to ask for, in pixels: 2, 4, 8, ... up to the coarsest stride."""
    most = max((max(stride) for stride in strides), default=2)
    return tuple(2**k for k in range(1, max(most, 2).bit_length()))
