"""Findings about one site at a time: what its windows read, drop, cut and paint (SW101, SW102, SW104 to SW106).

Where a step stands on windows that do not read every position, also the site beside it whose windows would. Source of
what that is worth: in NAS-Bench-Macro (CVPR 2021), giving the step to a 3x3 instead of a 1x1 that reads a quarter of
the positions is worth 0.8 to 0.9 points at 4.7 % fewer multiply-adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from stridewise.analyses.fields import State
from stridewise.analyses.limits import lossless_inputs, remainder
from stridewise.axis import AxisMap, Transposed, Window
from stridewise.findings import Finding
from stridewise.ir import Graph, Node


def axis_names(axes: Sequence[int], of: int) -> str:
    """Which axes are meant, for a message; nothing when it is all of them."""
    if len(axes) == of:
        return ""
    names = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}.get(of)
    return " along " + " and ".join(names[a] if names else f"axis {a}" for a in axes)


def times(values: Sequence[object]) -> str:
    """Sizes or strides as people write them: 224×224, one value once when it is asked for a step ("2", "1×2")."""
    return "×".join(str(v) for v in values)


def percent(share: Fraction | float) -> str:
    """A share in per cent: one decimal below ten."""
    value = float(share) * 100
    return f"{value:.0f} %" if value >= 9.95 or value == int(value) else f"{value:.1f} %"


def coverage(windows: Sequence[AxisMap]) -> Fraction:
    """Share of the input positions that some window of a site reads (all axes together).

    Per axis the share of the residues modulo the stride that the dilated window hits; 1 for what does not step.
    """
    found = steps(windows)
    return math.prod((w.coverage for w in found), start=_ALL) if found else _ALL


def steps(windows: Sequence[AxisMap]) -> list[Window]:
    """The windows that step."""
    return [w for w in windows if isinstance(w, Window) and w.stride > 1]


_ALL = Fraction(1)
Sites: TypeAlias = Sequence[tuple[Node, Sequence[AxisMap]]]  # with their windows


def channel_ceiling(node: Node, windows: Sequence[AxisMap]) -> Fraction | None:
    """Values a site can give out for each value that comes in: C_out / (C_in * stride of every axis)."""
    channels = node.attrs.get("channels")
    if not channels or not windows:
        return None
    given, taken = channels
    for window in windows:
        if isinstance(window, Window):
            given *= window.stride
        elif isinstance(window, Transposed):
            taken *= window.stride
    return _share(taken, given)


@lru_cache(maxsize=4096)
def _share(taken: int, given: int) -> Fraction:
    return Fraction(taken, given)


def unread_positions(state: State, sites: Sites) -> Iterator[Finding]:
    """SW101: a site steps over positions that none of its windows reads."""
    for node, windows in sites:
        share = coverage(windows)
        if share is _ALL or share == 1:
            continue
        w = max((w for w in windows if isinstance(w, Window)), key=lambda w: 1 - w.coverage)
        why = (
            f"kernel {w.kernel} is smaller than stride {w.stride}"
            if math.gcd(w.dilation, w.stride) == 1
            else f"dilation {w.dilation} and stride {w.stride} share the factor {math.gcd(w.dilation, w.stride)}"
        )
        yield Finding(
            rule="SW101",
            severity="info",
            key=node.key,
            message=f"{node.key}: its windows read {percent(share)} of the positions: {why}. "
            f"Widen the kernel, or average before the step{_moved(state, node, windows)}",
        )


def _moved(state: State, node: Node, windows: Sequence[AxisMap]) -> str:
    """What else helps: the site beside it takes the step."""
    beside = None if state.maps else site_beside(state.graph, node)
    if beside is None:
        return ""
    step = "x".join(str(w.stride) if isinstance(w, Window) else "1" for w in windows)
    return f", or move the step to {beside.key}, which would read all: set {node.key}=1 {beside.key}={step}"


def dropped_rows(state: State, sites: Sites) -> Iterator[Finding]:
    """SW102: at this input size windows leave a remainder; one finding a site, with the nearest sizes without any."""
    nearest: tuple[tuple[int | None, int | None], ...] | None = None
    for node, windows in sites:
        if not steps(windows):
            continue
        before = state.sizes[state.incoming(node)]
        left = [
            remainder(w, n) if isinstance(w, Window) and w.stride > 1 else 0
            for w, n in zip(windows, before, strict=True)
        ]
        axes = [a for a, rest in enumerate(left) if rest]
        if not axes:
            continue
        if nearest is None:
            nearest = lossless_inputs(state.graph, state.maps)
        first = windows[axes[0]]
        assert isinstance(first, Window)
        what = _what_is_left(first, before[axes[0]], left[axes[0]])
        yield Finding(
            rule="SW102",
            severity="info",
            key=node.key,
            message=f"{node.key}: {what} at {times(before)}{axis_names(axes, len(windows))}. {_advice(nearest, axes)}",
        )


def _what_is_left(window: Window, size: int, rest: int) -> str:
    begin, end = window.padding(size)
    if window.same:
        return f"SAME padding is one-sided ({begin} before, {end} behind)"
    if window.ceil_mode:
        return f"its last window hangs over the end by {rest}"
    if rest <= end:
        behind = f"{end - rest} of the {end}" if end > rest else f"not the {end}"
        return f"its padding is one-sided (windows read {begin} before the map, {behind} behind it)"
    dropped = rest - max(end, 0)
    return f"the last {dropped} positions are dropped" if dropped > 1 else "the last position is dropped"


def _advice(nearest: Sequence[tuple[int | None, int | None]], axes: Sequence[int]) -> str:
    """The nearest input sizes that leave no remainder anywhere on these axes, as a hint."""
    if max(axes) >= len(nearest):
        return "Its input has other axes than the network's"
    found = {a: " or ".join(str(n) for n in nearest[a] if n is not None) for a in axes}
    if len(set(found.values())) == 1:
        sizes, named = found[axes[0]], axis_names(axes, len(nearest))
        return f"No remainder at input size {sizes}{named}" if sizes else f"Every input size leaves one{named}"
    parts = [f"{sizes}{axis_names([a], len(nearest))}" for a, sizes in found.items() if sizes]
    return f"No remainder at input size {', '.join(parts)}"


def saturated(state: State, sites: Sites) -> Iterator[Finding]:
    """SW104: the smallest field over all paths covers the whole input before the layer, so its window sees no more."""
    size = state.sizes[0]
    for node, windows in sites:
        assert node.grid is not None
        before, own = state.fields.least[state.incoming(node)], state.fields.least[node.grid]
        local = state.graph.grids[node.grid].local
        if len(own) != len(size) or own[0].size <= size[0] or not all(local):
            continue
        if all(f.jump < 1 for f in own) or any(isinstance(w, Transposed) for w in windows):
            continue  # finer than the input, as in a generator or decoder: it paints, and has nothing more to see
        if all(b.size >= n and o.size > n for b, o, n in zip(before, own, size, strict=True)):
            yield Finding(
                rule="SW104",
                severity="info",
                key=node.key,
                message=f"{node.key}: every path into it sees {times([f.size for f in before])} positions already, "
                f"the input has {times(size)}. Use a larger input, or fewer or later steps",
            )


def channel_cuts(state: State, sites: Sites) -> Iterator[Finding]:
    """SW105: fewer values can leave a site than come in."""
    for node, windows in sites:
        ceiling = channel_ceiling(node, windows)
        if ceiling is None or ceiling.numerator >= ceiling.denominator:
            continue
        given, taken = node.attrs["channels"]
        taking = [w.step(1) for w in windows if isinstance(w, Window | Transposed)]
        step = f", step {times(taking)}" if any(s != 1 for s in taking) else ""
        yield Finding(
            rule="SW105",
            severity="info",
            key=node.key,
            message=f"{node.key}: at most {percent(ceiling)} of the values that come in can go out "
            f"({given} to {taken} channels{step})",
        )


def uneven_overlap(state: State, sites: Sites) -> Iterator[Finding]:
    """SW106: windows of a transposed convolution that paint neighbouring positions unequally often."""
    for node, windows in sites:
        for w in windows:
            if not isinstance(w, Transposed) or w.stride == 1:
                continue
            hits = [0] * w.stride
            for element in range(w.kernel):
                hits[element * w.dilation % w.stride] += 1
            if len(set(hits)) > 1:
                same = [a for a, other in enumerate(windows) if other == w]
                named = axis_names(same, len(windows))
                yield Finding(
                    rule="SW106",
                    severity="warning",
                    key=node.key,
                    message=f"{node.key}: kernel {w.kernel} is not a multiple of stride {w.stride}{named}: "
                    f"neighbouring positions get {min(hits)} to {max(hits)} products (checkerboard). "
                    f"Use kernel {(w.kernel // w.stride + 1) * w.stride}",
                )
                break


def site_findings(state: State) -> list[Finding]:
    """Every finding of this file, by rule."""
    sites = [(node, state.windows(node)) for node in state.graph.sites]
    rules = (unread_positions, dropped_rows, saturated, channel_cuts, uneven_overlap)
    return [f for rule in rules for f in rule(state, sites)]


_FAR = 6  # ops between two sites of one block: norm, activation, and what wraps them


def site_beside(graph: Graph, node: Node) -> Node | None:
    """The site next to a stepping one, with nothing but ops of one input between, that does not step and whose windows
    read every position at that step: the one behind it, else the one before; None where there is none."""
    behind = _next(graph, node, forward=True)
    if behind is not None and _reads_all(graph, behind, node):
        return behind
    before = _next(graph, node, forward=False)
    return before if before is not None and _reads_all(graph, before, node) else None


def skipping(graph: Graph) -> Iterator[tuple[Node, Node, tuple[int, ...]]]:
    """(site that steps over positions it never reads, the site beside it that would read all, the step)."""
    for node in graph.nodes:
        windows = graph.grids[node.grid].maps if node.site and node.grid is not None else ()
        if not windows or all(w.coverage == 1 for w in windows if isinstance(w, Window)):
            continue
        beside = site_beside(graph, node)
        if beside is not None:
            yield node, beside, tuple(w.stride if isinstance(w, Window) else 1 for w in windows)


def _next(graph: Graph, node: Node, *, forward: bool) -> Node | None:
    """The nearest site in a straight line: each tensor between has one reader, each op one operand with a grid."""
    at = node
    for _ in range(_FAR):
        if forward:
            readers = [n for n in graph.nodes if at.outputs[0] in n.inputs]
            if len(readers) != 1 or at.outputs[0] in graph.outputs:
                return None
            (step,) = readers
        else:
            made = [n for n in graph.nodes if at.inputs and at.inputs[0] in n.outputs]
            if not made or sum(at.inputs[0] in n.inputs for n in graph.nodes) != 1:
                return None
            (step,) = made[:1]
        if sum(graph.tensors[i].grid is not None for i in step.inputs) != 1:
            return None
        if step.site:
            return step
        at = step
    return None


def _reads_all(graph: Graph, site: Node, stepping: Node) -> bool:
    """Whether a site's windows, which do not step now, would read every position at the other's step."""
    assert stepping.grid is not None
    own = graph.grids[site.grid].maps if site.grid is not None else ()
    wanted = graph.grids[stepping.grid].maps
    return (
        bool(own)
        and len(own) == len(wanted)
        and all(
            isinstance(a, Window) and isinstance(b, Window) and a.stride == 1 and a.dilation == 1 and a.span >= b.stride
            for a, b in zip(own, wanted, strict=True)
        )
    )
