"""One set of weights under several plans beside a network trained for each plan, at equal total training cost.

    python benchmarks/elastic.py [--seeds 3] [--epochs 4]      one JSON line a seed, then one of all

With three plans a step of elastic training runs all three, so that as many epochs cost as many multiply-adds as three
trainings of their own: the two are compared at the same epochs, batch and recipe. Both start from random weights.

Pictures: the 1,797 scanned digits of scikit-learn, each pixel twice as wide and high (16x16), a third held out.

own, shared: accuracy by plan on those. order: whether the shared weights rank the plans as their own
trainings do (Kendall's tau). cascade: for every plan but the cheapest, the accuracy of the best pair of plans that
costs no more, its threshold chosen on one half of the held-out pictures, beside that of the plan alone, both on the
other half.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau
from sklearn.datasets import load_digits

import stridewise as sw
from stridewise.data import Dataset, Picture, Sample
from stridewise.switching.cascade import cascade_curve
from stridewise.switching.elastic import Elastic
from stridewise.tasks.backbone import recalibrate
from stridewise.tasks.elastic import by_plan
from stridewise.tasks.trained import Trained, load_trained

NETWORK, COSTS = "builtin:resnet20-narrow", (0.5, 1.0, 2.0)


def digits() -> Dataset:
    """The scans as a data set, in an order of its own: the writers follow each other in the file."""
    found = load_digits()
    pixels = np.repeat((found.images * (255 / 16)).astype(np.uint8)[..., None], 3, axis=-1).repeat(2, 1).repeat(2, 2)
    order = np.random.default_rng(0).permutation(len(pixels))
    parts = {"train": order[: len(order) * 2 // 3], "val": order[len(order) * 2 // 3 :]}
    splits = {
        split: tuple(
            Sample(picture=Picture(name=str(i), source=pixels[i]), size=(16, 16), label=int(found.target[i]))
            for i in part
        )
        for split, part in parts.items()
    }
    return Dataset(task="classify", name="scikit-learn digits", classes=tuple("0123456789"), splits=splits)


def answers(net: Elastic, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every plan says, (N, classes)."""
    out = {}
    with torch.inference_mode():
        for name in net.plans:
            out[name] = torch.cat([net.use(name)(part) for part in x.split(200)])
    return out


def cascades(net: Elastic, x: torch.Tensor, y: torch.Tensor) -> dict[str, tuple[float, float, float]]:
    """By plan: its accuracy alone, that of the pair chosen for its cost, and the pair's cost; on the second half."""
    logits, half = answers(net, x), len(y) // 2
    first, second = ({name: row[part] for name, row in logits.items()} for part in (slice(half), slice(half, None)))
    points, labels = cascade_curve(first, y[:half], net.costs), y[half:]
    out = {}
    for name, cost in net.costs.items():
        fits = [point for point in points if point.cost <= cost]
        if not fits:
            continue
        best = max(fits, key=lambda point: point.accuracy)
        cheap, dear = best.names
        unsure = second[cheap].softmax(1).amax(1) < best.threshold
        said = torch.where(unsure, second[dear].argmax(1), second[cheap].argmax(1))
        spent = net.costs[cheap] + net.costs[dear] * float(unsure.double().mean())
        alone = float((second[name].argmax(1) == labels).double().mean())
        out[name] = (alone, float((said == labels).double().mean()), spent)
    return out


def one_seed(seed: int, epochs: int, folder: Path) -> dict[str, object]:
    """Both trainings of one seed."""
    data = digits()
    settings = {"data": data, "epochs": epochs, "seed": seed, "batch": 32}
    begun = time.process_time()
    sw.train("classify", NETWORK, **settings, elastic=COSTS, run=folder / f"shared-{seed}")
    shared_seconds = time.process_time() - begun
    found: Trained = load_trained(folder / f"shared-{seed}")
    net = found.elastic
    assert net is not None
    splits = found.task.read(data, None).under(found.standard)
    shared = {name: row.score for name, row in by_plan(found.task, net, splits.held_out, "cpu").items()}
    begun = time.process_time()
    for name, plan in net.plans.items():
        sw.train("classify", NETWORK, **settings, plan=plan, run=folder / f"{name}-{seed}")
    own_seconds = time.process_time() - begun
    own = {}
    for name in net.plans:  # norms measured anew, as elastic training ends
        model = load_trained(folder / f"{name}-{seed}").model
        recalibrate(model, splits.train)
        own[name] = found.task.evaluate(model, splits.held_out, "cpu", thorough=False).score
    return {
        "seed": seed,
        "costs": net.costs,
        "own": own,
        "shared": shared,
        "order": float(kendalltau(list(own.values()), list(shared.values())).statistic),
        "cascade": cascades(net, splits.held_out.x, splits.held_out.y),
        "seconds": {"shared": round(shared_seconds, 1), "own": round(own_seconds, 1)},
    }


def main() -> None:
    """Every seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(chosen.seeds):
            rows.append(one_seed(seed, chosen.epochs, Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
    gaps = {name: [row["shared"][name] - row["own"][name] for row in rows] for name in rows[0]["own"]}
    means = {
        name: [float(np.mean(gap)), float(np.std(gap, ddof=1)) if len(gap) > 1 else None] for name, gap in gaps.items()
    }
    print(json.dumps({"shared minus own, mean and deviation": means, **vars(chosen), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
