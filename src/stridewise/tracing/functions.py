"""The torch functions that become registered ops and can be met from outside: what a mode is told each is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from stridewise.ops.registry import all_ops, generation

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
