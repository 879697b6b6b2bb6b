"""Where a forward asks for a value that depends on its input: a trace on shapes alone ends there."""

from __future__ import annotations

import linecache
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

_OURS = tuple(f"{Path(file).parent}{os.sep}" for file in (torch.__file__, __file__))
# Calls that hand a tensor's values to Python without telling torch's dispatcher.
_READS = re.compile(r"(\.(tolist|numpy|item|__array__|__format__)|\b(tensor|as_tensor|asarray|array))\(")


class Ended(Exception):  # noqa: N818  no error: what was seen until then is kept
    """The forward asks for a value that a trace does not have.

    where: file and line that ask. stored: it is one of the model's own, which was built without values.
    """

    def __init__(self, why: str, where: str = "", stored: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.stored = stored
        self.where = where or _asking(sys._getframe(1))


def _asking(frame: FrameType | None) -> str:
    """The place in the network's own code that called, as file:line; in torch's where there is none."""
    while frame is not None and frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return "" if frame is None else _place(frame.f_code.co_filename, frame.f_lineno)


def _place(file: str, line: int) -> str:
    """file:line, the file as it is named inside its library or below the working directory."""
    path = Path(file)
    for base in (*map(Path, sorted(sys.path, key=len, reverse=True)), Path.cwd()):
        if str(base) not in ("", ".") and path.is_relative_to(base):
            return f"{path.relative_to(base)}:{line}"
    return f"{path.name}:{line}"


def asks_for_values(func: Any, args: Any, has: Callable[[torch.Tensor], bool]) -> bool:
    """Whether this call of an op that may ask for values does: picking by a table of numbers does not, nor by a mask
    that `has` its values."""
    if func is torch.ops.aten.index.Tensor:
        return any(t is not None and t.dtype in (torch.bool, torch.uint8) and not has(t) for t in args[1])
    return True


def ended_at(error: Exception) -> Ended | None:
    """What ended a forward: `error` itself, or a read of values that torch refused; None for any other failure."""
    if isinstance(error, Ended):
        return error
    last = None
    step = error.__traceback__
    while step is not None:
        last, step = step, step.tb_next
    if last is None or not isinstance(error, RuntimeError | TypeError):
        return None
    found = _READS.search(_source(last.tb_frame.f_code, last.tb_lasti))
    if found is None:
        return None
    return Ended(f"{found[2] or found[3]} asks for values that depend on the input", _asking(last.tb_frame))


def _source(code: CodeType, at: int) -> str:
    """The piece of source that an instruction stands for, "" where it is not known."""
    places = list(code.co_positions())
    line, end, begin, stop = places[at // 2] if at // 2 < len(places) else (None,) * 4
    if line is None or end is None or begin is None or stop is None:
        return ""
    lines = [linecache.getline(code.co_filename, n) for n in range(line, end + 1)]
    lines[-1] = lines[-1][:stop]
    lines[0] = lines[0][begin:]
    return "".join(lines)
