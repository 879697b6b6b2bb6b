"""The graph every front end fills and every analysis reads. Frozen; sizes under other inputs or plans follow from it.

A *tensor* lies on a *grid*: the lattice of positions that all pointwise descendants of one op share. Grids carry the
geometry, tensors carry bytes, nodes carry work. A volume (elements of a tensor, multiply-adds of a node) is a constant
times the sizes of the grid axes it extends over, so that a what-if is a walk over the grids and a few products.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar

from stridewise.axis import IDENTITY, AxisMap
from stridewise.errors import UsageError, by
from stridewise.records import quick
from stridewise.shown import Shown

Sizes: TypeAlias = tuple[int, ...]
GridSizes: TypeAlias = Sequence[Sizes]
P = ParamSpec("P")
R = TypeVar("R")


@quick
@dataclass(frozen=True, slots=True)
class Volume:
    """`scale` times the product of the sizes of `over` (pairs of grid and axis, with repeats), and the same of `plus`.

    `plus` holds further terms: class tokens beside the positions are a constant number.
    """

    scale: int | Fraction = 0
    over: tuple[tuple[int, int], ...] = ()
    plus: tuple[Volume, ...] = ()

    def at(self, sizes: GridSizes) -> int:
        """The volume when grid g measures `sizes[g]`."""
        total: int | Fraction = self.scale
        for grid, axis in self.over:
            total *= sizes[grid][axis]
        return int(total) + sum(term.at(sizes) for term in self.plus) if self.plus else int(total)

    def times(self, other: Volume) -> Volume:
        """The product of two volumes."""
        if not self.plus and not other.plus:
            return Volume(self.scale * other.scale, self.over + other.over)
        terms = [Volume(a.scale * b.scale, a.over + b.over) for a in (self, *self.plus) for b in (other, *other.plus)]
        return Volume(terms[0].scale, terms[0].over, tuple(terms[1:]))

    def scaled(self, by: int | Fraction) -> Volume:
        """`by` times the volume."""
        return self.times(Volume(by)) if self.plus else Volume(self.scale * by, self.over)

    def add(self, other: Volume) -> Volume:
        """The sum of two volumes."""
        return Volume(self.scale, self.over, (*self.plus, Volume(other.scale, other.over), *other.plus))

    @staticmethod
    def of(total: int, over: tuple[tuple[int, int], ...], sizes: GridSizes) -> Volume:
        """The volume that is `total` at these sizes."""
        area = math.prod(sizes[grid][axis] for grid, axis in over)
        scale = Fraction(total, area) if area else Fraction(0)
        return Volume(int(scale) if scale.denominator == 1 else scale, over)


NOTHING = Volume()

GridKind: TypeAlias = Literal["input", "map", "join", "concat", "follow", "fixed", "unknown"]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A lattice of positions, one size an axis, and how it came about.

    kind: `input`; `map` (one source, one map an axis); `join` (sources agree in size where both extend);
    `concat` (sources end to end along `axis`); `follow` (resized to the sizes of the second source);
    `fixed` (sizes that never change); `unknown` (an op without a rule).
    local: per axis, whether positions are still told apart there (False after a mean over the axis: size 1).
    mixes: the op lets every position in (attention, group statistics); a join that mixes takes its sizes from its
    first source alone. along: the axes that it mixes along, each line by itself; () for all of them together.
    placed: values that the forward made from the map's own sizes (coordinates, masks) come in here; at another size
    they are others. alone: the picture cut, padded or resized by numbers that are not followed: its size is known where
    its source measures what was traced, and nowhere else.
    """

    index: int
    kind: GridKind
    sizes: Sizes
    local: tuple[bool, ...]
    node: int | None = None
    sources: tuple[int, ...] = ()
    maps: tuple[AxisMap, ...] = ()
    axis: int = 0
    mixes: bool = False
    along: tuple[int, ...] = ()
    placed: bool = False
    alone: bool = False

    def followed(self, axis: int) -> int:
        """Of a grid that follows another: the source whose size an axis takes, its operand's where that is kept."""
        return self.sources[0 if self.maps and self.maps[axis] == IDENTITY else -1]

    def measuring(self, sizes: Sizes, maps: tuple[AxisMap, ...]) -> Grid:
        """The same grid with other sizes and maps. Faster than `dataclasses.replace`, which a what-if waits for."""
        return Grid(
            index=self.index,
            kind=self.kind,
            sizes=sizes,
            local=self.local,
            node=self.node,
            sources=self.sources,
            maps=maps,
            axis=self.axis,
            mixes=self.mixes,
            along=self.along,
            placed=self.placed,
            alone=self.alone,
        )


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One value: `shape` as traced, bytes per element, the grid it lies on, and whose memory it shares (`storage`)."""

    index: int
    shape: tuple[int, ...]
    itemsize: int
    storage: int
    grid: int | None
    volume: Volume
    known: bool = True

    def shaped(self, shape: tuple[int, ...]) -> Tensor:
        """The same value in another shape. Three times as fast as `dataclasses.replace`, which a what-if waits for."""
        return Tensor(
            index=self.index,
            shape=shape,
            itemsize=self.itemsize,
            storage=self.storage,
            grid=self.grid,
            volume=self.volume,
            known=self.known,
        )


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One executed op.

    op: the registry's name; target: what the framework calls it; path: the module that ran it; key: its unique name.
    grid: the grid it made, if it made one. site: its window can step. macs: multiply-adds.
    attrs: plain facts (kernel, groups, channels, mode) for reports and rewrites. keeps: what backward would keep
    ("all": the first operand and every output but the first, such as indices or statistics).
    """

    index: int
    op: str
    target: str
    path: str
    key: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    grid: int | None = None
    site: bool = False
    counted: bool = False
    macs: Volume = NOTHING
    params: int = 0
    attrs: Mapping[str, Any] = field(default_factory=dict)
    keeps: Literal["input", "inputs", "output", "all", "none"] = "none"
    call: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A position table: its shape, the dimensions that hold the positions (one with all axes row by row, or one an
    axis), and how many entries stand before and behind the positions (class tokens)."""

    shape: tuple[int, ...]
    dims: tuple[int, ...]
    begin: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Something that fixes sizes at a grid: a position table, a window split, a flattened head, a constant size.

    axes: those it fixes; all of them where it is empty. blocks: of what is split into parts, the size of one along each
    axis; multiple: any whole number of them will do. spreads: one position alone is spread over all of them.
    table: of a position table how it is laid out, where it can be made anew for other sizes. anew: a number of a file
    that is written anew where a plan changes what comes in, since nothing else could stand there. ends: a number of a
    file at which a slice ends, as the map does: nothing says whether it would end there on a larger map.
    """

    kind: Literal["position table", "window", "flatten", "size"]
    grid: int
    node: int
    sizes: Sizes
    message: str
    axes: tuple[int, ...] = ()
    blocks: Sizes = ()
    multiple: bool = False
    spreads: bool = False
    table: Table | None = None
    anew: bool = False
    ends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An op without a rule: what follows it is not known."""

    key: str
    op: str
    message: str
    node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where a trace ended before the forward did: why, at which line (file:line) of which module; what came until then
    is known. stored: a value of the model's own was missing, as of one built without weights."""

    why: str
    where: str
    path: str
    stored: bool = False

    def __str__(self) -> str:
        inside = f" in '{self.path}'" if self.path else ""
        return f"the trace ends at {self.where}{inside}: {self.why}; the maps known until then are its outputs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place after a module, on every path to the output, where a step can be inserted.

    key: the module's path; aliases: other modules with the same output; grid, tensor: where it lies;
    stride, kind: the step inserted there now (all 1 and "" where there is none), node: its op.
    """

    key: str
    aliases: tuple[str, ...]
    grid: int
    tensor: int
    stride: tuple[int, ...]
    kind: str = ""
    node: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Graph(Shown):
    """A traced network. `inputs` are (name, tensor) pairs, `outputs` tensors; `last` is the last spatial tensor.

    declared: strides the model states about itself. end: where the trace ended early. modules: module paths and the
    tensor each gave out last. given: arguments that shapes alone do not say ("77:int64", "=2.0"), as they were written.
    source: the structure it was traced from (`tracing.source.Source`), None for a file's graph.

    Two graphs are equal when they are the same object. answers: what analyses remember of it (`remembered`).

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> graph.axes, graph.size, len(graph.sites)
    (2, (32, 32), 23)
    >>> graph.node_named("layers.1.conv1").attrs["kernel"]
    (3, 3)
    """

    model: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    grids: tuple[Grid, ...]
    pins: tuple[Pin, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    slots: tuple[Slot, ...] = ()
    params: int = 0
    last: int | None = None
    declared: tuple[tuple[str, Any], ...] = ()
    modules: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    end: End | None = None
    given: tuple[tuple[str, str], ...] = ()
    source: Any = field(default=None, repr=False)
    answers: dict[Any, Any] = field(default_factory=dict, repr=False, init=False)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"answers": {}}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @property
    def sites(self) -> tuple[Node, ...]:
        """Nodes whose windows can step, in executed order."""
        return tuple([node for node in self.nodes if node.site])

    @property
    def axes(self) -> int:
        """Spatial axes of the main input."""
        return len(self.grids[0].sizes) if self.grids else 0

    @property
    def input(self) -> Any:
        """Channels and sizes of its input, as `sw.trace` takes them; by name where it takes several."""
        shapes: dict[str, Any] = {name: self.tensors[index].shape[1:] for name, index in self.inputs}
        shapes |= dict(self.given)
        return shapes if len(shapes) > 1 else next(iter(shapes.values()))

    @property
    def fingerprint(self) -> str:
        """How many sites it has, and a hash of their names, ops and kernels: the same at every input size, in a live
        model and in its file, under other weights, widths and steps. "" where the trace ended early."""
        if self.end is not None:
            return ""
        sites = [f"{node.key} {node.op} {tuple(node.attrs.get('kernel') or ())}" for node in self.sites]
        digest = hashlib.sha256("\n".join(sites).encode()).hexdigest()
        return f"{len(sites)} site{'' if len(sites) == 1 else 's'}, {digest[:12]}"

    @property
    def size(self) -> Sizes:
        """Positions of its first input that has some."""
        return next((grid.sizes for grid in self.grids if grid.kind == "input"), ())

    def input_json(self) -> list[int] | dict[str, list[int]]:
        """The same in plain values, the batch in front."""
        named = {name: list(self.tensors[index].shape) for name, index in self.inputs}
        return named if len(named) > 1 else next(iter(named.values()))

    def __repr__(self) -> str:
        given = ", ".join(f"{name} {by(self.tensors[index].shape[1:])}" for name, index in self.inputs)
        return (
            f"Graph of {self.model}: {given}; {len(self.nodes)} ops, {len(self.sites)} sites, {len(self.slots)} slots"
        )

    def node_named(self, key: str) -> Node | None:
        """The node called `key`; `#1` may be written or left out."""
        for node in self.nodes:
            if node.key and (node.key == key or f"{node.key}#1" == key):
                return node
        return None


def remembered(function: Callable[Concatenate[Graph, P], R]) -> Callable[Concatenate[Graph, P], R]:
    """The same function, which works each answer out once for a graph; the answers go when the graph does."""

    @wraps(function)
    def recall(graph: Graph, /, *args: P.args, **named: P.kwargs) -> R:
        key = (function, *args, *named.items())
        if key not in graph.answers:
            graph.answers[key] = function(graph, *args, **named)
        answer: R = graph.answers[key]
        return answer

    return recall


def check_graph(found: object, asker: str) -> None:
    """Raise UsageError where a function of the library is given something else than a graph, such as a model."""
    if not isinstance(found, Graph):
        raise UsageError(
            f"{asker}: a graph is wanted, of sw.trace(model, input) or sw.read_onnx(file), not {type(found).__name__}"
        )
