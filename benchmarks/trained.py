"""Trainings behind docs/results.md: one network a task, plans that differ in stride alone, the same budget and seed.

    python benchmarks/trained.py segment --data FOLDER [--runs DIR] [--only seg8,seg16]

FOLDER holds `camvid/` and `bccd/`; digits need none. Each training is kept in DIR/NAME, and not done again when it is
there. Prints one JSON line a training: the command, the plan's strides, multiply-adds, the figures, the conditions.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

import stridewise as sw
from stridewise.analyses.cost import macs
from stridewise.analyses.state import evaluate
from stridewise.tasks.trained import load_trained

NET, NARROW = "timm:test_resnet", "builtin:resnet20-narrow"
SEGMENT: dict[str, Any] = {
    "task": "segment", "model": NET, "data": "camvid", "size": (96, 128), "head": "atrous", "width": 32, "epochs": 12,
    "batch": 16, "rate": 5e-3, "augment": ("flip",),
}  # fmt: skip
DETECT: dict[str, Any] = {
    "task": "detect", "model": NET, "data": "bccd", "size": (120, 160), "width": 32, "epochs": 24, "batch": 8,
    "rate": 3e-3, "augment": ("flip", "shift"), "sizes": (16.0, 40.0),
}  # fmt: skip
CLASSIFY: dict[str, Any] = {
    "task": "classify", "model": NARROW, "data": "builtin:digits", "size": (24, 24), "epochs": 6, "batch": 64,
    "rate": 1e-2,
}  # fmt: skip
EARLY = {"+layers.3": 1, "+layers.6": 1, "+layers.0": "2:max", "+layers.1": "2:max"}
LATE = {"+layers.3": 1, "+layers.8": "2:max"}
# name -> (settings, what `sw.plan` is asked for)
TRAININGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "seg32": (SEGMENT, {}),
    **{f"seg{s}": (SEGMENT, {"output_stride": s, "keep_weights": True}) for s in (16, 8, 4)},
    "det32": ({**DETECT, "levels": (32,)}, {}),
    "det16": ({**DETECT, "levels": (16, 32)}, {}),
    "det8": ({**DETECT, "levels": (8, 16, 32)}, {}),
    "det4": ({**DETECT, "levels": (4, 8, 16, 32)}, {}),
    **{f"early{s}": ({**CLASSIFY, "seed": s}, {"request": EARLY}) for s in (0, 1)},
    **{f"default{s}": ({**CLASSIFY, "seed": s}, {}) for s in (0, 1)},
    **{f"late{s}": ({**CLASSIFY, "seed": s}, {"request": LATE}) for s in (0, 1)},
}


def plan_of(settings: dict[str, Any], asked: dict[str, Any]) -> sw.Plan:
    """The plan that is asked for, on the network as it is."""
    if not asked:
        return sw.Plan()
    graph = sw.trace(sw.load(settings["model"]), (3, *settings["size"]), name=settings["model"])
    return sw.plan(graph, **asked)


def trained(name: str, data: Path, runs: Path) -> dict[str, Any]:
    """One training, done now or before: its record, with what its network costs."""
    settings, asked = TRAININGS[name]
    folder = runs / name
    if not (folder / "result.json").exists():
        call = {**settings, "plan": plan_of(settings, asked), "run": folder, "resume": (folder / "last.ckpt").exists()}
        if not call["data"].startswith("builtin:"):
            call["data"] = data / call["data"]
        sw.train(call.pop("task"), call.pop("model"), **call)
    record = json.loads((folder / "result.json").read_text())
    found = load_trained(folder)
    graph = sw.trace(found.model, found.data.shape)
    record.pop("correct"), record.pop("curve")
    return {
        "name": name,
        **record,
        "macs": macs(graph, evaluate(graph).sizes),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["classify", "segment", "detect"])
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--only", help="Names, joined by commas.")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name, (settings, _) in TRAININGS.items() if settings["task"] == given.task]
    for name in given.only.split(",") if given.only else names:
        print(json.dumps(trained(name, given.data, given.runs)), flush=True)


if __name__ == "__main__":
    main()
