"""What judges the plans of a study, a training of its task or a person's own score, and the network they are for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stridewise.errors import UsageError
from stridewise.ir import Graph
from stridewise.models.load import function_in
from stridewise.study.jobs import Score
from stridewise.study.training import TrainScore


class NamedScore:
    """A person's own training code by its name, `file.py:function`: score(plan, budget, seed) -> float.

    Sent to a worker it takes only the name along and is read there.
    """

    def __init__(self, name: str) -> None:
        self.name = name if name.startswith("py:") else f"py:{name}"
        self._function: Callable[..., Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "_function": None}

    @property
    def function(self) -> Callable[..., Any]:
        """Read on first use. Raises: LoadError, UsageError."""
        if self._function is None:
            self._function = function_in(self.name, "--score")
        return self._function

    @property
    def __signature__(self) -> inspect.Signature:
        """That of the function: a study gives it `progress` and `checkpoint` where it takes them."""
        return inspect.signature(self.function)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.function(*given, **named)


def own_score(score: Score | str) -> Score:
    """A person's own score, read by its name where it is one. Raises: LoadError, UsageError for a wrong name."""
    if isinstance(score, str):
        named = NamedScore(score)
        _check_arguments(named, score)  # and a wrong name, now and not by every worker
        return named
    _check_arguments(score, getattr(score, "__qualname__", type(score).__name__))
    return score


def _check_arguments(score: Score, name: str) -> None:
    """Raises: UsageError where the score cannot be called as a study does."""
    try:
        taken = inspect.signature(score)
    except ValueError:  # of some functions in C nobody knows
        return
    extra = {key: None for key in ("progress", "checkpoint") if key in taken.parameters}
    try:
        taken.bind(None, 1, 0, **extra)
    except TypeError as error:
        raise UsageError(f"{name}: a score is called as score(plan, budget, seed), and it takes {taken}") from error


def training(task: str, model: Any, data: Any, settings: Mapping[str, Any], **more: Any) -> TrainScore:
    """The training of a task as a score. settings: recipe and options of the task; more: as for `TrainScore`."""
    if data is None:
        raise UsageError("search: give data to train on, or your own score=function")
    from stridewise.tasks.recipe import told_apart

    recipe, options = told_apart(settings)
    return TrainScore(task, model, data, recipe=recipe, options=options, **more)


def graph_of(model: Any, score: Score, input: Sequence[int] | None) -> Graph:
    """The network that the plans are for. Raises: UsageError where its input is not said; LoadError, TraceError."""
    if isinstance(model, Graph):
        return model
    if isinstance(score, TrainScore):
        return score.graph()
    if not isinstance(model, str) or input is None:
        raise UsageError("search: a score of your own wants the network as a graph: sw.trace(model, (3, 224, 224))")
    from stridewise.models.load import load
    from stridewise.tracing.trace import trace

    return trace(load(model), tuple(input), name=model)
