"""Which function call of which module made which nodes of a graph: one more forward, on shapes, with calls watched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from stridewise.building.recorded import ModuleCall
from stridewise.ir import Graph
from stridewise.tracing.functions import name_of
from stridewise.tracing.inputs import InputSpec, arguments_of
from stridewise.tracing.trace import _read
from stridewise.tracing.tracer import Tracer


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """Call number `number` of the function `name` made by the forward of `path` itself, and the nodes it became.

    chain: the modules around it, innermost first; turn: which call of the module it was in. pads: of an `F.pad`.
    turns, within: for each module of the chain, which of its calls this was in, and this call's number among all of
    that name in it, its children's included. numbers: its scalars, also of constants of one element.
    """

    path: str
    turn: int
    name: str
    number: int
    nodes: range
    chain: tuple[str, ...]
    turns: tuple[int, ...]
    within: tuple[int, ...]
    pads: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()


class _Watching(TorchFunctionMode):
    """Notes every outermost function call while the tracer notes the nodes below it."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer
        self.found: list[FunctionCall] = []
        self.counts: dict[tuple[int, str], int] = {}
        self.among: dict[tuple[int, str], int] = {}
        self.owners: list[ModuleCall | None] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        builder, owner = self.tracer.builder, self.tracer.owner
        name = name_of(func)
        before = len(builder.nodes)
        key = (id(owner), name)
        number = self.counts.get(key, 0)
        self.counts[key] = number + 1
        self.owners.append(owner)  # alive, so that its identity stays its own
        chain = []
        above = owner
        while above is not None:
            chain.append(above)
            above = above.parent
        within = [self.among.get((id(call), name), 0) for call in chain]
        self.among.update({(id(call), name): n + 1 for call, n in zip(chain, within, strict=True)})
        out = func(*args, **(kwargs or {}))
        if len(builder.nodes) > before:
            pads = tuple((kwargs or {}).get("pad", args[1] if len(args) > 1 else ())) if name == "pad" else ()
            self.found.append(
                FunctionCall(
                    path=owner.path if owner else "",
                    turn=owner.number if owner else 1,
                    name=name,
                    number=number,
                    nodes=range(before, len(builder.nodes)),
                    chain=tuple(call.path for call in chain),
                    turns=tuple(call.number for call in chain),
                    within=tuple(within),
                    pads=pads,
                    numbers=tuple(self._numbers((*args, *(kwargs or {}).values()))),
                )
            )
        return out

    def _numbers(self, arguments: Iterable[Any]) -> Iterator[float]:
        for argument in arguments:
            if isinstance(argument, int | float):
                yield float(argument)
            elif isinstance(argument, torch.Tensor) and argument.numel() == 1:
                value = self.tracer.constants.made(argument)
                if value is not None and not value.is_complex():
                    yield float(value)


def function_calls(model: nn.Module, input: InputSpec, name: str = "") -> tuple[Graph, tuple[FunctionCall, ...]]:
    """The graph at this input and the function calls that made it, in executed order."""
    seen: list[_Watching] = []

    def beside(tracer: Tracer) -> _Watching:
        seen.append(_Watching(tracer))
        return seen[-1]

    _, graph = _read(model, arguments_of(input), name, (), beside)
    return graph, tuple(seen[-1].found)


def by_node(calls: tuple[FunctionCall, ...]) -> Mapping[int, FunctionCall]:
    """The call that made each node."""
    return {node: call for call in calls for node in call.nodes}
