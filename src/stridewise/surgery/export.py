"""A live model as an ONNX file: exported, checked, and run beside the model before it is put in its place."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.errors import MissingExtraError, PlanError, StridewiseError, by
from stridewise.files import staging
from stridewise.surgery.promise import larger
from stridewise.tracing.inputs import Argument, InputSpec, arguments_of, called, drawn

# Beyond this much the numbers of the file are not those of the model (float32, other kernels).
_CLOSE = 1e-3
# Positions added to each axis for the sizes at which a file with open ones is run: each leaves other remainders.
_MORE = ((0, 0, 0), (5, 2, 3), (3, 13, 1), (18, 7, 6), (1, 22, 11))
# What the file calls an input that is not named.
_NAME = "input"
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, torch.onnx.errors.OnnxExporterError)


def export_onnx(model: nn.Module, input: InputSpec, path: Path) -> float:
    """Write `model` to `path`, batch and sizes as in `input`; the largest relative difference of its outputs there.

    The file is made beside `path`, checked by onnx and run in onnxruntime, then renamed: it is there whole or not at
    all. Raises: PlanError in one line where the model cannot be exported, or the file says something else.
    """
    given = _drawn(arguments_of(input))
    model.eval()
    with staging(path, error=PlanError) as folder:
        file = folder / path.name
        try:
            _write(model, given, file)
            off = _off(file, given, _answer(model, given))
        except _FAILURES as error:
            raise PlanError(f"{path}: the changed model could not be exported: {_first_line(error)}") from error
        if not off <= _CLOSE:
            raise PlanError(f"{path}: onnxruntime's outputs are {off:.1e} off the model's; nothing was written")
    return off


def export_open(
    model: nn.Module,
    changed: Callable[[], AbstractContextManager[object]],
    carry: Callable[[Path, Path], object],
    input: InputSpec,
    path: Path,
) -> float:
    """As `export_onnx`, of a file that takes inputs of every size: what hangs on the size is computed when it runs.

    An exporter writes a changed model's paddings down as they are at the size it is given. So the model is exported as
    it was, and the plan carried out on that file; where this cannot be done, the changed model is exported. Either file
    is run at five sizes, at which steps leave different remainders, and written only where it equals the model at each.
    changed: makes the model the changed one while it is entered; carry: makes the changed file of the first one.
    Raises: PlanError where neither file does: it says why.
    """
    named = arguments_of(input)
    axes = {k or _NAME: {at: f"{k or _NAME}_{at}" for at in a.positions} for k, a in named.items() if a.positions}
    inputs = [larger(input, more) for more in _MORE]
    pictures = [_drawn(one) for one in inputs]
    model.eval()
    with changed():
        try:
            answers = [_answer(model, given) for given in pictures]
        except _FAILURES as error:
            raise PlanError(f"{path}: the model does not take every size: {_first_line(error)}") from error
    said: dict[str, None] = {}
    with staging(path, error=PlanError) as folder:
        file, before = folder / path.name, folder / "before.onnx"

        def of_file() -> None:
            _write(model, pictures[0], before, axes)
            carry(before, file)
            before.unlink(missing_ok=True)

        def of_changed() -> None:
            with changed():
                _write(model, pictures[0], file, axes)

        for make in (of_file, of_changed):
            worst = 0.0
            try:
                make()
                for one, given, wanted in zip(inputs, pictures, answers, strict=True):
                    off = _off(file, given, wanted)
                    if not off <= _CLOSE:
                        where = " and ".join(by(a.sizes) for a in one.values() if a.sizes)
                        raise PlanError(f"at {where} its outputs are {off:.1e} off the model's")
                    worst = max(worst, off)
            except (*_FAILURES, StridewiseError) as error:
                said[_first_line(error)] = None
            else:
                return worst
            finally:
                before.unlink(missing_ok=True)
        raise PlanError(f"{path}: cannot be exported with open sizes: {'; '.join(said)}")


def _drawn(named: Mapping[str, Argument]) -> dict[str, Any]:
    return drawn(named, torch.Generator().manual_seed(0))


def _write(
    model: nn.Module, given: Mapping[str, Any], file: Path, axes: Mapping[str, Mapping[int, str]] | None = None
) -> None:
    """Export, sizes fixed but along the named `axes`, and let onnx check what was written."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "onnx", "onnx", "writing an ONNX file") from error
    args, named = called(model.forward, given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracer warnings about sizes: the file is run at others, or made for these
        names = [key or _NAME for key in given]
        torch.onnx.export(model, (*args, named), str(file), dynamo=False, input_names=names, dynamic_axes=axes)
    onnx.checker.check_model(str(file), full_check=True)


def _off(file: Path, given: Mapping[str, Any], wanted: list[torch.Tensor]) -> float:
    """The largest relative difference of a file's outputs in onnxruntime to those wanted."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "onnxruntime", "onnx", "writing an ONNX file") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    there = {info.name for info in session.get_inputs()}
    found = session.run(None, {k or _NAME: v.numpy() for k, v in given.items() if (k or _NAME) in there})
    return max((_difference(a, torch.from_numpy(b)) for a, b in zip(wanted, found, strict=True)), default=0.0)


def _answer(model: nn.Module, given: Mapping[str, Any]) -> list[torch.Tensor]:
    args, named = called(model.forward, given)
    with torch.no_grad():
        return _outputs(model(*args, **named))


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
