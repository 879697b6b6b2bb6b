"""What the plans of a front are asked to meet: budgets, an output stride, a pyramid, a field, the smallest map."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from stridewise.analyses.targets import Target
from stridewise.errors import PlanError
from stridewise.fronts.compile import unknown_of
from stridewise.fronts.space import Space
from stridewise.fronts.sweep import Limits
from stridewise.fronts.watch import Wanted
from stridewise.plans import check_stride

Budget: TypeAlias = str | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Everything a plan must meet."""

    output_stride: int | Sequence[int] | None
    smallest_map: int
    wanted: Wanted
    limits: Limits
    target: Target | None = None

    def said(self) -> dict[str, Any]:
        """What was asked for, in plain values."""
        stride = self.output_stride
        said = {
            "max_macs": self.limits.macs,
            "max_activations": self.limits.activations,
            "max_peak_bytes": self.limits.peak_bytes,
            "output_stride": [stride] if isinstance(stride, int) else stride and list(stride),
            "pyramid": list(self.wanted.pyramid) or None,
            "min_field": self.wanted.min_field or None,
            "smallest_map": self.smallest_map if self.smallest_map > 1 else None,
            "target": self.target and self.target.name,
        }
        return {key: value for key, value in said.items() if value is not None}

    def __str__(self) -> str:
        said = {k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in self.said().items()}
        return ", ".join(f"{key} {value}" for key, value in said.items()) or "these sites"

    def given(self, found: Space) -> Mapping[int, Fraction]:
        """The unknowns of a space that the wanted output stride fixes. Raises: PlanError where its axes contradict."""
        if self.output_stride is None:
            return {}
        graph, each = found.graph, _per_axis(found, self.output_stride)
        grid = graph.tensors[graph.last].grid if graph.last is not None else None
        if grid is None:
            raise PlanError("output stride: the network has no last feature map")
        out: dict[int, Fraction] = {}
        for axis in (0,) if found.same_axes else range(graph.axes):
            unknown = unknown_of(found, axis, grid)
            if unknown and out.setdefault(unknown[0], each[axis] / unknown[1]) != each[axis] / unknown[1]:
                raise PlanError(f"output stride: its axes are tied and cannot be {'x'.join(map(str, each))}")
        return out


def _per_axis(found: Space, output_stride: int | Sequence[int]) -> tuple[int, ...]:
    graph = found.graph
    entries = check_stride("output stride", output_stride if isinstance(output_stride, int) else list(output_stride))
    if len(entries) not in (1, graph.axes):
        raise PlanError(f"output stride: {len(entries)} entries for {graph.axes} axes")
    each = entries * graph.axes if len(entries) == 1 else entries
    if found.same_axes and len(set(each)) > 1:
        raise PlanError(f"output stride {'x'.join(map(str, each))}: unequal steps are tried with per_axis")
    return each


def budget(name: str, value: Budget, today: int) -> int | None:
    """A budget in whole numbers: "0.7x" is a share of `today`; "300M", "1.2G" count by thousands, bytes by 1024, as on
    the command line. Raises PlanError."""
    if value is None:
        return None
    written = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(x|[kMGT]?)(?:i?B)?", value.strip()) if isinstance(value, str) else None
    if written is not None and Fraction(written[1]) > 0 and (written[2] or "." not in written[1]):
        thousand = 1024 if name.endswith("bytes") else 1000
        unit = today if written[2] == "x" else thousand ** ("", "k", "M", "G", "T").index(written[2])
        return int(Fraction(written[1]) * unit)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise PlanError(
        f'{name}: a budget is "0.7x" of the network as it is, "300M", "1.2G" or a whole number from 1, not {value!r}'
    )
