"""Functions that a file defines itself, put in place of their calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import onnx

from stridewise.errors import LoadError

# Beyond this many nodes a file is no network: functions that call functions double with every level.
_MOST_NODES = 30_000
_Name: TypeAlias = tuple[str, str]


def inlined(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model with the nodes of its functions in place of the calls. Raises: LoadError where a function calls itself,
    or where there would be too many nodes."""
    from onnx import inliner

    bodies = {(f.domain, f.name): _calls(f.node) for f in model.functions}
    sizes: dict[_Name, int] = {}
    for name in bodies:
        _measure(name, bodies, sizes, where)
    total = sum(sizes.get(call, 1) for call in _calls(model.graph.node))
    if total > _MOST_NODES:
        raise LoadError(f"{where}: its functions would become more than {_MOST_NODES} nodes; no network is that long")
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LoadError(f"{where}: its functions do not fit together: {said}") from error


def _calls(nodes: Iterable[onnx.NodeProto]) -> list[_Name]:
    """What each node calls, those of graphs inside nodes too."""
    return [(node.domain, node.op_type) for node in _every(nodes)]


def _every(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _every(attribute.g.node)


def _measure(name: _Name, bodies: Mapping[_Name, list[_Name]], sizes: dict[_Name, int], where: str) -> None:
    """Count the nodes that a function becomes, those of the functions it calls first. Without recursion: a file may
    nest them as deep as it likes."""
    todo, open_ = [name], set[_Name]()
    while todo:
        at = todo[-1]
        inner = [call for call in bodies[at] if call in bodies and call not in sizes]
        if not inner:
            sizes[at] = sum(sizes.get(call, 1) for call in bodies[at])
            open_.discard(at)
            todo.pop()
            continue
        open_.add(at)
        if any(call in open_ for call in inner):
            raise LoadError(f"{where}: its function {at[1]} calls itself")
        todo += dict.fromkeys(inner)
