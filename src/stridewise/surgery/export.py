"""A live model as an ONNX file: exported, checked, and run beside the model before it is put in its place."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.errors import MissingExtraError, PlanError
from stridewise.files import staging
from stridewise.tracing.inputs import InputSpec, drawn

# Beyond this much the numbers of the file are not those of the model (float32, other kernels).
_CLOSE = 1e-3


def export_onnx(model: nn.Module, input: InputSpec, path: Path) -> float:
    """Write `model` to `path`, batch and sizes as in `input`; the largest relative difference of its outputs there.

    The file is made beside `path`, checked by onnx and run in onnxruntime, then renamed: it is there whole or not at
    all. Raises: PlanError in one line where the model cannot be exported, or the file says something else.
    """
    try:
        import onnx
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "onnx", "onnx", "writing an ONNX file") from error
    named: Mapping[str, Any] = input if isinstance(input, Mapping) else {"input": input}
    arguments = drawn(named, torch.Generator().manual_seed(0))
    given = tuple(arguments.values()) if not isinstance(input, Mapping) else (arguments,)
    model.eval()
    try:
        with staging(path, error=PlanError) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracer warnings about sizes: the file is made for these
            file = folder / path.name
            torch.onnx.export(model, given, str(file), dynamo=False, input_names=list(named))
            onnx.checker.check_model(str(file), full_check=True)
            session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
            there = {info.name for info in session.get_inputs()}
            found = session.run(None, {k: v.numpy() for k, v in arguments.items() if k in there})
            with torch.no_grad():
                wanted = _outputs(model(**arguments) if isinstance(input, Mapping) else model(*arguments.values()))
            off = max((_difference(a, torch.from_numpy(b)) for a, b in zip(wanted, found, strict=True)), default=0.0)
            if not off <= _CLOSE:
                raise PlanError(f"{path}: onnxruntime's outputs are {off:.1e} off the model's; nothing was written")
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        raise PlanError(f"{path}: the changed model could not be exported: {_first_line(error)}") from error
    return off


def _outputs(out: object) -> list[torch.Tensor]:
    """The tensors of a model's answer, in order."""
    if isinstance(out, torch.Tensor):
        return [out]
    parts = out.values() if isinstance(out, Mapping) else out if isinstance(out, list | tuple) else ()
    return [tensor for part in parts for tensor in _outputs(part)]


def _difference(old: torch.Tensor, new: torch.Tensor) -> float:
    if old.shape != new.shape:
        return float("inf")
    return float((old - new).abs().max() / old.abs().max().clamp_min(1e-30))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
