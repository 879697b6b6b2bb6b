"""A plan carried out on an ONNX file: a new file, checked strictly; the old one stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from stridewise.errors import PlanError, TraceError
from stridewise.frontends.onnx import Walk, read_model
from stridewise.frontends.onnx_dense import dilate_file
from stridewise.frontends.onnx_edit import OPERANDS, Editor, NeedsOpsetError, raise_opset
from stridewise.frontends.onnx_file import InputSpec, load
from stridewise.frontends.onnx_names import STEP
from stridewise.frontends.onnx_write import write
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.rewrites.certify import Certificate, certify
from stridewise.rewrites.dilate import dilation
from stridewise.rewrites.promised import check_promised
from stridewise.rewrites.restride import Restrided, restride


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A file that was written. changes: one line each; graph: its geometry, at the size the plan was checked at;
    certificate: what stays the same, where weights are kept."""

    path: Path
    changes: tuple[str, ...]
    graph: Graph
    certificate: Certificate | None = None

    def __str__(self) -> str:
        told = [str(self.certificate)] if self.certificate is not None else []
        return "\n".join([*self.changes, *told]) or "nothing changed"


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
    expected = restride(graph, plan)
    certificate = None
    edit = Editor(model, walk)
    if plan.keep_weights:
        found = dilation(graph, plan)
        certificate = certify(found)
        done = dilate_file(edit, found, expected.graph.grids, is_open)
    else:
        _refuse_fixed(graph, expected.graph)
        done = _restepped(edit, graph, plan, expected)
    edit.finish()
    again = _inferred(model, folder, name, spec, expected.graph)
    write(model, folder, out)
    return Rewritten(path=out, changes=(*lines, *done), graph=again, certificate=certificate)


def _input(model: onnx.ModelProto, plan: Plan, input: InputSpec | None) -> tuple[InputSpec | None, bool]:
    """The input to read the file at, and whether it leaves sizes open. A file that fixes them is read at its own."""
    constants = {tensor.name for tensor in model.graph.initializer}
    infos = [info.type.tensor_type.shape.dim for info in model.graph.input if info.name not in constants]
    is_open = any(not d.dim_value for dims in infos for d in dims[2:])
    given = input if input is not None else plan.input or None
    return given if is_open or input is not None else None, is_open


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


def _restepped(edit: Editor, graph: Graph, plan: Plan, expected: Restrided) -> list[str]:
    """New steps, end padding and inserted pools."""
    lines = []
    for key, setting in plan.sites.items():
        if setting.downsample != "stride":
            kind = setting.downsample
            raise PlanError(f"{key}: downsampling by '{kind}' is not done in a file; apply the plan, then export")
        node = graph.node_named(key)
        assert node is not None
        edit.at(node.index).set("strides", list(setting.stride))
        lines.append(f"{key}: stride {list(setting.was)} -> {list(setting.stride)}")
    for key, axis, rows in expected.pads:
        node = graph.node_named(key)
        assert node is not None
        spot = edit.at(node.index)
        rank = 2 + len(node.attrs["maps"])
        pads = [0] * 2 * rank
        pads[rank + 2 + axis] = rows
        spot.node.input[0] = spot.add("Pad", spot.node.input[0], spot.ints(*pads), since=OPERANDS, mode="edge")
        lines.append(f"{key}: {rows} more of padding at the end of axis {axis}, to meet its parallel path")
    for key in plan.insert:
        lines.append(_insert(edit, graph, key, plan))
    return lines


def _insert(edit: Editor, graph: Graph, key: str, plan: Plan) -> str:
    """A pool behind the slot's tensor, or other strides for the one that is there."""
    setting = plan.insert[key]
    if setting.downsample not in ("max", "mean"):
        raise PlanError(f"+{key}: a step is inserted as max or mean, not '{setting.downsample}'")
    slot = next(s for s in graph.slots if s.key == key or key in s.aliases)
    op = "MaxPool" if setting.downsample == "max" else "AveragePool"
    steps = list(setting.stride)
    by = "x".join(map(str, steps))
    if slot.node is not None:
        spot = edit.at(slot.node)
        spot.becomes(op, spot.node.input[0], kernel_shape=steps, strides=steps)
        return f"+{key}: {setting.downsample} step of {by} behind it"
    maker = next(n.index for n in graph.nodes if slot.tensor in n.outputs)
    spot = edit.at(maker)
    at = graph.nodes[maker].outputs.index(slot.tensor)
    output = [name for name in spot.node.output if name][at]
    inner = edit.name(spot.name)
    spot.node.output[list(spot.node.output).index(output)] = inner
    out = spot.add(op, inner, behind=True, kernel_shape=steps, strides=steps)
    spot.behind[-1].output[0] = output
    spot.behind[-1].name = out
    spot.behind[-1].metadata_props.append(onnx.StringStringEntryProto(key=STEP, value=slot.key))
    return f"+{key}: {setting.downsample} step of {by} behind it"


def _inferred(model: onnx.ModelProto, folder: Path | None, name: str, spec: InputSpec | None, expected: Graph) -> Graph:
    """Read the changed model, compare its sizes with the promised ones, and write them into it.

    Raises: PlanError naming the constant that holds for the old sizes only.
    """
    del model.graph.value_info[:]
    try:
        graph, walk = read_model(model, folder, spec, name)
    except TraceError as error:
        raise PlanError(f"the plan cannot be carried out on the file: {error}") from error
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
