"""A graph whose sizes look like constants, settled by traces of the same network at other input sizes.

Links (sizes that follow another tensor), crops, and paddings of "SAME" are read from the traces together; what gives
other sizes than they show is doubted, and the network is traced once more without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from torch import nn

from stridewise.analyses.limits import smallest_alone
from stridewise.analyses.sizes import size_of
from stridewise.axis import AxisMap, Slice, Table
from stridewise.building.same import settled_padding
from stridewise.errors import GeometryError, StridewiseError
from stridewise.ir import Graph, Grid, Pin, Sizes
from stridewise.ops.join import OWN_ORDER
from stridewise.ops.registry import only_pads
from stridewise.tracing.doubts import NOT_FOLLOWED, NOTHING_CUT, doubtful, is_asking
from stridewise.tracing.inputs import Argument
from stridewise.tracing.steps import Reach
from stridewise.tracing.targets import is_own_forward
from stridewise.tracing.twins import aligned, has_constant_sizes, has_open_cuts, reaching, with_cuts, with_links

Shapes: TypeAlias = Mapping[str, Argument]
Again: TypeAlias = Callable[..., Graph]

_TAKING = frozenset(("slice", "split", "resize", "pad"))
_ROUNDS = 5  # an op that is not followed leaves fewer questions behind it


def settled(model: nn.Module, graph: Graph, again: Again, shapes: Shapes) -> Graph:
    """The graph with every size that looks like a constant settled by traces at other input sizes."""
    doubts: dict[int, str] = {}
    more: Mapping[int, str] = {}
    twins: Sequence[Graph] = ()
    numbers = _takes_numbers(model, graph)
    for _ in range(_ROUNDS):
        if numbers and (more or has_open_cuts(graph) or has_constant_sizes(graph, _stated(model, graph))):
            numbers, again = False, partial(again, told=True)
            doubts, graph = {}, again(shapes)
        graph, twins = _linked(model, graph, partial(again, doubts=dict(doubts)), shapes)
        more = {node: why for node, why in doubtful(graph, twins).items() if node not in _grown_pads(model, graph)}
        if not more:
            break
        if numbers:  # where they come from may settle it
            continue
        doubts |= more
        graph = again(shapes, doubts=doubts)
    graph = _ordered(_in_blocks(graph, twins), twins, again, shapes)
    tried = _tried(graph, again, shapes)
    if isinstance(tried, Graph):
        graph = tried
    else:  # what is not understood is said
        doubts.update({node: why for node, why in tried.items() if node not in _grown_pads(model, graph)})
        graph, twins = _linked(model, again(shapes, doubts=doubts), partial(again, doubts=doubts), shapes)
        graph = _in_blocks(graph, twins)
    for _ in range(_ROUNDS):
        wrong = _wrong(graph)
        if wrong is None or wrong in doubts:
            break
        doubts[wrong] = "its sizes do not follow from those it is made of"
        graph, twins = _linked(model, again(shapes, doubts=doubts), partial(again, doubts=doubts), shapes)
        graph = _in_blocks(graph, twins)
    return _ordered(graph, twins, again, shapes)


def _ordered(graph: Graph, twins: Sequence[Graph], again: Again, shapes: Shapes) -> Graph:
    """The graph, an order of positions of its own held to the axes alone on which it takes no other number of them."""
    if all(pin.message != OWN_ORDER for pin in graph.pins):
        return graph
    if _all_larger(graph, twins) or _larger(again, shapes, range(_most_axes(shapes)), 64, None):
        return replace(graph, pins=tuple(pin for pin in graph.pins if pin.message != OWN_ORDER))
    return replace(graph, pins=tuple(_held(graph, twins)))


def _held(graph: Graph, twins: Sequence[Graph]) -> Iterator[Pin]:
    for pin in graph.pins:
        there = [t.grids[pin.grid].sizes for t, count in reaching(graph, twins) if pin.grid < count]
        fixed = tuple([a for a, n in enumerate(pin.sizes) if all(sizes[a] == n for sizes in there)])
        if pin.message != OWN_ORDER:
            yield pin
        elif fixed:
            yield replace(pin, axes=fixed)


def _takes_numbers(model: nn.Module, graph: Graph) -> bool:
    """Whether an op that would follow them may get numbers that a forward of somebody's own works out from sizes."""
    taking = [n for n in graph.nodes if n.op in _TAKING or n.target == NOTHING_CUT]
    layers = [_layer_at(model, node.path) for node in taking]
    return not all(type(layer).__module__.startswith("torch.nn.") and is_own_forward(layer) for layer in layers)


def _grown_pads(model: nn.Module, graph: Graph) -> set[int]:
    """Pads before convolutions that a plan has grown (space-to-depth): they fit every size, known at this one."""
    hooks = {path: module._forward_pre_hooks.values() for path, module in model.named_modules()}
    grown = {path for path, before in hooks.items() if any(isinstance(hook, Reach) for hook in before)}
    makers = {tensor: node for node in graph.nodes for tensor in node.outputs} if grown else {}
    before = [makers.get(node.inputs[0]) for node in graph.nodes if node.path in grown and node.inputs]
    return {node.index for node in before if node is not None and only_pads(node)}


def _wrong(graph: Graph) -> int | None:
    """The first op whose sizes, worked out from the geometry, are not those of its tensor; None where all are."""
    sizes: list[Sizes] = []
    for grid in graph.grids:
        try:
            sizes.append(size_of(graph, grid, sizes, {}, {}))
        except GeometryError:
            return grid.node
        if sizes[-1] != grid.sizes:
            return grid.node
    return None


def _tried(graph: Graph, again: Again, shapes: Shapes) -> Graph | Mapping[int, str]:
    """The graph after its smallest input was tried, where what one size shows leaves that open.

    Slices that end at a number refuse fewer positions, and tables one position for all of theirs, where the network
    does (`narrow`, a product where einsum would spread). What then still fails is no constant: by node the doubt.
    """
    for axis in range(graph.axes):
        for _ in range(2):
            grids = [g for g in graph.grids if len(g.maps) > axis and all(g.local)]
            lenient = [g for g in grids if g.kind == "map" and _is_lenient(g.maps[axis])]
            fixed = [g for g in grids if g.kind == "fixed" and not g.alone]
            least = smallest_alone(graph)[axis] if lenient or fixed else None
            if least is None or least == graph.grids[0].sizes[axis]:
                break
            try:
                again({key: argument.cut(axis, least) for key, argument in shapes.items()})
                break
            except StridewiseError:
                if not lenient:
                    return {g.node: NOT_FOLLOWED for g in fixed if g.node is not None}
                graph = _strict(graph, lenient, axis)
    return graph


def _strict(graph: Graph, lenient: Sequence[Grid], axis: int) -> Graph:
    """The graph with these slices and tables refusing fewer positions than they name."""
    grids = list(graph.grids)
    for grid in lenient:
        change = grid.maps[axis]
        assert isinstance(change, Slice | Table)
        changed: AxisMap = replace(change, strict=True) if isinstance(change, Slice) else replace(change, spreads=False)
        grids[grid.index] = replace(grid, maps=(*grid.maps[:axis], changed, *grid.maps[axis + 1 :]))
    tables = {(g.node, axis) for g in lenient if isinstance(g.maps[axis], Table)}
    pins = tuple(replace(p, spreads=False) if (p.node, *p.axes) in tables else p for p in graph.pins)
    return replace(graph, grids=tuple(grids), pins=pins)


def _is_lenient(change: AxisMap) -> bool:
    if isinstance(change, Table):
        return change.spreads
    return isinstance(change, Slice) and change.stop is not None and change.stop > 0 and not change.strict


def _in_blocks(graph: Graph, twins: Sequence[Graph]) -> Graph:
    """The graph with what is split into parts taking any number of them, where the other traces have the same parts."""
    ours = [p for p in graph.pins if p.kind == "window"]
    others = [[p for p in twin.pins if p.kind == "window"] for twin in twins]

    def free(pin: Pin) -> bool:
        """In each of them the same parts, at the same call; or, where one copies more, at the same turn."""
        return bool(others and pin.blocks) and all(
            any((o.node, o.axes, o.blocks) == (pin.node, pin.axes, pin.blocks) for o in other)
            or [(o.axes, o.blocks) for o in other] == [(p.axes, p.blocks) for p in ours]
            for other in others
        )

    pins = (replace(p, multiple=True) if free(p) else _of_parts(p, graph, twins) for p in graph.pins)
    return replace(graph, pins=tuple(p for p in pins if p is not None))


def _of_parts(pin: Pin, graph: Graph, twins: Sequence[Graph]) -> Pin | None:
    """A table that met a map of another size elsewhere is made for the parts of it, as biases of window attention are:
    None where the split is pinned, else the map as one such part."""
    path = graph.nodes[pin.node].path
    axes = pin.axes or range(len(pin.sizes))
    others = [
        math.prod(p.sizes[a] for a in axes)
        for twin in twins
        for p in twin.pins
        if p.kind == pin.kind and p.message == pin.message and twin.nodes[p.node].path == path
    ]
    if pin.kind != "position table" or all(count == math.prod(pin.sizes[a] for a in axes) for count in others):
        return pin
    if any(p.kind == "window" and p.grid == pin.grid for p in graph.pins):
        return None
    return replace(pin, kind="window", message=f"{pin.message}, for parts as large", blocks=pin.sizes, multiple=True)


def _linked(
    model: nn.Module, graph: Graph, again: Callable[[Shapes], Graph], shapes: Shapes
) -> tuple[Graph, Sequence[Graph]]:
    """The graph with its links, crops and paddings of "SAME", and the traces at other sizes that were asked."""
    twins: Sequence[Graph] = ()
    cuts = has_open_cuts(graph)
    if cuts or has_constant_sizes(graph, _stated(model, graph)):
        # One more size says whether a number stays or follows another tensor; factors and halves show at odd ones.
        twins = _twins(graph, again, shapes, _STEPS if cuts else _STEPS[:1])
        linked = with_links(graph, twins)
        kinds = {new.kind for old, new in zip(graph.grids, linked.grids, strict=True) if old.kind == "fixed"}
        if not cuts and kinds - {"follow"} and twins:
            twins = [*twins, *_twins(graph, again, shapes, _STEPS[1:])]
            linked = with_links(graph, twins)
        if graph.axes > 1 and any(g.kind == "fixed" and not g.alone and 0 in g.sources for g in linked.grids):
            # A picture brought to a size of its own keeps its shape where that is all that the forward looks at.
            other = _larger(again, shapes, [0], *_STEPS[0], 37)
            twins = [*twins, *([] if other is None else [aligned(graph, other)])]
        graph = with_cuts(linked, twins)
    graph = settled_padding(graph, lambda step: _larger(again, shapes, range(_most_axes(shapes)), step))
    if not twins and is_asking(graph, lambda path: _pads_by_itself(_layer_at(model, path))):
        twins = _twins(graph, again, shapes, _STEPS[:1] if any(p.kind == "window" for p in graph.pins) else _ANY)
    return graph, twins


_STEPS: tuple[tuple[int | None, ...], ...] = ((64, None), (37,))
_NEAR = ((1,), (-1,), (2,), (-2,))
_ANY = ((37, 64, None),)  # one other size: odd, for numbers that are the same at every even one


def _twins(
    graph: Graph, again: Callable[[Shapes], Graph], shapes: Shapes, each: Sequence[tuple[int | None, ...]] = _STEPS
) -> list[Graph]:
    """Traces at inputs larger by an even and by an odd number: on all axes or, where the network takes none such, on
    one axis after the other."""
    axes = _most_axes(shapes)
    found = [_larger(again, shapes, range(axes), *steps) for steps in each]
    if not any(found):
        # A table for some positions: only sizes that leave the same number of them behind strides will do.
        far = () if any(p.kind == "position table" for p in graph.pins) else each
        near = tuple(n for step in _NEAR for n in step)
        alone = [*far, *_NEAR] if len(each) > 1 else [(*(far[0] if far else ()), *near)]
        found = [_larger(again, shapes, [axis], *steps) for axis in range(axes) for steps in alone]
    return [aligned(graph, twin) for twin in found if twin is not None]


def _all_larger(graph: Graph, twins: Sequence[Graph]) -> bool:
    """Whether one of the other traces is larger on every axis."""
    here = graph.grids[0].sizes if graph.grids else ()
    return any(all(m > n for m, n in zip(t.grids[0].sizes, here, strict=True)) for t in twins)


def _most_axes(shapes: Shapes) -> int:
    return max(len(argument.positions) for argument in shapes.values())


def _larger(
    again: Callable[[Shapes], Graph], shapes: Shapes, along: Collection[int], *steps: int | None
) -> Graph | None:
    """The trace at an input larger by the first of `steps` (None: twice as large) that the network takes."""
    for step in steps:
        here = [argument.shape[at] for argument in shapes.values() for at in argument.positions]
        if step is not None and min(here) + step < 1:
            continue
        try:
            return again({key: argument.larger(step, along) for key, argument in shapes.items()})
        except StridewiseError:
            continue
    return None


def _stated(model: nn.Module, graph: Graph) -> list[int]:
    """Nodes of adaptive pools whose layer, one of torch's own, holds their size as numbers: the same at every input."""
    found = []
    for pin in graph.pins:
        layer = _layer_at(model, graph.nodes[pin.node].path)
        sizes = getattr(layer, "output_size", None)
        sizes = sizes if isinstance(sizes, tuple | list) else (sizes,)
        if is_own_forward(layer) and type(layer) in _ADAPTIVE and all(type(n) is int for n in sizes):
            found.append(pin.node)
    return found


_ADAPTIVE = {getattr(nn, f"Adaptive{kind}Pool{axes}d") for kind in ("Avg", "Max") for axes in (1, 2, 3)}


_PADDING = {
    getattr(nn, f"{kind}Pad{axes}d")
    for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular")
    for axes in (1, 2, 3)
} | {nn.Conv1d, nn.Conv2d, nn.Conv3d}


def _pads_by_itself(layer: nn.Module) -> bool:
    """Whether a layer of torch's own holds the numbers that it pads by."""
    return type(layer) in _PADDING and is_own_forward(layer)


def _layer_at(model: nn.Module, path: str) -> nn.Module:
    """The module at `path`; the model itself where it has none there."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        return model
