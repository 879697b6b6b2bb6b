"""An ONNX file as a graph, at given input sizes. No torch, no weights read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stridewise.errors import MissingExtraError, StridewiseError, TraceError

try:
    import onnx
except ImportError as error:
    raise MissingExtraError("onnx", "onnx", "reading an ONNX file") from error

from stridewise.building.recorded import with_slots
from stridewise.building.same import settled_padding
from stridewise.ir import Graph
from stridewise.onnxfile.file import load
from stridewise.onnxfile.layout import InputSpec, Layout, fixed_batch, input_shapes
from stridewise.onnxfile.walk import Walk


def read_onnx(
    source: str | Path | bytes, input: InputSpec | None = None, *, name: str = "", opaque: Sequence[str] = ()
) -> Graph:
    """The graph of an ONNX file, or of its bytes, at these input shapes (without the batch; batch 1).

    input: channels and sizes, or a mapping from input name to them; None takes the sizes the file states, and 224 where
    it leaves them open. Weights in files of their own are not read. opaque: nodes, modules or ops whose ops without a
    rule are unknown without being reported. A size that the file computes from another tensor's follows it; one that is
    a constant is pinned.
    Raises: LoadError where the file cannot be read, TraceError naming the node that does not take what comes in.
    Source: ONNX operator specification.

    >>> sw.export(sw.load("builtin:resnet20-narrow"), "net.onnx", input=(3, 16, 16)) < 1e-5
    True
    >>> graph = sw.read_onnx("net.onnx")
    >>> graph.size, len(graph.sites)
    ((16, 16), 23)
    """
    model, folder, called = load(source, weights=False)
    return read_model(model, folder, input, name or called, opaque)[0]


def read_model(
    model: onnx.ModelProto, folder: Path | None, input: InputSpec | None, name: str, opaque: Sequence[str] = ()
) -> tuple[Graph, Walk]:
    """The graph of a loaded model, and what was known of each of its nodes and values. Raises: as `read_onnx`."""
    try:
        graph, walk = _read(model, folder, input, name, opaque, None)
    except TraceError:
        batch = fixed_batch(model.graph)
        if batch is None:
            raise
        graph, walk = _read(model, folder, input, name, opaque, batch)
        note = f"the file is made for batches of {batch}: figures are for {batch}"
        return replace(graph, notes=(*graph.notes, note)), walk
    if not walk.computes_pads:
        return graph, walk
    own = input_shapes(model.graph, input, name)

    def larger(step: int) -> Graph | None:
        sizes = {key: _wider(shape, layout, step) for key, (shape, layout) in own.items()}
        try:
            return _read(model, folder, sizes, name, opaque, None)[0]
        except StridewiseError:
            return None

    return settled_padding(graph, larger), walk


def _wider(shape: Sequence[int], layout: Layout, step: int) -> tuple[int, ...]:
    """Channels and sizes of an input, so many more positions along each axis."""
    if layout == "flat":
        return (shape[-1] + step,)
    if len(shape) < 3:
        return tuple(shape[1:]) if layout != "first" or len(shape) > 2 else tuple(shape)
    channels, sizes = (shape[-1], shape[1:-1]) if layout == "last" else (shape[1], shape[2:])
    return (channels, *(size + step for size in sizes))


def _read(
    model: onnx.ModelProto,
    folder: Path | None,
    spec: InputSpec | None,
    name: str,
    opaque: Sequence[str],
    batch: int | None,
) -> tuple[Graph, Walk]:
    walk = Walk(model, folder, name, opaque)
    for key, (shape, layout) in input_shapes(model.graph, spec, name, batch).items():
        walk.input(key, shape, layout)
    walk.run()
    outputs = [walk.values[o.name].index for o in model.graph.output if o.name in walk.values]
    found = [index for index in outputs if index is not None]
    if not found:
        raise TraceError(f"{name}: no output is made from the input")
    graph = _with_links(walk.builder.graph(name, found, sum(walk.params.values())))
    if not any(node.site for node in graph.nodes):
        raise TraceError(f"{name}: no convolution or pooling was met: it has no strides to show")
    graph = with_slots(_with_repeated(graph, walk), walk.builder.layouts, walk.owners.close())
    made_by = {tensor: node for node in graph.nodes for tensor in node.outputs}
    kept = (s for s in graph.slots if s.tensor not in made_by or "repeated" not in made_by[s.tensor].attrs)
    return replace(graph, slots=tuple(kept)), walk


def _with_repeated(graph: Graph, walk: Walk) -> Graph:
    """The graph with nodes told apart that stand in the body of a Loop, of which the file has one for all its runs."""
    runs = [part in walk.repeated for part, _ in walk.made]
    nodes = (
        replace(n, attrs={**n.attrs, "repeated": True}) if run else n for n, run in zip(graph.nodes, runs, strict=True)
    )
    return replace(graph, nodes=tuple(nodes)) if any(runs) else graph


def _with_links(graph: Graph) -> Graph:
    """The graph with resizes to numbers that can be no others: those of a map that is joined with what they give.

    Whatever becomes of that map, the file runs only where the resize gives its sizes.
    """
    grids, pins = list(graph.grids), list(graph.pins)
    for grid in graph.grids:
        if grid.kind != "fixed":
            continue
        met = {g for join in graph.grids if join.kind == "join" and grid.index in join.sources for g in join.sources}
        other = max((g for g in met if g < grid.index and g not in grid.sources), default=None)
        if other is not None and graph.grids[other].sizes == grid.sizes and all(graph.grids[other].local):
            grids[grid.index] = replace(grid, kind="follow", sources=(*grid.sources, other))
            pins = [replace(p, anew=True) if p.grid == grid.index and p.kind == "size" else p for p in pins]
    return replace(graph, grids=tuple(grids), pins=tuple(pins))
