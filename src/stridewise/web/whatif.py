"""A what-if: from a request to its completed plan and what follows from it, fast enough for a drag."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from operator import attrgetter
from threading import Lock
from typing import Any

from stridewise.analyses import cost
from stridewise.analyses.fields import State, evaluate
from stridewise.analyses.findings import findings
from stridewise.analyses.limits import smallest_input
from stridewise.analyses.strides import site_grids
from stridewise.api import rehearsed
from stridewise.axis import Field
from stridewise.errors import PlanError, UsageError, once
from stridewise.fronts.front import front
from stridewise.fronts.result import Front
from stridewise.ir import Graph
from stridewise.plans import Plan, Setting, asked_of
from stridewise.report.scale import Scale
from stridewise.report.values import plain
from stridewise.rewrites.certify import Certificate, certify
from stridewise.rewrites.completion import planned
from stridewise.rewrites.dilate import dilation
from stridewise.rewrites.instead import instead
from stridewise.rewrites.kinds import kinds_at
from stridewise.rewrites.restride import Restrided, restride
from stridewise.showing.json import layer_json, marks_json, totals_json
from stridewise.showing.json import plain as number
from stridewise.showing.rows import Layer
from stridewise.showing.show import Report, is_layer, show, view

Json = dict[str, Any]
_MOST_CHANGES = 200
_KEPT_ANSWERS = 24
_MOST_OFFERS = 5
_REQUEST = ("changes", "output_stride", "keep_weights", "means")
_FIELDS = [f.name for f in fields(Layer) if f.name != "approximate"]
_COLUMNS = ["global" if name == "everything" else name for name in _FIELDS]  # as `layer_json` calls them
_PLACES = range(len(_COLUMNS))
_FRACTIONS = {_FIELDS.index(name) for name in ("stride", "cumulative_stride")}
_columns = attrgetter(*_FIELDS)


@dataclass(frozen=True, slots=False, kw_only=True, eq=False)
class Studied:
    """A traced network with what every what-if is compared with, computed once. scale: of a pixel, in whose
    unit the page says lengths too."""

    graph: Graph
    scale: Scale | None = None
    turn: Lock = field(default_factory=Lock)

    @cached_property
    def original(self) -> Json:
        """The page's data for the network as it came: `show --json` and what the ladder needs beside it."""
        state = evaluate(self.graph, smallest=False)
        scale = {} if self.scale is None else {"scale": self.scale.over(self.graph.axes).to_json()}
        return self._report.page_data() | scale | {"kinds": kinds(self.graph), "fields": fields_json(state)}

    @cached_property
    def _report(self) -> Report:
        return show(self.graph)

    @cached_property
    def front(self) -> Front:
        """The exact cost front over all plans of the network."""
        return front(self.graph)

    def plan(self, request: Json) -> Plan:
        """The completed plan of a request, as the browser sends it. Raises: PlanError, UsageError."""
        return self._planned(request)[0]

    def _planned(self, request: Json) -> tuple[Plan, Restrided]:
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
        return planned(self.graph, changes, output_stride=stride, keep_weights=keep, means=means)

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
        """Sizes, strides, fields and costs under a request: its plan, and only what differs from the original.

        The last few answers are kept: a hand that drags comes by the same places again. The smallest input, which
        takes as long as all the rest, comes with the findings.
        """
        begun = time.perf_counter()
        wanted = json.dumps({name: request[name] for name in _REQUEST if name in request}, sort_keys=True)
        answer = self._answered(wanted)
        return answer | {"ms": round((time.perf_counter() - begun) * 1e3, 3)}

    @cached_property
    def _answered(self) -> Callable[[str], Json]:
        return lru_cache(maxsize=_KEPT_ANSWERS)(lambda wanted: self._answer(json.loads(wanted)))

    def forget(self) -> None:
        """Count every plan anew."""
        self.__dict__.pop("_answered", None)

    def _answer(self, request: Json) -> Json:
        plan, changed = self._planned(request)
        sizes = [grid.sizes for grid in changed.graph.grids]
        state = evaluate(changed.graph, smallest=False, sizes=sizes)
        found = view(state, rules=False, smallest=False)
        return {
            "plan": plan_json(plan),
            "weights": self._weights(plan),
            "pads": [list(pad) for pad in changed.pads],
            **totals_json(found),
            "marks": marks_json(found),
            "fields": fields_json(state),
            "layers": differences(self._report.layers, found.layers),
        }

    def _weights(self, plan: Plan) -> Json:
        """What the plan leaves of trained weights, as counted; `tried` says what a trial on the model makes of it."""
        if not plan.keep_weights:
            return weights_json(plan, None)
        return weights_json(plan, certify(dilation(self.graph, plan))) | {"tried": False}

    def offers(self, request: Json) -> list[Json]:
        """The requests nearest to a refused one that do work: the library's, and weights that need not be kept. now:
        the request in hand; none of them computes as much as it."""
        now = request.get("now", {})
        here = _work(self._planned(now if isinstance(now, dict) else {})[1].graph)
        known = {name: request[name] for name in _REQUEST if name in request}
        tries = (
            [("without keeping trained weights", known | {"keep_weights": False})] if known.get("keep_weights") else []
        )
        try:
            self._planned(known)
        except PlanError as error:
            changes, stride = known.get("changes", {}), known.get("output_stride")
            keep, means = known.get("keep_weights", False), known.get("means", "dense")
            for one in instead(self.graph, changes, str(error), stride, keep, means):
                most = one.output_stride and [int(step) for step in one.output_stride.split("x")]
                tries.append((str(one), known | {"changes": dict(one.request), "output_stride": most or None}))
        found: list[Json] = []
        for said, asked in tries[:_MOST_OFFERS]:
            try:
                plan, changed = self._planned(asked)
            except PlanError:
                continue
            macs = _work(changed.graph)
            if plan and macs != here:
                found.append({"said": said, "request": asked, "macs": macs})
        return found

    def certified(self, plan: Plan) -> Certificate | None:
        """What `sw.plan` says of a plan, after it was tried on the model. Raises: PlanError where that cannot be."""
        with self.turn:  # a trial changes the one structure that there is, and changes it back
            return rehearsed(self.graph, plan)

    def rules(self, request: Json) -> Json:
        """The findings and the smallest input under a request; slower, so asked for when the hand rests."""
        state = evaluate(restride(self.graph, self.plan(request)).graph)
        return {"findings": plain(findings(state)), "smallest_input": smallest_input(state.graph)}

    def tried(self, request: Json) -> Json:
        """What is left of trained weights once the plan was tried on the model: takes up to a second, so asked for when
        the hand has rested for as long."""
        plan = self.plan(request)
        try:
            return weights_json(plan, self.certified(plan))
        except PlanError as error:
            return {"state": "refused", "reasons": [" ".join(str(error).split())]}


def weights_json(plan: Plan, found: Certificate | None) -> Json:
    """What is left of trained weights: "same", "exact", "means" (exact except means) or "retrain"."""
    if not plan:
        return {"state": "same", "reasons": []}
    if found is None:
        return {"state": "retrain", "reasons": []}
    # A mean at the end leaves every map exact and still moves what the network says: to a person not "exact".
    return {"state": "means" if found.means else "exact", "reasons": list(found.reasons)}


def fields_json(state: State) -> Json:
    """What one size and start do not tell of a layer's field: below a resize the spans by phase, and whether they are
    upper bounds. of: an entry each, its axes with advance (input positions a turn of the phases) and spans ([first,
    last], null), or the number of an axis that it is like; at: by layer which of them is its own.
    """
    of: list[Json] = []
    at: dict[str, int] = {}
    by_grid: dict[int, int | None] = {}
    for node in state.graph.nodes:
        grid = state.graph.tensors[node.outputs[0]].grid if is_layer(node) else None
        if grid is None:
            continue
        if grid not in by_grid:
            along = state.fields.full[grid]
            plain_field = all(len(f.spans) == 1 and not f.approximate for f in along)
            by_grid[grid] = None if plain_field else len(of)
            of += [] if plain_field else [_phases(along)]
        number = by_grid[grid]
        if number is not None:
            at[node.key] = number
    return {"of": of, "at": at}


def _phases(along: Sequence[Field]) -> Json:
    told = list(along)
    axes = [i if (i := told.index(f)) < at else {"advance": f.advance, "spans": f.spans} for at, f in enumerate(told)]
    return {"axes": axes, "approximate": any(f.approximate for f in along)}


def _work(graph: Graph) -> int:
    """Multiply-adds at the sizes that it has."""
    return cost.macs(graph, [grid.sizes for grid in graph.grids])


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


def differences(before: Sequence[Layer], after: Sequence[Layer]) -> Json:
    """The rows of `after` as an edit of `before`. rows: [n] for n rows as they were; [i, which, *values] for row i with
    other values of the columns sets[which]; or a whole row."""
    index = {row.key: i for i, row in enumerate(before)}
    sets: dict[tuple[int, ...], int] = {}
    rows: list[Any] = []
    expected = 0
    for row in after:
        i = index.get(row.key)
        if i is None:
            rows.append(layer_json(row))
            continue
        now, was = _columns(row), _columns(before[i])
        changed = () if now == was else tuple([c for c in _PLACES if now[c] != was[c]])
        if changed or i != expected:
            values = [[number(n) for n in now[c]] if c in _FRACTIONS else now[c] for c in changed]
            rows.append([i, sets.setdefault(changed, len(sets)), *values])
        elif rows and isinstance(rows[-1], list) and len(rows[-1]) == 1:
            rows[-1][0] += 1
        else:
            rows.append([1])
        expected = i + 1
    return {"sets": [[_COLUMNS[c] for c in places] for places in sets], "rows": rows}


def kinds(graph: Graph) -> dict[str, list[str]]:
    """The ways to step: at slots ("+"), at most sites (""), and by name where one has others; the usual one first."""
    sites = {graph.nodes[n].key: list(kinds_at(graph, graph.nodes[n])) for n in site_grids(graph)}
    usual = max(sites.values(), key=list(sites.values()).count, default=[])
    return {"+": list(kinds_at(graph, None)), "": usual} | {key: own for key, own in sites.items() if own != usual}
