"""Whether a rewritten ONNX file says what it said: both in onnxruntime on random input, phase 0 of the new maps."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from stridewise.errors import MissingExtraError, PlanError
from stridewise.onnxfile.apply import Rewritten, apply_to_file
from stridewise.onnxfile.file import load
from stridewise.onnxfile.layout import InputSpec
from stridewise.onnxfile.read import read_model
from stridewise.plans import Plan
from stridewise.shown import Shown

try:
    import onnxruntime
except ImportError as error:
    raise MissingExtraError("onnxruntime", "onnx", "running an ONNX file") from error

# In float32: equal up to other orders of summation; too little difference between pictures to tell anything by.
_CLOSE, _LIVE = 1e-3, 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class FileComparison:
    """Largest relative difference, by name: of the last feature map and of the outputs. dtype: what they ran in;
    pictures: by name, the difference that two unrelated pictures make at the same places."""

    differences: Mapping[str, float]
    dtype: str
    pictures: Mapping[str, float]

    def __str__(self) -> str:
        return "\n".join(
            f"{what}: relative difference {value:.1e} in {self.dtype}, onnxruntime"
            for what, value in self.differences.items()
        )


def compare_files(
    before: str | Path, after: str | Path, *, input: InputSpec | None = None, seed: int = 0
) -> FileComparison:
    """Run both files on the same random input. Raises: PlanError where an output is no multiple of the old one."""
    model, folder, name = load(before)
    graph, walk = read_model(model, folder, input, name)
    random = np.random.default_rng(seed)
    arguments, others = {}, {}
    for key, index in graph.inputs:
        dtype = helper.tensor_dtype_to_np_dtype(walk.inputs[key] or int(onnx.TensorProto.FLOAT))
        arguments[key] = random.standard_normal(walk.values[key].shape).astype(dtype)
        others[key] = random.standard_normal(walk.values[key].shape).astype(dtype)
        assert walk.values[key].index == index
    for key in sorted(walk.inputs.keys() - arguments.keys() - {tensor.name for tensor in model.graph.initializer}):
        kind = walk.kinds[key]  # a weight that is given when the file runs: positive, as a variance has to be
        weight = random.uniform(0.1, 1, kind.shape or ()).astype(helper.tensor_dtype_to_np_dtype(kind.elem))
        arguments[key] = others[key] = weight
    names = [info.name for info in model.graph.output]
    last = next((n for n, v in walk.values.items() if v.index is not None and v.index == graph.last), None)
    shown = [*names, last] if last is not None and last not in names else names
    old, new = (_run(Path(path), arguments, shown) for path in (before, after))
    differences, pictures = {}, {}
    for key, a, b, c in zip(shown, old, new, _run(Path(before), others, shown), strict=True):
        if np.issubdtype(a.dtype, np.floating):
            name = "feature map" if key == last else f"output {key}"
            differences[name] = _worst(key, a, b)
            pictures[name] = _worst(key, a, c) if a.shape == c.shape else 0.0
    dtype = str(next(iter(arguments.values())).dtype)
    return FileComparison(differences=differences, dtype=dtype, pictures=pictures)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerification(Shown):
    """What `verify` saw of a file. done: what was written to a temporary file; compared: None without kept weights."""

    done: Rewritten
    compared: FileComparison | None = None

    @property
    def holds(self) -> bool | None:
        """Whether all that is certified was seen to be true; None where nothing could have shown the contrary."""
        claims, found = self.done.certificate, self.compared
        if claims is None or found is None or not claims.exact:
            return True
        claimed = [n for n in found.differences if n == "feature map" or not claims.means]
        live = [n for n in claimed if found.pictures[n] > _LIVE]
        if any(not found.differences[n] <= _CLOSE * found.pictures[n] for n in live):
            return False
        return True if live else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.verify/1"."""
        shown = self.compared
        rows = [{"what": n, "difference": d} for n, d in (shown.differences.items() if shown else ())]
        return {"schema": "stridewise.verify/1", "holds": self.holds, "rows": rows, "apply": self.done.to_json()}

    def __str__(self) -> str:
        ends = {
            True: "verified: the changed file was read again, and every size is the promised one",
            False: "NOT verified: a map that is certified as exact differs",
            None: "not verifiable here: what is certified hardly depends on the picture, so that no change would show",
        }
        return "\n".join([*self.done.changes, *([str(self.compared)] if self.compared else []), ends[self.holds]])


def verify_file(source: str | Path, plan: Plan, *, input: InputSpec | None = None, seed: int = 0) -> FileVerification:
    """Write the file under `plan` to a temporary place, read it again and run both. Raises: PlanError."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "changed.onnx"
        done = apply_to_file(source, plan, out, input=input)
        if not plan.keep_weights:
            return FileVerification(done=done)
        return FileVerification(done=done, compared=compare_files(source, out, input=input or plan.input, seed=seed))


def _run(path: Path, arguments: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """These values of a file, in onnxruntime on the CPU."""
    model, folder, _ = load(path)
    there = {info.name for info in model.graph.output}
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names if n not in there)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if folder is not None:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(folder.resolve()))
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(list(names), dict(arguments)))
    except Exception as error:
        said = str(error).strip().splitlines()[0]
        raise PlanError(f"{path}: onnxruntime does not run it: {said}") from error


def _worst(key: str, old: Any, new: Any) -> float:
    """The largest relative difference, the new values taken on the old ones' grid."""
    steps = [n // m if m and n % m == 0 else 0 for n, m in zip(new.shape, old.shape, strict=False)]
    if old.ndim != new.ndim or 0 in steps:
        raise PlanError(f"{key}: measures {new.shape} where it measured {old.shape}: no multiple")
    same = new[tuple(slice(None, None, s) for s in steps)].astype(np.float64)
    return float(np.abs(same - old).max() / max(np.abs(old).max(), 1e-300))
