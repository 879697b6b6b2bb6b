"""What is known of a dispatcher function, looked up once: its op, its answer, what it shares and writes."""

from __future__ import annotations

import re
from typing import Any

import torch

from stridewise.ops import find_torch
from stridewise.ops.registry import Op, generation
from stridewise.tracing.shape_functions import answer_for

_ASKING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Target:
    """What is known of a dispatcher function, looked up once."""

    __slots__ = (
        "alias",
        "answer",
        "asks",
        "axes",
        "called",
        "counts",
        "in_place",
        "makes",
        "name",
        "op",
        "outputs",
        "seeded",
        "varies",
        "writes",
    )

    def __init__(self, func: Any) -> None:
        self.name = str(func)
        self.called = func._schema.name.removeprefix("aten::").replace("::", ".")
        self.op: Op | None = find_torch(self.name)
        returns, arguments = func._schema.returns, func._schema.arguments
        info = returns[0].alias_info if returns else None
        self.alias = -1
        if info is not None:
            shared = [i for i, a in enumerate(arguments) if a.alias_info and a.alias_info.before_set & info.before_set]
            self.alias = shared[0] if shared else 0
        in_place = self.in_place = bool(info is not None and info.is_write)
        if self.alias < 0 and "_unsafe_view" in self.name:
            self.alias = 0
        # Where a device can be asked for, the meta device is what the forward gets.
        self.makes = any(a.name == "device" for a in arguments)
        # One number throughout; ranges, random numbers and whatever has no rule vary.
        name = self.name.split(".")[1].rstrip("_")
        self.varies = name not in _FILLS and (self.op is None or self.op.name in _VARYING or name.startswith("rand"))
        # Whether its output, or the shape of that, follows from the values of what comes in.
        self.asks = not _ASKING.isdisjoint(func.tags)
        self.seeded = torch.Tag.nondeterministic_seeded in func.tags
        self.axes = self._axes(func)
        # Statistics are for training; in eval they are empty.
        self.outputs = None if self.op is None else self.op.outputs
        self.counts = self.op is not None and self.op.work is not None
        # Pointwise ops leave positions where they are, also in a part of a tensor.
        self.writes = in_place and not (self.op is not None and self.op.pointwise)
        self.answer = answer_for(self.op, self.name, in_place, len(returns))

    def _axes(self, func: Any) -> int:
        """Of a window over a map: how many axes it has, -1 where only its arguments say so; 0 for any other op."""
        if self.op is None or not self.op.site or "window" not in self.op.dilated:
            return 0
        named = re.search(r"(\d)d", self.name)
        return int(named[1]) if named else -1


_FILLS = frozenset("zeros ones full empty empty_strided scalar_tensor fill zero zeros_like ones_like full_like".split())
_VARYING = frozenset(("softmax", "triangle", "pad", "write", "concat", "stack"))  # of constants they make others
_TARGETS: dict[Any, Target] = {}
_known_at = [generation()]


def target_of(func: Any) -> Target:
    """What is known of `func`."""
    target = _TARGETS.get(func)
    if target is None:
        target = _TARGETS[func] = Target(func)
    return target


def forget_targets() -> None:
    """Look targets up anew when ops were registered since."""
    if _known_at[0] != generation():
        _TARGETS.clear()
        _known_at[0] = generation()
