"""A graph under a plan: windows with new steps, steps inserted at slots, sizes anew. (Graph, Plan) -> Graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stridewise.analyses.sizes import grid_sizes
from stridewise.analyses.strides import site_grids
from stridewise.axis import AxisMap, Window
from stridewise.errors import GeometryError, PlanError
from stridewise.ir import Graph, Grid, Node, Sizes, Slot, Tensor, Volume
from stridewise.plans import Plan, Setting
from stridewise.rewrites.dilate import dilated_graph, dilation
from stridewise.rewrites.meet import settled
from stridewise.rewrites.resized import resized


@dataclass(frozen=True, slots=True, kw_only=True)
class Restrided:
    """A graph under a plan, and the end padding that windows got so that parallel paths meet: (key, axis, rows)."""

    graph: Graph
    pads: tuple[tuple[str, int, int], ...] = ()


def restride(graph: Graph, plan: Plan, inputs: Sizes | None = None, shapes: bool = True) -> Restrided:
    """The graph of the network under `plan`, at the traced or the given input size; shapes: bring the tensors' shapes
    along, which no report of sizes, fields and costs reads.

    Raises: PlanError where the plan names what the network does not have, or sizes no longer agree.
    """
    maps = _maps(graph, plan)
    if plan.keep_weights:
        return Restrided(graph=dilated_graph(dilation(graph, plan), inputs))
    for key, setting in plan.insert.items():
        slot = _slot(graph, key, setting)
        if slot.node is not None:
            maps[graph.nodes[slot.node].grid or 0] = pool_of(setting.stride)
    try:
        sizes, pads, maps = settled(graph, maps, inputs)
    except GeometryError as error:
        raise PlanError(f"the plan does not fit: {error}") from error
    grids = tuple(
        g.measuring(sizes[g.index], maps.get(g.index, g.maps)) if sizes[g.index] != g.sizes or g.index in maps else g
        for g in graph.grids
    )
    old = [g.sizes for g in graph.grids]
    tensors = tuple([resized(t, old, sizes) for t in graph.tensors]) if shapes else graph.tensors
    slots = graph.slots if not plan.insert else tuple(_slot_now(s, plan) for s in graph.slots)
    out = replace(graph, grids=grids, tensors=tensors, slots=slots)
    out = _without_idle_steps(_made_otherwise(out, plan) if plan.insert else out)
    added = False
    for key, setting in plan.insert.items():
        slot = next(s for s in out.slots if s.key == key or key in s.aliases)
        if slot.node is None and any(s > 1 for s in setting.stride):
            out, added = _inserted(out, slot, setting), True
    return Restrided(graph=with_sizes(out, inputs) if added else out, pads=pads)


def with_sizes(graph: Graph, inputs: Sizes | None = None) -> Graph:
    """The graph with every shape as it is when the input measures `inputs`. Raises PlanError where nothing fits."""
    try:
        sizes = grid_sizes(graph, inputs)
    except GeometryError as error:
        raise PlanError(f"the plan does not fit: {error}") from error
    grids = tuple(g if g.sizes == s else replace(g, sizes=s) for g, s in zip(graph.grids, sizes, strict=True))
    old = [g.sizes for g in graph.grids]
    tensors = tuple(resized(t, old, sizes) for t in graph.tensors)
    return replace(graph, grids=grids, tensors=tensors)


def _maps(graph: Graph, plan: Plan) -> dict[int, tuple[AxisMap, ...]]:
    """The replaced maps by grid. Raises PlanError for a site that is not there or is not as the plan says it was."""
    steppable = site_grids(graph)
    out: dict[int, tuple[AxisMap, ...]] = {}
    for key, setting in plan.sites.items():
        node = graph.node_named(key)
        if node is None or node.index not in steppable:
            raise PlanError(
                f"{key}: {graph.model} has no such site; the plan was made for {plan.model or 'another network'}"
            )
        grid = graph.grids[steppable[node.index]]
        now = tuple(m.stride if isinstance(m, Window) else 1 for m in grid.maps)
        if setting.stride and len(setting.stride) != len(now):
            raise PlanError(f"{key}: {len(setting.stride)} strides for {len(now)} axes")
        if setting.was and setting.was != now:
            raise PlanError(
                f"{key}: steps by {_by(now)}, the plan says it was {_by(setting.was)}: another network, or changed "
                "already"
            )
        if setting.stride:
            out[grid.index] = tuple(
                replace(m, stride=s) if isinstance(m, Window) else m
                for m, s in zip(grid.maps, setting.stride, strict=True)
            )
    return out


def _slot(graph: Graph, key: str, setting: Setting) -> Slot:
    for slot in graph.slots:
        if slot.key == key or key in slot.aliases:
            if setting.was and setting.was != slot.stride:
                raise PlanError(
                    f"+{key}: steps by {_by(slot.stride)}, the plan says it was {_by(setting.was)}: another network, "
                    "or changed already"
                )
            if len(setting.stride) != len(slot.stride):
                raise PlanError(f"+{key}: {len(setting.stride)} strides for {len(slot.stride)} axes")
            return slot
    raise PlanError(f"+{key}: {graph.model} has no such slot; the plan was made for another network")


def _slot_now(slot: Slot, plan: Plan) -> Slot:
    for key in (slot.key, *slot.aliases):
        if key in plan.insert:
            setting = plan.insert[key]
            return replace(slot, stride=setting.stride, kind=setting.downsample)
    return slot


def pool_of(stride: Sequence[int]) -> tuple[AxisMap, ...]:
    """The window of a step inserted at a slot: as large as its step."""
    return tuple(Window(kernel=s, stride=s) for s in stride)


def opened(graph: Graph, keys: Sequence[str]) -> Graph:
    """The graph with a step of 1 inserted at each of these slots, so that every plan is a change of windows alone."""
    one = (1,) * graph.axes
    for key in keys:
        slot = next(s for s in graph.slots if s.key == key)
        graph = _inserted(graph, slot, Setting(stride=one, was=one, downsample="max"))
    return graph


def _op_of(kind: str) -> str:
    """The op of a step that is inserted at a slot."""
    return "max_pool" if kind == "max" else "avg_pool"


def _made_otherwise(graph: Graph, plan: Plan) -> Graph:
    """Steps that are at slots already, made by what the plan says."""
    nodes = list(graph.nodes)
    for slot in graph.slots:
        if slot.node is not None and any(key in plan.insert for key in (slot.key, *slot.aliases)):
            node, op = nodes[slot.node], _op_of(slot.kind)
            if node.op != op:
                nodes[slot.node] = replace(node, op=op, target=f"slot.{op}", attrs={**node.attrs, "kind": slot.kind})
    return replace(graph, nodes=tuple(nodes))


def _without_idle_steps(graph: Graph) -> Graph:
    """Inserted steps of 1 are no op any more: their output shares its input's memory."""
    idle = {s.node for s in graph.slots if s.node is not None and all(n == 1 for n in s.stride)}
    if not idle:
        return graph
    tensors = list(graph.tensors)
    nodes = list(graph.nodes)
    for index in idle:
        node = graph.nodes[index]
        for t in node.outputs:
            tensors[t] = replace(tensors[t], storage=tensors[node.inputs[0]].storage)
        nodes[index] = replace(node, site=False, keeps="none")
    for i, tensor in enumerate(tensors):
        root = tensors[tensor.storage].storage
        if root != tensor.storage:
            tensors[i] = replace(tensor, storage=root)
    return replace(graph, tensors=tuple(tensors), nodes=tuple(nodes))


def _inserted(graph: Graph, slot: Slot, setting: Setting) -> Graph:
    """The graph with a pool behind the slot's tensor; whatever came later refers to the new one."""
    made_by = max((n.index for n in graph.nodes if slot.tensor in n.outputs), default=-1)
    at_node = made_by + 1
    at_tensor, source = max(graph.nodes[made_by].outputs, default=slot.tensor) + 1, graph.tensors[slot.tensor]
    at_grid = max((g.index for g in graph.grids if g.node is None or g.node <= made_by), default=-1) + 1

    def node_of(i: int | None) -> int | None:
        return i if i is None or i < at_node else i + 1

    def grid_of(i: int | None, later: bool) -> int | None:
        if i == slot.grid and later:
            return at_grid
        return i if i is None or i < at_grid else i + 1

    def tensor_of(i: int, later: bool) -> int:
        if i == slot.tensor and later:
            return at_tensor
        return i if i < at_tensor else i + 1

    def volume(v: Volume, later: bool) -> Volume:
        terms = tuple(volume(term, later) for term in v.plus)
        return Volume(v.scale, tuple((grid_of(g, later) or 0, a) for g, a in v.over), terms)

    def moved_grid(g: Grid) -> Grid:
        later = g.index >= at_grid
        sources = tuple(grid_of(s, later) or 0 for s in g.sources)
        return replace(g, index=grid_of(g.index, False) or 0, node=node_of(g.node), sources=sources)

    def moved_tensor(t: Tensor) -> Tensor:
        later = t.index >= at_tensor
        storage = tensor_of(t.storage, later)
        if later and graph.tensors[t.storage].storage == source.storage:
            storage = at_tensor
        return replace(
            t,
            index=tensor_of(t.index, False),
            storage=storage,
            grid=grid_of(t.grid, later),
            volume=volume(t.volume, later),
        )

    def moved_node(n: Node) -> Node:
        later = n.index >= at_node
        return replace(
            n,
            index=node_of(n.index) or 0,
            inputs=tuple(tensor_of(t, later) for t in n.inputs),
            outputs=tuple(tensor_of(t, False) for t in n.outputs),
            grid=grid_of(n.grid, later),
            macs=volume(n.macs, later),
        )

    maps = pool_of(setting.stride)
    new_grid = replace(
        graph.grids[slot.grid], index=at_grid, kind="map", sources=(slot.grid,), maps=maps, node=at_node, mixes=False
    )
    new_tensor = replace(
        source,
        index=at_tensor,
        storage=at_tensor,
        grid=at_grid,
        volume=Volume(source.volume.scale, tuple((at_grid, a) for _, a in source.volume.over)),
    )
    op = _op_of(setting.downsample)
    new_node = Node(
        index=at_node,
        op=op,
        target=f"slot.{op}",
        path=slot.key,
        key=f"+{slot.key}",
        inputs=(slot.tensor,),
        outputs=(at_tensor,),
        grid=at_grid,
        site=True,
        attrs={"kernel": setting.stride, "maps": maps, "kind": setting.downsample, "channels": (source.shape[1],) * 2},
        keeps="input",
    )
    nodes, tensors, grids = list(graph.nodes), list(graph.tensors), list(graph.grids)
    return replace(
        graph,
        nodes=(*map(moved_node, nodes[:at_node]), new_node, *map(moved_node, nodes[at_node:])),
        tensors=(*map(moved_tensor, tensors[:at_tensor]), new_tensor, *map(moved_tensor, tensors[at_tensor:])),
        grids=(*map(moved_grid, grids[:at_grid]), new_grid, *map(moved_grid, grids[at_grid:])),
        inputs=tuple((n, tensor_of(t, False)) for n, t in graph.inputs),
        outputs=tuple(tensor_of(t, True) for t in graph.outputs),
        pins=tuple(
            replace(p, node=node_of(p.node) or 0, grid=grid_of(p.grid, (p.node >= at_node)) or 0) for p in graph.pins
        ),
        unknown=tuple(replace(u, node=node_of(u.node) or 0) for u in graph.unknown),
        slots=tuple(
            replace(
                s,
                grid=grid_of(s.grid, s.tensor > slot.tensor) or 0,
                tensor=tensor_of(s.tensor, False),
                node=at_node if s.key == slot.key else node_of(s.node),
            )
            for s in graph.slots
        ),
        last=None if graph.last is None else tensor_of(graph.last, True),
    )


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
