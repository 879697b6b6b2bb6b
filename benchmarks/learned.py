"""Learned strides at their true cost: what they round to, from where they start, and whether trying plans does better.

    python benchmarks/learned.py [--seeds 0 1] [--epochs 4]      one JSON line a training, then one of all

The steps are five of builtin:resnet20-narrow, started as the network is (1, 1, 2, 2, 1), all at 1, and far off (1, 1,
3, 2, 3), the worst start in table 2 of arXiv 2202.01653: does it come back? Every rounded plan is trained anew.
Beside them, at the same number of trainings: the network as it is, and the best of two plans of its cost front that
cost no more than the learned one (chosen by the same held-out pictures, as the learned one's start is).

learning: multiply-adds of a forward while strides are learned, as a share of the network's, counted by torch.
Pictures: the digits of benchmarks/elastic.py at 32x32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from elastic import NETWORK, digits
from torch.utils.flop_counter import FlopCounterMode

import stridewise as sw
from stridewise.analyses import cost
from stridewise.study.candidates import candidate
from stridewise.study.training import TrainScore
from stridewise.tasks.recipe import Recipe
from stridewise.tasks.training import learned_strides

STEPS = ("layers.0.0", "+layers.1", "+layers.3", "+layers.6", "+layers.8")
STARTS = {"as it is": (1, 1, 2, 2, 1), "all 1": (1, 1, 1, 1, 1), "far off": (1, 1, 3, 2, 3)}


def multiply_adds(net: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Of one forward as it runs: half of what torch counts; transforms are not in it."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def main() -> None:
    """Every start and seed, then the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--price", type=float, default=0.3)
    chosen = parser.parse_args()
    trains = TrainScore("classify", NETWORK, digits(4), recipe=Recipe(batch=32))
    graph = trains.graph()
    now = cost.macs(graph, [g.sizes for g in graph.grids])
    memory: dict[tuple[str, int], float] = {}

    def anew(plan: sw.Plan, seed: int) -> float:
        key = (plan.to_toml(), seed)
        if key not in memory:
            memory[key] = float(trains(plan, chosen.epochs, seed))
        return memory[key]

    points = sw.front(graph, slots=True).points
    rows = []
    for seed in chosen.seeds:
        for name, start in STARTS.items():
            with tempfile.TemporaryDirectory() as folder:
                begun = {key: (float(s),) * 2 for key, s in zip(STEPS, start, strict=True)}
                net, score = learned_strides(
                    trains.task,
                    trains.model,
                    trains.splits,
                    recipe=Recipe(batch=32),
                    epochs=chosen.epochs,
                    checkpoint=Path(folder) / "learned",
                    price=chosen.price,
                    start=begun,
                    seed=seed,
                )
            plan = net.plan()
            share = candidate(graph, plan, "learned", "learned").macs / now
            within = sorted((p for p in points if p.macs <= share * now * 1.001), key=lambda p: -p.macs)
            tried = [anew(p.plan, seed) for p in within[:: max(1, len(within) // 2)][:2]]
            rows.append(
                {
                    "start": name,
                    "seed": seed,
                    "learned": {key: [round(s, 2) for s in row] for key, row in net.strides().items()},
                    "plan": {key: list(s.stride) for key, s in [*plan.sites.items(), *plan.insert.items()]},
                    "cost": round(share, 3),
                    "learning": round(multiply_adds(net, trains.splits.shape) / now, 2),
                    "score while learned": round(score, 4),
                    "score anew": round(anew(plan, seed), 4),
                    "as it is": round(anew(sw.Plan(), seed), 4),
                    "best of two of the front": round(max(tried), 4) if tried else None,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({**vars(chosen), "rows": len(rows), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
