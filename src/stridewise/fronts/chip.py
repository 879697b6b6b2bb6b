"""A chip's limits on the plans of a front: no step that it does not take, and sizes checked block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stridewise.analyses.fields import evaluate
from stridewise.analyses.sizes import name_of
from stridewise.analyses.targets import (
    WHAT,
    Limit,
    Target,
    channels_of,
    limits_on,
    target_findings,
    values_of,
)
from stridewise.axis import AxisMap, Window
from stridewise.errors import PlanError
from stridewise.fronts.space import Move, Space
from stridewise.ir import Graph, Node
from stridewise.plans import Plan
from stridewise.rewrites.restride import restride


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit on the sizes that an op reads and makes, as variables, an entry an axis. slot: the move of a slot, where
    there is no op while it does not step, else -1."""

    limit: Limit
    before: tuple[int, ...]
    after: tuple[int, ...]
    slot: int

    def broken(self, sizes: Sequence[int]) -> bool:
        """Whether these sizes, by variable, break it."""
        return self.limit.broken([max(sizes[b], sizes[a]) for b, a in zip(self.before, self.after, strict=True)])


def keeping_to(found: Space, target: Target) -> Space:
    """The space with only those steps that the target takes.

    Raises: PlanError naming the first op that breaks a limit whatever it steps by.
    """
    moves = {m.node: m for m in found.moves.values()}
    kept: dict[int, Move] = dict(found.moves)
    for node in found.graph.nodes:
        limits = limits_on(target, node)
        if not limits or node.grid is None:
            continue
        move = moves.get(node.index)
        if move is None:
            why = _refusal(found.graph, node, limits, found.graph.grids[node.grid].maps, target)
        else:
            reasons = {o: _refusal_at(found.graph, node, limits, move, o, target) for o in move.options}
            options = tuple(o for o, reason in reasons.items() if not reason)
            kept[move.grid] = replace(move, options=options)
            why = "" if options else reasons[move.today] if move.today in reasons else next(iter(reasons.values()))
        if why:
            raise PlanError(
                f"{found.graph.model}: no plan keeps to {target.name}, whatever it steps by: {why}. "
                "Change the layer, or choose without --target"
            )
    return replace(found, moves=kept)


def _refusal_at(
    graph: Graph, node: Node, limits: Sequence[Limit], move: Move, step: tuple[int, ...], target: Target
) -> str:
    """Why a move may not take a step; "" where it may, as at a slot that does not step, where there is no op."""
    if move.slot and all(s == 1 for s in step):
        return ""
    return _refusal(graph, node, limits, move.windows(graph, step), target)


def _refusal(graph: Graph, node: Node, limits: Sequence[Limit], maps: Sequence[AxisMap], target: Target) -> str:
    for limit in limits:
        values = channels_of(node) if limit.what == "channels" else values_of(limit, maps) if limit.what in WHAT else []
        if values and limit.broken(values):
            return f"{name_of(graph, node)}: {limit.refusal(values, target.name)}"
    return ""


def padded_at_most(graph: Graph, move: Move, axis: int, most: int, target: Target | None) -> int:
    """End positions that a site's window may be given, of `most`, before it breaks a limit at any step."""
    limits = [] if target is None else limits_on(target, graph.nodes[move.node])
    for rows in range(most if target is not None else 0, 0, -1):
        grown = [_grown(move.windows(graph, step), axis, rows) for step in move.options if step != move.today]
        if all(
            not (values := values_of(limit, maps)) or not limit.broken(values)
            for maps in grown
            for limit in limits
            if limit.what in WHAT
        ):
            return rows
    return 0 if target is not None else most


def _grown(maps: Sequence[AxisMap], axis: int, rows: int) -> tuple[AxisMap, ...]:
    return tuple(
        replace(m, pad_end=m.pad_end + rows) if a == axis and isinstance(m, Window) else m for a, m in enumerate(maps)
    )


def caps(graph: Graph, moves: Sequence[Move], grids: Sequence[tuple[int, ...]], target: Target | None) -> list[Cap]:
    """The limits of a target on sizes. grids: each grid's variables."""
    slots: Mapping[int, int] = {m.node: i for i, m in enumerate(moves) if m.slot}
    return [
        Cap(limit, grids[graph.grids[node.grid].sources[0]], grids[node.grid], slots.get(node.index, -1))
        for node in graph.nodes
        if target is not None and node.grid is not None
        for limit in limits_on(target, node)
        if limit.what == "size" and graph.grids[node.grid].sources
    ]


def broken_by(graph: Graph, plan: Plan, target: Target | None) -> str:
    """The first limit of the target that the network under a plan breaks, in words; "" where it keeps to all."""
    if target is None:
        return ""
    under = restride(graph, plan).graph if plan else graph
    return next((finding.message for finding in target_findings(evaluate(under), target)), "")
