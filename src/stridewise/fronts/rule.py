"""The rule plan: halve each axis as often as the map stays large enough, at evenly spaced depths.

Source: nnU-Net (Isensee et al. 2021, supplementary note on the automated configuration): the axes are halved until the
map would fall below 4 positions, an axis more than twice as fine as another first; each resolution gets the same number
of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stridewise.errors import PlanError
from stridewise.fronts.space import space
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.rewrites.completion import make_plan

SMALLEST_MAP = 4


def rule_plan(graph: Graph, *, slots: bool | None = None, smallest: int = SMALLEST_MAP) -> Plan | None:
    """The rule's plan in the free sites and slots of this network; None where they cannot express it.

    Steps that are there today stay as near to their place as the rule lets them. smallest: positions a map keeps.
    """
    found = space(graph, slots=slots)
    today = found.graph.grids[0].sizes
    halvings = _halvings(today, smallest)
    places = [
        m for m in sorted(found.moves.values(), key=lambda m: m.node) if len(m.options) > 1 and not any(m.implied)
    ]
    if not places or not halvings:
        return None
    request: dict[str, Any] = {_name(m.key, m.slot): 1 for m in places if any(s > 1 for s in m.today)}
    depth = [m.node for m in places]
    span = len(found.graph.nodes)
    chosen: list[int] = []
    for k in range(1, len(halvings) + 1):
        left = [i for i in range(len(places)) if i not in chosen]
        if not left:
            break
        chosen.append(min(left, key=lambda i: abs(depth[i] - k * span / (len(halvings) + 1))))
    for i, step in zip(sorted(chosen), halvings, strict=False):
        request[_name(places[i].key, places[i].slot)] = list(step)
    try:
        return make_plan(graph, request)
    except PlanError:
        return None


def _halvings(sizes: Sequence[int], smallest: int) -> list[tuple[int, ...]]:
    """The steps of the rule from first to last, one entry an axis.

    >>> _halvings((8, 32), 4)
    [(1, 2), (2, 2), (1, 2)]
    """
    sizes, out = list(sizes), []
    while any(n // 2 >= smallest for n in sizes):
        finest = max(n for n in sizes if n // 2 >= smallest)
        step = tuple(2 if n // 2 >= smallest and 2 * n >= finest else 1 for n in sizes)
        sizes = [n // s for n, s in zip(sizes, step, strict=True)]
        out.append(step)
    return out


def _name(key: str, slot: str) -> str:
    return f"+{slot}" if slot else key
