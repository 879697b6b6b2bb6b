"""The tables of published and independently computed figures (STRIDEWISE_TRUTH names their folder)."""

import csv
import logging
import os
from pathlib import Path

import pytest

from stridewise.analyses.sizes import grid_sizes
from stridewise.axis import IDENTITY
from stridewise.errors import StridewiseError
from stridewise.models import zoo
from stridewise.models.load import load_shapes
from stridewise.tracing.inputs import arguments_of
from stridewise.tracing.trace import _trace_once, trace  # one forward alone: what there is at that size

FOLDER = Path(os.environ.get("STRIDEWISE_TRUTH", "/nonexistent"))
needs_truth = pytest.mark.skipif(not FOLDER.is_dir(), reason="STRIDEWISE_TRUTH names no folder of tables")

# What these models do depends on the input size in Python code (a layer runs at one size and not at another), so no
# graph of one size says what happens at all others. They are listed so that the list cannot grow unseen.
OTHER_CODE_AT_OTHER_SIZES = ("efficientvit_m", "mobilevit", "tiny_vit", "cpubone", "lowformer", "mobilenetv5")
# No convolution at all: their patches are cut by views, or their input is no picture.
NO_SITES = ("gemma4_vit",)


def rows(name):
    """The rows of a table, none where there is no folder."""
    if not FOLDER.is_dir():
        return []
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sample(items, count):
    """`count` of the items, spread evenly."""
    return items[:: max(len(items) // count, 1)][:count]


def every(items, count, ident):
    """All items as parameters: an even sample runs always, the rest under -m zoo."""
    chosen = {id(item) for item in sample(items, count)}
    return [pytest.param(item, id=ident(item), marks=() if id(item) in chosen else pytest.mark.zoo) for item in items]


def exists(name):
    """Whether timm still has this model."""
    return zoo.has("timm", name)


def graph_of(name, shape):
    """(model, graph) of a name at an input."""
    logging.disable(logging.WARNING)  # timm's own
    try:
        model = load_shapes(name)
    finally:
        logging.disable(logging.NOTSET)
    return model, trace(model, shape, name=name)


def compared(graph, model, size):
    """How a walk over the geometry at another size differs from a fresh trace there: nothing when they agree.

    "refused" when the network takes no such size and the graph says so too, by a pin or by an error of its own.
    """
    try:
        again = _trace_once(model, arguments_of((graph.tensors[0].shape[1], *size)), "")
    except StridewiseError as error:
        refused = bool(graph.pins)
        if not refused:
            try:
                grid_sizes(graph, size)
            except StridewiseError:
                refused = True
        return "refused" if refused else f"takes no {size} ({error}), and the graph does not know"
    try:
        mine = grid_sizes(graph, size)
    except StridewiseError as error:
        return f"runs at {size}, but the geometry says {error}"
    if len(again.grids) == len(graph.grids):
        absorbed = {g.index for g in graph.grids if g.node is not None and graph.nodes[g.node].op == "pad"}
        absorbed = {i for i in absorbed if all(m == IDENTITY for m in graph.grids[i].maps)}
        made = [(graph.grids[i].node, i, i) for i in range(len(mine)) if i not in absorbed]
    elif len(again.nodes) == len(graph.nodes):
        # Dynamic SAME padding adds a grid of its own where there are rows to add; then ops are compared, not grids.
        outputs = [(graph.tensors[t], again.tensors[u]) for t, u in _outputs(graph, again)]
        made = [(None, t.grid, u.grid) for t, u in outputs if t.grid is not None]
    else:
        return f"{len(again.nodes)} ops instead of {len(graph.nodes)}"
    differ = [(n, mine[i], again.grids[j].sizes) for n, i, j in made if mine[i] != again.grids[j].sizes]
    if not differ:
        return ""
    index, here, there = differ[0]
    node = graph.nodes[index] if index is not None else None
    place = f"{node.path} ({node.op})" if node else "an op's output"
    return f"{len(differ)} grids differ, the first at {place}: {here} instead of {there}"


def _outputs(graph, again):
    """Pairs of the outputs of the same ops in both traces, of all but the padding that windows take over."""
    for node, other in zip(graph.nodes, again.nodes, strict=True):
        if node.op != "pad":
            yield from zip(node.outputs, other.outputs, strict=True)
