"""A plan tried before it is given out: carried out on the structure its graph was traced from, where no weight is."""

from __future__ import annotations

from torch import nn

from stridewise.errors import GeometryError, PlanError, TraceError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.rewrites.certify import Certificate
from stridewise.surgery.apply import carry_out
from stridewise.tracing.calls import function_calls
from stridewise.tracing.source import Source


def rehearse(graph: Graph, plan: Plan) -> Certificate | None:
    """What stays the same under the plan, where weights are kept and the model is there to try it.

    Raises: PlanError where the model behind `graph` cannot carry `plan` out: a shared module whose calls would differ,
    an op that no form is known of, a forward that computes with sizes or reads what the plan sets.
    Nothing is said of a graph without a source (a file's), or changed since.
    """
    source = graph.source
    if not isinstance(source, Source) or not plan:
        return None
    model = source.model
    if not _is_behind(model, graph, source):
        return None
    done = carry_out(model, graph, plan, source.input)
    done.undo()
    return done.certificate


def _is_behind(model: nn.Module, graph: Graph, source: Source) -> bool:
    """Whether the structure still gives this graph: the same ops on maps of the same sizes."""
    try:
        again = function_calls(model, source.input, graph.model)[0]
    except (TraceError, GeometryError, PlanError):
        return False
    return len(again.nodes) == len(graph.nodes) and all(
        a.target == b.target
        and a.path == b.path
        and again.tensors[a.outputs[0]].shape == graph.tensors[b.outputs[0]].shape
        for a, b in zip(again.nodes, graph.nodes, strict=True)
        if a.outputs and b.outputs
    )
