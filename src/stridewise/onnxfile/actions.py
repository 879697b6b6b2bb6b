"""What the ops of an ONNX file do instead, once steps have become dilation (`rewrites.acts.Act`).

A file that fixes its sizes gets constants: attributes where they say it, padding, slices and factors elsewhere. A file
that leaves sizes open computes its end padding when it runs, so that it is exact at every size.
"""

from __future__ import annotations

from collections.abc import Callable

from stridewise.errors import once
from stridewise.onnxfile.cuts import dropped, pad, sliced
from stridewise.onnxfile.edit import Editor
from stridewise.onnxfile.job import Job, every
from stridewise.onnxfile.phases import apart, coarse, resized
from stridewise.onnxfile.windows import window
from stridewise.ops.layout import whole_axis
from stridewise.rewrites.acts import Act, Kind
from stridewise.rewrites.dilate import Dilation
from stridewise.rewrites.places import is_within
from stridewise.rewrites.times import Times

_ACTS: dict[Kind, Callable[[Job], str]] = {
    "window": window,
    "pad": pad,
    "drop": dropped,
    "slice": sliced,
    "resize": resized,
    "coarse": coarse,
    "phases": apart,
}


def dilate_file(edit: Editor, found: Dilation, is_open: bool) -> list[str]:
    """Carry the acts out on the file's nodes; a line for each change. Raises: PlanError where one has no such form."""
    lines = [_enter(edit, found, path, came) for path, came in found.entries.items()]
    for index, act in found.acts.items():
        if act.kind == "mixes":
            continue
        node = found.graph.nodes[index]
        made = [g.index for g in found.graph.grids if g.node == index][-1]
        spot = edit.at(index)
        old = found.graph.grids[made]
        sizes = found.graph.grids[old.sources[0]].sizes if old.sources else old.sizes
        job = Job(spot, str(spot.node.input[0]), node, act, old, sizes, is_open)
        lines.append(f"{node.key or job.spot.name}: {_ACTS[act.kind](job)}")
    return lines


def _enter(edit: Editor, found: Dilation, path: str, came: Times) -> str:
    """Give a module that fixes its size the old positions alone."""
    graph = found.graph
    inside = [n for n in graph.nodes if is_within(n.path, path)]
    made = {t for node in inside for t in node.outputs}
    sliced = ""
    for node in inside:
        spot = edit.at(node.index)
        for at, name in enumerate(spot.node.input):
            value = edit.walk.values.get(name)
            if value is None or value.index is None or value.index in made or not value.dims:
                continue
            if any(whole_axis(dim) is not None for dim in value.dims):
                act, grid = Act(kind="coarse", came=came, goes=came), graph.grids[0]
                job = Job(spot, name, node, act, grid, grid.sizes, False)
                sliced = sliced or every(job, name, value, [0] * len(came), came)
                spot.node.input[at] = sliced
    return f"{path}: given one position in {once(came)}, since its size is fixed"
