"""The one registry of ops. An op is added by registering one `Op`; reports, docs and tests are made from this list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stridewise.errors import UsageError
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation and its rule.

    torch, onnx: the targets it answers for ("aten.convolution", or with the overload "aten.mean.dim"; "Conv").
    read: the rule for torch's arguments; read_onnx: for ONNX attributes (None: `read` serves both).
    pointwise: the output has the operand's shape and every element depends on its own position only; the tracer
    answers such ops without running them.
    """

    name: str
    about: str
    read: Callable[[Call], Reading]
    torch: tuple[str, ...] = ()
    onnx: tuple[str, ...] = ()
    read_onnx: Callable[[Call], Reading] | None = None
    pointwise: bool = False
    site: bool = False


_BY_NAME: dict[str, Op] = {}
_BY_TORCH: dict[str, Op] = {}
_BY_ONNX: dict[str, Op] = {}
_changes: list[str] = []


def generation() -> int:
    """How often the registry has changed: whoever remembers an answer of `find_torch` asks again after a change."""
    return len(_changes)


def register(op: Op) -> Op:
    """Add a rule for an op, also one of your own. Raises UsageError when a target has a rule already."""
    for table, targets in ((_BY_TORCH, op.torch), (_BY_ONNX, op.onnx), (_BY_NAME, (op.name,))):
        for target in targets:
            if target in table:
                raise UsageError(f"op '{op.name}': '{target}' is described already, by '{table[target].name}'")
    for table, targets in ((_BY_TORCH, op.torch), (_BY_ONNX, op.onnx), (_BY_NAME, (op.name,))):
        table.update(dict.fromkeys(targets, op))
    _changes.append(op.name)
    return op


def unregister(name: str) -> None:
    """Take an op's rule back (tests; replacing one's own rule)."""
    op = _BY_NAME.pop(name)
    _changes.append(name)
    for target in op.torch:
        del _BY_TORCH[target]
    for target in op.onnx:
        del _BY_ONNX[target]


def find_torch(target: str) -> Op | None:
    """The op for a dispatcher target such as "aten.mean.dim": the overload first, then the packet."""
    return _BY_TORCH.get(target) or _BY_TORCH.get(target.rsplit(".", 1)[0])


def find_onnx(target: str) -> Op | None:
    """The op for an ONNX operator type."""
    return _BY_ONNX.get(target)


def all_ops() -> Iterator[Op]:
    """Every registered op, by name."""
    return (op for _, op in sorted(_BY_NAME.items()))
