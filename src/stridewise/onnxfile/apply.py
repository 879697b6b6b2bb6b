"""A plan carried out on an ONNX file: a new file, checked strictly; the old one stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from stridewise.errors import PlanError, TraceError
from stridewise.ir import Graph
from stridewise.onnxfile.actions import dilate_file
from stridewise.onnxfile.edit import Editor, NeedsOpsetError, raise_opset
from stridewise.onnxfile.file import InputSpec, data_inputs, load
from stridewise.onnxfile.read import read_model
from stridewise.onnxfile.steps import restep_file
from stridewise.onnxfile.walk import Walk
from stridewise.onnxfile.write import write
from stridewise.plans import Plan
from stridewise.report.document import Document
from stridewise.rewrites.certify import Certificate, certify, change_document
from stridewise.rewrites.dilate import dilation
from stridewise.rewrites.kinds import filled
from stridewise.rewrites.promised import check_promised
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
