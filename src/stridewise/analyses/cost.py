"""Work and memory at any sizes: multiply-adds, activations, peak bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from stridewise.ir import Graph, Node, Sizes, Volume


def macs(graph: Graph, sizes: Sequence[Sizes]) -> int:
    """Multiply-adds of convolution, linear and matmul in one forward (half of torch's FlopCounterMode)."""
    return sum(node.macs.at(sizes) for node in graph.nodes if node.counted)


def activations(graph: Graph, sizes: Sequence[Sizes]) -> int:
    """Output elements of convolution, linear and matmul (timm's `macts`)."""
    return sum(volume.at(sizes) for node in graph.nodes if node.counted for volume in computed(graph, node))


def computed(graph: Graph, node: Node) -> tuple[Volume, ...]:
    """What a counted op computes: its output, and the scores of fused attention (its MACs over the width of a score:
    the channels of a query and of a value)."""
    out = graph.tensors[node.outputs[0]].volume
    width = node.attrs.get("width")
    return (out, node.macs.scaled(Fraction(1, width))) if width else (out,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """When memory is taken and given back: (born, dies, tensor) for each storage, in node order; born -1: an input."""

    spans: tuple[tuple[int, int, int], ...]
    nodes: int


@dataclass(frozen=True, slots=True, eq=False)
class _Executed:
    """A graph seen as what it runs: graphs that share their nodes, as those under plans of windows do, are equal."""

    graph: Graph

    def __hash__(self) -> int:
        return id(self.graph.nodes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Executed) and self.graph.nodes is other.graph.nodes


def lifetimes(graph: Graph) -> Lifetimes:
    """First and last use of every storage over the executed order; views and in-place ops share their operand's."""
    return _lifetimes(_Executed(graph))


@lru_cache(maxsize=8)
def _lifetimes(executed: _Executed) -> Lifetimes:
    graph = executed.graph
    born: dict[int, int] = {t: -1 for _, t in graph.inputs}
    dies: dict[int, int] = dict(born)
    for node in graph.nodes:
        for tensor in node.outputs:
            root = graph.tensors[tensor].storage
            born.setdefault(root, node.index)
            dies[root] = max(dies.get(root, node.index), node.index)
        for tensor in node.inputs:
            dies[graph.tensors[tensor].storage] = node.index
    for tensor in graph.outputs:
        dies[graph.tensors[tensor].storage] = len(graph.nodes)
    return Lifetimes(spans=tuple((born[r], dies[r], r) for r in sorted(born)), nodes=len(graph.nodes))


def peak_bytes(graph: Graph, sizes: Sequence[Sizes]) -> int:
    """Most bytes of activations alive at once in one forward (batch as traced, eval), the input counted."""
    change = [0] * (len(graph.nodes) + 3)
    for born, dies, tensor in lifetimes(graph).spans:
        root = graph.tensors[tensor]
        size = root.volume.at(sizes) * root.itemsize
        change[born + 1] += size
        change[dies + 2] -= size
    alive = peak = 0
    for step in change:
        alive += step
        peak = max(peak, alive)
    return peak


def kept_bytes(graph: Graph, sizes: Sequence[Sizes], batch: int = 1) -> int:
    """Bytes of activations that backward keeps (weights not counted): the sum over storages some op saves.

    An op that overwrites what it must keep saves a copy. `attrs["statistics"]`: elements kept once a batch.
    Source: torch's derivatives.yaml for which operand each op saves; checked against saved_tensors_hooks.
    """
    kept: set[int] = set()
    copies = shared = 0
    for node in graph.nodes:
        if node.keeps == "none":
            continue
        saved = list(node.outputs[:1] if node.keeps == "output" else node.inputs)
        if node.keeps in ("input", "all"):
            saved = list(node.inputs[:1])
        if node.keeps != "output" and saved and _overwrites(graph, node):
            lost = graph.tensors[saved.pop(0)]
            copies += lost.volume.at(sizes) * lost.itemsize
        if node.keeps == "all":
            saved += node.outputs[1:]
        shared += int(node.attrs.get("statistics", 0)) * graph.tensors[node.outputs[0]].itemsize
        kept.update(graph.tensors[t].storage for t in saved)
    own = sum(graph.tensors[r].volume.at(sizes) * graph.tensors[r].itemsize for r in kept)
    return (own + copies) * batch + shared


def _overwrites(graph: Graph, node: Node) -> bool:
    """Whether a node writes its output over its first operand."""
    return graph.tensors[node.outputs[0]].storage == graph.tensors[node.inputs[0]].storage
