"""A network's own filter on what really comes into its layer, as `slide` shows a kernel on a picture."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from stridewise.analyses.fields import evaluate
from stridewise.convolution.figures import times
from stridewise.convolution.operation import Array, convolve
from stridewise.convolution.pattern import brightness
from stridewise.convolution.reading import Picture, fitted, read_picture
from stridewise.convolution.sliding import Slide
from stridewise.convolution.window import axes
from stridewise.errors import GeometryError, UsageError
from stridewise.ir import Graph, Node
from stridewise.measuring.inside import node_call
from stridewise.measuring.pictures import Standard, standardised
from stridewise.tracing.trace import trace


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFilter:
    """slides: one a stride; stride: the layer's own step; words: what is bright and why; note: how a layer that is no
    plain convolution is shown."""

    slides: tuple[Slide, ...]
    stride: tuple[int, ...]
    words: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A convolution as it ran: what one of its channels reads (C, rows, columns), and that filter (1, C, *kernel)."""

    x: Array
    weight: Array
    bias: float
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    name: str
    note: str = ""


def own_filter(
    model: nn.Module,
    picture: Picture,
    layer: str,
    channel: int,
    *,
    input: Sequence[int],
    name: str = "",
    standard: Standard = "own",
    strides: Sequence[int | tuple[int, ...]] = (),
) -> OwnFilter:
    """What one filter of a two-dimensional convolution makes of the layer's input at several strides.

    input: (channels, rows, columns) that the network reads; the picture's middle is brought to it. layer: its key in
    `show`. channel: which of its outputs. strides: by default 1, 2, 4 and the layer's own; a transposed layer has only
    its own, and is shown as the convolution it equals. standard: as in `measure`.
    Raises: UsageError for a layer or channel that is not there; GeometryError for a stride that does not fit.
    """
    graph = trace(model, tuple(input), name=name)
    if len(graph.grids[0].sizes) != 2 or len(input) != 3:
        raise UsageError(f"--filter: {name or 'the network'} reads {'x'.join(map(str, input))}: no picture to show")
    node = _node(graph, layer)
    x = torch.from_numpy(fitted(read_picture(picture), tuple(input)))[None].float()
    given = node_call(model, graph, node.key, standardised(x, standard))
    if given is None:
        raise UsageError(f"--filter: {layer} does not run on this picture; take another layer")
    call = _channel(given, channel, node)
    if call.note and strides:
        raise UsageError(f"--stride: {layer} is a transposed convolution, shown at its own step only; leave it out")
    wanted = [(1, 1)] if call.note else _strides(strides, call.stride)
    slides = tuple(_slide(call, stride) for stride in wanted)
    told = brightness(slides, _place(graph, node, call))
    return OwnFilter(slides=slides, stride=call.stride, words=tuple(told), note=call.note)


def _node(graph: Graph, layer: str) -> Node:
    """The convolution of that key. Raises: UsageError naming what there is."""
    every = [n for n in graph.nodes if n.op == "conv" and n.key]
    node = next((n for n in every if n.key == layer), None)
    if node is not None:
        return node
    keys = [n.key for n in every]
    if not keys:
        raise UsageError(f"--filter: {graph.model} has no convolution, so no filter to show")
    other = graph.node_named(layer)
    inner = [key for key in keys if key.startswith(f"{layer}.")] if layer else []
    near = inner or difflib.get_close_matches(layer, keys, n=3) or keys
    what = f"{layer} is a {other.op} without a filter" if other else f"no layer '{layer}' with a filter"
    more = f", {len(keys)} in all" if len(keys) > len(near[:5]) else ""
    raise UsageError(f"--filter: {what} in {graph.model}: take {', '.join(near[:5])}{more}")


def _channel(given: tuple[Any, ...], channel: int, node: Node) -> _Call:
    """One output channel of aten.convolution as it was called. Source: its signature in torch."""
    x, weight, bias, stride, padding, dilation, transposed, extra, groups, made = given
    if x.dim() != 4:
        raise UsageError(f"--filter: {node.key} works on {x.dim() - 2} axes; pictures have two, take another layer")
    outs = made.shape[1]
    if not 0 <= channel < outs:
        raise UsageError(f"--filter: {node.key} has channels 0 to {outs - 1}, not {channel}")
    values, filters = (t.double().numpy() for t in (x[0], weight))
    reads, per_group = len(values) // groups, outs // groups
    group = channel // per_group
    part = values[group * reads : (group + 1) * reads]
    about = f", channels {group * reads} to {(group + 1) * reads - 1} of {len(values)} in" if groups > 1 else ""
    plain: dict[str, Any] = {
        "bias": 0.0 if bias is None else float(bias[channel]),
        "stride": tuple(stride),
        "dilation": tuple(dilation),
        "name": f"{node.key}, filter {channel} of {outs}{about}",
    }
    if not transposed:
        return _Call(x=part, weight=filters[channel][None], pads=tuple((p, p) for p in padding), **plain)
    turned = filters[group * reads : (group + 1) * reads, channel - group * per_group][:, ::-1, ::-1]
    taps = [d * (k - 1) for d, k in zip(dilation, turned.shape[1:], strict=True)]
    note = (
        f"{node.key} is transposed: a step of {times(tuple(stride))} between the cells it writes. Shown is the "
        "convolution it equals: zeros between its inputs, the filter turned by half a circle, step 1"
    )
    pads = tuple((t - p, t - p + e) for t, p, e in zip(taps, padding, extra, strict=True))
    return _Call(x=_apart(part, stride), weight=turned[None], pads=pads, note=note, **plain)


def _apart(x: Array, stride: Sequence[int]) -> Array:
    """Zeros between the positions, stride - 1 of them."""
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[1:], stride, strict=True)]
    out: Array = np.zeros((len(x), *sizes))
    out[:, :: stride[0], :: stride[1]] = x
    return out


def _strides(strides: Sequence[int | tuple[int, ...]], own: tuple[int, ...]) -> list[tuple[int, ...]]:
    """What to compare, each once; by default 1, 2, 4 and the layer's own."""
    pairs = [(s, s) if isinstance(s, int) else tuple(s) for s in strides]
    return list(dict.fromkeys(pairs)) or sorted({(1, 1), (2, 2), (4, 4), own})


def _slide(call: _Call, stride: tuple[int, ...]) -> Slide:
    x, pads = call.x, call.pads
    if any(p < 0 for pair in pads for p in pair):  # a transposed convolution that crops: away with it first
        cut = [slice(-min(b, 0), n + min(e, 0)) for (b, e), n in zip(pads, x.shape[1:], strict=True)]
        x, pads = x[:, cut[0], cut[1]], tuple((max(b, 0), max(e, 0)) for b, e in pads)
    along = axes(x.shape[1:], call.weight.shape[2:], stride=stride, padding=pads, dilation=call.dilation)
    large = next((a for a in along if a.stride > a.padded), None)
    if large is not None:
        raise GeometryError(f"stride {large.stride} is larger than the layer's input: take at most {large.padded}")
    made = convolve(x, call.weight, np.array([call.bias]), stride=stride, padding=pads, dilation=call.dilation)
    return Slide(
        kernel=call.name,
        picture=x,
        weight=call.weight,
        groups=1,
        axes=along,
        feature_map=made,
        bias=call.bias,
        shown=int((call.weight[0] ** 2).sum(axis=(1, 2)).argmax()),
    )


def _place(graph: Graph, node: Node, call: _Call) -> Callable[[Sequence[float]], str]:
    """Where a position of the layer's input lies in the picture: the centre of its field."""
    grid = graph.tensors[node.inputs[0]].grid
    if grid is None or graph.grids[grid].sizes == graph.grids[0].sizes:
        return lambda _: ""
    fields = evaluate(graph, smallest=False).fields.full[grid]
    steps = call.stride if call.note else (1,) * len(fields)

    def place(middle: Sequence[float]) -> str:
        at = [
            float(field.centre + Fraction(m).limit_denominator(1000) * field.jump / step)
            for field, m, step in zip(fields, middle, steps, strict=True)
        ]
        return f" of the layer's input, row {at[0]:.0f} and column {at[1]:.0f} of the picture"

    return place
