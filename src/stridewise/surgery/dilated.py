"""Steps turned into dilation on a live model: attributes where they suffice, replaced function calls elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _MaxPoolNd

from stridewise.axis import IDENTITY, Window
from stridewise.errors import PlanError, once
from stridewise.ir import Graph, Node
from stridewise.ops.registry import op_named
from stridewise.rewrites.actions import Action, may_read_nothing
from stridewise.rewrites.dilate import Dilation
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
    steps: dict[str, Callable[[Undo], list[str]]] = {}
    swaps: dict[str, list[_Made]] = {}
    for path, actions in paths.items():
        nodes = [graph.nodes[i] for i in actions]
        turns = {call.turn for call in calls if call.path == path}
        one = _agreed(nodes, actions)
        plain = not by_calls and len(turns) == len(nodes)
        if one is not None and plain and _by_attributes(modules[path], nodes[0]):
            steps[path] = partial(_set, modules[path], path, nodes[0], one)
        else:
            swaps[path] = _swaps(site, path, actions)
            steps[path] = partial(_swap, site, path, [swap for _, swap in _of_first_turn(swaps[path])])
    owners = _owners(site, swaps)
    whole: dict[str, list[_Made]] = {}
    for path, made in swaps.items():
        outer = {_around(call, owners): None for call, _ in made}
        for owner in outer:
            if owner is not None:
                steps.pop(path, None)
                inside = whole.setdefault(owner, [])
                steps.setdefault(f"{owner} and what it runs", partial(_swap_inside, site, owner, inside))
                inside += [each for each in made if _around(each[0], owners) == owner]
    entries: list[Callable[[Undo], list[str]]] = [
        partial(_enter, modules[path], path, m_in) for path, m_in in found.entries.items()
    ]
    return [line for step in (*steps.values(), *entries) for line in step(undo)]


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


_Made: TypeAlias = tuple[FunctionCall, Swap]


def _swaps(site: _Site, path: str, actions: Mapping[int, Action]) -> list[_Made]:
    """The function calls of the module at `path` to replace. Raises PlanError where one has no dilated form."""
    made: dict[tuple[int, str, int], _Made] = {}
    for index, action in actions.items():
        call = site.made_by[index]
        key = (call.turn, call.name, call.number)
        if key in made:  # one call, several axes: it comes as the first node's operand and goes as the last's
            before = made[key][1].action
            cuts = tuple(a if a[0] != IDENTITY else b for a, b in zip(action.cuts, before.cuts, strict=False))
            action = replace(action, m_in=before.m_in, cuts=cuts)
        op = op_named(site.graph.nodes[index].op)
        if replacement(op, action.kind, call.name) is None:
            where = site.graph.nodes[index].key or path
            raise PlanError(f"{where}: '{call.name}' has no dilated form")
        if action.kind == "window":
            action = _of_axes(action, _axes_of(call.name))
        made[key] = call, Swap(name=call.name, number=call.number, action=action, op=op.name)
    return list(made.values())


def _of_first_turn(made: Sequence[_Made]) -> list[_Made]:
    return [each for each in made if each[0].turn == made[0][0].turn]


def _owners(site: _Site, swaps: Mapping[str, Sequence[_Made]]) -> set[str]:
    """Modules that run once, around the calls of shared ones that would have to differ: there each call has a number of
    its own."""
    many = {path for call in site.calls for path, turn in zip(call.chain, call.turns, strict=True) if turn > 1}

    def alike(path: str) -> bool:
        """Whether in every call of a module the same is to be replaced."""
        turns: dict[int, list[Swap]] = {call.turn: [] for call in site.calls if call.path == path}
        for call, swap in swaps[path]:
            turns[call.turn].append(swap)
        first, *rest = turns.values()
        return all(turn == first for turn in rest)

    owners: set[str] = set()
    apart = [path for path in swaps if not alike(path)]
    while apart:
        owners |= {next(p for p in call.chain if p not in many) for path in apart for call, _ in swaps[path]}
        inside = {path: {_around(call, owners) is not None for call, _ in made} for path, made in swaps.items()}
        apart = [path for path, each in inside.items() if len(each) > 1]
    return owners


def _around(call: FunctionCall, owners: Collection[str]) -> str | None:
    """The outermost of `owners` that a call runs in."""
    return next((path for path in reversed(call.chain) if path in owners), None)


def _swap(site: _Site, path: str, swaps: Sequence[Swap], undo: Undo) -> list[str]:
    """An override on the module at `path`; modules inside that make calls of the same names stay out of it."""
    override = _overridden(site.modules[path], swaps, undo)
    for child in dict.fromkeys(_children(path, set(override.swaps), site.calls)):
        undo.method(site.modules[child], "forward", Quiet(site.modules[child], override))
    return [f"{path or site.graph.model}: {_said(swap)}" for swap in swaps]


def _swap_inside(site: _Site, owner: str, made: Sequence[_Made], undo: Undo) -> list[str]:
    """An override on a module for calls that modules inside it make."""
    numbers = [replace(swap, number=call.within[call.chain.index(owner)]) for call, swap in made]
    _overridden(site.modules[owner], numbers, undo)
    return [
        f"{call.path or site.graph.model}{f'#{call.turn}' if call.turn > 1 else ''}: {_said(swap)}"
        for call, swap in made
    ]


def _overridden(module: nn.Module, swaps: Sequence[Swap], undo: Undo) -> Override:
    override = _override(module, swaps)
    undo.method(module, "forward", override)
    if callable(getattr(type(module), "forward_features", None)):
        undo.method(module, "forward_features", Beginning(module, "forward_features", override))
    return override


def _said(swap: Swap) -> str:
    return f"{swap.name} as {_SAID[swap.action.kind].format(once(swap.action.m_in), once(swap.action.m_out))}"


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
