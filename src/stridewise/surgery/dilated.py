"""Steps turned into dilation on a live model: attributes where they suffice, replaced function calls elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _MaxPoolNd

from stridewise.axis import IDENTITY, Window
from stridewise.errors import PlanError, once
from stridewise.ir import Graph, Node
from stridewise.ops.registry import op_named
from stridewise.rewrites.actions import Action, may_read_nothing
from stridewise.rewrites.dilate import Dilation, calls_differ
from stridewise.rewrites.multipliers import Multipliers
from stridewise.surgery.actions import replacement
from stridewise.surgery.patched import Beginning, Coarse, Fit, Override, Quiet, Something, Swap
from stridewise.surgery.undo import Undo
from stridewise.tracing.calls import FunctionCall, by_node


class Eager(Override):
    """An override that runs as it is inside a compiled model."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _as_it_is(self, args, kwargs)


def _run(override: Override, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return override.over(override.plain, args, kwargs)


_as_it_is = torch.compiler.disable(_run, reason="F.pad is not met by a TorchFunctionMode")


@dataclass(frozen=True, slots=True)
class _Site:
    """What is known before anything changes: the modules, the calls behind the graph's nodes."""

    graph: Graph
    calls: tuple[FunctionCall, ...]
    made_by: Mapping[int, FunctionCall]
    modules: Mapping[str, nn.Module]


def dilate(
    model: nn.Module, found: Dilation, calls: Sequence[FunctionCall], undo: Undo, *, by_calls: bool = False
) -> list[str]:
    """Carry the actions of `found` out on the model; returns a line for each change, in executed order.

    calls: those behind the graph's nodes. by_calls: leave every attribute as it is, for forwards that compute with
    them.
    Raises: PlanError, before anything is changed, where an op has no dilated form.
    """
    graph = found.graph
    modules = dict(model.named_modules(remove_duplicate=False))
    site = _Site(graph, tuple(calls), by_node(tuple(calls)), modules)
    paths: dict[str, dict[int, Action]] = {}
    for index, action in found.actions.items():
        if action.kind != "mixes":
            paths.setdefault(_owner(graph, site.made_by, index), {})[index] = action
    steps: list[Callable[[Undo], list[str]]] = []
    for path, actions in paths.items():
        nodes = [graph.nodes[i] for i in actions]
        turns = {call.turn for call in calls if call.path == path}
        one = _agreed(nodes, actions)
        plain = not by_calls and len(turns) == len(nodes)
        if one is not None and plain and _by_attributes(modules[path], nodes[0]):
            steps.append(partial(_set, modules[path], path, nodes[0], one))
        else:
            steps.append(partial(_swap, site, path, _swaps(site, path, actions)))
    steps += [partial(_enter, modules[path], path, m_in) for path, m_in in found.entries.items()]
    return [line for step in steps for line in step(undo)]


def _enter(module: nn.Module, path: str, m_in: Multipliers, undo: Undo) -> list[str]:
    undo.hook(module, Coarse(m_in))
    return [f"{path}: given one position in {once(m_in)}, since its size is fixed"]


def _owner(graph: Graph, made_by: Any, index: int) -> str:
    call = made_by.get(index)
    node = graph.nodes[index]
    if call is None:
        where = node.key or node.path
        raise PlanError(f"{where}: '{node.target}' is called below torch's functions; it cannot be changed")
    return str(call.path)


def _agreed(nodes: Sequence[Node], actions: dict[int, Action]) -> Action | None:
    """The action of a module whose every call does the same window op, else None."""
    first = actions[nodes[0].index]
    same = all(actions[n.index] == first and n.attrs.get("maps") == nodes[0].attrs.get("maps") for n in nodes)
    alone = len({n.call for n in nodes}) == len(nodes)
    return first if same and alone and first.kind == "window" else None


def _by_attributes(module: nn.Module, node: Node) -> bool:
    """Whether stride, dilation and padding of the module are all there is to its op."""
    if not isinstance(module, _ConvNd | _MaxPoolNd) or "forward" in vars(module):
        return False
    if type(module).forward not in {getattr(nn, name).forward for name in op_named(node.op).layers}:
        return False
    if isinstance(module, _ConvNd):
        own = type(module)._conv_forward in {c._conv_forward for c in (nn.Conv1d, nn.Conv2d, nn.Conv3d)}
        return own and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return not module.return_indices


def _set(module: Any, path: str, node: Node, action: Action, undo: Undo) -> list[str]:
    own = len(module.kernel_size) if isinstance(module, _ConvNd) else _axes_of(module._get_name())
    action = _of_axes(action, own)
    old = tuple(m for m in node.attrs["maps"] if isinstance(m, Window))[-own:]
    strides = tuple(w.stride * a // b for w, a, b in zip(old, action.m_in, action.m_out, strict=True))
    spread = tuple(w.dilation * a for w, a in zip(old, action.m_in, strict=True))
    pads = tuple(w.pad_begin * a for w, a in zip(old, action.m_in, strict=True))
    pool = isinstance(module, _MaxPoolNd)
    aside = pool and any(p > w.kernel // 2 for p, w in zip(pads, old, strict=True))
    if aside:
        pads = (0,) * len(old)
    said = []
    for name, values in (("stride", strides), ("dilation", spread), ("padding", pads)):
        was: Any = getattr(module, name)
        before = _flat(was, len(values))
        if before != values or (pool and name == "padding"):
            undo.set(module, name, values)
        if before != values:
            said.append(f"{name} {once(before)} -> {once(values)}")
    if any(w.ceil_mode for w in old):
        undo.set(module, "ceil_mode", False)
    if isinstance(module, _ConvNd):
        undo.set(module, "_reversed_padding_repeated_twice", [p for n in reversed(pads) for p in (n, n)])
    # A window that kept every position needs no more than its padding; one that steps ends where its size says.
    if aside or any(w.ceil_mode or w.stride > 1 for w in old):
        undo.hook(module, Fit(old, action, float("-inf") if pool else 0.0))
    if pool and any(map(may_read_nothing, old, action.m_out)):
        undo.behind(module, Something())
    return [f"{path}: {', '.join(said)}"] if said else []


def _axes_of(name: str) -> int:
    """The axes that a function or module named `...2d` works on; 0 where its name does not say."""
    return int(name[-2]) if name[-1:] == "d" and name[-2:-1].isdigit() else 0


def _of_axes(action: Action, axes: int) -> Action:
    """The action without the axes that torch adds on its way: a pool along one axis runs as one along two."""
    if not axes or len(action.m_in) <= axes:
        return action
    last = slice(-axes, None)
    return replace(
        action, m_in=action.m_in[last], m_out=action.m_out[last], offset=action.offset[last], same=action.same[last]
    )


def _flat(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * axes


def _swaps(site: _Site, path: str, actions: Mapping[int, Action]) -> list[Swap]:
    """The function calls of the module at `path` to replace. Raises PlanError where one has no dilated form."""
    # Every call of the module counts, also one in which nothing is to be replaced.
    turns: dict[int, dict[tuple[str, int], Swap]] = {c.turn: {} for c in site.calls if c.path == path}
    for index, action in actions.items():
        call = site.made_by[index]
        key = (call.name, call.number)
        turn = turns[call.turn]
        if key in turn:  # one call, several axes: it comes as the first node's operand and goes as the last's
            before = turn[key].action
            cuts = tuple(a if a[0] != IDENTITY else b for a, b in zip(action.cuts, before.cuts, strict=False))
            action = replace(action, m_in=before.m_in, cuts=cuts)
        op = op_named(site.graph.nodes[index].op)
        if replacement(op, action.kind, call.name) is None:
            where = site.graph.nodes[index].key or path
            raise PlanError(f"{where}: '{call.name}' has no dilated form")
        if action.kind == "window":
            action = _of_axes(action, _axes_of(call.name))
        turn[key] = Swap(name=call.name, number=call.number, action=action, op=op.name)
    first, *rest = turns.values()
    if any(turn != first for turn in rest):
        raise calls_differ(path or site.graph.model)
    return list(first.values())


def _swap(site: _Site, path: str, swaps: Sequence[Swap], undo: Undo) -> list[str]:
    """An override on the module at `path`; modules inside that make calls of the same names stay out of it."""
    module = site.modules[path]
    override = _override(module, swaps)
    undo.method(module, "forward", override)
    if callable(getattr(type(module), "forward_features", None)):
        undo.method(module, "forward_features", Beginning(module, "forward_features", override))
    for child in dict.fromkeys(_children(path, set(override.swaps), site.calls)):
        undo.method(site.modules[child], "forward", Quiet(site.modules[child], override))
    name = path or site.graph.model
    return [
        f"{name}: {s.name} as {_SAID[s.action.kind].format(once(s.action.m_in), once(s.action.m_out))}" for s in swaps
    ]


def _override(module: nn.Module, swaps: Sequence[Swap]) -> Override:
    if any(swap.name == "pad" for swap in swaps):
        from stridewise.surgery.dilated import Eager

        return Eager(module, swaps)
    return Override(module, swaps)


_SAID = {
    "window": "a window of {0} times the dilation, for {1} times the positions",
    "drop": "nothing, since the window pads for itself",
    "pad": "{0} times the padding",
    "slice": "a slice of {0} times the positions, giving {1} times as many",
    "resize": "a resize of one position in {0}, giving {1} times as many",
    "coarse": "itself on one position in {0}",
    "phases": "itself on each of {0} phases",
}


def _children(path: str, names: set[str], calls: Sequence[FunctionCall]) -> list[str]:
    """Modules called by the one at `path` in which one of the functions `names` is called."""
    found = []
    for call in calls:
        if call.name in names and call.path != path and path in call.chain:
            found.append(call.chain[call.chain.index(path) - 1])
    return found
