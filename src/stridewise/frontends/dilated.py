"""Steps turned into dilation on a live model: attributes where they suffice, replaced function calls elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _MaxPoolNd

from stridewise.axis import Window, same_padding
from stridewise.errors import PlanError, StridewiseError
from stridewise.frontends.calls import FunctionCall, by_node, function_calls
from stridewise.frontends.dense import replacement
from stridewise.frontends.override import Fit, Override, Quiet, Swap
from stridewise.frontends.torch import InputSpec
from stridewise.frontends.undo import Undo
from stridewise.ir import Graph, Node
from stridewise.rewrites.dilate import Act, Dilation

_FORWARDS = {
    cls.forward
    for cls in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
}


def dilate(model: nn.Module, found: Dilation, input: InputSpec, undo: Undo) -> list[str]:
    """Carry the acts of `found` out on the model; returns a line for each change, in executed order."""
    graph = found.graph
    _, calls = function_calls(model, input, graph.model)
    made_by = by_node(calls)
    paths: dict[str, dict[int, Act]] = {}
    for index, act in found.acts.items():
        if act.kind != "mixes":
            paths.setdefault(_owner(graph, made_by, index), {})[index] = act
    modules = dict(model.named_modules(remove_duplicate=False))
    lines: list[str] = []
    for path, acts in paths.items():
        module = modules[path]
        nodes = [graph.nodes[i] for i in acts]
        one = _agreed(nodes, acts)
        if one is not None and _by_attributes(module, nodes[0]):
            lines.append(_set(module, path, nodes[0], one, undo))
        else:
            lines += _swap(model, modules, path, acts, graph, calls, made_by, input, undo)
    return lines


def _owner(graph: Graph, made_by: Any, index: int) -> str:
    call = made_by.get(index)
    node = graph.nodes[index]
    if call is None:
        raise PlanError(f"{node.key or node.path}: '{node.target}' is called below torch's functions; it cannot be changed")
    return str(call.path)


def _agreed(nodes: Sequence[Node], acts: dict[int, Act]) -> Act | None:
    """The act of a module whose every call does the same window op, else None."""
    first = acts[nodes[0].index]
    same = all(acts[n.index] == first and n.attrs.get("maps") == nodes[0].attrs.get("maps") for n in nodes)
    alone = len({n.call for n in nodes}) == len(nodes)
    return first if same and alone and first.kind == "window" else None


def _by_attributes(module: nn.Module, node: Node) -> bool:
    """Whether stride, dilation and padding of the module are all there is to its op."""
    if not isinstance(module, _ConvNd | _MaxPoolNd) or type(module).forward not in _FORWARDS or "forward" in vars(module):
        return False
    if isinstance(module, _ConvNd):
        own = type(module)._conv_forward in {c._conv_forward for c in (nn.Conv1d, nn.Conv2d, nn.Conv3d)}
        return own and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return not module.return_indices


def _set(module: Any, path: str, node: Node, act: Act, undo: Undo) -> str:
    old = tuple(m for m in node.attrs["maps"] if isinstance(m, Window))
    strides = tuple(w.stride * a // b for w, a, b in zip(old, act.came, act.goes, strict=True))
    spread = tuple(w.dilation * a for w, a in zip(old, act.came, strict=True))
    pads = tuple(w.pad_begin * a for w, a in zip(old, act.came, strict=True))
    said = []
    for name, values in (("stride", strides), ("dilation", spread), ("padding", pads)):
        was = getattr(module, name)
        if _flat(was, len(values)) != values:
            undo.set(module, name, values)
            said.append(f"{name} {_by(_flat(was, len(values)))} -> {_by(values)}")
    if any(w.ceil_mode for w in old):
        undo.set(module, "ceil_mode", False)
    if isinstance(module, _ConvNd):
        undo.set(module, "_reversed_padding_repeated_twice", [p for n in reversed(pads) for p in (n, n)])
    # A window that kept every position needs no more than its padding; one that steps ends where its size says.
    if any(w.ceil_mode or w.stride > 1 for w in old):
        value = float("-inf") if isinstance(module, _MaxPoolNd) else 0.0
        undo.hook(module, Fit(old, act, value))
    return f"{path}: {', '.join(said) or 'the same window'}"


def _flat(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * axes


def _by(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


def _swap(
    model: nn.Module,
    modules: dict[str, nn.Module],
    path: str,
    acts: dict[int, Act],
    graph: Graph,
    calls: Sequence[FunctionCall],
    made_by: Any,
    input: InputSpec,
    undo: Undo,
) -> list[str]:
    """An override on the module at `path` for the function calls behind `acts`."""
    per_turn: dict[int, dict[tuple[str, int], Swap]] = {}
    lines: list[str] = []
    for index, act in acts.items():
        call = made_by[index]
        key = (call.name, call.number)
        row = per_turn.setdefault(call.turn, {})
        if key in row:  # one call, several axes: it comes as the first node's operand and goes as the last's
            first = row[key].act
            act = Act(kind=act.kind, came=first.came, goes=act.goes, hop=act.hop)
        if replacement(act.kind, call.name) is None:
            where = graph.nodes[index].key or path
            raise PlanError(f"{where}: '{call.name}' ({act.kind}) has no dilated form")
        same = _same(model, graph, index, act, call, made_by, input) if act.kind == "pad" else ()
        row[key] = Swap(name=call.name, number=call.number, act=act, same=same)
    turns = list(per_turn.values())
    if any(turn != turns[0] for turn in turns[1:]):
        raise PlanError(f"{path or graph.model}: runs more than once in a forward, and its calls would have to differ")
    module = modules[path]
    override = Override(module, list(turns[0].values()))
    undo.forward(module, override)
    for child in dict.fromkeys(_children(path, set(override.swaps), calls)):
        undo.forward(modules[child], Quiet(modules[child], override))
    for swap in turns[0].values():
        by = _by(swap.act.came), _by(swap.act.goes)
        lines.append(f"{path or graph.model}: {swap.name} as {_SAID[swap.act.kind].format(*by)}")
    return lines


_SAID = {
    "window": "a window of {0} times the dilation, for {1} times the positions",
    "pad": "{0} times the padding",
    "slice": "a slice of {0} times the positions, giving {1} times as many",
    "resize": "a resize of every {0}th position, giving {1} times as many",
    "coarse": "itself on every {0}th position",
    "phases": "itself on each of {0} phases",
}


def _children(path: str, names: set[str], calls: Sequence[FunctionCall]) -> list[str]:
    """Modules called by the one at `path` in which one of the functions `names` is called."""
    found = []
    for call in calls:
        if call.name in names and call.path != path and path in call.chain:
            found.append(call.chain[call.chain.index(path) - 1])
    return found


def _same(
    model: nn.Module, graph: Graph, index: int, act: Act, call: FunctionCall, made_by: Any, input: InputSpec
) -> tuple[Window | None, ...]:
    """The windows whose dynamic SAME padding a `pad` gives, found by looking at other input sizes; () where it is fixed.

    Raises: PlanError where the padding follows the size in a way that is not SAME's.
    """
    node = graph.nodes[index]
    reader = next((n for n in graph.nodes[index + 1 :] if set(node.outputs) & set(n.inputs)), None)
    maps = reader.attrs.get("maps", ()) if reader is not None else ()
    if not all(isinstance(m, Window) for m in maps) or len(maps) != len(act.came):
        return ()
    if all(w.stride == 1 for w in maps):
        return ()
    if not isinstance(input, Sequence):
        return ()
    sizes = []
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for more in (0, 1, 2, 4, 8, 16, 5):
        try:
            other, rows = function_calls(model, (input[0], *(n + more for n in input[1:])), graph.model)
        except StridewiseError:
            continue
        match = [r for r in rows if (r.path, r.turn, r.name, r.number) == (call.path, call.turn, call.name, call.number)]
        if match:
            shape = other.tensors[other.nodes[match[0].nodes[0]].inputs[0]].shape
            found.append((tuple(shape[-len(maps) :]), match[0].pads))
            sizes.append(more)
    if len({pads for _, pads in found}) <= 1:
        return ()
    for shape, pads in found:
        wanted = [same_padding(n, w.kernel, w.stride, w.dilation) for n, w in zip(shape, maps, strict=True)]
        if tuple(n for pair in reversed(wanted) for n in pair) != pads:
            raise PlanError(f"{node.key or call.path}: its padding follows the input size in an unknown way")
    return tuple(m for m in maps if isinstance(m, Window))
