"""A what-if: from a request to its completed plan and what follows from it, fast enough for a drag."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stridewise.analyses.findings import findings
from stridewise.analyses.state import State, evaluate
from stridewise.analyses.strides import site_grids
from stridewise.axis import Field
from stridewise.errors import UsageError, once
from stridewise.fronts.front import front
from stridewise.fronts.result import Front
from stridewise.ir import Graph
from stridewise.plans import Plan, Setting, asked_of
from stridewise.report.scale import Scale
from stridewise.report.values import plain
from stridewise.rewrites.certify import certify
from stridewise.rewrites.completion import make_plan
from stridewise.rewrites.dilate import check_shared, dilation
from stridewise.rewrites.kinds import kinds_at
from stridewise.rewrites.restride import restride
from stridewise.showing.json import marks_json, view_json
from stridewise.showing.show import is_layer, show, view

Json = dict[str, Any]
_MOST_CHANGES = 200


@dataclass(frozen=True, slots=False, kw_only=True, eq=False)
class Studied:
    """A traced network with what every what-if is compared with, computed once. live: it is no file. scale: of a
    pixel, in whose unit the page says lengths too."""

    graph: Graph
    live: bool = True
    scale: Scale | None = None

    @cached_property
    def original(self) -> Json:
        """The page's data for the network as it came: `show --json` and what the ladder needs beside it."""
        state = evaluate(self.graph, smallest=False)
        scale = {} if self.scale is None else {"scale": self.scale.over(self.graph.axes).to_json()}
        return show(self.graph).page_data() | scale | {"kinds": kinds(self.graph), "fields": fields_json(state)}

    @cached_property
    def front(self) -> Front:
        """The exact cost front over all plans of the network."""
        return front(self.graph)

    def plan(self, request: Json) -> Plan:
        """The completed plan of a request, as the browser sends it. Raises: PlanError, UsageError."""
        changes = request.get("changes", {})
        stride = request.get("output_stride")
        if not isinstance(changes, Mapping) or len(changes) > _MOST_CHANGES:
            raise UsageError(f"changes: at most {_MOST_CHANGES} sites with a stride each are wanted")
        if any(not isinstance(v, str | int) or len(str(v)) > 40 for v in changes.values()):
            raise UsageError("changes: a stride is written 2, 1x2 or 2:max")
        if stride is not None and not (isinstance(stride, int) or _whole(stride)):
            raise UsageError("output_stride: a whole number is wanted, or one an axis")
        keep, means = request.get("keep_weights", False), request.get("means", "dense")
        if not isinstance(keep, bool) or means not in ("dense", "grid"):
            raise UsageError("keep_weights: true or false is wanted, with means dense or grid")
        return make_plan(self.graph, changes, output_stride=stride, keep_weights=keep, means=means)

    def opened(self, request: Json) -> Json:
        """The wishes that a plan file (its text) amounts to here. Raises: PlanError where it is another's."""
        text = request.get("toml")
        if not isinstance(text, str):
            raise UsageError("toml: the text of a plan file is wanted")
        plan = Plan.from_toml(text, "this plan")
        restride(self.graph, plan)
        return _request(plan)

    def requested(self, request: Json) -> Json:
        """A request, an output stride say, as the wishes for every site that it comes to. Raises: PlanError."""
        return _request(self.plan(request))

    def what_if(self, request: Json) -> Json:
        """Sizes, strides, fields and costs under a request: its plan, and only what differs from the original."""
        begun = time.perf_counter()
        plan = self.plan(request)
        changed = restride(self.graph, plan, shapes=False)
        sizes = [grid.sizes for grid in changed.graph.grids]
        state = evaluate(changed.graph, smallest=False, sizes=sizes)
        found = view(state, rules=False)
        shown = view_json(found)
        return {
            "plan": plan_json(plan),
            "weights": self._weights(plan),
            "pads": [list(pad) for pad in changed.pads],
            "totals": shown["totals"],
            "outputs": shown["outputs"],
            "marks": marks_json(found),
            "fields": fields_json(state),
            "layers": differences(self.original["layers"], shown["layers"]),
            "ms": round((time.perf_counter() - begun) * 1e3, 3),
        }

    def _weights(self, plan: Plan) -> Json:
        """What the plan leaves of trained weights: "same", "exact", "means" (exact except means) or "retrain"."""
        if not plan:
            return {"state": "same", "reasons": []}
        if not plan.keep_weights:
            return {"state": "retrain", "reasons": []}
        dilated = dilation(self.graph, plan)
        if self.live:
            check_shared(dilated)
        found = certify(dilated)
        # A mean at the end leaves every map exact and still moves what the network says: to a person not "exact".
        return {"state": "means" if found.means else "exact", "reasons": list(found.reasons)}

    def rules(self, request: Json) -> Json:
        """The findings under a request; slower, so asked for when the hand rests."""
        state = evaluate(restride(self.graph, self.plan(request)).graph)
        return {"findings": plain(findings(state))}


def fields_json(state: State) -> Json:
    """By layer what one size and start do not tell of its field: below a resize the spans by phase, and whether they
    are upper bounds. An entry an axis: advance (input positions a turn of the phases) and spans ([first, last], null).
    """
    out: Json = {}
    by_grid: dict[int, Json | None] = {}
    for node in state.graph.nodes:
        grid = state.graph.tensors[node.outputs[0]].grid if is_layer(node) else None
        if grid is None:
            continue
        if grid not in by_grid:
            along = state.fields.full[grid]
            plain_field = all(len(f.spans) == 1 and not f.approximate for f in along)
            by_grid[grid] = None if plain_field else _phases(along)
        if by_grid[grid] is not None:
            out[node.key] = by_grid[grid]
    return out


def _phases(along: Sequence[Field]) -> Json:
    axes = [{"advance": f.advance, "spans": f.spans} for f in along]
    return {"axes": axes, "approximate": any(f.approximate for f in along)}


def _whole(values: Any) -> bool:
    return isinstance(values, list) and len(values) <= 3 and all(isinstance(v, int) for v in values)


def plan_json(plan: Plan) -> Json:
    """The plan's settings: for every site and slot (with a +) its stride, what it was, and how it steps."""
    slots = {f"+{key}": setting for key, setting in plan.insert.items()}
    return {
        key: {"stride": list(s.stride), "was": list(s.was), "downsample": s.downsample, "how": asked_of(s)}
        for key, s in [*plan.sites.items(), *slots.items()]
    }


def _request(plan: Plan) -> Json:
    return {"changes": wishes(plan), "keep_weights": plan.keep_weights, "means": plan.means}


def wishes(plan: Plan) -> dict[str, str]:
    """A completed plan as a person would have asked for it: for every site and slot "1x2" or "2:blur:3"."""
    slots = {f"+{key}": setting for key, setting in plan.insert.items()}
    return {
        key: _wish(setting, "max" if key in slots else "stride") for key, setting in ({**plan.sites, **slots}).items()
    }


def _wish(setting: Setting, usual: str) -> str:
    parts = [once(setting.stride)] if setting.stride else []
    if setting.downsample != usual:
        parts.append(asked_of(setting))
    return ":".join(parts)


def differences(before: Sequence[Json], after: Sequence[Json]) -> list[Any]:
    """The rows of `after` as an edit of `before`: [n] for n rows as they were, {"as": i, ...changed} or a whole row."""
    index = {row["key"]: i for i, row in enumerate(before)}
    out: list[Any] = []
    expected = 0
    for row in after:
        i = index.get(row["key"])
        if i is None:
            out.append(row)
            continue
        old = before[i]
        if row == old and i == expected:
            if out and isinstance(out[-1], list):
                out[-1][0] += 1
            else:
                out.append([1])
        else:
            out.append({"as": i} | {name: value for name, value in row.items() if value != old[name]})
        expected = i + 1
    return out


def kinds(graph: Graph) -> dict[str, list[str]]:
    """The ways to step: at slots ("+"), at most sites (""), and by name where one has others; the usual one first."""
    sites = {graph.nodes[n].key: list(kinds_at(graph, graph.nodes[n])) for n in site_grids(graph)}
    usual = max(sites.values(), key=list(sites.values()).count, default=[])
    return {"+": list(kinds_at(graph, None)), "": usual} | {key: own for key, own in sites.items() if own != usual}
