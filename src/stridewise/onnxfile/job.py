"""One node of an ONNX file that must act differently, and how old positions are picked out of what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper

from stridewise.errors import PlanError
from stridewise.ir import Grid, Node, Sizes
from stridewise.onnxfile.edit import OPERANDS, Spot
from stridewise.ops.draft import Value
from stridewise.ops.layout import whole_axis
from stridewise.rewrites.actions import Action
from stridewise.rewrites.multipliers import Multipliers

_END = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Job:
    """One node to change: its place in the file, its node and action in the graph, the grid it made before.

    x: the name of its first operand as the file has it; sizes: those of its positions before the change, as runtimes
    have them (onnx's own inference counts a last window of ceil_mode that starts in the padding, which they drop).
    """

    spot: Spot
    x: str
    node: Node
    action: Action
    old: Grid
    sizes: Sizes
    is_open: bool

    def value(self, name: str) -> Value:
        """What is known of an operand."""
        return self.spot.edit.walk.values[name]

    @property
    def elem(self) -> int:
        """The element type of the first operand."""
        return int(self.spot.edit.walk.kinds[self.x].elem)

    @property
    def attributes(self) -> dict[str, Any]:
        """The node's attributes as they stand there."""
        return {a.name: helper.get_attribute_value(a) for a in self.spot.node.attribute}

    def refuse(self, why: str) -> PlanError:
        """The error that says why this node has no other form."""
        return PlanError(f"{self.node.key or self.spot.name} ({self.spot.node.op_type}): {why}")

    def dims(self, value: Value, m_in: Multipliers, why: str) -> list[int | None]:
        """The dim that holds each axis whole, None where it holds none.

        Raises: PlanError with `why` where an axis that came with more positions is held by no dim.
        """
        found: list[int | None] = [None] * len(m_in)
        for at, dim in enumerate(value.dims or ()):
            digit = whole_axis(dim)
            if digit is not None and digit.count == value.shape[at] and digit.axis < len(found):
                found[digit.axis] = at
        if any(m > 1 and at is None for m, at in zip(m_in, found, strict=True)):
            raise self.refuse(why)
        return found

    def is_constant(self, at: int) -> bool:
        """Whether an operand stands in the file as numbers, or is left out."""
        names = list(self.spot.node.input)
        if at >= len(names) or not names[at]:
            return True
        content = self.value(names[at]).content
        return content is not None and all(isinstance(entry, int | float) for entry in content)


def every(job: Job, x: str, value: Value, starts: Sequence[int], m_in: Multipliers) -> str:
    """The name of x[..., start::m], m = `m_in` along each axis, made in front of the node."""
    dims = job.dims(value, m_in, "its operand holds no axis whole; the old positions cannot be picked out of it")
    picked = [(at, start, m) for at, start, m in zip(dims, starts, m_in, strict=True) if m > 1 and at is not None]
    if not picked:
        return x
    ints = job.spot.ints
    where, first, step = zip(*picked, strict=True)
    operands = ints(*first), ints(*[_END] * len(picked)), ints(*where), ints(*step)
    return job.spot.add("Slice", x, *operands, since=OPERANDS)
