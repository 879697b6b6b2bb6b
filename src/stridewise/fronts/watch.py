"""What else a plan must keep, followed beside its sizes: maps at wanted cumulative strides, a receptive field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stridewise.analyses.fields import field_of
from stridewise.axis import AxisMap, Field
from stridewise.ir import Graph, Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """pyramid: cumulative strides at which some map must lie; min_field: input positions that the last map must see."""

    pyramid: tuple[int, ...] = ()
    min_field: int = 0

    def __bool__(self) -> bool:
        return bool(self.pyramid or self.min_field > 1)


class Watcher:
    """The strides met so far (one bit each of the pyramid) and the fields of the grids that are still read."""

    def __init__(self, graph: Graph, wanted: Wanted) -> None:
        self.graph, self.wanted = graph, wanted
        self.last = graph.tensors[graph.last].grid if graph.last is not None else None
        self.met = 0
        self.fields: dict[int, tuple[Field, ...]] = {}

    def load(self, key: Sequence[Any], grids: Sequence[int]) -> None:
        """Put a state's part back."""
        self.met = key[0]
        self.fields.update(zip(grids, key[1:], strict=True))

    def key(self, grids: Sequence[int]) -> tuple[Any, ...]:
        """The part of the state that a later block reads."""
        return (self.met, *[self.fields[g] for g in grids])

    def meet(self, strides: Sequence[Any]) -> None:
        """Note a map at these cumulative strides, one an axis."""
        if len(set(strides)) == 1 and strides[0] in self.wanted.pyramid:
            self.met |= 1 << self.wanted.pyramid.index(strides[0])

    def finish(self) -> bool:
        """Whether every wanted stride was met; from here on all plans that did are alike."""
        return self.met == (1 << len(self.wanted.pyramid)) - 1

    def reach(self, grid: int, sizes: Mapping[int, Sizes], maps: Mapping[int, tuple[AxisMap, ...]]) -> bool:
        """Find a grid's field. False where it is the last map's and too small."""
        found = field_of(self.graph, self.graph.grids[grid], self.fields, sizes, maps)
        self.fields[grid] = tuple([self._capped(f) for f in found])
        return grid != self.last or all(f.size >= self.wanted.min_field for f in found)

    def _capped(self, field: Field) -> Field:
        """One field for all that are large enough at every phase: what reads them is large enough too."""
        least = min((last - first + 1 for first, last in (s or (0, -1) for s in field.spans)), default=0)
        if least < self.wanted.min_field:
            return field
        jump = field.jump
        return Field(advance=jump.numerator, spans=((0, self.wanted.min_field - 1),) * jump.denominator)
