"""The score of Stridewise's own tasks: train a network under a plan, measure it on held-out pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stridewise.data import Dataset, open_dataset
from stridewise.data.records import Progress
from stridewise.errors import UsageError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.tasks.record import TrainRecord

if TYPE_CHECKING:
    from stridewise.measure.latency import Latency
    from stridewise.tasks.classify import Source
    from stridewise.tasks.loop import Recipe
    from stridewise.tasks.pictures import Splits


class TrainScore:
    """`score(plan, budget, seed)` for a task: budget is epochs, the value is accuracy. Sent to a worker it takes only
    names along and reads the data there; read data is its only state."""

    def __init__(
        self,
        task: str,
        model: Source,
        data: str | Path | Dataset,
        *,
        size: tuple[int, int] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        if task != "classify":
            raise UsageError(f"no task '{task}' to search for: choose classify")
        self.task, self.model, self.data, self.size, self.recipe = task, model, data, size, recipe
        self._splits: Splits | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_splits": None}

    @property
    def splits(self) -> Splits:
        """The data as tensors, read on first use. Raises: DataError."""
        if self._splits is None:
            from stridewise.tasks.pictures import to_tensors

            dataset = self.data if isinstance(self.data, Dataset) else open_dataset(self.data, "classify")
            self._splits = to_tensors(dataset, self.size)
        return self._splits

    def graph(self) -> Graph:
        """The network as it is trained: with the data's picture size and number of classes."""
        from stridewise.frontends.torch import trace
        from stridewise.tasks.classify import build, name_of

        return trace(build(self.model, len(self.splits.classes)), self.splits.shape, name=name_of(self.model))

    def __call__(
        self, plan: Plan, budget: int, seed: int, progress: Progress | None = None, checkpoint: str | None = None
    ) -> TrainRecord:
        from stridewise.tasks.classify import classify

        return classify(
            self.model,
            self.splits,
            plan=plan,
            epochs=budget,
            seed=seed,
            recipe=self.recipe,
            checkpoint=Path(checkpoint) if checkpoint else None,
            progress=progress,
        )

    def latency(
        self, plans: Mapping[str, Plan], tick: Progress | None = None, *, rounds: int = 30
    ) -> tuple[Latency, ...]:
        """Latency of one picture through the network under each plan, measured in turn on one thread."""
        from stridewise.measure.latency import latency
        from stridewise.tasks.classify import network

        models = {name: network(self.model, plan, self.splits).eval() for name, plan in plans.items()}
        one = self.splits.held_out.x[:1].contiguous()
        return latency(models, one, rounds=rounds, threads=1, memory=True, tick=tick)
