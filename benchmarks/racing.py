"""What racing is worth: how often a study is settled, and how often wrongly, beside a fixed number of seeds.

    python benchmarks/racing.py [--studies 2000] [--only TABLE ...]      one JSON line a case

Noise: the deviations over seeds that four tables give plan by plan (ResNet-20 on CIFAR-10, NAS-Bench-Macro, DiffStride,
balanced supernets), each scaled so that their mean is `noise` points: with short trainings on small data, as a search
runs them, one seed differs from the next by one to two points (docs/results.md). A study: the network as it is and the
finalists, whose true differences are drawn as `gap` points times a normal deviate. It asks for the cheapest plan that
surely loses less than a point (all are cheaper here), or for one that is surely better.

fixed   as many seeds for every finalist, Welch's interval at 95 % for each pair: what `search` did
known   as many seeds, the noise of each plan known exactly, the error shared as race shares it: what a way to estimate
        noise can reach at most
race    stridewise.study.racing, the code of `search`, stopped when it is settled, with the same number of trainings at
        most

settled: some plan is called good enough. wrong: some plan is called so and is not (share of all studies).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from stridewise.study.jobs import Outcome
from stridewise.study.racing import FIRST, Contender, Noise, above, next_pair

TABLES = {
    "ResNet-20, 36 placements": ("resnet20_cifar10_pooling.csv", "accuracy_sd"),
    "NAS-Bench-Macro": ("stridebench/nasbench_macro.csv", "std"),
    "DiffStride": ("stridebench/diffstride_readme.csv", "sd"),
    "balanced supernets": ("stridebench/bms_pooling_tables.csv", "sd"),
}


def deviations(folder: Path, name: str) -> np.ndarray:
    """Of a training over seeds, one a plan, at a mean of 1."""
    file, column = TABLES[name]
    with (folder / file).open() as lines:
        found = np.array([float(row[column]) for row in csv.DictReader(lines) if row[column]])
    return found / found.mean()


def fixed(gaps: np.ndarray, noise: np.ndarray, seeds: int, line: float, rng: np.random.Generator) -> list[bool]:
    """For each finalist whether it is called above the line; the first is the network as it is."""
    values = gaps[:, None] + noise[:, None] * rng.normal(size=(len(gaps), seeds))
    mean, part = values.mean(1), values.var(1, ddof=1) / seeds
    both = part[1:] + part[0]
    degrees = both**2 / np.maximum((part[1:] ** 2 + part[0] ** 2) / (seeds - 1), 1e-300)
    low = mean[1:] - mean[0] - student.ppf(0.975, degrees) * np.sqrt(both)
    return (low > line).tolist()


def known(gaps: np.ndarray, noise: np.ndarray, seeds: int, line: float, rng: np.random.Generator) -> list[bool]:
    """The same with a normal interval of the true noise, the error shared by the pairs."""
    mean = (gaps[:, None] + noise[:, None] * rng.normal(size=(len(gaps), seeds))).mean(1)
    error = min(0.05, 2 * 0.05 / (len(gaps) - 1))
    low = mean[1:] - mean[0] + norm.ppf(error / 2) * np.sqrt((noise[1:] ** 2 + noise[0] ** 2) / seeds)
    return (low > line).tolist()


def raced(
    gaps: np.ndarray, noise: np.ndarray, most: int, line: float, aim: str, rng: np.random.Generator
) -> tuple[list[bool], int]:
    """(which finalists are called above the line, trainings)."""
    values = [
        [gap + deviation * rng.normal() for _ in range(FIRST)] for gap, deviation in zip(gaps, noise, strict=True)
    ]
    spent = FIRST * len(gaps)

    def contenders() -> list[Contender]:
        return [
            Contender(name=str(i), cost=1.0 - i / 100, outcomes=tuple(Outcome(value=v) for v in own))
            for i, own in enumerate(values)
        ]

    while pair := next_pair(contenders(), most, line=line, aim=aim):
        for number in pair:
            values[number].append(gaps[number] + noise[number] * rng.normal())
            spent += 1
    last = contenders()
    pooled = Noise.of(last, most)
    called = [above(pooled.difference(one.outcomes, last[0].outcomes), line) is True for one in last[1:]]
    return called, spent


def case(spread: np.ndarray, studies: int, *, noise: float, gap: float, finalists: int, aim: str, seeds: int) -> dict:
    """Shares of studies settled and wrong, of both ways."""
    line = -1.0 if aim == "cheapest" else 0.0
    out: dict[str, list[tuple[float, float, float]]] = {"fixed": [], "known": [], "race": []}
    for study in range(studies):
        rng = np.random.default_rng((study, finalists, seeds))
        gaps = np.concatenate([[0.0], gap * rng.normal(size=finalists - 1)])
        own = noise * rng.choice(spread, size=finalists)
        good = gaps[1:] > line
        total = seeds * finalists
        out["fixed"].append(_row(fixed(gaps, own, seeds, line, rng), good, total))
        out["known"].append(_row(known(gaps, own, seeds, line, np.random.default_rng((study, 2))), good, total))
        called, spent = raced(gaps, own, total, line, aim, np.random.default_rng((study, 1)))
        out["race"].append(_row(called, good, spent))
    return {
        name: dict(zip(("settled", "wrong", "trainings"), np.round(np.mean(rows, axis=0), 4).tolist(), strict=True))
        for name, rows in out.items()
    }


def _row(called: list[bool], good: np.ndarray, spent: int) -> tuple[float, float, float]:
    return float(any(called)), float(any(c and not g for c, g in zip(called, good, strict=True))), float(spent)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES), help="Noise of these tables.")
    asked = parser.parse_args()
    folder = Path(os.environ["STRIDEWISE_TRUTH"])
    for name in asked.only:
        spread = deviations(folder, name)
        for aim in ("cheapest", "best"):
            for noise, gap in ((1.0, 1.0), (2.0, 1.0), (1.0, 0.0)):
                for finalists in (3, 6):
                    made = case(spread, asked.studies, noise=noise, gap=gap, finalists=finalists, aim=aim, seeds=3)
                    head = {"table": name, "aim": aim, "noise": noise, "gap": gap, "finalists": finalists}
                    print(json.dumps({**head, **made}), flush=True)


if __name__ == "__main__":
    main()
