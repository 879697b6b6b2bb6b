"""One training, described: what is trained on what and how, a stamp to know it by, the record of what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from stridewise.plans import Plan
from stridewise.tasks.elastic import elastic_of, judged
from stridewise.tasks.loop import Fitted
from stridewise.tasks.pictures import Splits
from stridewise.tasks.recipe import Recipe
from stridewise.tasks.record import TrainRecord
from stridewise.tasks.task import Source, Task, name_of


def clocks() -> tuple[float, float]:
    """Seconds on the wall, and of this process on a processor: the same but on a busy machine."""
    return time.monotonic(), time.process_time()


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """epochs: 0 where the network is judged as it is. weights: the file it begins with. plans: of an elastic network,
    by name. begun: clocks at the start."""

    task: Task
    source: Source
    splits: Splits
    plan: Plan
    recipe: Recipe
    epochs: int = 0
    seed: int = 0
    weights: str | Path | None = None
    plans: Mapping[str, Plan] = field(default_factory=dict)
    begun: tuple[float, float] = field(default_factory=clocks)

    @property
    def name(self) -> str:
        """The network and the data, for messages."""
        return f"{name_of(self.source)} on {self.splits.name}"

    def record(self, done: Fitted, notes: Sequence[str]) -> TrainRecord:
        """The network judged on the held-out pictures, with how it came about."""
        found = judged(self.task, done.running, self.splits.held_out, done.device, thorough=True)
        several = elastic_of(done.running) is not None
        return TrainRecord(
            task=self.task.name,
            model=name_of(self.source),
            data=self.splits.name,
            plan=self.plan,
            seed=self.seed,
            budget=self.epochs,
            steps=done.steps,
            score=found.score,
            metric=f"{self.task.metric} (mean of its plans)" if several else self.task.metric,
            low=found.low,
            high=found.high,
            pictures=len(self.splits.held_out),
            curve=done.curve,
            seconds=time.monotonic() - self.begun[0],
            figures=found.figures,
            conditions={
                **self.task.options,
                **asdict(self.recipe),
                "augment": list(self.recipe.augment),
                "size": list(self.splits.shape[1:]),
                "train_pictures": len(self.splits.train),
                "threads": torch.get_num_threads(),
                "processor_seconds": round(time.process_time() - self.begun[1], 1),
                "torch": torch.__version__,
            },
            notes=(*notes, *done.notes),
            correct=found.correct,
            finished=done.finished,
        )

    @property
    def stamp(self) -> tuple[tuple[str, str], ...]:
        """What makes a training the one it is. Devices, pieces and precision are free to change on the way."""
        chosen = {k: v for k, v in asdict(self.recipe).items() if k not in ("device", "devices", "nodes", "patience")}
        pictures = (
            f"{self.splits.name}, {len(self.splits.train)} pictures of {'x'.join(map(str, self.splits.shape[1:]))}"
        )
        return (
            ("network", name_of(self.source)),
            ("plan", self.plan.to_toml() + "".join(f"{name}\n{plan.to_toml()}" for name, plan in self.plans.items())),
            ("task", f"{self.task.name} {dict(self.task.options)}"),
            ("data", pictures),
            ("number of epochs", str(self.epochs)),
            ("seed", str(self.seed)),
            ("set of weights to begin with", str(self.weights)),
            ("recipe", ", ".join(f"{k} {v}" for k, v in sorted(chosen.items()))),
        )
