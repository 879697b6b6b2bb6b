"""Two networks side by side: their layers aligned, and which sizes, strides, fields and costs differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, TypeAlias

from stridewise.analyses.fields import evaluate
from stridewise.errors import UsageError
from stridewise.ir import Graph, check_graph
from stridewise.report.document import Document, Part, Remarks, Table
from stridewise.report.scale import Scale
from stridewise.report.units import by
from stridewise.showing import text
from stridewise.showing.json import layer_json, view_json
from stridewise.showing.rows import Layer, Row, View
from stridewise.showing.show import view
from stridewise.shown import Shown

Pair: TypeAlias = tuple[int | None, int | None]
"""Where a layer lies in the one and in the other network; None where it is only in one."""

_LIKENESS: tuple[Callable[[Layer], tuple[object, ...]], ...] = (
    lambda layer: (layer.op, layer.kernel, layer.channels),
    lambda layer: (layer.op, layer.kernel),
    lambda layer: (layer.op,),
)
_OWN = frozenset({"op", "kernel", "stride", "dilation", "padding", "groups", "channels"})
_FOLLOWS = frozenset({"in_size", "out_size", "cumulative_stride", "receptive_field", "start", "global"})
_COST = frozenset({"macs", "params", "activations"})
_LISTED = _OWN | {"out_size", "cumulative_stride", "receptive_field", "macs"}
"""What sets a pair into the table: not parameters alone, which a file that folds its norms counts otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside(Shown):
    """What `beside` found: each network as a view under its name, and pairs of layers in the order of both."""

    names: tuple[str, str]
    inputs: tuple[text.Inputs, text.Inputs]
    views: tuple[View, View]
    pairs: tuple[Pair, ...]
    scale: Scale | None = None

    def document(self) -> Document:
        """Totals beside each other, both ladders, and the layers that differ."""
        shapes = [", ".join(by(shape) for _, shape in inputs) for inputs in self.inputs]
        parts: list[Part] = [text.side_by_side(self.views, self.scale)]
        parts += [text.named_ladder(one) for one in self.views]
        differing = [set(self._differing(pair)) for pair in self.pairs if None not in pair]
        alike = sum(not found for found in differing)
        params = sum(found == {"params"} for found in differing)
        return Document(
            title=f"{self.names[0]} beside {self.names[1]}",
            aside=f"input {' and '.join(dict.fromkeys(shapes))}",
            parts=(*parts, self._table()),
            notes=(
                f"{alike} of {len(self.pairs)} rows are the same in both"
                + (f", {params} in all but parameters" if params else "")
                + "; = as in the row above",
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.beside/1"; pairs say by number which layers stand beside each other."""
        return {
            "schema": "stridewise.beside/1",
            "models": [
                {"model": name, "input": {key: list(shape) for key, shape in inputs}, **view_json(one, self.scale)}
                for name, inputs, one in zip(self.names, self.inputs, self.views, strict=True)
            ],
            "pairs": [{"layers": list(pair), "differs": self._differing(pair)} for pair in self.pairs],
            **({} if self.scale is None else {"scale": self.scale.to_json()}),
        }

    def _records(self) -> list[dict[str, Any]]:
        return [
            {"pair": at, "model": name} | layer_json(one.layers[place], self.scale)
            for at, pair in enumerate(self.pairs)
            for name, one, place in zip(self.names, self.views, pair, strict=True)
            if place is not None
        ]

    def _layers(self, pair: Pair) -> tuple[Layer | None, Layer | None]:
        a, b = (None if at is None else one.layers[at] for one, at in zip(self.views, pair, strict=True))
        return a, b

    def _differing(self, pair: Pair) -> list[str]:
        """The fields of a pair that are not the same, as JSON calls them; none where one network lacks the layer."""
        a, b = self._layers(pair)
        if a is None or b is None:
            return []
        one, other = layer_json(a), layer_json(b)
        return [name for name in one if name in _OWN | _FOLLOWS | _COST and one[name] != other[name]]

    def _table(self) -> Table | Remarks:
        rows: list[tuple[str, ...]] = []
        strong: set[int] = set()
        for pair in self.pairs:
            a, b = self._layers(pair)
            differs = set(self._differing(pair))
            if a is not None and b is not None and differs & _LISTED:
                one, other = text.cells(_row(a), self.scale), text.cells(_row(b), self.scale)
                if one == other and "padding" not in differs:  # sees all of the input either way
                    continue
                same = ["=" if x == y and x else y for x, y in zip(one, other, strict=True)]
                strong |= {len(rows) + 1} if _OWN & differs else set()
                padding = ", other padding" if "padding" in differs else ""
                rows += [(a.key, *one), (f"  {b.key}{padding}", *same)]
            elif None in pair:
                for side, layer in (("left", a), ("right", b)):
                    if layer is not None:
                        strong.add(len(rows))
                        rows.append((f"{layer.key}, only {side}", *text.cells(_row(layer), self.scale)))
        if not rows:
            return Remarks(remarks=(), none="No layer's size, stride, field or work differs.")
        return text.differing(rows, strong, self.scale)


def beside(
    graph: Graph,
    other: Graph,
    *,
    names: Sequence[str] | None = None,
    batch: int = 1,
    train: bool = False,
    scale: str | Scale | None = None,
) -> Beside:
    """Two networks side by side: layers aligned by op, kernel and channels, and what differs in sizes, strides, fields
    and cost. Names of layers do not count: the same network from PyTorch and from a file lines up.

    names: what to call the two. batch, train, scale: as in `show`. Raises: UsageError.

    >>> one, wide = (sw.trace(sw.load(f"builtin:{name}"), (3, 32, 32)) for name in ("resnet20", "resnet20-narrow"))
    >>> table = sw.beside(one, wide).to_json()
    >>> table["pairs"][0]
    {'layers': [0, 0], 'differs': ['channels', 'macs', 'params', 'activations']}
    """
    for one in (graph, other):
        check_graph(one, "beside")
    if batch < 1:
        raise UsageError(f"batch: a whole number from 1 is wanted, not {batch}")
    first, second = names or (graph.model, other.model)
    first, second = first, f"{second}, the other" if first == second else second
    measured = None if scale is None else Scale.read(scale).over(graph.axes)
    a, b = (
        view(evaluate(one), name, batch=batch, train=train)
        for one, name in zip((graph, other), (first, second), strict=True)
    )
    inputs = [tuple((name, (batch, *g.tensors[t].shape[1:])) for name, t in g.inputs) for g in (graph, other)]
    return Beside(
        names=(first, second),
        inputs=(inputs[0], inputs[1]),
        views=(a, b),
        pairs=tuple(_pairs(a.layers, b.layers)),
        scale=measured,
    )


def _row(layer: Layer) -> Row:
    return Row(name=layer.key, first=layer, last=layer, repeats=1, at=0)


def _pairs(a: Sequence[Layer], b: Sequence[Layer]) -> Iterator[Pair]:
    """The layers of one and the same structure one to one, at whatever widths; else by what is alike."""
    structure = _LIKENESS[1]
    here, there = range(len(a)), range(len(b))
    if [structure(layer) for layer in a] == [structure(layer) for layer in b]:
        return zip(here, there, strict=True)
    return _aligned(a, b, here, there)


def _aligned(
    a: Sequence[Layer], b: Sequence[Layer], here: Sequence[int], there: Sequence[int], level: int = 0
) -> Iterator[Pair]:
    """Pairs of the layers at `here` in a and `there` in b: the longest common runs of what is alike, then between them
    those that are alike in less. What has no partner stands alone."""
    if level == len(_LIKENESS) or not here or not there:
        yield from [(at, None) for at in here]
        yield from [(None, at) for at in there]
        return
    alike = _LIKENESS[level]
    match = SequenceMatcher(None, [alike(a[i]) for i in here], [alike(b[i]) for i in there], autojunk=False)
    for tag, i, i_end, j, j_end in match.get_opcodes():
        if tag == "equal":
            yield from zip(here[i:i_end], there[j:j_end], strict=True)
        else:
            yield from _aligned(a, b, here[i:i_end], there[j:j_end], level + 1)
