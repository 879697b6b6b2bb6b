"""A plan carried out on an ONNX file: a new file, checked strictly; the old one stays as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from stridewise.errors import PlanError, TraceError, by
from stridewise.ir import Graph, Sizes
from stridewise.onnxfile.actions import dilate_file
from stridewise.onnxfile.edit import Editor, NeedsOpsetError, raise_opset
from stridewise.onnxfile.file import load
from stridewise.onnxfile.layout import InputSpec, data_inputs
from stridewise.onnxfile.read import read_model
from stridewise.onnxfile.steps import restep_file
from stridewise.onnxfile.walk import Walk
from stridewise.onnxfile.write import write
from stridewise.ops.layout import Digit, Dim, Extra
from stridewise.plans import Plan
from stridewise.report.document import Document
from stridewise.rewrites.certify import Certificate, certify, change_document, check_promised
from stridewise.rewrites.dilate import dilation
from stridewise.rewrites.kinds import filled
from stridewise.rewrites.restride import restride
from stridewise.shown import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten(Shown):
    """A file that was written. changes: one line each; graph: its geometry, at the size the plan was checked at;
    certificate: what stays the same, where weights are kept."""

    path: Path
    changes: tuple[str, ...]
    graph: Graph
    certificate: Certificate | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.apply/1"."""
        certificate = None if self.certificate is None else self.certificate.to_json()
        return {
            "schema": "stridewise.apply/1",
            "path": str(self.path),
            "changes": list(self.changes),
            "certificate": certificate,
        }

    def document(self) -> Document:
        """What changed, and what stays the same."""
        return change_document(self.changes, self.certificate)

    def __str__(self) -> str:
        told = [str(self.certificate)] if self.certificate is not None else []
        return "\n".join([*self.changes, *told]) or "nothing changed"

    def _records(self) -> list[dict[str, Any]]:
        return [{"change": line} for line in self.changes]


def apply_to_file(source: str | Path, plan: Plan, out: str | Path, *, input: InputSpec | None = None) -> Rewritten:
    """Write the network of an ONNX file, as `plan` changes it, to `out`.

    The sizes of the new file are inferred anew and strictly, read again and compared with what the plan promised
    before anything is written. input: channels and sizes for a file that leaves them open.
    Raises: LoadError; PlanError in one line where the plan is for another network, a constant of the file holds for
    the old sizes only, or an op has no such form. Nothing is written then.
    """
    source, out = Path(source), Path(out)
    if out.exists() and source.exists() and out.samefile(source):
        raise PlanError(f"{out}: is the file to be changed; name another one for the result")
    version = 0
    while True:
        model, folder, name = load(source)
        lines: list[str] = []
        if version:
            model = raise_opset(model, version, name)
            lines.append(f"opset raised to {version}")
        try:
            return _rewritten(model, folder, name, plan, out, input, lines)
        except NeedsOpsetError as need:
            assert need.version > version
            version = need.version


def _rewritten(
    model: onnx.ModelProto,
    folder: Path | None,
    name: str,
    plan: Plan,
    out: Path,
    input: InputSpec | None,
    lines: Sequence[str],
) -> Rewritten:
    spec, is_open = _input(model, plan, input)
    graph, walk = read_model(model, folder, spec, name)
    plan = filled(graph, plan)
    expected = restride(graph, plan)
    certificate = None
    edit = Editor(model, walk)
    if plan.keep_weights:
        found = dilation(graph, plan)
        certificate = certify(found)
        done = dilate_file(edit, found, is_open)
    else:
        _refuse_fixed(graph, expected.graph)
        done = restep_file(edit, graph, plan, expected)
    done += _written_anew(edit, graph, expected.graph, plan.keep_weights)
    baked = _baked(edit)
    edit.finish()
    again = _inferred(model, folder, name, spec, expected.graph, baked)
    write(model, folder, out)
    return Rewritten(path=out, changes=(*lines, *done), graph=again, certificate=certificate)


def _input(model: onnx.ModelProto, plan: Plan, input: InputSpec | None) -> tuple[InputSpec | None, bool]:
    """The input to read the file at, and whether it leaves sizes open. A file that fixes them is read at its own."""
    infos = [info.type.tensor_type.shape.dim for info in data_inputs(model.graph).values()]
    is_open = any(not d.dim_value for dims in infos for d in dims[2:])
    given = input if input is not None else plan.input or None
    return given if is_open or input is not None else None, is_open


def _baked(edit: Editor) -> list[str]:
    """The resizes to sizes that stand in the file as numbers."""
    found = []
    for part in edit.walk.parts:
        for node in part.node:
            sizes = edit.walk.values.get(node.input[3]) if node.op_type == "Resize" and len(node.input) > 3 else None
            if sizes is not None and sizes.content and all(isinstance(n, int) for n in sizes.content):
                found.append(node.name or node.op_type)
    return found


# By op, the operand that says which sizes it gives, and the word for what it does.
_SIZED = {"Reshape": (1, "reshaped"), "Resize": (3, "resized")}


def _written_anew(edit: Editor, graph: Graph, expected: Graph, kept: bool) -> list[str]:
    """Give what is made of sizes that stand in the file as numbers those that come in now; a line for each.

    kept: with kept weights, where a resize works on old positions alone.
    """
    lines = []
    olds, news = ([n for n in g.nodes if n.target in _SIZED] for g in (graph, expected))
    for old, new in zip(olds, news, strict=True):
        if kept and old.target == "Resize" and graph.tensors[old.outputs[0]].volume.over:
            continue
        spot, (at, what) = edit.at(old.index), _SIZED[old.target]
        made, names = edit.walk.values[spot.node.output[0]], list(spot.node.input)
        entries = edit.walk.values[names[at]].content if len(names) > at and names[at] else None
        if not entries or not made.dims or not all(isinstance(entry, int) for entry in entries):
            continue
        overs = (g.tensors[n.outputs[0]].volume.over for g, n in ((graph, old), (expected, new)))
        sizes = {was: expected.grids[grid].sizes[axis] for was, (grid, axis) in zip(*overs, strict=True)}
        now = [_length(dim, sizes) for dim in made.dims]
        if old.target == "Resize" and not sizes:  # one position, spread over those of the map that it is joined with
            met = _met(graph, expected, old.outputs[0])
            now = now if met is None else [*now[:2], *met]
        if tuple(now) != made.shape:
            axes = next((a.ints for a in spot.node.attribute if a.name == "axes"), range(len(now)))
            spot.node.input[at] = spot.ints(*(now[axis] for axis in axes))
            lines.append(f"{old.key or spot.name}: {what} to {by(now)} in place of {by(made.shape)}")
    return lines


def _met(graph: Graph, expected: Graph, tensor: int) -> Sizes | None:
    """The sizes that a map has now with which a tensor without positions is joined, itself or through ops on it alone;
    None where it is joined with none of its size."""
    if len(graph.nodes) != len(expected.nodes):
        return None
    while True:
        reader = next((n for n in graph.nodes if tensor in n.inputs), None)
        if reader is None or not reader.outputs:
            return None
        grid = graph.tensors[reader.outputs[0]].grid
        if len(reader.inputs) > 1 and reader.grid is not None and grid is not None:
            alike = graph.grids[grid].sizes == graph.tensors[tensor].shape[2:]
            return expected.grids[grid].sizes if alike else None
        tensor = reader.outputs[0]


def _length(dim: Dim, sizes: Mapping[tuple[int, int], int]) -> int:
    """The length of a dim whose axes have these sizes now."""
    beside = sum(sum(atom) for atom in dim if isinstance(atom, Extra))
    held = [atom for atom in dim if not isinstance(atom, Extra)]
    return beside + math.prod(sizes.get(a[:2], a.count) if isinstance(a, Digit) else a for a in held)


def _refuse_fixed(graph: Graph, expected: Graph) -> None:
    """Raise PlanError where a constant of the file holds for the old size of a map only."""
    made = {g.index: g for g in graph.grids}
    after = {n.key: expected.grids[n.grid].sizes for n in expected.nodes if n.key and n.grid is not None}
    for pin in graph.pins:
        node = graph.nodes[pin.node]
        grid = made[pin.grid]
        maker = graph.nodes[grid.node] if grid.node is not None else None
        if maker is not None and maker.key in after and after[maker.key] != grid.sizes and pin.kind != "size":
            new, old = ("x".join(map(str, s)) for s in (after[maker.key], grid.sizes))
            where = node.key or node.path or node.target
            raise PlanError(f"{where}: {pin.message} ({pin.kind}): holds for {old} positions, and there would be {new}")


def _inferred(
    model: onnx.ModelProto,
    folder: Path | None,
    name: str,
    spec: InputSpec | None,
    expected: Graph,
    baked: Sequence[str],
) -> Graph:
    """Read the changed model, compare its sizes with the promised ones, and write them into it.

    Raises: PlanError naming the constant that holds for the old sizes only.
    """
    del model.graph.value_info[:]
    try:
        graph, walk = read_model(model, folder, spec, name)
    except TraceError as error:
        constants = f"; constants of the file stand in {', '.join(baked)}" if baked else ""
        raise PlanError(f"the plan cannot be carried out on the file: {error}{constants}") from error
    check_promised(graph, expected, "nothing was written")
    _output_sizes(model, walk)
    return graph


def _output_sizes(model: onnx.ModelProto, walk: Walk) -> None:
    """The outputs' sizes as they are now, where the file states numbers."""
    for info in model.graph.output:
        value = walk.values.get(info.name)
        dims = info.type.tensor_type.shape.dim
        if value is None or len(dims) != len(value.shape):
            continue
        for dim, size in zip(dims, value.shape, strict=True):
            if dim.HasField("dim_value"):
                dim.dim_value = size
