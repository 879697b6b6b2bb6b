"""Modules that run more than once in a forward: naming one means all its calls, `#2` its second alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from stridewise.ir import Graph, Node
from stridewise.plans import Plan, Setting

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
