"""What every task is: how data become tensors, how a network is built under a plan, what it loses, how it is judged.

`train.run` carries any of them out; `study` trains its candidates through the same three names: read, network, run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import torch
from torch import nn

from stridewise.data.picture import Size
from stridewise.data.records import Dataset
from stridewise.models.load import ModelSpec
from stridewise.plans import Plan
from stridewise.tasks.pictures import Pictures, Splits

Factory: TypeAlias = Callable[..., nn.Module]
Source: TypeAlias = str | ModelSpec | Factory


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a network is worth on held-out pictures.

    score: the task's metric, larger is better; low, high: its 95 % interval where it has one; figures: others by name,
    None where nothing counts; correct: one entry a picture, of a classifier.
    """

    score: float
    low: float | None = None
    high: float | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)
    correct: tuple[bool, ...] = field(default=(), repr=False)


class DataShape(Protocol):
    """What a network must know of the data it is built for; `Splits` is one."""

    @property
    def name(self) -> str:
        """Of the data set."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, and the sizes of a picture, a signal or a volume."""


class Task(Protocol):
    """A task with its options (which head, which levels), all plain values."""

    @property
    def name(self) -> str:
        """classify, segment or detect."""

    @property
    def metric(self) -> str:
        """What the score is, in words."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Plain values that `task_of(name, **options)` makes the same task of."""

    def read(self, dataset: Dataset, size: Size | None) -> Splits:
        """The data set's splits as tensors. Raises: DataError."""

    def network(
        self, source: Source, plan: Plan, data: DataShape, *, prepare: Callable[[nn.Module], None] | None = None
    ) -> nn.Module:
        """The network under the plan, random weights, on the CPU, in eval mode.

        prepare: called with the backbone before the plan is carried out, to fill it with weights.
        Raises: LoadError, PlanError where the network or the plan cannot serve the task.
        """

    def loss(self, out: Any, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
        """What a batch loses, a number: out is what `model` gave for it."""

    def evaluate(self, model: nn.Module, pictures: Pictures, device: Any, *, thorough: bool) -> Evaluation:
        """The network judged on pictures. thorough: with the figures that take longer, as at the end of a training."""


TASKS = ("classify", "segment", "detect")


def name_of(source: Source) -> str:
    """How a network is called in records and messages."""
    if isinstance(source, str | ModelSpec):
        return str(source)
    return getattr(source, "__qualname__", type(source).__name__)
