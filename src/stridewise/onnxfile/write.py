"""Writing an ONNX model: sizes inferred strictly, the whole checked, then renamed into place. Weights of their own file
are copied beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from onnx import TensorProto, shape_inference

from stridewise.errors import PlanError
from stridewise.files import staging


def write(model: onnx.ModelProto, folder: Path | None, out: Path) -> None:
    """Write `model`, whose external data lie in `folder`, to `out`, whole or not at all.

    External data are copied to a file of the new one's name with `.data` behind it.
    Raises: PlanError where onnx's checker refuses the model or the file cannot be written.
    """
    model = _inferred(model, out)
    with staging(out, error=PlanError) as place:  # the model last: it never names data that are not there
        _copy_data(model, folder, place, out)
        (place / out.name).write_bytes(model.SerializeToString())
        _check(place / out.name, out)


def _inferred(model: onnx.ModelProto, out: Path) -> onnx.ModelProto:
    """The model with the sizes of every value, inferred anew."""
    del model.graph.value_info[:]
    try:
        return shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, UnicodeDecodeError) as error:
        raise PlanError(f"{out}: onnx infers no sizes for the changed model: {_last_line(error)}") from error


def _check(path: Path, out: Path) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError, UnicodeDecodeError) as error:
        raise PlanError(f"{out}: onnx's checker refuses the changed model: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), "no reason given").strip()


def _copy_data(model: onnx.ModelProto, folder: Path | None, place: Path, out: Path) -> None:
    """Copy the files of external data into `place` and let the model name the copies."""
    copies: dict[str, Path] = {}
    for tensor in _tensors(model.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entry = next(e for e in tensor.external_data if e.key == "location")
        if entry.value not in copies:
            where = PurePosixPath(entry.value)
            if folder is None or where.is_absolute() or ".." in where.parts:
                raise PlanError(f"{out}: weights lie in '{entry.value}', outside the folder of the file")
            number = f".{len(copies)}" if copies else ""
            copies[entry.value] = place / f"{out.name}{number}.data"
            shutil.copyfile(folder / where, copies[entry.value])
        entry.value = copies[entry.value].name


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Every tensor of a graph and of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)
