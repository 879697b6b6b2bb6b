"""The slow way to a front: every combination of steps, each carried out on the graph, each compared with each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

from stridewise.analyses import cost
from stridewise.analyses.strides import Components, components, site_grids
from stridewise.axis import Window
from stridewise.errors import PlanError
from stridewise.ir import Graph, Node
from stridewise.plans import Plan, Setting
from stridewise.rewrites.restride import restride

Cost = tuple[int, int, int]


def best(graph: Graph, steps: Sequence[int] = (1, 2), smallest: int = 1) -> dict[tuple[Fraction, Cost], int]:
    """{(output stride, (MACs, peak bytes, activations)): fewest changes} of the plans that none beats (equal axes)."""
    found: dict[tuple[Fraction, Cost], int] = {}
    for plan, stride in consistent(graph, steps):
        costs = priced(graph, plan, smallest)
        if costs is not None:
            changes = len(plan.sites) + len(plan.insert)
            found[stride, costs] = min(changes, found.get((stride, costs), changes))
    return {point: n for point, n in found.items() if not any(beats(other, point) for other in found)}


def all_plans(graph: Graph, steps: Sequence[int] = (1, 2)) -> set[tuple[Fraction, Cost]]:
    """(output stride, costs) of every plan that can be carried out, beaten or not."""
    return {(stride, costs) for plan, stride in consistent(graph, steps) if (costs := priced(graph, plan)) is not None}


def beats(a: tuple[object, Cost], b: tuple[object, Cost]) -> bool:
    """Whether a is of b's output stride, nowhere worse and somewhere better."""
    (macs, peak, made), (other_macs, other_peak, other_made) = a[1], b[1]
    no_worse = macs <= other_macs and peak <= other_peak and made >= other_made
    return a != b and a[0] == b[0] and no_worse


def priced(graph: Graph, plan: Plan, smallest: int = 1) -> Cost | None:
    """What a plan costs by carrying it out; None where it does not fit or steps further than its map reaches."""
    try:
        after = restride(graph, plan).graph
    except PlanError:
        return None
    sizes = [g.sizes for g in after.grids]
    for grid in after.grids:
        for axis, (size, local) in enumerate(zip(grid.sizes, grid.local, strict=True)):
            if not local or grid.kind != "map" or grid.node is None:
                continue
            change = grid.maps[axis]
            at = sizes[grid.sources[0]][axis]
            if size < smallest:
                return None
            node = after.nodes[grid.node]
            if node.site and isinstance(change, Window) and change.stride > at and not _beyond_today(graph, plan, node):
                return None
    for pin in graph.pins:
        if sizes[pin.grid] != pin.sizes:
            return None
    return cost.macs(after, sizes), cost.peak_bytes(after, sizes), cost.activations(after, sizes)


def _beyond_today(graph: Graph, plan: Plan, node: Node) -> bool:
    """Whether a site that the plan leaves alone steps further than its map reaches in the network as it is."""
    if node.key in plan.sites or graph.node_named(node.key) is None:
        return False
    grid = graph.grids[site_grids(graph)[graph.node_named(node.key).index]]
    at = graph.grids[grid.sources[0]].sizes
    return any(getattr(m, "stride", 1) > n for m, n, here in zip(grid.maps, at, grid.local, strict=True) if here)


def consistent(graph: Graph, steps: Sequence[int]) -> Iterator[tuple[Plan, Fraction]]:
    """Every plan whose cumulative strides agree wherever paths meet, with the last map's, equal on both axes."""
    parts = components(graph, 0)
    grids = site_grids(graph)
    today = {n: tuple(getattr(m, "stride", 1) for m in graph.grids[g].maps) for n, g in grids.items()}
    sites = [e for e in parts.edges if e.site]
    single = {*steps, *(t[0] for t in today.values())}
    products = sorted({a * b * c for a in single for b in single for c in single})
    choices = [products if _beside(parts, e.node) else sorted({*steps, today[e.node][0]}) for e in sites]
    last = parts.of[graph.tensors[graph.last].grid] if graph.last is not None else 0
    slots = {s.node: s for s in graph.slots if s.node is not None}
    for chosen in itertools.product(*choices):
        reach = _cumulative(parts, dict(zip((e.node for e in sites), chosen, strict=True)))
        if reach is None:
            continue
        rows, insert = {}, {}
        for edge, step in zip(sites, chosen, strict=True):
            if (step,) * graph.axes != today[edge.node]:
                setting = Setting(stride=(step,) * graph.axes, was=today[edge.node])
                if edge.node in slots:
                    insert[slots[edge.node].key] = Setting(stride=setting.stride, was=setting.was, downsample="max")
                else:
                    rows[graph.nodes[edge.node].key] = setting
        yield Plan(sites=rows, insert=insert, model=graph.model), reach[last]


def _beside(parts: Components, node: int) -> bool:
    """Whether a longer path leads to where a site leads."""
    edge = next(e for e in parts.edges if e.node == node and e.site)
    todo = [(edge.source, 0)]
    while todo:
        at, length = todo.pop()
        if at == edge.target and length > 1:
            return True
        todo += [(e.target, length + 1) for e in parts.edges if e.source == at and (e.site or e.ratio > 1)]
    return False


def _cumulative(parts: Components, steps: dict[int, int]) -> list[Fraction] | None:
    """Every component's cumulative stride, None where two paths disagree."""
    reach: dict[int, Fraction] = {0: Fraction(1)}
    for _ in range(parts.count):
        for edge in parts.edges:
            ratio = Fraction(steps[edge.node]) if edge.site else edge.ratio
            if edge.source in reach and reach.setdefault(edge.target, reach[edge.source] * ratio) != (
                reach[edge.source] * ratio
            ):
                return None
            if edge.target in reach:
                reach.setdefault(edge.source, reach[edge.target] / ratio)
    return [reach.get(c, Fraction(1)) for c in range(parts.count)]
