"""Which input sizes a network takes: per axis the exact set, what refuses the others, and the nearest to a picture.

Along an axis the other axes are as traced, other inputs too. Norms count as in eval, one picture at a time: what
refuses the mean of a single number does so here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from stridewise.analyses.input_sets import AxisInputs, Inputs, Near, Refusal
from stridewise.analyses.limits import AxisSizes, Step, axes_as_traced
from stridewise.analyses.pace import Outlook, columns, outlook
from stridewise.analyses.progressions import divisor, progressions
from stridewise.analyses.sizes import known_alone, name_of, where
from stridewise.errors import GeometryError
from stridewise.ir import Graph, Pin, check_graph
from stridewise.report.scale import Scale
from stridewise.report.values import plain

# Sizes that are looked at where the period is longer than anybody's picture.
_FURTHEST = 16384
_STRICTEST = 128  # the largest number whose multiples a model is asked for
_STATED = -(2**31)  # in place of a step: the model's own check


def sizes(graph: Graph, near: Sequence[int] | None = None, scale: str | Scale | None = None) -> Inputs:
    """Which input sizes the network takes, exactly: per axis the set, what refuses the others, the divisor.

    near: sizes of a picture, for the nearest that work (`.near`). scale: what a position measures, "16000Hz" or
    "1x1x3mm": sizes in that unit too. Raises: UsageError where one of both has other axes.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.Conv2d(4, 4, 3, stride=2))
    >>> print(sw.sizes(sw.trace(net, (3, 32, 32))))
    Sequential: the input sizes on which it runs
    <BLANKLINE>
    on each axis
    works every size from 7
    no remainder 7, 11, 15, ...
    <BLANKLINE>
    refused by  sizes   why, as an example
    0           1 to 2  at 2, no window fits: span 3 on 2 positions padded by 0+0
    1           3 to 6  at 6, no window fits: span 3 on 2 positions padded by 0+0
    """
    check_graph(graph, "sizes")
    measured = None if scale is None else Scale.read(scale).over(graph.axes)
    several = _several(graph)
    done: dict[tuple[int, tuple[int, ...]], AxisInputs] = {}
    axes = []
    for axis, along in enumerate(axes_as_traced(graph)):
        alone = tuple(g for g in several if _others(graph, g, axis) == 1)
        key = (id(along), alone)
        if key not in done:
            done[key] = _along(graph, along, alone)
        axes.append(replace(done[key], axis=axis))
    alone_here = [f"{where(graph, g)} {known_alone(graph, g)}" for g in graph.grids if g.alone]
    disproved = (*alone_here[:1], *_disproved(graph, axes))
    found = Inputs(
        model=graph.model,
        input=plain(graph.input),
        axes=tuple(axes),
        ties=_ties(graph, several),
        notes=(*_notes(graph), *disproved),
        disproved=disproved,
        scale=measured,
    )
    if near is None:
        return found
    around = found.around(near)
    if not disproved or graph.source is None or (said := graph.source.refusal([*near])) is None:
        return replace(found, near=around)
    return replace(found, near=_tried(around, said))


def _tried(near: Near, said: str) -> Near:
    """The sizes around a picture's where the sets are not all there is and the model itself said, on shapes, what it
    does at that size: "" or its refusal."""
    if not said:
        return replace(near, works=True, why=(), below=near.size, above=near.size)
    below, above, even = (
        tuple(None if m == n else m for m, n in zip(each, near.size, strict=True))
        for each in (near.below, near.above, near.even)
    )
    return replace(near, works=False, why=(said,), below=below, above=above, even=even)


def _several(graph: Graph) -> tuple[int, ...]:
    """Grids on which some norm wants more than one value a channel."""
    grids = (graph.tensors[n.inputs[0]].grid for n in graph.nodes if n.attrs.get("several"))
    return tuple(dict.fromkeys(g for g in grids if g is not None))


def _others(graph: Graph, grid: int, axis: int) -> int:
    """Positions that the other axes of a grid have, as traced."""
    return math.prod(n for a, n in enumerate(graph.grids[grid].sizes) if a != axis)


def _along(graph: Graph, along: AxisSizes, alone: Sequence[int]) -> AxisInputs:
    """The sizes along one axis; alone: grids that need more than one position along it."""
    several = {along.slots[g]: g for g in alone if along.slots[g] >= 0}
    view = outlook(along, tuple(several))
    upto = min(view.upto, _FURTHEST)
    found, failed, uneven = columns(along, upto)
    narrow = {
        n: grid
        for slot, grid in several.items()
        for n, size in enumerate(found[slot], 1)
        if n not in failed and size is not None and size < 2
    }
    failed |= {n: -g - 1 for n, g in narrow.items()}
    works = [n not in failed for n in range(1, upto + 1)]
    every, said = _stated(graph, along, upto)
    if every > 1:  # the model's own check, which the graph does not show
        view = replace(view, since=max(view.since, 1), period=math.lcm(view.period, every))
        upto = min(view.upto, _FURTHEST)
        found, failed, uneven = columns(along, upto)
        failed = {n: _STATED for n in range(1, upto + 1) if n % every != along.traced % every} | failed
        works = [n not in failed for n in range(1, upto + 1)]
    even = [fits and n not in uneven for n, fits in enumerate(works, 1)]
    proven = view.upto <= _FURTHEST
    since, period = _tail(view, upto, proven)
    sets = progressions(works, since, period)
    last = (upto, 1) if proven and not period else (min(since, upto + 1), period)
    return AxisInputs(
        axis=along.axis,
        traced=along.traced,
        works=sets,
        no_remainder=progressions(even, since, period),
        divisor=divisor(sets),
        refused=_refused(graph, along, upto, failed, last, said),
        since=since,
        period=period,
        proven=proven,
    )


def _stated(graph: Graph, along: AxisSizes, upto: int) -> tuple[int, str]:
    """(every, what it said) of a model that takes only every so many of the sizes that would work, as one that checks
    for multiples of 32 before anything runs; (1, "") of others. Found by trying, on shapes."""
    source = graph.source
    if source is None or not source.states_limits:
        return 1, ""

    def tried(size: int) -> str | None:
        sizes = [*graph.grids[0].sizes]
        sizes[along.axis] = size
        found: str | None = source.refusal(sizes)
        return found

    looked = max(upto, 4 * _STRICTEST)
    failed = columns(along, looked)[1]
    fitting = [n for n in range(1, looked + 1) if n not in failed]
    said = ""
    for every in (2**n for n in range(_STRICTEST.bit_length())):
        of = [n for n in fitting if n % every == along.traced % every]
        if not of:
            break
        beside = [n for n in of if (n - along.traced) % (2 * every)]  # not of the next, stricter kind
        refused = next((r for n in dict.fromkeys((*beside[:1], of[0])) if (r := tried(n))), "")
        if not refused:
            return every, said
        if not said and tried(along.traced) != "":
            return 1, ""
        said = refused
    return 1, ""


_STEERED = frozenset(("pad", "slice", "expand", "write", "split", "unfold"))


def _disproved(graph: Graph, axes: Sequence[AxisInputs]) -> Iterator[str]:
    """What a try on shapes shows to be otherwise than the sets say, where numbers in the forward may steer sizes: a
    crop or pad that changes nothing at the traced size, an expansion, windows that are filled up inside."""
    source = graph.source
    steered = any(n.op in _STEERED or n.target.startswith("aten.alias") for n in graph.nodes) or graph.pins
    if source is None or not steered or source.refusal(graph.grids[0].sizes) != "":
        return
    done: set[tuple[object, int]] = set()
    for axis in axes:
        if (axis.works, axis.traced) in done:
            continue
        done.add((axis.works, axis.traced))
        for size in _telling(axis):
            sizes = [*graph.grids[0].sizes]
            sizes[axis.axis] = size
            said = source.refusal(sizes)
            if said is not None and (said == "") != (size in axis):
                why = f"it fails ({said[:120]})" if said else f"it runs, though {axis.why(size)}"
                line = source.steered_at(sizes, graph.grids[0].sizes)
                decides = f"what decides (numbers first differ at {line})" if line else "what decides"
                yield f"axis {axis.axis}: at {size} {why}: {decides} is not followed, and other sizes are not known"
                break


def _telling(axis: AxisInputs) -> list[int]:
    """Sizes that would show a mistake: the smallest that works, the first above the traced one that does not and that
    does, one twice as large, and the largest below that does not, while more than half of the traced size."""
    here = axis.traced
    above = range(here + 1, 2 * here + 2)
    found = [next((n for n in range(1, here + 1) if n in axis), None), next((n for n in above if n in axis), None)]
    found += [next((n for n in above if n not in axis), None), axis.nearest(2 * here + 1)[1]]
    found.append(next((n for n in range(here - 1, here // 2, -1) if n not in axis), None))
    return list(dict.fromkeys(n for n in found if n is not None and n != here and n <= 4 * here + 64))


def _tail(view: Outlook, upto: int, proven: bool) -> tuple[int, int]:
    """(since, period) of what was looked at: nothing repeats where none works any more, or where it ends too early."""
    if not proven or view.end is not None:
        return upto + 1, 0
    return view.since, view.period


def _refused(
    graph: Graph, along: AxisSizes, looked: int, failed: dict[int, int], tail: tuple[int, int], said: str
) -> tuple[Refusal, ...]:
    """The sizes that fail, by the step at fault; below zero stands the grid of a norm, or what the model said."""
    out = []
    for at in dict.fromkeys(failed[n] for n in sorted(failed)):
        fails = [failed.get(n) == at for n in range(1, looked + 1)]
        if at == _STATED:
            sets = progressions(fails, *tail)
            out.append(Refusal(layer="the model itself", why=said, sizes=sets, _explain=lambda _: said))
            continue
        explain = partial(_explained, graph, along, at)
        example = max((n for n, bad in enumerate(fails[: along.traced], 1) if bad), default=fails.index(True) + 1)
        node = graph.nodes[_norm(graph, -at - 1)] if at < 0 else None
        layer = name_of(graph, node) if node else _layer(graph, along, along.steps[at])
        sets = progressions(fails, *tail)
        out.append(Refusal(layer=layer, why=explain(example), sizes=sets, _explain=explain))
    return tuple(out)


def _norm(graph: Graph, grid: int) -> int:
    """The norm that wants more than one value on a grid."""
    return next(n.index for n in graph.nodes if n.attrs.get("several") and graph.tensors[n.inputs[0]].grid == grid)


def _pin(graph: Graph, along: AxisSizes, step: Step) -> Pin | None:
    """What fixes the size that a step checks."""
    if step.pinned is None and step.block == 1:
        return None
    return next((p for p in graph.pins if p.grid == step.grid and (not p.axes or along.axis in p.axes)), None)


def _layer(graph: Graph, along: AxisSizes, step: Step) -> str:
    pin = _pin(graph, along, step)
    return name_of(graph, graph.nodes[pin.node]) if pin else where(graph, graph.grids[step.grid])


def _explained(graph: Graph, along: AxisSizes, at: int, size: int) -> str:
    """What step `at` refuses at an input of `size` positions; below zero stands the grid of a norm."""
    if at < 0:
        return f"at {size}, more than one value a channel is wanted, and one is left"
    found = columns(along, size, size)[0]
    return f"at {size}, {_said(graph, along, along.steps[at], [column[0] for column in found])}"


def _said(graph: Graph, along: AxisSizes, step: Step, row: Sequence[int | None]) -> str:
    """What a step refuses when the slots measure `row`."""
    grid, comes = graph.grids[step.grid], row[step.source]
    if step.cut is not None:
        return f"nothing is left of {row[step.cut]} positions cut to {comes}"
    if step.agree:
        sides = {along.slots[s]: s for s in grid.sources if graph.grids[s].local[along.axis]}
        parts = [f"{row[slot]} from {where(graph, graph.grids[s])}" for slot, s in sides.items()]
        return "sizes differ: " + ", ".join(parts)
    if step.block > 1:
        return f"{comes} positions do not divide into parts of {step.block}"
    if step.pinned is not None:
        pin = _pin(graph, along, step)
        return f"{comes} positions where {step.pinned} are wanted" + (f": {pin.message}" if pin else "")
    if comes is not None and comes <= step.above:
        return f"{comes} positions, and its padding needs more than {step.above}"
    try:
        assert step.change is not None
        step.change.out_size(comes or 0)
    except GeometryError as error:
        return str(error)
    return f"{comes} positions do not fit"


def _ties(graph: Graph, several: Sequence[int]) -> tuple[str, ...]:
    """What makes the axes depend on each other, a sentence each."""
    if graph.axes < 2:
        return ()
    held = [
        (name_of(graph, graph.nodes[p.node]), p.message)
        for p in graph.pins
        if p.kind in ("flatten", "position table") and len(p.axes or p.sizes) > 1 and not p.spreads
    ]
    said = []
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        said.append(f"axes are tied at {held[0][0]}{more} ({held[0][1]}): each set holds with the other axes as traced")
    if several:
        layer = name_of(graph, graph.nodes[_norm(graph, several[0])])
        said.append(f"axes are tied at {layer}, which refuses one value a channel: one axis at least needs two")
    return tuple(said)


def _notes(graph: Graph) -> tuple[str, ...]:
    """What the sets leave out."""
    notes = []
    if len(graph.inputs) > 1:
        notes.append(f"sizes of '{graph.inputs[0][0]}', the other inputs as traced")
    notes += [f"behind {u.key} ({u.op}) sizes are not known; what is refused there is not seen" for u in graph.unknown]
    if graph.end is not None:
        notes.append(str(graph.end))
    return tuple(notes)
