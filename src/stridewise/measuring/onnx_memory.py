"""Peak memory of onnxruntime on an ONNX file, seen from outside: a process of its own runs the file once.

onnxruntime reports nothing of its CPU allocator. The process gives released memory back at once and asks the kernel for
the most it held resident while the file ran (Linux only: `VmHWM`, reset through `clear_refs`; see proc(5)).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# glibc keeps small releases for itself unless it is told to map every larger block and to trim what is free.
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "4096", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0"}


def onnx_peak(path: str | Path, shape: Sequence[int], threads: int = 1) -> int | None:
    """Most bytes one run of the file held beyond what was there before, input (shape, float32) and weights apart.

    Whole pages, so a few KiB too many or too few. None where the system does not tell or the file does not run.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    asked = json.dumps({"path": str(path), "shape": list(shape), "threads": threads})
    try:
        done = subprocess.run(
            [sys.executable, __file__],
            input=asked,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **_GIVE_BACK},
        )
        return int(done.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def _status(name: str) -> int:
    """A size of this process in bytes, from /proc/self/status."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _child(asked: dict[str, Any]) -> int:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = asked["threads"]
    options.enable_cpu_mem_arena = False  # an arena would keep what the first run took
    session = onnxruntime.InferenceSession(asked["path"], options, providers=["CPUExecutionProvider"])
    entry, (batch, *rest) = session.get_inputs()[0], asked["shape"]
    once = entry.shape[0] if isinstance(entry.shape[0], int) else batch  # a file of a fixed batch runs that often
    feed = {entry.name: np.ones((once, *rest), dtype=np.float32)}
    session.run(None, feed)  # what is set up once is not the run's
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    session.run(None, feed)
    return max(_status("VmHWM") - before, 0)


if __name__ == "__main__":
    print(_child(json.loads(sys.stdin.read())))
