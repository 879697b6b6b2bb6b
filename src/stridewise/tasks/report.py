"""What is told of a training after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stridewise.tasks.loop import share_of_rate
from stridewise.tasks.recipe import Recipe
from stridewise.tasks.record import Epoch

_FINE = 1000  # parts of an epoch by which the rate at its end is read off its curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One epoch: its number of `total`, mean loss, score by `metric`, the rate at its end, the seconds it took, and
    whether no earlier one had a better score."""

    number: int
    total: int
    loss: float
    metric: str
    score: float
    rate: float
    seconds: float
    best: bool


class Teller:
    """Tells `each` of every epoch. Mutable on purpose: it holds the time of the one before."""

    def __init__(self, each: Callable[[Report], None] | None, metric: str, epochs: int, recipe: Recipe) -> None:
        self._each, self._metric, self._epochs, self._recipe = each, metric, epochs, recipe
        self._before = time.monotonic()

    def __call__(self, curve: Sequence[Epoch]) -> None:
        """Tell of the last epoch of the curve so far."""
        now = time.monotonic()
        last, number = curve[-1], len(curve)
        if self._each is not None:
            self._each(
                Report(
                    number=number,
                    total=self._epochs,
                    loss=last.loss,
                    metric=self._metric,
                    score=last.score,
                    rate=self._recipe.rate
                    * share_of_rate(number * _FINE - 1, self._epochs * _FINE, self._recipe.warmup),
                    seconds=now - self._before,
                    best=last.score >= max(epoch.score for epoch in curve),
                )
            )
        self._before = now
