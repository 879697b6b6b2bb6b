"""How well short trainings rank plans: Kendall's tau between the scores at a part of the budget and at the whole of it.

    python benchmarks/tau.py MODEL DATA [--plans 12] [--budget 9] [--parts 9 3] > tau.jsonl

One JSON line a training, so that a run that was stopped still tells something, and a line of taus after each plan from
the third on. Every training begins from random weights of seed 0; the plans are the shortlist of `search`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from math import ceil

from scipy.stats import kendalltau

from stridewise.study.candidates import Candidate, shortlisted
from stridewise.study.training import TrainScore
from stridewise.tasks.recipe import Recipe


def taus(scores: Mapping[tuple[str, int], float], plans: list[Candidate], budget: int) -> dict[str, float]:
    """By part of the budget the tau to the whole of it; "multiply-adds" is that of the cost alone."""
    full = [scores[c.name, budget] for c in plans]
    found = {
        f"{part}/{budget}": float(kendalltau([scores[c.name, part] for c in plans], full)[0])
        for part in sorted({b for _, b in scores} - {budget})
    }
    return found | {"multiply-adds": float(kendalltau([c.macs for c in plans], full)[0])}


def main() -> None:
    """Train, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--budget", type=int, default=9)
    parser.add_argument("--parts", type=int, nargs="+", default=[9, 3])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.01)
    asked = parser.parse_args()
    score = TrainScore("classify", asked.model, asked.data, recipe=Recipe(batch=asked.batch, rate=asked.rate))
    chosen, _ = shortlisted(score.graph(), count=asked.plans)
    budgets = sorted({asked.budget, *(ceil(asked.budget / part) for part in asked.parts)})
    scores: dict[tuple[str, int], float] = {}
    for count, plan in enumerate(chosen, 1):
        for budget in budgets:
            began = time.monotonic()
            scores[plan.name, budget] = float(score(plan.plan, budget, 0))
            row = {"plan": plan.name, "steps": plan.steps, "macs": plan.macs, "epochs": budget}
            seconds = round(time.monotonic() - began, 1)
            print(json.dumps({**row, "accuracy": scores[plan.name, budget], "seconds": seconds}), flush=True)
        if count > 2:
            print(json.dumps({"plans": count, "tau": taus(scores, list(chosen[:count]), asked.budget)}), flush=True)


if __name__ == "__main__":
    main()
