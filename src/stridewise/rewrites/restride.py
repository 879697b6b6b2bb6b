"""A graph under a plan: windows with new steps, steps inserted at slots, sizes anew. (Graph, Plan) -> Graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stridewise.analyses.sizes import grid_sizes
from stridewise.analyses.strides import site_grids
from stridewise.axis import AxisMap, Window
from stridewise.errors import GeometryError, PlanError, by
from stridewise.ir import Graph, Pin, Sizes, Slot
from stridewise.ops.step import Inserted
from stridewise.plans import Plan, Setting
from stridewise.rewrites.dilate import dilated_graph, dilation, resized
from stridewise.rewrites.insert import inserted
from stridewise.rewrites.kinds import SPACE, check_kinds, filled, made_by, own_windows, with_growth
from stridewise.rewrites.phases import phases
from stridewise.rewrites.places import Place, place_of
from stridewise.rewrites.reconciliation import reconciled

_NO_FIT = ": the plan does not fit; take smaller steps, or an input size that they divide"


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
    plan = filled(graph, plan)
    _maps(graph, plan)
    _check_network(graph, plan)
    check_kinds(graph, plan)
    phases(graph, plan)
    if plan.keep_weights:
        return Restrided(graph=dilated_graph(dilation(graph, plan), inputs))
    stepped = _with_steps(graph, plan)
    maps = _maps(stepped, plan)
    for key, setting in plan.insert.items():
        there = _slot(stepped, key, setting).node
        if there is not None:
            grid = stepped.nodes[there].grid
            assert grid is not None
            maps[grid] = _step_of(setting).windows
    try:
        sizes, pads, maps = reconciled(stepped, maps, inputs)
    except GeometryError as error:
        raise PlanError(f"{error}{_NO_FIT}") from error
    grids = tuple(
        g.measuring(sizes[g.index], maps.get(g.index, g.maps)) if sizes[g.index] != g.sizes or g.index in maps else g
        for g in stepped.grids
    )
    slots = tuple(_slot_now(s, plan) for s in stepped.slots) if plan.insert else stepped.slots
    out = replace(stepped, grids=grids, slots=slots, pins=_resampled(stepped, sizes))
    out = _without_idle_steps(out)
    _check_borders(out)
    if shapes:
        old = [g.sizes for g in stepped.grids]
        out = replace(out, tensors=tuple([resized(t, old, sizes) for t in out.tensors]))
    return Restrided(graph=out, pads=pads)


def _resampled(graph: Graph, sizes: Sequence[Sizes]) -> tuple[Pin, ...]:
    """The pins, position tables that can be made for other sizes with the sizes that they are made for then."""
    return tuple(
        [p if p.table is None or graph.source is None else replace(p, sizes=sizes[p.grid]) for p in graph.pins]
    )


def _with_steps(graph: Graph, plan: Plan) -> Graph:
    """The graph with every step that the plan inserts, and grown kernels, before any size is computed anew."""
    for key, setting in plan.sites.items():
        node = graph.node_named(key)
        assert node is not None
        made = made_by(setting)
        if made is not None:
            place = place_of(graph, node, made.kind)
            graph = inserted(graph, place, made, f"{node.key}/{made.kind}", node.path)
        elif setting.downsample == SPACE:
            graph = with_growth(graph, key, setting)
    for key, setting in plan.insert.items():
        slot, steps = _slot(graph, key, setting), any(s > 1 for s in setting.stride)
        if slot.node is not None and steps and graph.nodes[slot.node].op != _step_of(setting).op:
            graph = _idle(graph, {slot.node}, named=False)  # another kind takes its place
            slot = replace(slot, node=None)
        if slot.node is None and steps:
            place = Place(tensor=slot.tensor, behind=slot.key)
            graph = inserted(graph, place, _step_of(setting), f"+{slot.key}", slot.key)
    return graph


def _step_of(setting: Setting) -> Inserted:
    made = made_by(setting, slot=True)
    assert made is not None
    return made


def _check_borders(graph: Graph) -> None:
    for node in graph.nodes:
        if "needs" in node.attrs and node.grid is not None:
            size = graph.grids[graph.grids[node.grid].sources[0]].sizes
            if any(n < least for n, least in zip(size, node.attrs["needs"], strict=True)):
                raise PlanError(
                    f"{node.key}: its border needs {by(node.attrs['needs'])} positions or more, and {by(size)} "
                    "arrive; use the border zero or a shorter filter"
                )


def with_sizes(graph: Graph, inputs: Sizes | None = None) -> Graph:
    """The graph with every shape as it is when the input measures `inputs`. Raises PlanError where nothing fits."""
    try:
        sizes = grid_sizes(graph, inputs)
    except GeometryError as error:
        raise PlanError(f"{error}{_NO_FIT}") from error
    grids = tuple(g if g.sizes == s else replace(g, sizes=s) for g, s in zip(graph.grids, sizes, strict=True))
    old = [g.sizes for g in graph.grids]
    tensors = tuple(resized(t, old, sizes) for t in graph.tensors)
    return replace(graph, grids=grids, tensors=tensors)


def _check_network(graph: Graph, plan: Plan) -> None:
    """Refuse a plan for a network whose sites are others, even where those that the plan names are there."""
    here = graph.fingerprint
    if plan.fingerprint and here and plan.fingerprint != here:
        for key, setting in plan.insert.items():  # which says more where the plan is there already
            _slot(graph, key, setting)
        raise PlanError(
            f"{graph.model} has {here}; the plan was made for {plan.model or 'another network'}, which has "
            f"{plan.fingerprint}: make a plan for this network, or take it with --force (plan.forced() in Python)"
        )


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
                f"{key}: steps by {by(now)}, the plan says it was {by(setting.was)}: another network, or changed "
                "already"
            )
        if setting.stride:
            out[grid.index] = own_windows(setting, grid.maps)
    return out


def _slot(graph: Graph, key: str, setting: Setting) -> Slot:
    for slot in graph.slots:
        if slot.key == key or key in slot.aliases:
            if setting.was and setting.was != slot.stride:
                raise PlanError(
                    f"+{key}: steps by {by(slot.stride)}, the plan says it was {by(setting.was)}: another network, "
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
    return Inserted(kind="max", stride=tuple(stride), slot=True).windows


def _without_idle_steps(graph: Graph) -> Graph:
    """Inserted steps of 1 are no op any more."""
    idle = {s.node for s in graph.slots if s.node is not None and all(n == 1 for n in s.stride)}
    return _idle(graph, idle) if idle else graph


def _idle(graph: Graph, idle: set[int], named: bool = True) -> Graph:
    """The graph in which these steps do nothing: their output shares their input's memory."""
    tensors, nodes, grids = list(graph.tensors), list(graph.nodes), list(graph.grids)
    for index in idle:
        node = graph.nodes[index]
        assert node.grid is not None
        for t in node.outputs:
            tensors[t] = replace(tensors[t], storage=tensors[node.inputs[0]].storage)
        nodes[index] = replace(node, site=False, keeps="none", key=node.key if named else "")
        grids[node.grid] = replace(grids[node.grid], maps=(Window(),) * len(grids[node.grid].maps))
    for i, tensor in enumerate(tensors):
        root = tensors[tensor.storage].storage
        if root != tensor.storage:
            tensors[i] = replace(tensor, storage=root)
    return replace(graph, tensors=tuple(tensors), nodes=tuple(nodes), grids=tuple(grids))
