"""A plan carried out on a live model, and taken back. Only this model's modules change, never a class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from stridewise.axis import Window
from stridewise.errors import PlanError, StridewiseError
from stridewise.frontends.calls import function_calls
from stridewise.frontends.declared import follow
from stridewise.frontends.dilated import dilate
from stridewise.frontends.step import EndPad, Step, step_of
from stridewise.frontends.torch import InputSpec, trace
from stridewise.frontends.undo import Undo
from stridewise.ir import Graph, Node
from stridewise.plans import Plan
from stridewise.rewrites.certify import Certificate, certify
from stridewise.rewrites.dilate import dilation
from stridewise.rewrites.promised import check_promised
from stridewise.rewrites.restride import restride


@dataclass(slots=True)
class Done:
    """What `apply` did. changes: one line each; certificate: what stays the same, where weights are kept;
    undo() puts the model back as it was."""

    changes: tuple[str, ...]
    graph: Graph
    certificate: Certificate | None = None
    _back: list[Callable[[], None]] = field(default_factory=list)

    def undo(self) -> None:
        """Put every changed attribute and hook back."""
        while self._back:
            self._back.pop()()

    def __str__(self) -> str:
        told = [str(self.certificate)] if self.certificate is not None else []
        return "\n".join([*self.changes, *told]) or "nothing changed"


def apply_to_model(model: nn.Module, plan: Plan, *, input: InputSpec | None = None) -> Done:
    """Change the live model in place as `plan` says, then verify its sizes by tracing it again.

    Raises: PlanError in one line, the model left as it was, where the plan is for another network, was applied
    already, or cannot be carried out.
    """
    graph = trace(model, input or plan.input or (3, 224, 224), name=plan.model)
    expected = restride(graph, plan)
    done = Done(changes=(), graph=expected.graph)
    if plan.keep_weights:
        return _dilated(model, graph, plan, input or plan.input or (3, 224, 224), done)
    try:
        changes = [_change(model, graph, key, done, plan) for key in plan.sites]
        changes += [_insert(model, key, done, plan) for key in plan.insert]
        changes += [_pad(model, graph, key, axis, rows, done) for key, axis, rows in expected.pads]
        undo = Undo()
        done._back.append(undo.everything)
        done.changes = (*changes, *follow(model, expected.graph, undo))
        _verify(trace(model, input or plan.input or (3, 224, 224), name=plan.model), expected.graph)
    except StridewiseError:
        done.undo()
        raise
    return done


def _dilated(model: nn.Module, graph: Graph, plan: Plan, input: InputSpec, done: Done) -> Done:
    """The plan with kept weights: steps become dilation."""
    undo = Undo()
    done._back.append(undo.everything)
    try:
        found = dilation(graph, plan)
        done.certificate = certify(found)
        lines = dilate(model, found, input, undo)
        done.changes = (*lines, *follow(model, done.graph, undo))
        _verify(function_calls(model, input, plan.model)[0], done.graph)
    except StridewiseError:
        done.undo()
        raise
    return done


def _module(model: nn.Module, graph: Graph, key: str) -> tuple[nn.Module, Node]:
    node = graph.node_named(key)
    if node is None:
        raise PlanError(f"{key}: {graph.model} has no such site")
    path = node.key.split("#")[0]
    try:
        module = model.get_submodule(path)
    except AttributeError as error:
        raise PlanError(f"{key}: runs without a module of its own, which this version cannot change") from error
    if sum(n.site and n.path == node.path for n in graph.nodes) > 1:
        raise PlanError(f"{key}: its module runs more than once in a forward; its calls cannot step differently")
    if not hasattr(module, "stride"):
        raise PlanError(f"{key}: {type(module).__name__} has no attribute 'stride' to change")
    return module, node


def _change(model: nn.Module, graph: Graph, key: str, done: Done, plan: Plan) -> str:
    setting = plan.sites[key]
    if setting.downsample != "stride":
        raise PlanError(f"{key}: downsampling by '{setting.downsample}' at a site is not in this version; use a slot")
    module, node = _module(model, graph, key)
    old: Any = module.stride
    new: Any = list(setting.stride)
    if node.grid is not None and len(new) != len(node.attrs["maps"]):
        raise PlanError(f"{key}: {len(new)} strides for {len(node.attrs['maps'])} axes of its window")
    _set(module, "stride", new[0] if isinstance(old, int) and len(set(new)) == 1 else tuple(new), done)
    return f"{key}: stride {old} -> {module.stride}"


def _set(module: nn.Module, name: str, value: Any, done: Done) -> None:
    old = getattr(module, name)
    setattr(module, name, value)
    done._back.append(lambda: setattr(module, name, old))


def _insert(model: nn.Module, key: str, done: Done, plan: Plan) -> str:
    setting = plan.insert[key]
    if setting.downsample not in ("max", "mean"):
        raise PlanError(f"+{key}: a step is inserted as max or mean, not '{setting.downsample}'")
    module = model.get_submodule(key)
    before = step_of(module)
    hooks = list(module._forward_hooks.items())

    def back() -> None:
        module._forward_hooks.clear()
        module._forward_hooks.update(hooks)

    done._back.append(back)
    for handle, hook in hooks:
        if hook is before:
            del module._forward_hooks[handle]
    if any(s > 1 for s in setting.stride):
        module.register_forward_hook(Step(setting.downsample, setting.stride))
    by = "x".join(map(str, setting.stride))
    return (
        f"+{key}: {setting.downsample} step of {by} behind it"
        if any(s > 1 for s in setting.stride)
        else f"+{key}: no step"
    )


def _pad(model: nn.Module, graph: Graph, key: str, axis: int, rows: int, done: Done) -> str:
    module, node = _module(model, graph, key)
    axes = sum(isinstance(m, Window) for m in node.attrs["maps"])
    handle = module.register_forward_pre_hook(EndPad(tuple(rows if a == axis else 0 for a in range(axes))))
    done._back.append(handle.remove)
    more = f"{rows} more row{'s' if rows > 1 else ''}"
    return f"{key}: {more} of padding at the end of axis {axis}, to meet its parallel path"


def _verify(found: Graph, expected: Graph) -> None:
    check_promised(found, expected, "the model was put back as it was")
