"""What a graph was traced from: a model's structure, so that a plan can be rehearsed before it is given out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from stridewise.tracing.inputs import Argument
from stridewise.tracing.lazy import Later


class Source:
    """The structure of the model that a graph was traced from, as it was then: its modules in eval, weights as shapes
    alone. A pickled or copied graph does without."""

    __slots__ = ("_model", "input")

    def __init__(self, model: nn.Module, input: Mapping[str, Argument]) -> None:
        self._model = model
        self.input = input

    @property
    def model(self) -> nn.Module:
        """The structure; whoever changes it puts it back."""
        for module in self._model.modules():
            state = module.__dict__
            for name in ("_parameters", "_buffers"):
                if type(state[name]) is Later:
                    state[name] = dict(state[name])
        return self._model

    def __reduce__(self) -> Any:
        return _nothing, ()

    def __deepcopy__(self, memo: Any) -> None:
        return None


def _nothing() -> None:
    return None
