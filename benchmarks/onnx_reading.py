"""How long reading an ONNX file takes, beside `onnx.load` and onnx's own inference: interleaved, in one process.

    python benchmarks/onnx_reading.py FILE.onnx ... [--rounds 15]

One JSON line a file: milliseconds by median for reading it as a graph, for the report to the dict, for `onnx.load` and
for `infer_shapes` on what it loaded, and the ratio of the report to those two together.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

import stridewise as sw


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = work()
    return 1e3 * (time.perf_counter() - start), made


def measured(path: Path, rounds: int) -> dict[str, Any]:
    """Medians in milliseconds over `rounds`, all four measured in each."""
    times: dict[str, list[float]] = {"read": [], "report": [], "load": [], "infer": []}
    for _ in range(rounds):
        read, graph = timed(lambda: sw.read_onnx(path))
        shown, _ = timed(lambda made=graph: sw.show(made).to_json())
        load, model = timed(lambda: onnx.load(path))
        infer, _ = timed(lambda made=model: onnx.shape_inference.infer_shapes(made))
        for name, value in (("read", read), ("report", read + shown), ("load", load), ("infer", infer)):
            times[name].append(value)
    medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
    beside = statistics.median(a + b for a, b in zip(times["load"], times["infer"], strict=True))
    ratio = round(statistics.median(times["report"]) / beside, 2)
    return {
        "file": path.name,
        "megabytes": round(path.stat().st_size / 1e6, 1),
        **medians,
        "report/(load+infer)": ratio,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(json.dumps({"machine": platform.processor() or platform.machine(), "onnx": onnx.__version__}))
    for path in options.files:
        measured(path, 1)
        print(json.dumps(measured(path, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
