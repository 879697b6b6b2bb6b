"""The registry of ops as a table and as plain values."""

from __future__ import annotations

import textwrap
from typing import Any

from stridewise.ops import all_ops
from stridewise.report.document import Line


def op_table() -> dict[str, Any]:
    """Every op with what it is and the targets it answers for, schema "stridewise.ops/1"."""
    rows = [
        {"name": op.name, "about": op.about, "site": op.site, "torch": list(op.torch), "onnx": list(op.onnx)}
        for op in all_ops()
    ]
    return {"schema": "stridewise.ops/1", "ops": rows}


def op_lines(width: int) -> list[Line]:
    """The table as lines: name and description, then the targets."""
    out: list[Line] = []
    for op in all_ops():
        out.append([(f"{op.name:<16}", "step" if op.site else "head"), (op.about + (" (site)" if op.site else ""), "")])
        for kind, targets in (("torch", op.torch), ("onnx", op.onnx)):
            names = " ".join(target.removeprefix("aten.") for target in targets)
            for at, piece in enumerate(textwrap.wrap(names, width - 24)):
                out.append([(f"{'':<16}{kind if not at else '':<7}{piece}", "dim")])
    return out
