"""A plan carried out on a live model, and taken back. Only this model's modules change, never a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from stridewise.axis import Window
from stridewise.errors import GeometryError, PlanError, TraceError
from stridewise.findings import Finding
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.report.document import Document
from stridewise.report.values import plain
from stridewise.rewrites.certify import Certificate, UnkeptError, certify, change_document, check_promised
from stridewise.rewrites.dilate import dilation
from stridewise.rewrites.kinds import filled, made_by
from stridewise.rewrites.restride import restride
from stridewise.shown import Shown
from stridewise.surgery.applier import Applier
from stridewise.surgery.assumed import still_assumed
from stridewise.surgery.declared import follow, resample_tables
from stridewise.surgery.dilated import dilate
from stridewise.surgery.promise import Key, Promise, key_of, renumbered, traced_again
from stridewise.surgery.undo import Undo
from stridewise.tracing.calls import FunctionCall, function_calls
from stridewise.tracing.source import Source
from stridewise.tracing.steps import EndPad, Step
from stridewise.tracing.trace import InputSpec, trace


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


@dataclass(slots=True)
class Done(Shown):
    """What `apply` did. changes: one line each; certificate: what stays the same, where weights are kept;
    findings: numbers in the model that still assume the old strides. undo() puts the model back as it was, redo()
    changes it once more.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.Conv2d(4, 4, 3))
    >>> done = sw.apply(net, sw.plan(sw.trace(net, (3, 32, 32)), {"0": 1}, keep_weights=True))
    >>> net[0].stride, net[1].dilation
    ((1, 1), (2, 2))
    >>> done.undo()
    >>> net[0].stride, net[1].dilation
    ((2, 2), (1, 1))
    """

    changes: tuple[str, ...]
    graph: Graph
    certificate: Certificate | None = None
    findings: tuple[Finding, ...] = ()
    _undo: Undo = field(default_factory=Undo)
    _is_undone: bool = False

    def undo(self) -> None:
        """Put every changed attribute and hook back; nothing where that was done already."""
        if not self._is_undone:
            self._undo.everything()
        self._is_undone = True

    def redo(self) -> None:
        """Make the same changes once more, in microseconds: nothing is traced. After `undo()` alone."""
        if self._is_undone:
            self._undo.again()
        self._is_undone = False

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.apply/1"."""
        return {
            "schema": "stridewise.apply/1",
            "changes": list(self.changes),
            "certificate": None if self.certificate is None else self.certificate.to_json(),
            "findings": plain(self.findings),
        }

    def document(self) -> Document:
        """What changed, and what stays the same."""
        return change_document(self.changes, self.certificate, self.findings)

    def __str__(self) -> str:
        told = [str(self.certificate)] if self.certificate is not None else []
        told += [f"{f.rule} {f.severity} {f.message}" for f in self.findings]
        return "\n".join([*self.changes, *told]) or "nothing changed"

    def _records(self) -> list[dict[str, Any]]:
        return [{"change": line} for line in self.changes]


def apply_to_model(model: nn.Module, plan: Plan, *, input: InputSpec | None = None) -> Done:
    """Change the live model in place as `plan` says, then verify its sizes by tracing it again.

    Raises: PlanError in one line, the model left as it was, where the plan is for another network, was applied
    already, or cannot be carried out; TraceError where the model cannot be traced as it is.
    """
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module  # changed in place, so the wrapper has it too
    spec = input or plan.input or (3, 224, 224)
    return carry_out(model, trace(model, spec, name=plan.model), plan, spec)


def carry_out(model: nn.Module, graph: Graph, plan: Plan, input: InputSpec) -> Done:
    """Change `model`, whose graph at `input` this is, as `plan` says. Raises: PlanError, the model as it was."""
    plan = filled(graph, plan)
    expected = restride(graph, plan)
    if not plan.keep_weights:
        try:
            change = partial(_stepped, model, graph, plan, input)
            return _tried(model, graph, plan, input, expected.graph, change)[0]
        except UnkeptError as error:
            raise PlanError(str(error)) from error
    found = dilation(graph, plan)
    promise = Promise.of(model, graph, found, input)
    calls = function_calls(model, input, graph.model)[1]
    late: UnkeptError | None = None
    for by_calls in (False, True):  # a forward that reads its layers' attributes is told apart by trying
        change = partial(dilate, model, found, calls, by_calls=by_calls)
        try:
            done, other = _tried(model, graph, plan, input, expected.graph, change, promise, calls)
            done.certificate = certify(found, {i for call in calls if key_of(call) in other for i in call.nodes})
            return done
        except UnkeptError as error:
            late = late or error
        except PlanError:
            if late is None:
                raise
    assert late is not None
    raise PlanError(str(late)) from late


def _tried(
    model: nn.Module,
    graph: Graph,
    plan: Plan,
    input: InputSpec,
    expected: Graph,
    change: Callable[[Undo], list[str]],
    promise: Promise | None = None,
    calls: Sequence[FunctionCall] = (),
) -> tuple[Done, frozenset[Key]]:
    """What `change` did to the model, traced again, and the calls that take other numbers now; the model as it was
    where that fails."""
    done = Done(changes=(), graph=expected)
    try:
        done.changes = tuple(change(done._undo))
        done.changes = (*done.changes, *follow(model, graph, expected, done._undo))
        done.findings = still_assumed(model, graph, expected)
        again, after = traced_again(model, input, plan.model)
        check_promised(again, expected)
        other = renumbered(graph, calls, after)
        if promise is not None:
            other |= promise.check(model)
    except BaseException:  # also an interrupt leaves no model half changed
        done.undo()
        raise
    return done, other


def _stepped(model: nn.Module, graph: Graph, plan: Plan, input: InputSpec, undo: Undo) -> list[str]:
    """The plan whose weights mean something else afterwards: steps as such."""
    applier = Applier(model=model, graph=graph, plan=plan, input=input, undo=undo)
    changes = [line for key in plan.sites for line in applier.site(key)]
    changes += [_insert(model, graph, key, undo, plan) for key in plan.insert]
    made = restride(graph, plan)
    changes += [_pad(model, graph, key, axis, rows, undo) for key, axis, rows in made.pads]
    applier.finish()
    if not plan.insert:  # a step that is inserted moves the pins
        changes += resample_tables(model, graph, made.graph, undo)
    return changes


def _insert(model: nn.Module, graph: Graph, key: str, undo: Undo, plan: Plan) -> str:
    made = made_by(plan.insert[key], slot=True)
    assert made is not None
    slot = next(s for s in graph.slots if s.key == key or key in s.aliases)
    module = model.get_submodule(slot.key)
    before = next((h for h in module._forward_hooks.values() if isinstance(h, Step) and h.made.slot), None)
    if before is not None:
        undo.unhook(module, before)
    if all(s == 1 for s in made.stride):
        return f"+{slot.key}: no step"
    undo.behind(module, Step(made, f"+{slot.key}"))
    return f"+{slot.key}: {made.kind} step of {'x'.join(map(str, made.stride))} behind it"


def _pad(model: nn.Module, graph: Graph, key: str, axis: int, rows: int, undo: Undo) -> str:
    node = graph.node_named(key)
    module = dict(model.named_modules()).get(key.split("#")[0])
    if node is None or module is None:
        raise PlanError(f"{key}: needs more padding to meet its parallel path, and runs without a module of its own")
    axes = sum(isinstance(m, Window) for m in node.attrs["maps"])
    undo.hook(module, EndPad(tuple(rows if a == axis else 0 for a in range(axes))))
    more = f"{rows} more row{'s' if rows > 1 else ''}"
    return f"{key}: {more} of padding at the end of axis {axis}, to meet its parallel path"
