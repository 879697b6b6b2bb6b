"""Areas below the ladder whose answer is a document: sizes that work, a chip's limits, another network beside this one,
one network at several costs; and the unit that lengths are said in."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stridewise.analyses import inputs
from stridewise.analyses.fields import evaluate
from stridewise.analyses.targets import target_findings, target_names, target_of
from stridewise.errors import PlanError, UsageError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.report.chart import stacked
from stridewise.report.document import Chart, Document, Facts, Part, Remarks, Table
from stridewise.report.scale import Scale
from stridewise.rewrites.restride import restride
from stridewise.rules import remarks
from stridewise.showing.beside import beside
from stridewise.web.whatif import Studied, wishes
from stridewise.web.workbench import Opened, Workbench

if TYPE_CHECKING:
    from stridewise.switching.elastic import Elastic

Json = dict[str, Any]
_MOST_SIZE = 1_000_000
COSTS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Shares of the multiply-adds that the one network of several plans is offered at, where a plan of its own has them."""


def scale_of(studied: Studied, asked: Json) -> Scale | None:
    """The unit that the page asks for, else that of the start. Raises: UsageError."""
    text = asked.get("scale")
    return Scale.read(text).over(studied.graph.axes) if text else studied.scale


def scale_json(studied: Studied, asked: Json) -> Json:
    """The unit with what a position measures along each axis, none where none is asked for."""
    scale = scale_of(studied, asked)
    return {"scale": None if scale is None else scale.over(studied.graph.axes).to_json()}


def sizes_that_work(studied: Studied, asked: Json) -> Json:
    """`sizes` under the plan in hand, around the picture's sizes `near`."""
    near = asked.get("near")
    if near is not None and (not isinstance(near, list) or any(not _whole(n) for n in near)):
        raise UsageError(f"near: whole numbers from 1 to {_MOST_SIZE} are wanted, one an axis")
    plan, graph = _changed(studied, asked)
    notes: tuple[str, ...] = ()
    if plan:  # what can be tried on shapes is the model as it is, not under a plan
        graph = replace(graph, source=None)
        notes = ("a check of its own that the model makes before anything runs is not tried under a plan",)
    with studied.turn:
        found = inputs.sizes(graph, near, scale_of(studied, asked))
    around = {} if found.near is None else {"works": found.near.works, "above": list(found.near.above)}
    return around | document_json(replace(found, notes=(*found.notes, *notes)).document())


def chips() -> list[Json]:
    """The chips whose limits are known."""
    return [{"name": name, "about": target_of(name).about} for name in target_names()]


def chip_limits(studied: Studied, asked: Json) -> Json:
    """What a chip does not take of the plan in hand, and of how much of the network as it came."""
    name = asked.get("target")
    if name not in target_names():
        raise UsageError(f"target: one of {', '.join(target_names())} is wanted")
    target = target_of(str(name))
    before, found = (
        tuple(target_findings(evaluate(graph), target)) for graph in (studied.graph, _changed(studied, asked)[1])
    )
    part = remarks(found, none=f"{target.name} takes all of it, as far as its limits are known.")
    document = Document(title=target.name, lead=(target.about,), parts=(part,))
    return {"before": len(before), "now": len(found)} | document_json(document)


def two_networks(bench: Workbench, asked: Json) -> Json:
    """The plan in hand beside another network of this start, as it came."""
    opened, other = bench.find(asked.get("network")), bench.find(asked.get("other"))
    studied = opened.wait()
    plan, graph = _changed(studied, asked)
    names = (f"{graph.model} (plan)" if plan else graph.model, other.wait().graph.model)
    return document_json(beside(graph, other.wait().graph, names=names, scale=scale_of(studied, asked)).document())


def elastic_plans(opened: Opened) -> Json:
    """One network at several costs: each plan with its figures as wishes, and the lines that make it of a model."""
    graph = opened.wait().graph
    rows = []
    for name, plan in _at_costs(graph).items():
        point = opened.wait().what_if({"changes": wishes(plan)})["totals"]
        figures = {key: point[key] for key in ("macs", "activations", "peak_activation_bytes", "output_stride")}
        rows.append({"name": name, "changes": wishes(plan), **figures})
    if len(rows) < 2:
        raise UsageError(f"{graph.model}: no plan of its own costs less or more: it has no step that could move")
    shares = ", ".join(row["name"].removesuffix("x") for row in rows)
    shape, load = opened.shape(), f"sw.load({opened.name!r}{f', weights={opened.weights!r}' if opened.weights else ''})"
    lines = (
        f"import stridewise as sw\n\nnet = sw.elastic({load}, costs=({shares}), input={shape})\n"
        f'net.use("{rows[0]["name"]}")  # in microseconds: one set of weights, another stride in each plan\n'
    )
    return {"plans": rows, "python": "" if opened.is_file else lines}


def elastic_of(model: Any, graph: Graph) -> Elastic:
    """The model, which it changes, as one network under the plans that the page offers."""
    from stridewise.switching.elastic import Elastic

    return Elastic(model, _at_costs(graph), input=graph.input)


def _at_costs(graph: Graph) -> dict[str, Plan]:
    """The plans that there are at the costs offered, the cheapest first."""
    from stridewise.fronts.front import plans_at

    found: dict[str, Plan] = {}
    for share in COSTS:
        try:
            at = plans_at(graph, [share])
        except PlanError:  # none is as cheap
            continue
        found |= {name: plan for name, plan in at.items() if plan not in found.values()}
    return found


def _changed(studied: Studied, asked: Json) -> tuple[Plan, Graph]:
    """The plan in hand and the network under it, which is checked as sizes are asked for."""
    plan = studied.plan(asked)
    return plan, restride(studied.graph, plan).graph if plan else studied.graph


def _whole(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= _MOST_SIZE


def document_json(document: Document) -> Json:
    """A document as the page draws it: its parts in order, each with its kind."""
    parts = [found for part in document.parts if (found := _part(part)) is not None]
    return {"lead": list(document.lead), "parts": parts, "notes": list(document.notes)}


def _part(part: Part) -> Json | None:
    if isinstance(part, Facts):
        return {"kind": "facts", "title": part.title, "rows": [list(row) for row in part.rows]}
    if isinstance(part, Table):
        return {"kind": "table", "left": sorted(part.left)} | part.to_json()
    if isinstance(part, Remarks):
        rows = [{"label": r.label, "level": r.level, "about": r.about, "text": r.text} for r in part.remarks]
        return {"kind": "remarks", "title": part.title, "none": part.none, "rows": rows}
    if isinstance(part, Chart):
        drawn = base64.b64encode(stacked([part]).encode()).decode()
        return {"kind": "chart", "title": part.title, "words": part.words, "data": f"data:image/svg+xml;base64,{drawn}"}
    return None
