"""How long a layer's map is at any input length: for arrays of lengths, as a formula, and as plain Python to paste."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stridewise.analyses.limits import AxisSizes, Step, axes_as_traced
from stridewise.analyses.sizes import known_alone, where
from stridewise.errors import GeometryError, UsageError
from stridewise.ir import Graph, check_graph
from stridewise.report.document import Document, Facts
from stridewise.shown import Shown


def grid_of(graph: Graph, layer: str) -> int:
    """The grid that a layer's output lies on; "" is the last map. layer: a site, a module's path or its key.

    Raises: UsageError naming the nearest layers, for one that does not exist or has no positions.
    """
    node = graph.node_named(layer) if layer else None
    tensors = dict(graph.modules)
    at = graph.last if not layer else node.outputs[0] if node is not None else tensors.get(layer)
    if layer and node is None and at is None:
        at = next((n.outputs[0] for n in reversed(graph.nodes) if n.path == layer and n.outputs), None)
    if at is None:
        names = dict.fromkeys([*(n.key for n in graph.nodes if n.key), *tensors])
        near = difflib.get_close_matches(layer, names, n=3)
        advice = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(list(names)[:5])}, ..."
        raise UsageError(f"no layer '{layer}': {advice}" if layer else f"{graph.model}: has no map with positions")
    grid = graph.tensors[at].grid
    if grid is None:
        raise UsageError(f"layer '{layer}': has no positions")
    return grid


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthRule(Shown):
    """The length of a layer's map along one axis as a function of the input's; call it with a length.

    formula: line by line, n is the input's length; python: a function to paste that needs nothing else.
    """

    layer: str
    axis: int
    formula: tuple[str, ...]
    python: str
    _sizes: AxisSizes = field(repr=False, compare=False)
    _grid: int = field(repr=False, compare=False)

    def __call__(self, length: int) -> int:
        """Raises: GeometryError where the network does not run on so many positions."""
        found = self._sizes.at(length, [self._grid]) if length > 0 else None
        if found is None:
            raise GeometryError(
                f"{self.layer or 'the network'}: does not run on {length} positions along axis {self.axis}"
            )
        return found[0]

    def document(self) -> Document:
        """The formula, then the function."""
        rows = tuple(("n is the input's length" if not at else "", line) for at, line in enumerate(self.formula))
        every = frozenset(name for name, _ in rows)
        return Document(title=self.layer, parts=(Facts(rows=rows, breaks=every),), notes=(), quiet=True)

    def __str__(self) -> str:
        return "\n".join((*self.formula, "", self.python))

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.lengths/1"."""
        return {
            "schema": "stridewise.lengths/1",
            "layer": self.layer,
            "axis": self.axis,
            "formula": list(self.formula),
            "python": self.python,
        }


def out_size(graph: Graph, layer: str = "", lengths: Any = None, *, axis: int = 0) -> Any:
    """How long a layer's map is at each of `lengths`, whole numbers or an array of them, in the same form.

    layer: "" is the last map. lengths: input lengths along `axis`, the other axes as traced; without them the rule
    itself, a `LengthRule` (formula, Python to paste). An array of NumPy or PyTorch comes back as one.
    Raises: UsageError for a layer or axis that does not exist, GeometryError naming a length that does not run.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> rule = sw.out_size(graph, "layers.9")
    >>> rule(32)
    8
    """
    check_graph(graph, "out_size")
    grid = grid_of(graph, layer)
    if not 0 <= axis < graph.axes:
        raise UsageError(f"axis {axis}: the input has {graph.axes} with positions, counted from 0")
    around = [graph.grids[grid]]
    while around:
        one = around.pop()
        if one.alone:
            raise UsageError(f"layer '{layer}': {where(graph, one)} {known_alone(graph, one)}")
        around += [graph.grids[s] for s in one.sources]
    sizes = axes_as_traced(graph)[axis]
    rule = _rule(sizes, grid, layer, axis)
    if lengths is None:
        return rule
    return _like(lengths, _each(rule, lengths.tolist() if hasattr(lengths, "tolist") else lengths, {}))


def _each(rule: LengthRule, lengths: Any, known: dict[int, int]) -> Any:
    if isinstance(lengths, Sequence) and not isinstance(lengths, str):
        return [_each(rule, entry, known) for entry in lengths]
    if not isinstance(lengths, int) or isinstance(lengths, bool):
        raise UsageError(f"out_size: lengths are whole numbers, not {lengths!r}")
    if lengths not in known:
        known[lengths] = rule(lengths)
    return known[lengths]


def _like(given: Any, made: Any) -> Any:
    """The list in the form of what was given."""
    if hasattr(given, "new_tensor"):
        return given.new_tensor(made)
    if hasattr(given, "tolist"):
        return sys.modules["numpy"].asarray(made, dtype=given.dtype)
    return made


def _rule(sizes: AxisSizes, grid: int, layer: str, axis: int) -> LengthRule:
    """The rule of a slot: the steps it hangs on, in order, each with a letter of its own."""
    slot = sizes.slots[grid]
    if slot < 0:
        raise UsageError(f"layer '{layer}': has no axis {axis}")
    needed, stack = set(), [slot]
    while stack:
        at = stack.pop()
        if at and at not in needed:
            needed.add(at)
            step = sizes.steps[at - 1]
            stack += () if step.constant else step.parts or step.agree or (step.source,)
    names = {0: "n"} | {at: f"n{i}" for i, at in enumerate(sorted(needed), 1)}
    lines = [f"{names[at]} = {_written(sizes.steps[at - 1], names)}" for at in sorted(needed)]
    body = "".join(f"    {line}\n" for line in lines)
    python = f"def out_length(n):\n{body}    return {names[slot]}\n"
    text = tuple(_in_words(line) for line in lines) or ("n",)
    return LengthRule(layer=layer, axis=axis, formula=text, python=python, _sizes=sizes, _grid=grid)


def _written(step: Step, names: dict[int, str]) -> str:
    """One step as Python."""
    if step.constant:
        return str(step.of(()))
    if step.change is not None:
        return step.change.formula(names[step.source])
    if step.parts:
        return " + ".join(names[s] for s in step.parts)
    if step.agree:
        return f"max({', '.join(names[s] for s in step.agree)})" if step.spreads else names[step.agree[0]]
    return str(step.pinned) if step.pinned is not None else names[step.source]


def _in_words(line: str) -> str:
    """A line as a formula: floors written out where that is short."""
    name, _, right = line.partition(" = ")
    above, sign, below = right.partition(" // ")
    if sign and " // " not in below and right[0] not in "-m" and right.count("(") <= 1:
        number, _, rest = below.partition(" ")
        return f"{name} = floor({above} / {number}) {rest}".rstrip()
    return line
