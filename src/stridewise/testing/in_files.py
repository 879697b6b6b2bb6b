"""The contract on an ONNX file: sizes, values and kept weights against onnxruntime."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from stridewise.analyses.sizes import grid_sizes
from stridewise.api import apply, plan
from stridewise.errors import GeometryError, PlanError, StridewiseError
from stridewise.ir import Graph, Sizes
from stridewise.onnxfile.read import read_onnx
from stridewise.ops.registry import Op, find_onnx
from stridewise.ops.space import Bytes, Given, Ints, Number, Trial, Weight
from stridewise.rewrites.certify import certify
from stridewise.rewrites.dilate import dilation
from stridewise.testing.broken import Broken
from stridewise.testing.layout import laid_out

TOLERANCE = 1e-4
_FLOAT = TensorProto.FLOAT


def check_call(op: Op, target: str, trial: Trial, counts: Counter[str]) -> None:
    """Hold every promise on one call. Raises: Broken."""
    if not trial.runs:
        counts["not run here"] += 1
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.onnx"
        path.write_bytes(_File(trial, step=1).data)
        try:
            session = _session(path)
            real = _run(session, trial.shape)
        except Exception:  # noqa: BLE001  onnxruntime's errors share no class of their own
            counts["not in this onnxruntime"] += 1
            return
        try:
            graph = read_onnx(path, trial.shape)
        except StridewiseError as error:
            raise Broken(f"cannot be read, and onnxruntime runs it: {error}") from error
        if not any(find_onnx(node.target) is op or node.op == op.name for node in graph.nodes):
            counts["another op"] += 1
            return
        out = graph.tensors[graph.outputs[0]]
        if not graph.unknown and out.shape != real.shape:
            raise Broken(f"reads {out.shape}, and {real.shape} comes out")
        if graph.unknown:
            counts["unknown"] += 1
            return
        counts["known"] += 1
        _check_sizes(session, graph, trial)
        stepping = Path(folder) / "stepping.onnx"
        stepping.write_bytes(_File(trial, step=2).data)
        _check_kept(stepping, trial, counts)


class _File:
    """A file of one call behind a convolution, 1x1 or (`step` 2) one of three positions that steps, and a sigmoid."""

    def __init__(self, trial: Trial, step: int) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.random = np.random.default_rng(0)
        channels, axes = trial.shape[0], len(trial.shape) - 1
        self.axes, self.channels = axes, channels
        kernel = self._constant(self.random.normal(size=(channels, channels, *[2 * step - 1] * axes)) / 2)
        facts = {"strides": [step] * axes, "pads": [step - 1] * 2 * axes}
        self.x = self.add("Sigmoid", self.add("Conv", "x", kernel, name="stem", **facts))
        names = [self._operand(arg) for arg in trial.args]
        out = self.add(trial.call, *names, **trial.kwargs)
        info = helper.make_tensor_value_info("x", _FLOAT, [1, channels, *(f"n{a}" for a in range(axes))])
        graph = helper.make_graph(self.nodes, "g", [info], [onnx.ValueInfoProto(name=out)], self.constants)
        opsets = [helper.make_opsetid("", trial.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if trial.opset < 18 else 10)
        self.data = model.SerializeToString()

    def add(self, op: Any, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node; the name of its first output."""
        out = f"t{len(self.nodes)}"
        outs = [out]
        if op == "Split":
            outs.append(f"{out}b")
        elif op == "TopK":
            outs = [out, f"{out}b"]
        self.nodes.append(helper.make_node(op, list(inputs), outs, name=name or out, **attributes))
        return out

    def _constant(self, array: Any, kind: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype=kind), name))
        return name

    def _ints(self, *values: int) -> str:
        return self._constant(values, np.int64)

    def _operand(self, arg: Any) -> str:
        if arg is None:
            return ""
        if isinstance(arg, Weight):
            return self._constant(self.random.uniform(arg.low, arg.high, arg.shape))
        if isinstance(arg, Ints):
            return self._ints(*arg.values)
        if isinstance(arg, Number):
            return self._constant(arg.value)
        if isinstance(arg, Bytes):
            if isinstance(arg.of, Number):
                return self._constant(arg.of.value, np.uint8)
            scaled = self.add("Mul", self._operand(arg.of), self._constant(255))
            return self.add("Cast", scaled, to=int(TensorProto.UINT8))
        assert isinstance(arg, Given), f"{arg!r} is no operand of a file"
        return self._given(arg.kind)

    def _given(self, kind: str) -> str:
        x = self.x
        if kind == "other":
            return self.add("Sub", self._constant(1), self.add("Mul", self.add("Mul", x, x), self._constant(0.7)))
        if kind == "mask":
            return self.add("Greater", x, self._constant(0.5))
        if kind == "bits":
            return self.add("Cast", self.add("Mul", x, self._constant(7)), to=int(TensorProto.UINT64))
        if kind == "means":
            return self.add("GlobalAveragePool", x)
        if kind == "last":
            return self.add("Transpose", x, perm=[0, *range(2, self.axes + 2), 1])
        if kind in ("rows", "tokens"):
            flat = self.add("Reshape", x, self._ints(1, self.channels, -1))
            return self.add("Transpose", flat, perm=[0, 2, 1])
        if kind == "heads":
            apart = self.add("Reshape", x, self._ints(1, 2, self.channels // 2, -1))
            return self.add("Transpose", apart, perm=[0, 1, 3, 2])
        assert kind == "x", f"a file is given no {kind}"
        return x


def _session(path: Path) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: Any, shape: Sizes, seed: int = 0) -> Any:
    x = np.random.default_rng(seed).uniform(0.05, 0.95, (1, *shape)).astype(np.float32)
    return session.run(None, {"x": x})[0]


def _others(shape: Sizes) -> list[Sizes]:
    return [(shape[0], *(n + more + at for at, n in enumerate(shape[1:]))) for more in (1, 2, 3)]


def _check_sizes(session: Any, graph: Graph, trial: Trial) -> None:
    """Sizes at other inputs: what the graph works out is what onnxruntime gives."""
    out = graph.tensors[graph.outputs[0]]
    if graph.pins or not out.known:
        return
    for shape in _others(trial.shape):
        try:
            real = _run(session, shape)
        except Exception:  # noqa: BLE001  its constants were drawn for one size
            continue
        try:
            promised = out.volume.at(grid_sizes(graph, shape[1:]))
        except GeometryError as error:
            raise Broken(f"refuses {shape[1:]}, which runs: {error}") from error
        if promised != real.size:
            raise Broken(f"works out {promised} elements at {shape[1:]}, and {real.size} come out")


def _check_kept(path: Path, trial: Trial, counts: Counter[str]) -> None:
    """Kept weights: a file that is planned is written, and gives what its certificate says, at every size."""
    shape = (trial.shape[0], *(2 * n for n in trial.shape[1:]))
    try:
        graph = read_onnx(path, shape)
        wanted = plan(graph, {"stem": 1}, keep_weights=True)
        found = dilation(graph, wanted)
    except PlanError:
        counts["refused"] += 1
        return
    out = graph.tensors[graph.outputs[0]]
    where = laid_out(graph, out, grid_sizes(graph))
    m = found.multipliers[out.grid] if out.grid is not None else ()
    if where is None and math.prod(m) > 1 and out.volume.over:
        counts["in a layout of its own"] += 1
        return
    new_path = path.with_name("new.onnx")
    try:
        apply(str(path), wanted, input=shape, out=new_path)
    except PlanError:
        counts["refused for a file"] += 1
        return
    except Exception as error:
        raise Broken(f"is planned and then fails: {type(error).__name__}: {error}") from error
    old, new = _session(path), _session(new_path)
    worst, is_float = 0.0, True
    for other in (shape, *(_others(shape) if not graph.pins else ())):
        try:
            before = _run(old, other)
        except Exception:  # noqa: BLE001
            continue
        try:
            after = _run(new, other)
        except Exception as error:
            raise Broken(f"runs at {other[1:]} no more: {str(error).splitlines()[0]}") from error
        # A product of hundreds of numbers below 1 is nought, whatever they are.
        is_float = before.dtype.kind == "f" and bool(np.abs(before).max(initial=0) > 1e-30)
        worst = max(worst, _difference(before, after, where or (), m))
    tainted = out.index in certify(found).tainted
    if worst > TOLERANCE and not tainted:
        raise Broken(f"is certified exact and differs by {worst:.3g}")
    if worst == 0 and tainted and is_float:
        raise Broken("is called exact except means, and nothing differs")
    counts["inexact" if tainted else "exact"] += 1


def _difference(old: Any, new: Any, where: Sequence[int], m: Sequence[int]) -> float:
    """The largest difference of phase 0 from the old output, infinite where its sizes are others."""
    index: list[Any] = [slice(None)] * new.ndim
    for dim, times in zip(where, m, strict=False):
        index[dim] = slice(None, None, times)
        if new.shape[dim] != old.shape[dim] * times:
            return float("inf")
    picked = new[tuple(index)]
    if picked.shape != old.shape:
        return float("inf")
    if old.dtype.kind != "f":
        return float((picked != old).mean()) if old.dtype.kind == "b" else float(np.abs(picked - old + 0.0).max() > 1)
    same = (picked == old) | (np.isnan(picked) & np.isnan(old))
    return float(np.where(same, 0.0, np.nan_to_num(np.abs(picked - old), nan=np.inf)).max()) if old.size else 0.0
