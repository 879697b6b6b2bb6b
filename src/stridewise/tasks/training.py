"""One training, whatever the task: what is trained on what and how, its stamp, its run, its record."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.data.records import Progress
from stridewise.errors import UsageError
from stridewise.plans import Plan
from stridewise.switching.elastic import Elastic
from stridewise.switching.learned import LearnedStrides, learned
from stridewise.tasks.backbone import build, fill
from stridewise.tasks.checkpoint import Checkpoint
from stridewise.tasks.classify import Classify
from stridewise.tasks.detect import Detect
from stridewise.tasks.elastic import Plans, elastic_network, elastic_of, judged, measure_norms, taught
from stridewise.tasks.loop import Aim, Fitted, Told, as_it_is, fit
from stridewise.tasks.pictures import Splits
from stridewise.tasks.recipe import Recipe
from stridewise.tasks.record import TrainRecord
from stridewise.tasks.segment import Segment
from stridewise.tasks.task import TASKS, Source, Task, name_of


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


_MAKERS: Mapping[str, Callable[..., Task]] = {"classify": Classify, "segment": Segment, "detect": Detect}


def task_of(name: str, **options: Any) -> Task:
    """The task of this name with its options. Raises: UsageError for another name or option."""
    if name not in _MAKERS:
        raise UsageError(f"no task '{name}': choose from {', '.join(TASKS)}")
    known = inspect.signature(_MAKERS[name]).parameters
    for option in options:
        if option not in known:
            raise UsageError(f"{name}: has no option '{option}'")
    return _MAKERS[name](**options)


def run(
    task: Task,
    source: Source,
    splits: Splits,
    *,
    plan: Plan | None = None,
    epochs: int = 10,
    seed: int = 0,
    recipe: Recipe | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    told: Told | None = None,
    stop_after: int | None = None,
    kept: Callable[[nn.Module], None] | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    elastic: Plans | None = None,
) -> TrainRecord:
    """Train a network under a plan, from random weights or those of a file, and judge it on the held-out pictures.

    The same arguments give the same record on a CPU at the same number of threads, also through a checkpoint. weights:
    fill the backbone before the plan is carried out; batch norms are then measured anew. epochs: from 1, or 0 with
    weights, to judge them as they are. kept: is given the trained network. elastic: costs or plans by name, to train
    one set of weights under, in place of `plan`.
    Raises: DataError, LoadError, PlanError, or StridewiseError where the loss is not a number; one line each.
    """
    recipe = recipe or Recipe()
    training = Training(
        task=task,
        source=source,
        splits=splits,
        plan=plan or Plan(),
        recipe=recipe,
        epochs=epochs,
        seed=seed,
        weights=weights,
    )
    devices = list(range(torch.cuda.device_count())) if recipe.device != "cpu" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        notes = list(splits.notes)
        model = _network(training, elastic, trust, notes)
        if isinstance(model, Elastic):
            training = replace(training, plans=model.plans)
        if epochs == 0 and weights is not None:
            return training.record(as_it_is(model), notes)
        done = fit(
            model,
            splits.train,
            recipe,
            Aim(
                loss=task.loss,
                judge=partial(_score, task, splits),
                name=training.name,
                lesson=partial(taught, task) if elastic is not None else None,
            ),
            epochs=epochs,
            seed=seed,
            checkpoint=None if checkpoint is None else Checkpoint(path=checkpoint, stamp=training.stamp),
            progress=progress,
            told=told,
            stop_after=stop_after,
        )
        if isinstance(done.model, Elastic) and done.finished and measure_norms(done.model, splits.train):
            # With one set of weights under several plans the running means lag behind them more (as "Universally
            # slimmable networks", section 3, measures statistics after training).
            notes.append("norms were measured anew under every plan after the last epoch")
        if kept is not None and done.first:
            kept(done.model)
        return training.record(done, notes)


def _score(task: Task, splits: Splits, model: nn.Module, device: Any) -> float:
    """The score after an epoch, quickly."""
    return judged(task, model, splits.held_out, device, thorough=False).score


def _network(training: Training, elastic: Plans | None, trust: bool, notes: list[str]) -> nn.Module:
    """The network to train; with weights, filled, under the plan, its batch norms measured anew. notes: grows."""
    task, splits, weights = training.task, training.splits, training.weights
    said: list[str] = []

    def prepare(found: nn.Module) -> None:
        if weights is not None:
            said.append(fill(found, weights, trust=trust))

    if elastic is None:
        model = task.network(training.source, training.plan, splits, prepare=prepare)
    else:
        model = elastic_network(task, training.source, elastic, splits, prepare=prepare)
    if weights is None:
        return model
    notes += [f"{weights}: {text}" for text in said if text]
    count = measure_norms(model, splits.train)
    if count:
        notes.append(f"{count} batch norms were measured anew under {'the plan' if elastic is None else 'every plan'}")
    if task.name == "classify" and not any(said):
        before = judged(task, model, splits.held_out, "cpu", thorough=False).score
        notes.append(f"before training: {task.metric} {before:.1%}")
    return model


PRICE = 0.3  # of the loss, for each 1x of the network's multiply-adds


def learned_strides(
    task: Task,
    source: Source,
    splits: Splits,
    *,
    recipe: Recipe,
    epochs: int,
    checkpoint: Path,
    price: float = PRICE,
    start: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
) -> tuple[LearnedStrides, float]:
    """A classifier whose strides were trained beside its weights, and its score with them.

    start: the steps that are learned and where each begins; those of the network, unless given. Everything runs at
    stride 1 first, so a training takes as long as one of the finest plan. checkpoint: taken up when it is there, gone
    at the end. Raises: PlanError.
    """

    def loss(out: Any, y: torch.Tensor, net: nn.Module) -> torch.Tensor:
        strides: LearnedStrides = net  # type: ignore[assignment]
        return task.loss(out, y, net) + price * strides.cost()

    def judge(net: nn.Module, device: Any) -> float:
        return task.evaluate(net, splits.held_out, device, thorough=False).score

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = learned(build(source, len(splits.classes)), splits.shape, at=None if start is None else list(start))
        if start is not None:
            net.start(start)
        stamp = (("strides of", str(source)), ("epochs", str(epochs)), ("recipe", str(recipe)))
        aim = Aim(loss=loss, judge=judge, name="learned strides")
        kept = Checkpoint(path=checkpoint, stamp=stamp)
        done = fit(net, splits.train, recipe, aim, epochs=epochs, seed=seed, checkpoint=kept)
    checkpoint.unlink(missing_ok=True)
    return net, done.curve[-1].score
