"""The bytes of an ONNX model without those of its weights, read from a file that is never loaded whole.

Only lengths and tags are looked at; what a large tensor holds is stepped over, so that a file of any size costs what
its graph costs. Source: protobuf encoding; onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

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
