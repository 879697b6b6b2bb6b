"""Where a plan's steps go in a live model: attributes and hooks of its modules, replaced calls where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from stridewise.axis import Window
from stridewise.errors import PlanError, once
from stridewise.ir import Graph, Node
from stridewise.ops.registry import op_named
from stridewise.plans import Plan, Setting
from stridewise.rewrites.kinds import SPACE, made_by, own_windows, shift_of
from stridewise.rewrites.phases import phases
from stridewise.rewrites.places import Place, calls_of, is_repeated, place_of
from stridewise.surgery.patched import Beginning, Edit, Override
from stridewise.surgery.undo import Undo
from stridewise.tracing.calls import FunctionCall, by_node, function_calls, functions
from stridewise.tracing.steps import EndPad, Phase, Reach, Step
from stridewise.tracing.trace import InputSpec


@dataclass(kw_only=True)
class Applier:
    """Carries a plan's sites out on a model; `edits`: the calls to replace, by the module that makes them."""

    model: nn.Module
    graph: Graph
    plan: Plan
    input: InputSpec
    undo: Undo
    edits: dict[str, dict[tuple[str, int], Edit]] = field(default_factory=dict)
    calls: tuple[FunctionCall, ...] = ()

    def __post_init__(self) -> None:
        self.modules = dict(self.model.named_modules(remove_duplicate=False))
        # Read now, while the model is as it was: an inserted step is a node, and those behind it move on by one.
        kinds = any(setting.downsample != "stride" for setting in self.plan.sites.values())
        if kinds or any(self._steppable(key) is None for key in self.plan.sites):
            self.calls = function_calls(self.model, self.input, self.graph.model)[1]

    @cached_property
    def phases(self) -> Mapping[str, tuple[Phase, bool]]:
        """For sites whose phase is shared: what they share it by, and whether they choose it."""
        leaders = phases(self.graph, self.plan)
        members = list(leaders.values())
        shared = {leader: Phase(readers=members.count(leader) - 1) for leader in members if members.count(leader) > 1}
        return {key: (shared[leader], key == leader) for key, leader in leaders.items() if leader in shared}

    def site(self, key: str) -> list[str]:
        """Carry one site's setting out. Raises: PlanError in one line."""
        setting, node = self.plan.sites[key], self.graph.node_named(key)
        assert node is not None
        if setting.downsample == SPACE:
            return self._grow(key, node, setting)
        made = made_by(setting)
        if made is None:
            return [self._stride(key, node, setting.stride)]
        lines = [self._stride(key, node, (1,) * len(setting.stride))] if max(setting.was) > 1 else []
        place = place_of(self.graph, node, made.kind)
        phase, leads = self.phases.get(node.key, (None, True))
        where = self._insert(key, place, Step(made, f"{node.key}/{made.kind}", phase, leads))
        facts = {"blur": f" of {made.filter} taps, border {made.border}", "polyphase": f", border {made.border}"}
        by = "x".join(map(str, setting.stride))
        return [*lines, f"{key}: {made.kind} step of {by}{facts.get(made.kind, '')} {where}"]

    def finish(self) -> None:
        """Replace the calls that were asked for."""
        for path, edits in self.edits.items():
            module = self.model.get_submodule(path)
            override = Override(module, list(edits.values()))
            self.undo.method(module, "forward", override)
            if callable(getattr(type(module), "forward_features", None)):
                self.undo.method(module, "forward_features", Beginning(module, "forward_features", override))

    def _steppable(self, key: str) -> Any:
        """The site's module, where its stride is to be set for all its calls alike; None elsewhere."""
        node, module = self.graph.node_named(key), self.modules.get(key.split("#")[0])
        shared = node is not None and is_repeated(self.graph, node.path)
        return module if hasattr(module, "stride") and not (shared and not self._alike(key)) else None

    def _alike(self, key: str) -> bool:
        """Whether every call of a shared module gets the same step of its own."""
        calls = calls_of(self.graph, key.partition("#")[0])
        settings = {self.plan.sites.get(n.key) for n in calls}
        return len(settings) == 1 and None not in settings and self.plan.sites[key].downsample == "stride"

    # -- the op itself -------------------------------------------------------------------------------------------------

    def _stride(self, key: str, node: Node, stride: tuple[int, ...]) -> str:
        """The op's own step: an attribute of its module, else an argument of its call."""
        module = self._steppable(key)
        if module is None:
            call = self._edit(key, node, stride=stride)
            return f"{key}: {call} with stride {once(stride)}"
        if node.call > 1:
            return f"{key}: as {key.partition('#')[0]}, whose other call it is"
        if len(stride) != len(node.attrs["maps"]):
            raise PlanError(f"{key}: {len(stride)} strides for {len(node.attrs['maps'])} axes of its window")
        old = module.stride
        self.undo.set(module, "stride", stride[0] if isinstance(old, int) and len(set(stride)) == 1 else stride)
        said = f"{key}: stride {once(old if isinstance(old, tuple) else (old,))} -> {once(stride)}"
        if getattr(module, "padding", None) == "same" and module.padding_mode == "zeros" and max(stride) > 1:
            pads = [(k - 1) * d for k, d in zip(module.kernel_size, module.dilation, strict=True)]
            self.undo.set(module, "padding", tuple(n // 2 for n in pads))
            if any(n % 2 for n in pads):  # the odd one goes to the end, where a convolution's own padding cannot
                self.undo.hook(module, EndPad(tuple(n % 2 for n in pads), "constant"))
            said += f", padding same -> {once(module.padding)}"
        return said

    def _grow(self, key: str, node: Node, setting: Setting) -> list[str]:
        """A kernel that covers what space-to-depth gathers; the old weights in it, zeros around them."""
        module = self.modules.get(key.split("#")[0])
        plain = isinstance(module, _ConvNd) and "weight" in module._parameters and module.padding_mode == "zeros"
        if not plain or is_repeated(self.graph, node.path) or "forward" in vars(module):
            raise PlanError(
                f"{key}: its weights are not those of a plain convolution padded with zeros; use another kind"
            )
        assert isinstance(module, _ConvNd) and node.grid is not None
        windows = [m for m in self.graph.grids[node.grid].maps if isinstance(m, Window)]
        old = tuple(replace(m, stride=s) for m, s in zip(windows, setting.stride, strict=True))
        new = tuple(m for m in own_windows(setting, windows) if isinstance(m, Window))
        weight = module.weight
        wide = torch.zeros(*weight.shape[:2], *(m.kernel for m in new), dtype=weight.dtype, device=weight.device)
        at = [slice(shift_of(m), shift_of(m) + m.kernel) for m in old]
        wide[(slice(None), slice(None), *at)] = weight.detach()
        reach = Reach(old, new)
        pads = reach.own
        shapes = "x".join(map(str, weight.shape)), "x".join(map(str, wide.shape))
        self.undo.set(module, "weight", nn.Parameter(wide, requires_grad=weight.requires_grad))
        for name, value in (
            ("kernel_size", tuple(m.kernel for m in new)),
            ("stride", setting.stride),
            ("padding", pads),
            ("_reversed_padding_repeated_twice", [p for n in reversed(pads) for p in (n, n)]),
        ):
            self.undo.set(module, name, value)
        self.undo.hook(module, reach)
        return [f"{key}: weight {shapes[0]} -> {shapes[1]}, the old one inside and zeros around it"]

    # -- the inserted step ---------------------------------------------------------------------------------------------

    def _insert(self, key: str, place: Place, step: Step) -> str:
        """Hook the step in where its place is; returns where that is, in words."""
        if place.behind is not None:
            self.undo.behind(self.model.get_submodule(place.behind), step)
            return f"behind {place.behind or self.graph.model}"
        if place.before is not None:
            self.undo.hook(self.model.get_submodule(place.before), step)
            return f"before {place.before}"
        if place.reader is not None:
            return f"before {self._edit(key, self.graph.nodes[place.reader], before=step)}"
        maker = next(n for n in self.graph.nodes if place.tensor in n.outputs)
        return f"behind {self._edit(key, maker, behind=step)}"

    def _edit(self, key: str, node: Node, **changes: Any) -> str:
        """Have the call that made a node replaced; returns its name in words. Raises: PlanError where it cannot be."""
        call = by_node(self.calls).get(node.index)
        if "stride" in changes and call is not None:
            changes["parameters"] = tuple((op_named(node.op).functions or {}).get(call.name, ()))
        if call is None or call.name not in functions() or "stride" not in changes.get("parameters", "stride"):
            what = node.target if call is None else call.name
            raise PlanError(f"{key}: '{what}' is neither a module nor a function that can be changed from outside")
        many = {path for c in self.calls for path, turn in zip(c.chain, c.turns, strict=True) if turn > 1}
        level = next(i for i, path in enumerate(call.chain) if path not in many)
        owner, number = call.chain[level], call.within[level]
        edits = self.edits.setdefault(owner, {})
        known_edit = edits.get((call.name, number), Edit(name=call.name, number=number))
        edits[call.name, number] = replace(known_edit, **changes)
        return f"call {number + 1} of {call.name} in {owner or self.graph.model}"
