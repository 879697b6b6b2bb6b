"""Throughput of shift consistency, in pictures times offsets a second, against a plain loop over the same model.

    python benchmarks/measure.py            prints one JSON line and writes benchmarks/results/measure.json

The plain loop is what people write: for every picture and every offset cut the view, call the model, keep the class.
Both run in turn, on one thread, and must agree on every class. The ratio is that of the median throughputs.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import stridewise as sw
from stridewise.measuring.offsets import grid_offsets
from stridewise.measuring.pictures import load_pictures
from stridewise.measuring.shift import run_views

RESULTS = Path(__file__).parent / "results" / "measure.json"
# model, input size, pictures, offsets a picture, coarsest step
CASES = (
    ("builtin:resnet20-narrow", 32, 16, 16, 4),
    ("builtin:resnet20", 32, 8, 16, 4),
    ("torchvision:resnet18", 64, 2, 16, 32),
)
ROUNDS = 5


def plain_loop(model: nn.Module, pictures: torch.Tensor, offsets: np.ndarray, size: int) -> np.ndarray:
    """Class of every picture at every offset, one view at a time."""
    out = np.zeros(offsets.shape[:2], np.int64)
    with torch.inference_mode():
        for row, picture in enumerate(pictures):
            for column, (top, left) in enumerate(offsets[row]):
                view = picture[None, :, top : top + size, left : left + size]
                out[row, column] = int(model(view).argmax(dim=1))
    return out


def one(name: str, size: int, count: int, drawn: int, reach: int) -> dict[str, object]:
    """Median throughput of both, and their ratio, for one model."""
    torch.manual_seed(0)
    model = sw.load(name)
    pictures = load_pictures(None, (size + reach - 1,) * 2, count).x
    offsets = grid_offsets(count, (reach, reach), drawn=drawn)
    views = offsets.shape[0] * offsets.shape[1]
    seconds: dict[str, list[float]] = {"stridewise": [], "plain loop": []}
    for turn in range(ROUNDS + 1):
        begin = time.perf_counter()
        scores = run_views(model, pictures, offsets, (size, size))
        middle = time.perf_counter()
        expected = plain_loop(model, pictures, offsets, size)
        end = time.perf_counter()
        assert (scores.argmax(axis=2) == expected).all()
        if turn:  # the first round warms up
            seconds["stridewise"].append(middle - begin)
            seconds["plain loop"].append(end - middle)
    rate = {key: views / statistics.median(values) for key, values in seconds.items()}
    spread = {key: [views / max(values), views / min(values)] for key, values in seconds.items()}
    ratio = rate["stridewise"] / rate["plain loop"]
    return {
        "model": name,
        "input": size,
        "views": views,
        "views_per_second": rate,
        "spread": spread,
        "ratio": ratio,
        "held": ratio >= 1,
    }


def main() -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    result = {
        "what": "shift consistency, pictures x offsets a second, against a plain loop",
        "bound": "ratio >= 1",
        "rounds": ROUNDS,
        "threads": 1,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cases": [one(*case) for case in CASES],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
