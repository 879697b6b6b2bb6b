"""Which strides are free: classes of grids, components, groups of sites that must change together.

Grids that are added, concatenated or padded into one another share a cumulative stride: one *class*. A site is an edge
between classes with a step of at least 1, so classes on a cycle share a stride too: one *component*. Resizes and
transposed convolutions are equations between components. What is left to choose is a stride for each component.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from stridewise.axis import IDENTITY, Resize, Slice, Whole, Window
from stridewise.ir import Graph, Grid, remembered
from stridewise.records import quick

_ONE = IDENTITY.step(1)  # the very number that windows say: telling two apart takes longer


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A map between components: `site` (node index) can step, an equation (site None) keeps its `ratio`."""

    source: int
    target: int
    node: int
    grid: int
    ratio: Fraction
    site: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """One axis. of: the component of each grid (-1: no positions on this axis); edges: sites and equations between
    grids' components; inner: site nodes inside a component, whose step cannot change."""

    axis: int
    of: tuple[int, ...]
    count: int
    edges: tuple[Edge, ...]
    inner: frozenset[int]

    @property
    def free(self) -> int:
        """Components whose stride can be chosen: all but the input's."""
        return max(self.count - 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Sites that must change together: they lie on a common cycle of the component graph.

    stride: the step through the group, per axis. free: whether it can change. allowed: steps a plan may give it.
    """

    id: str
    sites: tuple[str, ...]
    stride: tuple[int, ...]
    free: bool
    allowed: tuple[int, ...]


def is_site_window(graph: Graph, grid: Grid) -> bool:
    """Whether a plan may change the step of the map that made `grid`."""
    return (
        grid.kind == "map"
        and grid.node is not None
        and graph.nodes[grid.node].site
        and "repeated" not in graph.nodes[grid.node].attrs
        and len(grid.maps) == graph.axes  # a window on an input with other axes is none of the plan's
        and any(isinstance(m, Window) for m in grid.maps)
    )


@remembered
def components(graph: Graph, axis: int = 0) -> Components:
    """The components of one axis."""
    parent = list(range(len(graph.grids)))

    def find(x: int) -> int:
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    raw: list[tuple[int, int, int, int, Fraction, bool]] = []
    for grid in _inputs(graph, axis):  # inputs of one size are read side by side, as if they were one
        parent[find(grid.index)] = find(
            next(g.index for g in _inputs(graph, axis) if g.sizes[axis] == grid.sizes[axis])
        )
    for grid in graph.grids:
        if axis >= len(grid.sizes) or not grid.local[axis]:
            continue
        for source, ratio, site in _relations(graph, grid, axis):
            if axis >= len(graph.grids[source].sizes) or not graph.grids[source].local[axis]:
                continue
            if not site and (ratio is _ONE or ratio == 1):
                parent[find(source)] = find(grid.index)
            else:
                raw.append((source, grid.index, grid.node or 0, grid.index, ratio, site))
    local = [g.index for g in graph.grids if axis < len(g.sizes) and g.local[axis]]
    classes = {root: i for i, root in enumerate(dict.fromkeys(find(g) for g in local))}
    of_class = [classes[find(g.index)] if axis < len(g.sizes) and g.local[axis] else -1 for g in graph.grids]
    arcs = [(of_class[s], of_class[t]) for s, t, *_, site in raw if site]
    component = strongly_connected(len(classes), arcs)
    order = {c: i for i, c in enumerate(dict.fromkeys(component[of_class[g]] for g in local))}
    of = tuple(order[component[c]] if c >= 0 else -1 for c in of_class)
    edges, inner = [], set()
    for source, target, node, grid_index, ratio, site in raw:
        if site and of[source] == of[target]:
            inner.add(node)
        else:
            edges.append(Edge(source=of[source], target=of[target], node=node, grid=grid_index, ratio=ratio, site=site))
    return Components(axis=axis, of=of, count=len(order), edges=tuple(edges), inner=frozenset(inner))


@remembered
def roots(graph: Graph, axis: int = 0) -> Mapping[int, int]:
    """The components whose sizes no plan moves, each with its first grid: of the inputs, then of every map that nothing
    before it says the size of (resized to a fixed one, or behind an op without a rule)."""
    parts = components(graph, axis)
    known: set[int] = set()
    out: dict[int, int] = {}
    for grid in (*_inputs(graph, axis), *graph.grids):
        home = parts.of[grid.index]
        if home < 0 or (home in known and grid.kind != "input"):
            continue
        out.setdefault(home, grid.index)
        todo = [home]
        while todo:
            at = todo.pop()
            known.add(at)
            ends = [e.target if e.source == at else e.source for e in parts.edges if at in (e.source, e.target)]
            todo += [end for end in ends if end not in known]
    return out


def _inputs(graph: Graph, axis: int) -> list[Grid]:
    grids = [graph.tensors[index].grid for _, index in graph.inputs]
    return [graph.grids[g] for g in grids if g is not None and axis < len(graph.grids[g].sizes)]


def _relations(graph: Graph, grid: Grid, axis: int) -> Iterable[tuple[int, Fraction, bool]]:
    """(source grid, ratio of cumulative strides, whether a site) for what ties `grid` to earlier grids."""
    if grid.kind == "map":
        change = grid.maps[axis]
        if isinstance(change, Whole):
            return
        if is_site_window(graph, grid):
            yield grid.sources[0], change.step(1), True
        elif isinstance(change, Window | Slice):
            yield grid.sources[0], change.step(1), False
        else:
            yield grid.sources[0], change.step(graph.grids[grid.sources[0]].sizes[axis]), False
    elif grid.kind == "join" and grid.mixes:
        yield grid.sources[0], _ONE, False
    elif grid.kind in ("join", "concat"):
        for source in grid.sources:
            yield source, _ONE, False
    elif grid.kind == "follow":
        followed = grid.followed(axis)
        # A share of a size that the op itself works with says how long it is, not how far its positions lie apart.
        resizes = isinstance(grid.maps[axis], Resize) or graph.grids[followed].node != grid.node
        yield followed if resizes else grid.sources[0], _ONE, False


def strongly_connected(count: int, arcs: Sequence[tuple[int, int]]) -> list[int]:
    """The strongly connected component of each of `count` vertices. Source: Tarjan 1972, without recursion."""
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in arcs:
        after[a].append(b)
    index = [-1] * count
    low = [0] * count
    component = [-1] * count
    stack: list[int] = []
    counter = found = 0
    for root in range(count):
        if index[root] >= 0:
            continue
        work = [(root, 0)]
        while work:
            at, position = work.pop()
            if index[at] < 0:
                index[at] = low[at] = counter
                counter += 1
                stack.append(at)
            deeper = False
            for i in range(position, len(after[at])):
                to = after[at][i]
                if index[to] < 0:
                    work += [(at, i), (to, 0)]
                    deeper = True
                    break
                if component[to] < 0:
                    low[at] = min(low[at], low[to])
            if deeper:
                continue
            if low[at] == index[at]:
                while True:
                    to = stack.pop()
                    component[to] = found
                    if to == at:
                        break
                found += 1
    return component


def blocks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The biconnected block of each undirected edge: edges share a block when they lie on a common cycle.

    Source: Hopcroft and Tarjan 1973, without recursion. Parallel edges form a cycle.
    """
    beside: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for i, (a, b) in enumerate(edges):
        beside[a].append((b, i))
        beside[b].append((a, i))
    depth, low = [-1] * count, [0] * count
    block = [-1] * len(edges)
    stack: list[int] = []
    found = 0
    for root in range(count):
        if depth[root] >= 0:
            continue
        depth[root] = 0
        work = [(root, -1, 0)]
        while work:
            at, via, position = work.pop()
            if position > 0:
                to, edge = beside[at][position - 1]
                if depth[to] == depth[at] + 1 and block[edge] < 0 and edge in stack and edge != via:
                    low[at] = min(low[at], low[to])
                    if low[to] >= depth[at]:
                        while True:
                            last = stack.pop()
                            block[last] = found
                            if last == edge:
                                break
                        found += 1
            if position == len(beside[at]):
                continue
            work.append((at, via, position + 1))
            to, edge = beside[at][position]
            if edge == via or block[edge] >= 0 or edge in stack:
                continue
            stack.append(edge)
            if depth[to] < 0:
                depth[to] = low[to] = depth[at] + 1
                work.append((to, edge, 0))
            else:
                low[at] = min(low[at], depth[to])
    return block


def groups(graph: Graph) -> tuple[Group, ...]:
    """The groups of sites that must change together, in executed order; sites inside components last, one group each
    component, not free."""
    if not graph.axes:
        return ()
    parts = components(graph, 0)
    block = blocks(parts.count, [(e.source, e.target) for e in parts.edges])
    members: dict[int, list[int]] = {}
    inside: dict[int, list[Edge]] = {}
    fixed: set[int] = set()
    for edge, b in zip(parts.edges, block, strict=True):
        inside.setdefault(b, []).append(edge)
        if edge.site:
            members.setdefault(b, []).append(edge.node)
        else:
            fixed.add(b)
    out: list[Group] = []
    for b, nodes in sorted(members.items(), key=lambda item: min(item[1])):
        stride = _through(graph, inside[b])
        free = b not in fixed
        allowed = tuple(sorted({1, 2, 4, *stride})) if free else tuple(sorted(set(stride)))
        out.append(
            Group(
                id=f"g{len(out)}",
                sites=tuple(graph.nodes[n].key for n in sorted(set(nodes))),
                stride=stride,
                free=free,
                allowed=allowed,
            )
        )
    inner: dict[int, list[str]] = {}
    for grid in graph.grids:
        if grid.node in parts.inner and is_site_window(graph, grid):
            inner.setdefault(parts.of[grid.index], []).append(graph.nodes[grid.node].key)
    for keys in inner.values():
        one = (1,) * graph.axes
        out.append(Group(id=f"g{len(out)}", sites=tuple(keys), stride=one, free=False, allowed=(1,)))
    return tuple(out)


def _through(graph: Graph, edges: Sequence[Edge]) -> tuple[int, ...]:
    """The step from a group's entry to where it is largest, per axis."""
    reach: dict[int, tuple[Fraction, ...]] = {}
    unmoved = (_ONE,) * graph.axes
    for edge in edges:
        base = reach.setdefault(edge.source, unmoved)
        if edge.target in reach or len(graph.grids[edge.grid].sizes) != graph.axes:  # of an input with other axes
            continue
        maps = graph.grids[edge.grid].maps
        size = graph.grids[graph.grids[edge.grid].sources[0]].sizes
        steps = tuple([m.step(n) for m, n in zip(maps, size, strict=True)]) if maps else unmoved
        # Multiplying Fractions takes long, and most steps are 1.
        reach[edge.target] = base if steps == unmoved else tuple([b * s for b, s in zip(base, steps, strict=True)])
    return tuple(int(max(r[a] for r in reach.values())) for a in range(graph.axes))


@remembered
def site_grids(graph: Graph) -> Mapping[int, int]:
    """The grid that each steppable site (node index) makes."""
    return {g.node: g.index for g in graph.grids if g.node is not None and is_site_window(graph, g)}
