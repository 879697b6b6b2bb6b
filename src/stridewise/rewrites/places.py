"""Where in the graph a plan's words stand: the step of a downsampling kind, and the calls of a shared module.

A blur goes behind the op, its norm and its activation, all of which work position by position; the other kinds right
behind the op. At a 1x1 convolution that gives the same as before it, where it is cheaper, they go there: averages
always, blurs and phases where nothing bent lies between them and the convolution (a shortcut). All is found in the
graph, never by the names of classes. Naming a module that runs more than once means all its calls, `#2` its second
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stridewise.axis import Window
from stridewise.ir import Graph, Node
from stridewise.ops.registry import op_named
from stridewise.plans import Plan, Setting

IN_A_LOOP = "runs several times, in a Loop; its runs cannot change apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a step goes: it takes `tensor`; reader: the one node that gets what it made, None: all that come later.

    behind, before: the module it runs right behind or before; None for both where only a call marks the place.
    """

    tensor: int
    reader: int | None = None
    behind: str | None = None
    before: str | None = None


def place_of(graph: Graph, site: Node, kind: str) -> Place:
    """Where the step of a site goes."""
    tensor, bent = _behind(graph, site)
    point = all(isinstance(m, Window) and m.span == 1 and m.padding(1) == (0, 0) for m in site.attrs["maps"])
    if op_named(site.op).convolves and point and (kind == "mean" or (kind != "max" and not bent)):
        before = _entered(graph, [site])
        return Place(tensor=site.inputs[0], reader=site.index, before=before)
    if kind != "blur":
        tensor = site.outputs[0]
    behind = _left(graph, tensor)
    readers = [n for n in graph.nodes if tensor in n.inputs]
    before = _entered(graph, readers) if behind is None and tensor not in graph.outputs else None
    return Place(tensor=tensor, behind=behind, before=before)


def is_repeated(graph: Graph, path: str) -> bool:
    """Whether a module, or one in it, runs more than once in a forward."""
    return any(node.call > 1 and is_within(node.path, path) for node in graph.nodes)


def is_within(path: str, module: str) -> bool:
    """Whether the module at `path` is `module` or lies in it."""
    return not module or path == module or path.startswith(f"{module}.")


def _left(graph: Graph, tensor: int) -> str | None:
    """The innermost module that gives a tensor out, which it made itself, once in a forward."""
    maker = next(n for n in graph.nodes if tensor in n.outputs)
    for path, made in graph.modules:
        if made == tensor and is_within(maker.path, path) and not is_repeated(graph, path):
            return path
    return None


def _entered(graph: Graph, readers: Sequence[Node]) -> str | None:
    """The module that takes a tensor as its operand when these are its only readers, None where there is none."""
    if not readers or not readers[0].path or is_repeated(graph, readers[0].path):
        return None
    path = readers[0].path
    first = next(n.index for n in graph.nodes if is_within(n.path, path))
    return path if first == readers[0].index and all(n.path == path for n in readers) else None


def _behind(graph: Graph, site: Node) -> tuple[int, bool]:
    """(The last tensor that alone leads on from a site while ops work position by position, whether one is bent)."""
    first = site.outputs[0]
    order: dict[int, tuple[int, ...]] = {first: tuple(range(len(graph.tensors[first].shape)))}
    made: list[tuple[int, int, bool]] = [(first, site.index, False)]
    bent = False
    for node in graph.nodes[site.index + 1 :]:
        inside = [order[t] for t in node.inputs if t in order]
        if not inside:
            continue
        between = op_named(node.op).between
        if between == "never" or len(inside) < len(node.inputs) or len(set(inside)) > 1 or node.site:
            break
        now = inside[0]
        if between == "order":
            if "order" not in node.attrs:  # axes moved in a way that is not told
                break
            now = tuple(now[i] for i in node.attrs["order"])
        bent = bent or (between == "bends" and not node.attrs.get("affine"))
        order[node.outputs[0]] = now
        made.append((node.outputs[0], node.index, bent))
    last_read: dict[int, int] = {}
    for node in graph.nodes:
        last_read.update(dict.fromkeys((t for t in node.inputs if t in order), node.index))
    last_read.update(dict.fromkeys((t for t in graph.outputs if t in order), len(graph.nodes)))
    best = first, False
    for tensor, maker, curved in made:
        alone = all(last_read.get(t, -1) <= maker for t, at, _ in made if at <= maker and t != tensor)
        if alone and order[tensor] == order[first] and len(graph.tensors[tensor].shape) == len(order[first]):
            best = tensor, curved
    return best


V = TypeVar("V")


def calls_of(graph: Graph, name: str) -> tuple[Node, ...]:
    """The nodes that a site's name stands for: every call of a shared module, one where `#` says which, none where
    there is no such op."""
    first = graph.node_named(name)
    if first is None:
        return ()
    if "#" in name or first.path != first.key:  # one call, or a function's: the next of its name is another op
        return (first,)
    return tuple([n for n in graph.nodes if n.path == first.path and (n is first or _is_later(n.key, first.key))])


def _is_later(key: str, first: str) -> bool:
    """Whether a key is that of a later call of the site called `first`."""
    name, mark, number = key.rpartition("#")
    return bool(mark) and name == first and number.isdigit()


def spread_out(graph: Graph, sites: Mapping[str, V]) -> dict[str, V]:
    """Settings by the keys of single calls, what is said of a shared module given to every call not named itself."""
    out: dict[str, V] = {}
    for key, value in sites.items():
        first = graph.node_named(key)
        calls = calls_of(graph, key)
        for node in calls:
            named = key if node is first else node.key
            if node is first or (named not in sites):
                out[named] = value
        if not calls:
            out[key] = value
    return out


def shared_alone(graph: Graph, plan: Plan) -> tuple[str, ...]:
    """A line for each shared module of which a plan changes some calls, and not all alike."""
    lines: dict[str, None] = {}
    for key in plan.sites:
        name = key.partition("#")[0]
        settings = {_told(plan, n) for n in calls_of(graph, name)}
        if len(settings) > 1:
            lines[f"{name}: its calls share their weights and differ under this plan; name {name} for all of them"] = (
                None
            )
    return tuple(lines)


def _told(plan: Plan, node: Node) -> Setting | None:
    return plan.sites.get(node.key, plan.sites.get(f"{node.key}#1"))
