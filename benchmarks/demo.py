"""How often the demo settles its question, and how often it is wrong: the same study again with other seeds.

    python benchmarks/demo.py [--repeats 10] [--workers 2] [--run DIR]      one JSON line

Every repeat is the study of `stridewise demo` with seeds of its own, in a folder of DIR; the same command goes on. The
truth that answers are held against is the mean of all repeats' trainings of a plan. Printed, for each plan beside the
network as it is: the difference of these means in points with its 95 % interval (Student's t over all seeds, paired
pictures left out), how many repeats settled it, and of these how many lie on the wrong side; and for the last answer,
"the cheapest that loses less than 2 points", the plans that were named.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import stridewise as sw
from stridewise.cli.demo import WITHIN, question
from stridewise.plans import Plan
from stridewise.study.training import TrainScore

_APART = 1000  # seeds of one repeat and the next


@dataclass(frozen=True)
class Shifted:
    """A training whose seeds are a repeat's own."""

    score: TrainScore
    repeat: int

    def __call__(self, plan: Plan, budget: int, seed: int, progress: Any = None, checkpoint: str | None = None) -> Any:
        return self.score(plan, budget, seed + _APART * self.repeat, progress=progress, checkpoint=checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--run", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report(args.run or Path(temporary), args.repeats, args.workers)


def report(folder: Path, repeats: int, workers: int) -> None:
    """Run the repeats and print the line."""
    from stridewise.study.judge import training

    study = question()[2]
    score = training(study.task, study.model, study.data, study.recipe, size=study.size, weights=None, trust=False)
    own = replace(study, model=score.graph(), data=None, size=None, recipe={})
    values: dict[str, list[float]] = {}
    settled: dict[str, list[float]] = {}
    last: Counter[str] = Counter()
    for repeat in range(1, repeats + 1):
        one = replace(own, score=Shifted(score, repeat))
        run = folder / f"repeat{repeat}"
        result = sw.search(one, on=sw.Workers(workers), run=run)
        cheapest = sw.search(replace(one, aim="cheapest", within=WITHIN), on=sw.Workers(workers), run=run)
        last[f"{cheapest.verdict.plan or 'none'}: {cheapest.verdict.kind}"] += 1
        for row in result.rows:
            name, by = row.candidate.name, row.against
            values.setdefault(name, []).extend(o.value for job, o in row.trainings if job.seed and not o.failed)
            if by is not None and by.low is not None and by.high is not None and (by.low > 0 or by.high < 0):
                settled.setdefault(name, []).append(by.mean)
        print(f"repeat {repeat}: {cheapest.verdict.reasons[0]}", flush=True)
    print(json.dumps({"repeats": repeats, "last answer": last, "plans": _plans(values, settled)}))


def _plans(values: dict[str, list[float]], settled: dict[str, list[float]]) -> dict[str, Any]:
    from scipy.stats import t

    first, *others = values
    out: dict[str, Any] = {}
    for name in others:
        ours, theirs = values[name], values[first]
        true = fmean(ours) - fmean(theirs)
        half = (
            t.ppf(0.975, min(len(ours), len(theirs)) - 1)
            * (variance(ours) / len(ours) + variance(theirs) / len(theirs)) ** 0.5
        )
        means = settled.get(name, [])
        out[name] = {
            "points": [round(100 * x, 1) for x in (true, true - half, true + half)],
            "seeds": len(ours),
            "deviation": round(100 * variance(ours) ** 0.5, 1),
            "settled": len(means),
            "wrong": sum(mean * true < 0 for mean in means),
        }
    return out


if __name__ == "__main__":
    main()
