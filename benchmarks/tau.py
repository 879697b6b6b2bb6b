"""How well short trainings rank plans: Kendall's tau between the scores at a part of the budget and at the whole of it.

    python benchmarks/tau.py MODEL DATA [--plans 12] [--budget 9] [--parts 9 3 1]
    python benchmarks/tau.py builtin:resnet20 FOLDER/cifar10/cifar10.npz --published truth/resnet20_cifar10_pooling.csv

One JSON line a training, so that a run that was stopped still tells something, and a line of taus after each plan from
the third on. Every training begins from random weights of seed 0, on one thread. The plans are the shortlist of
`search`; with --published they are rows of that table, the default first, then evenly along their multiply-adds, and
taus to the published accuracies are printed as well: without part 1 those stand for the whole budget, which is then
not trained. --keep FILE takes up the lines of a run that was stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from scipy.stats import kendalltau

import stridewise as sw
from stridewise.data import Dataset, open_dataset
from stridewise.ir import Graph
from stridewise.study.candidates import candidate, shortlisted
from stridewise.study.training import TrainScore
from stridewise.tasks.recipe import Recipe

DEFAULT, FIRST = (
    "4 7",
    ("4 7", "2 7", "3 7", "7 8"),
)  # layers stepped before: as it is, the table's own cheaper, its best


def published(graph: Graph, table: Path, count: int) -> list[dict[str, Any]]:
    """Rows of the published table as plans, those named above first, the others evenly along their cost."""
    with table.open() as file:
        rows = {row["downsample_before_layer"]: row for row in csv.DictReader(file)}
    rest = sorted((name for name in rows if name not in FIRST), key=lambda name: int(rows[name]["macs"]))
    wanted = max(1, count - len(FIRST))
    chosen = [*FIRST, *(rest[i * len(rest) // wanted + len(rest) // (2 * wanted)] for i in range(wanted))]
    found = []
    for name in chosen[:count]:
        request = {"+layers.3": 1, "+layers.6": 1} | {f"+layers.{int(layer) - 1}": 2 for layer in name.split()}
        made = candidate(graph, sw.plan(graph, request), name, "given")
        assert made.macs == int(rows[name]["macs"])
        found.append(
            {"name": name, "plan": made.plan, "macs": made.macs, "published": float(rows[name]["accuracy_mean"])}
        )
    return found


def taus(scores: Mapping[tuple[str, int], float], plans: Sequence[dict[str, Any]], budget: int) -> dict[str, float]:
    """By part of the budget the tau to the whole of it and to the published; "multiply-adds": of the cost alone."""
    parts = sorted({part for _, part in scores if part <= budget and all((p["name"], part) in scores for p in plans)})
    by = {f"{part}/{budget}": [scores[p["name"], part] for p in plans] for part in parts}
    by["multiply-adds"] = [p["macs"] for p in plans]
    full = by.get(f"{budget}/{budget}")
    found = {name: _tau(values, full) for name, values in by.items() if full and values is not full}
    if all("published" in p for p in plans):
        table = [p["published"] for p in plans]
        found |= {f"{name} to the published": _tau(values, table) for name, values in by.items()}
    return found


def _tau(ours: Sequence[float], other: Sequence[float]) -> float:
    return round(float(kendalltau(ours, other)[0]), 3)


def part_of(data: str | Path, pictures: int | None) -> Dataset:
    """The data set, its training split cut to evenly taken pictures."""
    dataset = open_dataset(data, "classify")
    if pictures is None:
        return dataset
    split = dataset.splits["train"]
    kept = tuple(split[i * len(split) // pictures] for i in range(pictures))
    return replace(dataset, splits={**dataset.splits, "train": kept})


def main() -> None:
    """Train, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--budget", type=int, default=9)
    parser.add_argument("--parts", type=int, nargs="+", default=[9, 3, 1])
    parser.add_argument("--published", type=Path)
    parser.add_argument("--pictures", type=int, help="To learn from; all unless given.")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--augment", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    if not asked.published and 1 not in asked.parts:
        parser.error("part 1, the whole budget, can be left out where --published stands for it")
    torch.set_num_threads(1)
    recipe = Recipe(batch=asked.batch, rate=asked.rate, precision=asked.precision, augment=tuple(asked.augment))
    score = TrainScore("classify", asked.model, part_of(asked.data, asked.pictures), recipe=recipe)
    graph = score.graph()
    if asked.published:
        chosen = published(graph, asked.published, asked.plans)
    else:
        listed, _ = shortlisted(graph, count=asked.plans)
        chosen = [{"name": c.name, "plan": c.plan, "macs": c.macs, "steps": c.steps} for c in listed]
    budgets = sorted({ceil(asked.budget / part) for part in asked.parts})
    scores: dict[tuple[str, int], float] = {}
    if asked.keep and asked.keep.exists():
        rows = [json.loads(line) for line in asked.keep.read_text().splitlines()]
        scores = {(row["name"], row["epochs"]): row["accuracy"] for row in rows if "epochs" in row}
    for count, plan in enumerate(chosen, 1):
        for budget in budgets:
            if (plan["name"], budget) in scores:
                continue
            began = time.process_time()
            scores[plan["name"], budget] = float(score(plan["plan"], budget, asked.seed))
            row = {key: value for key, value in plan.items() if key != "plan"}
            row |= {"epochs": budget, "seed": asked.seed, "accuracy": round(scores[plan["name"], budget], 4)}
            print(json.dumps({**row, "seconds": round(time.process_time() - began, 1)}), flush=True)
        if count > 2:
            print(json.dumps({"plans": count, "tau": taus(scores, chosen[:count], asked.budget)}), flush=True)


if __name__ == "__main__":
    main()
