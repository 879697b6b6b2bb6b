"""Work and memory at any sizes: multiply-adds, activations, peak bytes (DESIGN 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from stridewise.ir import Graph, Sizes


def macs(graph: Graph, sizes: Sequence[Sizes]) -> int:
    """Multiply-adds of convolution, linear and matmul in one forward (half of torch's FlopCounterMode)."""
    return sum(node.macs.at(sizes) for node in graph.nodes if node.counted)


def activations(graph: Graph, sizes: Sequence[Sizes]) -> int:
    """Output elements of convolution, linear and matmul (timm's `macts`)."""
    total = 0
    for node in graph.nodes:
        if node.counted:
            total += graph.tensors[node.outputs[0]].volume.at(sizes) + int(node.attrs.get("products", 0))
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """When memory is taken and given back: (born, dies, tensor) for each storage, in node order; born -1: an input."""

    spans: tuple[tuple[int, int, int], ...]
    nodes: int


@lru_cache(maxsize=64)
def lifetimes(graph: Graph) -> Lifetimes:
    """First and last use of every storage over the executed order; views and in-place ops share their operand's."""
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


def kept_bytes(graph: Graph, sizes: Sequence[Sizes]) -> int:
    """Bytes of activations that backward keeps (weights not counted): the sum over storages some op saves.

    Source: torch's derivatives.yaml for which operand each op saves; checked against saved_tensors_hooks.
    """
    kept: set[int] = set()
    for node in graph.nodes:
        if node.keeps == "input":
            kept.update(node.inputs[:1])
        elif node.keeps == "inputs":
            kept.update(node.inputs)
        elif node.keeps == "output":
            kept.update(node.outputs[:1])
    roots = {graph.tensors[t].storage for t in kept}
    return sum(graph.tensors[r].volume.at(sizes) * graph.tensors[r].itemsize for r in roots)
