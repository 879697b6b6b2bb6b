"""What the ops of an ONNX file do instead, once steps have become dilation (`rewrites.actions.Action`).

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
from stridewise.rewrites.actions import Action, Kind
from stridewise.rewrites.dilate import Dilation
from stridewise.rewrites.multipliers import Multipliers
from stridewise.rewrites.places import is_within

_FORMS: dict[Kind, Callable[[Job], str]] = {
    "window": window,
    "pad": pad,
    "drop": dropped,
    "slice": sliced,
    "resize": resized,
    "coarse": coarse,
    "phases": apart,
}


def dilate_file(edit: Editor, found: Dilation, is_open: bool) -> list[str]:
    """Carry the actions out on the file's nodes; a line for each. Raises: PlanError where one has no such form."""
    lines = [_enter(edit, found, path, m_in) for path, m_in in found.entries.items()]
    for index, action in found.actions.items():
        if action.kind == "mixes":
            continue
        node = found.graph.nodes[index]
        made = [g.index for g in found.graph.grids if g.node == index][-1]
        spot = edit.at(index)
        old = found.graph.grids[made]
        sizes = found.graph.grids[old.sources[0]].sizes if old.sources else old.sizes
        job = Job(spot, str(spot.node.input[0]), node, action, old, sizes, is_open)
        lines.append(f"{node.key or job.spot.name}: {_FORMS[action.kind](job)}")
    return lines


def _enter(edit: Editor, found: Dilation, path: str, m_in: Multipliers) -> str:
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
                action, grid = Action(kind="coarse", m_in=m_in, m_out=m_in), graph.grids[0]
                job = Job(spot, name, node, action, grid, grid.sizes, False)
                sliced = sliced or every(job, name, value, [0] * len(m_in), m_in)
                spot.node.input[at] = sliced
    return f"{path}: given one position in {once(m_in)}, since its size is fixed"
