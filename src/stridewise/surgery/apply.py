"""A plan carried out on a live model, and taken back. Only this model's modules change, never a class."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from stridewise.axis import Window
from stridewise.errors import PlanError
from stridewise.findings import Finding
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.rewrites.certify import Certificate, certify
from stridewise.rewrites.dilate import dilation
from stridewise.rewrites.kinds import filled, made_by
from stridewise.rewrites.promised import check_promised
from stridewise.rewrites.restride import restride
from stridewise.shown import Shown
from stridewise.surgery.applier import Applier
from stridewise.surgery.assumed import still_assumed
from stridewise.surgery.declared import follow
from stridewise.surgery.dilated import dilate
from stridewise.surgery.undo import Undo
from stridewise.tracing.calls import function_calls
from stridewise.tracing.steps import EndPad, Step
from stridewise.tracing.trace import InputSpec, trace


@dataclass(slots=True)
class Done(Shown):
    """What `apply` did. changes: one line each; certificate: what stays the same, where weights are kept;
    findings: numbers in the model that still assume the old strides. undo() puts the model back as it was, redo()
    changes it once more."""

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
            "findings": [asdict(f) for f in self.findings],
        }

    def __str__(self) -> str:
        told = [str(self.certificate)] if self.certificate is not None else []
        told += [f"{f.rule} {f.severity} {f.message}" for f in self.findings]
        return "\n".join([*self.changes, *told]) or "nothing changed"


def apply_to_model(model: nn.Module, plan: Plan, *, input: InputSpec | None = None) -> Done:
    """Change the live model in place as `plan` says, then verify its sizes by tracing it again.

    Raises: PlanError in one line, the model left as it was, where the plan is for another network, was applied
    already, or cannot be carried out.
    """
    spec = input or plan.input or (3, 224, 224)
    graph = trace(model, spec, name=plan.model)
    plan = filled(graph, plan)
    expected = restride(graph, plan)
    done = Done(changes=(), graph=expected.graph)
    if plan.keep_weights:
        return _dilated(model, graph, plan, spec, done)
    undo = done._undo
    try:
        applier = Applier(model=model, graph=graph, plan=plan, input=spec, undo=undo)
        changes = [line for key in plan.sites for line in applier.site(key)]
        changes += [_insert(model, graph, key, undo, plan) for key in plan.insert]
        changes += [_pad(model, graph, key, axis, rows, undo) for key, axis, rows in expected.pads]
        applier.finish()
        done.changes = (*changes, *follow(model, expected.graph, undo))
        done.findings = still_assumed(model, graph, expected.graph)
        _verify(trace(model, spec, name=plan.model), expected.graph)
    except BaseException:  # also an interrupt leaves no model half changed
        done.undo()
        raise
    return done


def _dilated(model: nn.Module, graph: Graph, plan: Plan, input: InputSpec, done: Done) -> Done:
    """The plan with kept weights: steps become dilation."""
    undo = done._undo
    try:
        found = dilation(graph, plan)
        done.certificate = certify(found)
        lines = dilate(model, found, input, undo)
        done.changes = (*lines, *follow(model, done.graph, undo))
        done.findings = still_assumed(model, graph, done.graph)
        _verify(function_calls(model, input, plan.model)[0], done.graph)
    except BaseException:  # also an interrupt leaves no model half changed
        done.undo()
        raise
    return done


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


def _verify(found: Graph, expected: Graph) -> None:
    check_promised(found, expected, "the model was put back as it was")
