"""The score of Stridewise's own tasks: train a network under a plan, measure it on held-out pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stridewise.data import Dataset, open_dataset
from stridewise.data.records import Progress
from stridewise.errors import DataError, LoadError, StridewiseError, UsageError, staying
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.study.jobs import Rival, Target
from stridewise.tasks.record import TrainRecord

if TYPE_CHECKING:
    from torch import nn

    from stridewise.measuring.latency import Latency
    from stridewise.tasks.pictures import Splits
    from stridewise.tasks.recipe import Recipe
    from stridewise.tasks.task import Source, Task


class TrainScore:
    """`score(plan, budget, seed)` for a task: budget is epochs, the value the task's score. weights: a file every
    training begins with, its batch norms measured anew under the plan; budget 0 judges them so. Sent to a worker it
    takes only names along and reads the data there; read data is its only state."""

    def __init__(
        self,
        task: str,
        model: Source,
        data: str | Path | Dataset,
        *,
        size: tuple[int, int] | None = None,
        recipe: Recipe | None = None,
        options: Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
        trust: bool = False,
    ) -> None:
        if task not in ("classify", "segment", "detect"):
            raise UsageError(f"no task '{task}' to search for: choose classify, segment or detect")
        self.name, self.model, self.data, self.size, self.recipe = task, model, data, size, recipe
        self.options = dict(options or {})
        self.weights, self.trust = weights, trust
        self._splits: Splits | None = None
        self._rivals: dict[Any, TrainScore] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_splits": None, "_rivals": {}}

    @property
    def task(self) -> Task:
        """The task with its options. Raises: UsageError."""
        from stridewise.tasks.training import task_of

        return task_of(self.name, **self.options)

    @property
    def splits(self) -> Splits:
        """The data as tensors, read on first use. Raises: DataError."""
        if self._splits is None:
            from stridewise.tasks.train import read_splits

            task = self.task
            dataset = self.data if isinstance(self.data, Dataset) else open_dataset(self.data, task.name)  # type: ignore[arg-type]
            self._splits = read_splits(task, dataset, self.size, self.model)
        return self._splits

    def check(self) -> None:
        """Raises: DataError, UsageError where nothing can be learnt or an option is wrong: before anything runs."""
        if self.task.name == "classify" and len(self.splits.classes) < 2:
            raise DataError(
                f"{self.splits.name}: has one class, '{self.splits.classes[0]}': there is nothing to tell apart"
            )

    def graph(self) -> Graph:
        """The network as it is trained: with the data's picture size and number of classes."""
        from stridewise.tasks.backbone import build
        from stridewise.tasks.task import name_of
        from stridewise.tracing.trace import trace

        return trace(build(self.model, len(self.splits.classes)), self.splits.shape, name=name_of(self.model))

    def of(self, rival: Rival) -> TrainScore:
        """The same training for another network; read data is kept where the pictures have the same size."""
        size = rival.size or self.size
        key = (rival.model if isinstance(rival.model, str) else repr(rival.model), size, rival.weights)
        if key not in self._rivals:
            found = TrainScore(
                self.name,
                rival.model,
                self.data,
                size=size,
                recipe=self.recipe,
                options=self.options,
                weights=self.weights if rival.weights else None,
                trust=self.trust,
            )
            found._splits = self.splits if size == self.size else None
            self._rivals[key] = found
        return self._rivals[key]

    def __call__(
        self, plan: Plan, budget: int, seed: int, progress: Progress | None = None, checkpoint: str | None = None
    ) -> TrainRecord:
        from stridewise.tasks.training import run

        return run(
            self.task,
            self.model,
            self.splits,
            plan=plan,
            epochs=budget,
            seed=seed,
            recipe=self.recipe,
            checkpoint=Path(checkpoint) if checkpoint else None,
            progress=progress,
            weights=self.weights,
            trust=self.trust,
        )

    def fitting(self, rival: Rival) -> bool:
        """Whether the weights, where there are any, fill a rival."""
        from stridewise.tasks.backbone import build

        return self.weights is None or self.fits(build(rival.model, len(self.splits.classes)))

    def fits(self, model: nn.Module) -> bool:
        """Whether the weights fill a network, but for the layer of the classes; True without weights."""
        from stridewise.tasks.backbone import fill

        if self.weights is None:
            return True
        try:
            fill(model, self.weights, trust=self.trust)
        except LoadError:
            return False
        return True

    def judges_untrained(self) -> bool:
        """Whether the weights fill all of the task's network, so that they can be judged before any training: not
        where its head or the layer of the classes is new. Raises: LoadError where they do not fit."""
        from stridewise.tasks.backbone import fill

        if self.weights is None:
            return False
        filled: set[int] = set()
        left: list[str] = []

        def prepare(model: nn.Module) -> None:
            left.append(fill(model, self.weights or "", trust=self.trust))
            filled.update(id(p) for p in model.parameters())

        network = self.task.network(self.model, Plan(), self.splits, prepare=prepare)
        return not any(left) and all(id(p) in filled for p in network.parameters())

    def refusal(self, plan: Plan) -> str:
        """Why the task cannot be trained on the network under the plan, "" where it can: one batch of two pictures is
        tried, forward and backward."""
        import torch

        task, train = self.task, self.splits.train
        try:
            with torch.random.fork_rng(devices=[]), staying():
                model = task.network(self.model, plan, self.splits).train()
                loss = task.loss(model(train.standard(train.pixels[:2])), train.y[:2], model)
                loss.backward()
        except StridewiseError as error:
            return str(error)
        except (RuntimeError, ValueError) as error:
            return (str(error).strip() or type(error).__name__).splitlines()[0]
        return ""

    def builds(self, plan: Plan) -> bool:
        """Whether the task can be built on the network under the plan."""
        return not self.refusal(plan)

    def latency(
        self, targets: Mapping[str, Target], tick: Progress | None = None, *, rounds: int = 30
    ) -> tuple[Latency, ...]:
        """Latency of one picture through the network under each plan and through each rival, measured in turn on one
        thread."""
        from stridewise.measuring.latency import latency

        task, held_out = self.task, self.splits.held_out
        one = held_out.standard(held_out.pixels[:1]).contiguous()
        models = {
            name: self._of_its_own(target)
            if isinstance(target, Rival)
            else task.network(self.model, target, self.splits).eval()
            for name, target in targets.items()
        }
        return latency(models, one, rounds=rounds, threads=1, memory=True, tick=tick)

    def _of_its_own(self, rival: Rival) -> Any:
        """The rival's network on one of its own pictures, whatever it is called with."""
        score = self.of(rival)
        model = score.task.network(rival.model, rival.plan, score.splits).eval()
        held_out = score.splits.held_out
        one = held_out.standard(held_out.pixels[:1]).contiguous()
        return lambda _: model(one)
