"""One set of weights under several plans beside a network trained for each plan, at equal total training cost.

    python benchmarks/elastic.py [--on digits] [--seeds 3] [--costs 0.5 1 2]       one JSON line a seed, then one of all
    python benchmarks/elastic.py --on cifar10 --data FOLDER                        FOLDER holds cifar10/ and camvid/

A step of elastic training runs the dearest plan, the cheapest and one of the rest. With three plans as many epochs so
cost as many multiply-adds as three trainings of their own; with more, one set of weights gets the epochs that cost no
more than all those trainings together. Batch and recipe are the same; both start from random weights.

on: what is learnt, at the size and for the epochs of `SETTINGS`. digits: the 1,797 scanned digits of scikit-learn, each
pixel twice as wide and high, a third held out. cifar10: 5,000 pictures, judged on the 5,000 of the test split.
camvid: the 367 training pictures at 72x96, judged on the 101 of the validation split at 360x480.

own, shared: score by plan on the held-out pictures (accuracy, mean IoU). order: whether the shared weights rank the
plans as their own trainings do (Kendall's tau). cascade: of a classifier, for every plan but the cheapest, the accuracy
of the best pair of plans that costs no more, its threshold chosen on one half of the held-out pictures, beside that of
the plan alone, both on the other half. With --runs DIR a training that is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from sklearn.datasets import load_digits
from tau import part_of

import stridewise as sw
from stridewise.data import Dataset, Picture, Sample, open_dataset
from stridewise.switching.cascade import cascade_curve
from stridewise.switching.elastic import Elastic
from stridewise.tasks.backbone import recalibrate
from stridewise.tasks.elastic import by_plan, elastic_network
from stridewise.tasks.train import read_splits
from stridewise.tasks.trained import Trained, load_trained
from stridewise.tasks.training import task_of

NETWORK = "builtin:resnet20-narrow"
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {"task": "classify", "model": NETWORK, "epochs": 4, "batch": 32},
    "cifar10": {"task": "classify", "model": NETWORK, "epochs": 4, "batch": 64, "rate": 1e-2, "augment": ("flip",)},
    "camvid": {
        "task": "segment", "model": "timm:test_resnet", "epochs": 10, "batch": 16, "augment": ("flip",),
        "size": (72, 96), "head": "atrous", "width": 32,
    },
}  # fmt: skip


def digits(times: int = 2) -> Dataset:
    """The scans as a data set, each pixel so many times as wide and high, in an order of its own: the writers follow
    each other in the file."""
    found = load_digits()
    pixels = (
        np.repeat((found.images * (255 / 16)).astype(np.uint8)[..., None], 3, axis=-1).repeat(times, 1).repeat(times, 2)
    )
    order = np.random.default_rng(0).permutation(len(pixels))
    parts = {"train": order[: len(order) * 2 // 3], "val": order[len(order) * 2 // 3 :]}
    splits = {
        split: tuple(
            Sample(
                picture=Picture(name=str(i), source=pixels[i]), size=(8 * times, 8 * times), label=int(found.target[i])
            )
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


def pictures(name: str, folder: Path) -> Dataset:
    """What is learnt, and the pictures held out."""
    if name == "digits":
        return digits()
    return part_of(folder / "cifar10" / "cifar10.npz", 5000) if name == "cifar10" else open_dataset(folder / name)


def shared_epochs(epochs: int, costs: Mapping[str, float]) -> int:
    """The epochs of elastic training that cost no more than `epochs` of a training for each plan."""
    every = sorted(costs.values())
    rest = every[1:-1]
    step = every[0] + every[-1] + (sum(rest) / len(rest) if rest else 0.0)
    return max(1, int(epochs * sum(every) / step + 1e-9))


def one_seed(name: str, seed: int, data: Dataset, costs: Sequence[float], epochs: int, runs: Path) -> dict[str, Any]:
    """Both kinds of training with one seed, or what an earlier call kept of them."""
    settings = {**SETTINGS[name], "data": data, "seed": seed}
    task, model = settings.pop("task"), settings.pop("model")
    seconds = {}

    def trained(label: str, **how: Any) -> Trained:
        run = runs / f"{name}-{label}-{seed}"
        begun = time.process_time()
        if not (run / "result.json").exists():
            sw.train(task, model, **{**settings, **how}, run=run, resume=(run / "last.ckpt").exists())
            seconds[label] = round(time.process_time() - begun, 1)
        return load_trained(run)

    options = {key: settings[key] for key in ("head", "width") if key in settings}
    reader = task_of(task, **options)
    splits = read_splits(reader, data, settings.get("size"), model)
    offered = elastic_network(reader, model, costs, splits)
    count = shared_epochs(epochs, offered.costs)
    found = trained(f"shared-{len(costs)}", elastic=costs, epochs=count)
    net = found.elastic
    assert net is not None
    splits = splits.under(found.standard)
    shared = {plan: row.score for plan, row in by_plan(found.task, net, splits.held_out, "cpu").items()}
    own = {}
    for label, plan in net.plans.items():  # norms measured anew, as elastic training ends
        alone = trained(label, plan=plan, epochs=epochs).model
        recalibrate(alone, splits.train)
        own[label] = found.task.evaluate(alone, splits.held_out, "cpu", thorough=False).score
    classified = task == "classify"
    return {
        "on": name,
        "seed": seed,
        "epochs": {"own": epochs, "shared": count},
        "costs": net.costs,
        "own": own,
        "shared": shared,
        "order": float(kendalltau(list(own.values()), list(shared.values())).statistic),
        **({"cascade": cascades(net, splits.held_out.x, splits.held_out.y)} if classified else {}),
        "seconds": seconds,
    }


def main() -> None:
    """Every seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", choices=list(SETTINGS), default="digits")
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--costs", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="Of a training for one plan.")
    parser.add_argument("--runs", type=Path, help="Keeps every training; else nothing is kept.")
    chosen = parser.parse_args()
    epochs = chosen.epochs or SETTINGS[chosen.on]["epochs"]
    data = pictures(chosen.on, chosen.data)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(chosen.seeds):
            rows.append(one_seed(chosen.on, seed, data, chosen.costs, epochs, chosen.runs or Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
    gaps = {name: [row["shared"][name] - row["own"][name] for row in rows] for name in rows[0]["own"]}
    means = {name: float(np.mean(gap)) for name, gap in gaps.items()}
    deviations = {name: float(np.std(gap, ddof=1)) for name, gap in gaps.items() if len(gap) > 1}
    within = sum(mean >= -0.01 for mean in means.values())
    print(
        json.dumps(
            {
                "shared minus own": means,
                "deviation of a seed": deviations,
                "plans within a point": f"{within} of {len(means)}",
                "seeds": chosen.seeds,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
