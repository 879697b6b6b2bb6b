"""Steps that agree on all paths: wanted sites get theirs, parallel paths follow at the least cost.

The least cost is the smallest cut between two vertices of a small directed graph with capacities on its arcs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from fractions import Fraction

from stridewise.analyses.sizes import where
from stridewise.analyses.strides import Components, Edge, roots, site_grids
from stridewise.axis import Adaptive
from stridewise.errors import PlanError
from stridewise.ir import Graph
from stridewise.rewrites.multipliers import cumulative, takes_all

# What changing an unnamed parallel site costs: one that steps today before one that does not, a window that covers
# the new step before one that would leave positions unread.
_STEPS_TODAY, _COVERS, _LEAVES_UNREAD = 1, 100, 1000


def cap(graph: Graph, parts: Components, steps: dict[int, int], most: int, keep_weights: bool = False) -> None:
    """Change `steps` so that every cumulative stride above `most` comes down to it.

    keep_weights: a resize may then read a coarser grid. Raises: PlanError where a site would step by a fraction, where
    a fixed factor ties the strides on its two sides, or where no cumulative stride lies above `most`.
    """
    reach = cumulative(graph, parts, steps)
    one = {e.target for e in parts.edges if takes_all(graph, e, parts.axis)}
    reach = [Fraction(1) if at in one else c for at, c in enumerate(reach)]
    if most > max(reach, default=1):
        top = max(reach, default=Fraction(1))
        raise PlanError(f"output stride {most}: the network's is {top}; name a site or slot that should step more")
    given = roots(graph, parts.axis)
    new = [c if at in given else min(c, Fraction(most)) for at, c in enumerate(reach)]
    for edge in parts.edges:
        if edge.target in one or edge.source in one:
            continue
        step = new[edge.target] / new[edge.source]
        name = graph.nodes[edge.node].key or where(graph, graph.grids[edge.grid])
        if not edge.site and step != edge.ratio and not (keep_weights and _absorbs(graph, edge, parts.axis)):
            raise PlanError(
                f"output stride {most}: {name} has a fixed factor of {1 / edge.ratio} "
                "and ties the strides on both sides"
            )
        if edge.site:
            if step.denominator != 1:
                options = sorted({int(c) for c in reach if c.denominator == 1 and c < max(reach)})
                raise PlanError(f"output stride {most}: {name} would step by {step}; possible are {options}")
            steps[edge.node] = int(step)


def _absorbs(graph: Graph, edge: Edge, axis: int) -> bool:
    """Whether a map of fixed factor can read a coarser grid, so that kept weights untie its two sides."""
    return edge.ratio < 1 or isinstance(graph.grids[edge.grid].maps[axis], Adaptive)


def complete(graph: Graph, parts: Components, steps: dict[int, int], wanted: Mapping[int, int]) -> None:
    """Change `steps` so that the wanted sites get theirs and parallel paths follow.

    Raises: PlanError naming the cycle, the fixed factor or the other wish that forbids it.
    """
    edges = {e.node: e for e in parts.edges if e.site}
    done: set[int] = set()
    for node, want in wanted.items():
        if node in parts.inner:
            if want != 1:
                raise PlanError(f"{graph.nodes[node].key}: cannot step by {want}: {_cycle(graph, parts, node)}")
            continue
        if steps[node] != want:
            edge = edges.get(node)
            if edge is None:
                raise PlanError(
                    f"{graph.nodes[node].key}: has one position along axis {parts.axis}: nothing to step over"
                )
            _move(graph, parts, steps, edge, want, {n for n in wanted if n not in done and n != node}, done)
        done.add(node)
    for node, want in wanted.items():
        if node not in parts.inner and steps[node] != want:
            others = ", ".join(graph.nodes[n].key for n in wanted if n != node)
            raise PlanError(f"{graph.nodes[node].key}={want} contradicts what is asked of {others}")


def _move(
    graph: Graph,
    parts: Components,
    steps: dict[int, int],
    edge: Edge,
    want: int,
    open_: set[int],
    done: set[int],
) -> None:
    """Scale the cumulative stride of what lies behind `edge`, cutting parallel paths where it costs least."""
    factor = Fraction(want, steps[edge.node])
    arcs: list[tuple[int, int, int]] = []
    for other in parts.edges:
        cost = 0 if other is edge else _cost(graph, other, steps, factor, open_, done)
        arcs.append((other.source, other.target, cost))
        arcs.append((other.target, other.source, ENDLESS))
    for given in set(roots(graph, parts.axis)) - {edge.source}:  # sizes that are given stay what they are
        arcs.append((edge.source, given, ENDLESS))
        arcs.append((given, edge.source, 0))
    capacity, before = smallest_cut(parts.count, arcs, edge.source, edge.target)
    if capacity >= ENDLESS:
        raise PlanError(f"{graph.nodes[edge.node].key}={want}: {_forbidden(graph, parts, edge, steps, factor, done)}")
    for other in parts.edges:
        if other.site and other.source in before and other.target not in before:
            steps[other.node] = int(steps[other.node] * factor)


def _cost(graph: Graph, edge: Edge, steps: Mapping[int, int], factor: Fraction, open_: set[int], done: set[int]) -> int:
    """What it costs to let `edge` take the factor."""
    if not edge.site or edge.node in done:
        return ENDLESS
    new = steps[edge.node] * factor
    if new.denominator != 1:
        return ENDLESS
    if edge.node in open_:
        return 0
    if steps[edge.node] > 1:
        return _STEPS_TODAY
    kernel = min(graph.nodes[edge.node].attrs.get("kernel") or (1,))
    return _COVERS if kernel >= new else _LEAVES_UNREAD


def _forbidden(
    graph: Graph, parts: Components, edge: Edge, steps: Mapping[int, int], factor: Fraction, done: set[int]
) -> str:
    """The parallel path that cannot follow: the sites or resize on it that would have to step by a fraction."""
    stuck = [
        other
        for other in parts.edges
        if other is not edge and _cost(graph, other, steps, factor, set(), done) >= ENDLESS
    ]
    behind = _behind(parts, edge.target)
    crossing = [e for e in stuck if e.target in behind and e.source not in behind] or stuck
    names = [graph.nodes[e.node].key or where(graph, graph.grids[e.grid]) for e in crossing]
    fixed = [e for e in stuck if not e.site]
    if fixed:
        e = fixed[0]
        name = graph.nodes[e.node].key or where(graph, graph.grids[e.grid])
        return (
            f"the path back through {name} has a fixed factor of {1 / e.ratio} and joins what lies before "
            f"{graph.nodes[edge.node].key}; the strides on this cycle cannot change alone: change one "
            "outside it"
        )
    named = [graph.nodes[e.node].key for e in crossing if e.node in done]
    if named:
        return f"contradicts what is asked of {', '.join(named)}, which lies on a parallel path"
    return f"the parallel path through {', '.join(names[:3])} would have to step by a fraction ({factor} of today)"


def _behind(parts: Components, start: int) -> set[int]:
    """The components that can be reached from `start`."""
    seen, todo = {start}, [start]
    while todo:
        at = todo.pop()
        for edge in parts.edges:
            if edge.source == at and edge.target not in seen:
                seen.add(edge.target)
                todo.append(edge.target)
    return seen


def _cycle(graph: Graph, parts: Components, node: int) -> str:
    """Why a site inside a component cannot step: the join that ties its output to its input."""
    home = site_grids(graph)[node]
    component = parts.of[home]
    joins = [
        where(graph, g)
        for g in graph.grids
        if g.kind in ("join", "concat") and not g.mixes and parts.of[g.index] == component and g.index > home
    ]
    path = [graph.nodes[n].key for n in sorted(parts.inner) if parts.of[site_grids(graph).get(n, 0)] == component]
    near = [p for p in path if p.rsplit(".", 1)[0] == graph.nodes[node].key.rsplit(".", 1)[0]] or path
    join = joins[0] if joins else "a later join"
    return (
        f"its path ({' -> '.join(near[:4])}) ends in {join}, where it is joined with its own input, which has no step "
        "of its own; insert a step at a slot instead"
    )


ENDLESS = 10**9


def smallest_cut(count: int, arcs: Sequence[tuple[int, int, int]], source: int, sink: int) -> tuple[int, set[int]]:
    """(capacity of the cut, vertices on the source's side) for arcs (from, to, capacity).

    The source's side is the largest one, so that a cut lies as late as it can. Source: Edmonds and Karp 1972.
    """
    after: list[list[int]] = [[] for _ in range(count)]
    to: list[int] = []
    left: list[int] = []
    for a, b, capacity in arcs:
        after[a].append(len(to))
        to.append(b)
        left.append(capacity)
        after[b].append(len(to))
        to.append(a)
        left.append(0)
    total = 0
    while total < ENDLESS:
        came = {source: -1}
        queue = deque([source])
        while queue and sink not in came:
            at = queue.popleft()
            for arc in after[at]:
                if left[arc] and to[arc] not in came:
                    came[to[arc]] = arc
                    queue.append(to[arc])
        if sink not in came:
            break
        path = []
        at = sink
        while at != source:
            path.append(came[at])
            at = to[came[at] ^ 1]
        flow = min(left[arc] for arc in path)
        for arc in path:
            left[arc] -= flow
            left[arc ^ 1] += flow
        total += flow
    # Vertices that still reach the sink lie on its side; all others on the source's.
    back = {sink}
    queue = deque([sink])
    while queue:
        at = queue.popleft()
        for arc in after[at]:
            other = to[arc]
            if left[arc ^ 1] and other not in back:
                back.add(other)
                queue.append(other)
    return total, set(range(count)) - back
