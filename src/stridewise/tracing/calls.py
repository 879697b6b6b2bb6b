"""Which function call of which module made which nodes of a graph: one more forward, on shapes, with calls watched.

Also what a mode is told each registered op's torch functions are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from stridewise.building.recorded import ModuleCall
from stridewise.ir import Graph
from stridewise.ops.registry import all_ops, generation
from stridewise.tracing.inputs import InputSpec, arguments_of
from stridewise.tracing.trace import _read
from stridewise.tracing.tracer import Tracer

FUNCTIONS: dict[str, tuple[Any, ...]] = {}
"""By name, what is met by identity: inside torch.compile a function's __name__ is not to be had."""
_known_at = [-1]


def functions() -> Mapping[str, tuple[Any, ...]]:
    """`FUNCTIONS`, with those of ops that were registered since."""
    if _known_at[0] != generation():
        _known_at[0] = generation()
        FUNCTIONS.clear()
        FUNCTIONS.update({name: _met_as(name) for op in all_ops() for name in op.functions or ()})
    return FUNCTIONS


def _met_as(name: str) -> tuple[Any, ...]:
    """What a mode may be told is called, for a function's name: torch.compile names some calls otherwise than eager."""
    room, _, own = name.rpartition(".")
    if room:
        packet = getattr(getattr(torch.ops, room), own, None)
        return () if packet is None else (packet, *(getattr(packet, overload) for overload in packet.overloads()))
    rooms = (torch.Tensor, torch, functional, torch._C._nn)
    return tuple(getattr(room, name) for room in rooms if hasattr(room, name))


def name_of(func: Any) -> str:
    """The name of a function as ops write it: "conv2d", "mine.op" for torch.ops.mine.op and its overloads."""
    if isinstance(func, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return str(getattr(func, "overloadpacket", func))
    return str(getattr(func, "__name__", ""))


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
