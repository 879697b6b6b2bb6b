"""Trainings behind docs/results.md: one network a task, plans that differ in stride alone, the same budget and seed.

    python benchmarks/trained.py segment --data FOLDER [--runs DIR] [--seeds 0 1 2] [--only seg8 seg16]

FOLDER holds `camvid/`, `bccd/` and `cifar10/cifar10.npz`; digits need none. Each training is kept in DIR/NAME-SEED, and
not done again when it is there. Prints one JSON line a training: plan, multiply-adds, the figures, the conditions.
With --latency nothing is trained: the task's networks, head and all, are timed against each other on one picture.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch
from tau import part_of

import stridewise as sw
from stridewise.analyses.cost import macs
from stridewise.analyses.fields import evaluate
from stridewise.data import digits as digits_set
from stridewise.measuring.latency import latency
from stridewise.study.training import TrainScore
from stridewise.tasks.recipe import told_apart
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
SMALL: dict[str, Any] = {"task": "classify", "model": NARROW, "epochs": 6, "batch": 64, "rate": 1e-2}
DIGITS: dict[str, Any] = {**SMALL, "data": "builtin:digits", "size": (24, 24)}
CIFAR: dict[str, Any] = {
    **SMALL,
    "data": "cifar10/cifar10.npz",
    "size": (32, 32),
    "batch": 128,
    "augment": ("flip", "shift"),
    "precision": "bf16-mixed",
}
# A network that is to read well: many pictures, so that none is learnt by heart.
WELL: dict[str, Any] = {
    **DIGITS, "model": "builtin:resnet20", "digits": {"train": 48000}, "size": (32, 32), "epochs": 12,
    "batch": 128, "augment": ("scale", "bend", "light", "invert"), "precision": "bf16-mixed",
}  # fmt: skip
UNBENT: dict[str, Any] = {**WELL, "epochs": 8, "augment": ("scale", "light", "invert")}
WIDE: dict[str, Any] = {**UNBENT, "model": "builtin:resnet20-wide", "digits": {"train": 12000}, "epochs": 24}
# The network of truth/resnet20_cifar10_pooling.csv on all of CIFAR-10, and plans at 0.83 times its cost: the best of
# the table, the same with other pools, and one more step near the end, on both axes or on one (0.88 times its
# cost). "short" chooses among them, "table" judges.
TABLE: dict[str, Any] = {**CIFAR, "model": "builtin:resnet20", "epochs": 9}
FEW: dict[str, Any] = {**TABLE, "pictures": 5000, "epochs": 50, "batch": 64}
# "spent" gives a cheaper plan the epochs that cost no more multiply-adds than 9 epochs of the network as it is: 10;
# "few" trains on a tenth of the pictures until they are learnt.
TABLE_PLANS: dict[str, dict[str, Any]] = {
    "4-7": {},
    "2-7": {"request": {"+layers.3": 1, "+layers.1": "2:max"}},
    "2-7-mean": {"request": {"+layers.3": 1, "+layers.1": "2:mean", "+layers.6": "2:mean"}},
    "2-7-blur": {"request": {"+layers.3": 1, "+layers.1": "2:blur:3", "+layers.6": "2:blur:3"}},
    "4-7-8": {"request": {"+layers.7": "2:max"}},
    "4-7-8-wide": {"request": {"+layers.7": "1x2:max"}},
}
EARLY = {"+layers.3": 1, "+layers.6": 1, "+layers.0": "2:max", "+layers.1": "2:max"}
LATE = {"+layers.3": 1, "+layers.8": "2:max"}
PLACES: dict[str, dict[str, Any]] = {"early": {"request": EARLY}, "default": {}, "late": {"request": LATE}}
# name -> (settings, what `sw.plan` is asked for)
TRAININGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "seg32": (SEGMENT, {}),
    **{f"seg{s}": (SEGMENT, {"output_stride": s, "keep_weights": True}) for s in (16, 8, 4)},
    "det32": ({**DETECT, "levels": (32,)}, {}),
    "det16": ({**DETECT, "levels": (16, 32)}, {}),
    "det8": ({**DETECT, "levels": (8, 16, 32)}, {}),
    "det4": ({**DETECT, "levels": (4, 8, 16, 32)}, {}),
    **{f"digits-{place}": (DIGITS, asked) for place, asked in PLACES.items()},
    **{f"cifar-{place}": (CIFAR, asked) for place, asked in PLACES.items()},
    **{f"short-{places}": ({**TABLE, "epochs": 3}, asked) for places, asked in TABLE_PLANS.items()},
    **{f"table-{places}": (TABLE, asked) for places, asked in TABLE_PLANS.items()},
    **{f"spent-{places}": ({**TABLE, "epochs": 10}, asked) for places, asked in TABLE_PLANS.items()},
    **{f"few-{places}": (FEW, asked) for places, asked in TABLE_PLANS.items()},
    "digits-wide": (WIDE, {"request": {"+layers.3": 1, "+layers.0": "2:max"}}),
    "digits-unbent": (UNBENT, {}),
    "digits-best": (WELL, {}),
}


def plan_of(settings: dict[str, Any], asked: dict[str, Any]) -> sw.Plan:
    """The plan that is asked for, on the network as it is."""
    if not asked:
        return sw.Plan()
    graph = sw.trace(sw.load(settings["model"]), (3, *settings["size"]), name=settings["model"])
    return sw.plan(graph, **asked)


def trained(name: str, seed: int, data: Path, runs: Path) -> dict[str, Any]:
    """One training, done now or before: its record, with what its network costs."""
    settings, asked = TRAININGS[name]
    folder = runs / f"{name}-{seed}"
    if not (folder / "result.json").exists():
        call = {**settings, "plan": plan_of(settings, asked), "seed": seed, "run": folder}
        if digits := call.pop("digits", None):
            call["data"] = digits_set(**digits)
        elif not call["data"].startswith("builtin:"):
            call["data"] = data / call["data"]
        if pictures := call.pop("pictures", None):
            call["data"] = part_of(call["data"], pictures)
        call["resume"] = (folder / "last.ckpt").exists()
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


def latencies(task: str, names: list[str], data: Path) -> list[dict[str, Any]]:
    """One picture through each network of a task, in turn on one thread; weights are random, which takes as long."""
    models: dict[str, Any] = {}
    first: TrainScore | None = None
    for name in names:
        settings, asked = TRAININGS[name]
        rest = {key: value for key, value in settings.items() if key not in ("task", "model", "data", "size", "epochs")}
        recipe, options = told_apart(rest)
        score = TrainScore(
            task, settings["model"], data / settings["data"], size=settings["size"], recipe=recipe, options=options
        )
        first = first or score
        models[name] = score.task.network(settings["model"], plan_of(settings, asked), first.splits).eval()
    assert first is not None
    held_out = first.splits.held_out
    return [
        {"task": task, "torch": torch.__version__, **found.to_json()}
        for found in latency(models, held_out.standard(held_out.pixels[:1]).contiguous(), rounds=60)
    ]


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["classify", "segment", "detect"])
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", help="Names of trainings.")
    parser.add_argument("--latency", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name, (settings, _) in TRAININGS.items() if settings["task"] == given.task]
    if given.latency:
        for line in latencies(given.task, given.only or names, given.data):
            print(json.dumps(line), flush=True)
        return
    for seed in given.seeds:
        for name in given.only or names:
            print(json.dumps(trained(name, seed, given.data, given.runs)), flush=True)


if __name__ == "__main__":
    main()
