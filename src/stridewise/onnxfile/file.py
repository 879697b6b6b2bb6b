"""Loading an ONNX file without its weights' data, and settling the shapes of its inputs."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from stridewise.errors import LoadError, TraceError
from stridewise.onnxfile.checks import LARGEST, LONGEST
from stridewise.onnxfile.functions import inlined
from stridewise.onnxfile.layout import Layout, is_weight, layout_of
from stridewise.onnxfile.skim import LARGE, skimmed

InputSpec: TypeAlias = Sequence[int] | Mapping[str, Sequence[int]]
# A protobuf message cannot be larger.
_LARGEST = 2**31 - 1
_DEFAULT = 224
# Versions of operator sets are small numbers.
_NO_OPSET = 1 << 15


def load(source: str | Path | bytes, *, weights: bool = True) -> tuple[onnx.ModelProto, Path | None, str]:
    """The model, the folder its external data lie in, and a name for messages. External data are left where they are.

    weights: with the entries of large tensors; without them a file of any size is read.
    Raises: LoadError where the file is missing, too large, damaged or no ONNX model.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data = source if weights else skimmed(memoryview(source)) or source
        return _parsed(bytes(data), "the given bytes"), None, "the given bytes"
    path = Path(source)
    try:
        if path.is_dir():
            raise LoadError(f"{path}: is a folder, an ONNX file is wanted")
        if not stat.S_ISREG(path.stat().st_mode):
            raise LoadError(f"{path}: is a device, a pipe or a socket, an ONNX file is wanted")
        skim = None if weights else _skimmed_file(path)
        if skim is None:
            size = path.stat().st_size
            if size > _LARGEST:
                raise LoadError(
                    f"{path}: {size / 2**30:.1f} GiB in one file, and protobuf reads 2 GiB at most. "
                    "Save it with its weights beside it: onnx.save(model, path, save_as_external_data=True)"
                )
        data = path.read_bytes() if skim is None else skim
    except OSError as error:
        raise LoadError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return _parsed(data, str(path)), path.parent, path.name


def _skimmed_file(path: Path) -> bytes | None:
    """The file without its weights; None where it holds no protobuf message."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            return skimmed(view)


def is_beside(folder: Path | None, tensor: onnx.TensorProto) -> bool:
    """Whether the external data of a tensor lie in a regular file inside the model's folder, and are few.

    onnx reads as many bytes as the file says, or all that there are where it says nothing, not what the tensor needs.
    """
    said = {entry.key: entry.value for entry in tensor.external_data}
    if folder is None or not said.get("location"):
        return False
    inside, file = folder.resolve(), (folder / said["location"]).resolve()
    if not file.is_relative_to(inside) or not file.is_file():
        return False
    try:
        most = int(said["length"]) if said.get("length") else file.stat().st_size - int(said.get("offset") or 0)
    except ValueError:
        return False
    return most <= LARGE


def _parsed(data: bytes, where: str) -> onnx.ModelProto:
    if not data:
        raise LoadError(f"{where}: is empty, an ONNX model is wanted")
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise LoadError(
            f"{where}: is damaged, cut short or no ONNX model ({len(data)} bytes do not parse). "
            "Download or export it again"
        ) from error
    if not model.graph.node or not model.opset_import:
        raise LoadError(f"{where}: holds no ONNX graph. An exported model (.onnx) is wanted")
    for entry in model.opset_import:
        if not 0 < entry.version < _NO_OPSET:
            raise LoadError(f"{where}: names version {entry.version} of an operator set: the file is damaged")
    return inlined(model, where) if model.functions else model


def input_shapes(
    graph: onnx.GraphProto, spec: InputSpec | None, name: str, batch: int | None = None
) -> dict[str, tuple[tuple[int, ...], Layout]]:
    """Per input its full shape as the file lays it out, and how that is. Weights given as inputs are none of them.

    spec: channels and sizes, without the batch (1, or `batch`); None takes the file's own sizes.
    Raises: TraceError where an input is named that is not there, has another rank or other channels than the file says.
    """
    infos = data_inputs(graph)
    if not infos:
        raise TraceError(f"{name}: the file has no input")
    given = _named(spec, infos, name)
    layouts = {key: layout_of(graph, key) for key in infos}
    return {key: _shape(info, given.get(key), name, batch or 1, layouts[key]) for key, info in infos.items()}


def data_inputs(graph: onnx.GraphProto) -> dict[str, onnx.ValueInfoProto]:
    """The inputs that are no constants of the file and no weights given to it, by name."""
    constants = {tensor.name for tensor in graph.initializer}
    infos = {info.name: info for info in graph.input if info.name not in constants}
    data = {key: info for key, info in infos.items() if len(infos) == 1 or not is_weight(graph, key)}
    return data or infos


def _named(spec: InputSpec | None, infos: Mapping[str, onnx.ValueInfoProto], name: str) -> dict[str, tuple[int, ...]]:
    if spec is None:
        return {}
    named = dict(spec) if isinstance(spec, Mapping) else {next(iter(infos)): spec}
    if "" in named:
        named[next(iter(infos))] = named.pop("")
    for key, shape in named.items():
        if key not in infos:
            raise TraceError(f"{name}: has no input '{key}'; its inputs are {', '.join(infos)}")
        if any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in shape):
            raise TraceError(f"{name}: input {key}: sizes are whole numbers from 1, not {tuple(shape)}")
    return {key: tuple(shape) for key, shape in named.items()}


def _shape(
    info: onnx.ValueInfoProto, given: tuple[int, ...] | None, name: str, batch: int, layout: Layout
) -> tuple[tuple[int, ...], Layout]:
    if not info.type.HasField("tensor_type"):
        raise TraceError(f"{name}: input {info.name} is no tensor")
    kind = info.type.tensor_type
    own = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim]
    if not kind.HasField("shape"):
        own = [None] * ((len(given) if given else 3) + 1)
    rank = len(own)
    if layout == "flat" and rank == 2:
        return (batch, given[-1] if given else own[1] or _DEFAULT), layout
    if given is not None and len(given) == rank and rank < 3:
        return given, "first"
    if given is not None and len(given) != rank - 1:
        wanted = "x".join(str(d or "?") for d in own[1:])
        raise TraceError(f"{name}: input {info.name} takes {wanted} after the batch, not {_by(given)}: --input")
    # Where no op says so: channels that come last, as TensorFlow lays pictures out, are few.
    last = layout == "last" and rank > 2
    if not layout:
        last = rank >= 4 and own[-1] in (1, 2, 3, 4) and own[1] not in (1, 2, 3, 4)
    channels, sizes = (own[-1], own[1:-1]) if last else (own[1] if rank > 1 else None, own[2:])
    if given is not None:
        if channels is not None and given and given[0] != channels:
            raise TraceError(
                f"{name}: input {info.name} takes {channels} channels, not {given[0]}: --input {channels}{_rest(given)}"
            )
        channels, sizes = given[0] if given else None, list(given[1:])
    elif rank > 1 and channels is None:
        raise TraceError(
            f"{name}: the file does not say the channels of input {info.name} ({_by(own)}): give --input CHANNELSxSIZES"
        )
    filled = [size if size is not None else _DEFAULT for size in sizes]
    most = LONGEST if len(filled) == 1 else LARGEST
    if any(size > most for size in filled):
        raise TraceError(
            f"{name}: input {info.name} has {_by(filled)} positions; at most {most} along an axis: --input"
        )
    if rank < 2:
        return tuple(d or 1 for d in own), "first"
    return ((batch, *filled, channels or 1), "last") if last else ((batch, channels or 1, *filled), "first")


def fixed_batch(graph: onnx.GraphProto) -> int | None:
    """The batch the file was made for, where it fixes one above 1."""
    for info in data_inputs(graph).values():
        dims = info.type.tensor_type.shape.dim
        if len(dims) > 2:
            return dims[0].dim_value if dims[0].dim_value > 1 else None
    return None


def _rest(given: tuple[int, ...]) -> str:
    return "".join(f"x{n}" for n in given[1:])


def _by(shape: Sequence[int | None]) -> str:
    return "x".join(str(n or "?") for n in shape)
