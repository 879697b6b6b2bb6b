"""Loading an ONNX file: without the numbers of its weights where they are not needed, its own functions put in place
of their calls."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from stridewise.errors import LoadError

# Tensors with fewer bytes stay whole: shapes, scales, thresholds.
LARGE = 1 << 16
# No message of a network has as many fields: a file that is something else is not read to its end.
_MOST_FIELDS = 1 << 20


@dataclass(frozen=True, slots=True)
class _Message:
    """Fields of a message that hold messages with tensors in them, and fields that hold the numbers themselves."""

    holds: Mapping[int, _Message] = field(default_factory=dict)
    numbers: frozenset[int] = frozenset()


# float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data
_TENSOR = _Message(numbers=frozenset({4, 5, 6, 7, 9, 10, 11}))
_SPARSE = _Message({1: _TENSOR, 2: _TENSOR})
_NODE_FIELDS: dict[int, _Message] = {}
_NODE = _Message(_NODE_FIELDS)
_GRAPH = _Message({1: _NODE, 5: _TENSOR, 15: _SPARSE})
_NODE_FIELDS[5] = _Message({5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE})
_MODEL = _Message({7: _GRAPH, 25: _Message({7: _NODE})})


def skimmed(data: memoryview) -> bytes | None:
    """The model without the numbers of its large tensors; None where the bytes are no protobuf message."""
    try:
        return b"".join(_pieces(data, 0, len(data), _MODEL))
    except (IndexError, ValueError, RecursionError):
        return None


def _pieces(data: memoryview, at: int, end: int, message: _Message) -> Iterator[bytes | memoryview]:
    """What stays of data[at:end]."""
    start = at  # what was met since stays as it is
    fields = 0
    while at < end:
        first = at
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        fields += 1
        if not number or fields > _MOST_FIELDS:
            raise ValueError("no field of a message")
        if wire != 2:
            at = _after(data, at, wire)
            continue
        length, at = _varint(data, at)
        if at + length > end:
            raise ValueError("a field ends behind its message")
        if length > LARGE and number in message.numbers:
            yield data[start:first]
            start = at + length
        elif length > LARGE and number in message.holds:
            yield data[start:first]
            inner = b"".join(_pieces(data, at, at + length, message.holds[number]))
            yield _written(tag) + _written(len(inner))
            yield inner
            start = at + length
        at += length
    if at != end:
        raise ValueError("a message ends within a field")
    yield data[start:end]


def _after(data: memoryview, at: int, wire: int) -> int:
    """Where a field without a length ends."""
    if wire == 0:
        return _varint(data, at)[1]
    if wire in (1, 5):
        return at + (8 if wire == 1 else 4)
    raise ValueError("no wire type of a message")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _written(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


# Beyond this many nodes a file is no network: functions that call functions double with every level.
_MOST_NODES = 30_000
_Name: TypeAlias = tuple[str, str]


def inlined(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model with the nodes of its functions in place of the calls. Raises: LoadError where a function calls itself,
    or where there would be too many nodes."""
    from onnx import inliner

    bodies = {(f.domain, f.name): _calls(f.node) for f in model.functions}
    sizes: dict[_Name, int] = {}
    for name in bodies:
        _measure(name, bodies, sizes, where)
    total = sum(sizes.get(call, 1) for call in _calls(model.graph.node))
    if total > _MOST_NODES:
        raise LoadError(f"{where}: its functions would become more than {_MOST_NODES} nodes; no network is that long")
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LoadError(f"{where}: its functions do not fit together: {said}") from error


def _calls(nodes: Iterable[onnx.NodeProto]) -> list[_Name]:
    """What each node calls, those of graphs inside nodes too."""
    return [(node.domain, node.op_type) for node in _every(nodes)]


def _every(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _every(attribute.g.node)


def _measure(name: _Name, bodies: Mapping[_Name, list[_Name]], sizes: dict[_Name, int], where: str) -> None:
    """Count the nodes that a function becomes, those of the functions it calls first. Without recursion: a file may
    nest them as deep as it likes."""
    todo, open_ = [name], set[_Name]()
    while todo:
        at = todo[-1]
        inner = [call for call in bodies[at] if call in bodies and call not in sizes]
        if not inner:
            sizes[at] = sum(sizes.get(call, 1) for call in bodies[at])
            open_.discard(at)
            todo.pop()
            continue
        open_.add(at)
        if any(call in open_ for call in inner):
            raise LoadError(f"{where}: its function {at[1]} calls itself")
        todo += dict.fromkeys(inner)


# A protobuf message cannot be larger.
_LARGEST = 2**31 - 1
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
