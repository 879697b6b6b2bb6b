"""Weights that stand in for the last ones: their running average, or those of the best epoch (early stopping)."""

from __future__ import annotations

import copy

import torch
from torch import nn

from stridewise.files import whole
from stridewise.tasks.checkpoint import Checkpoint
from stridewise.tasks.record import Epoch


class Average:
    """A running average of a model's weights, in `model`. Mutable on purpose: every step moves it.

    Early on it moves faster, so that it does not keep the random weights training began with.
    Source: Tan and Le 2019 (EfficientNet) as TensorFlow's ExponentialMovingAverage has it, decay min(d, (1+n)/(10+n)).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._source, self._decay = model, decay

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take the weights after so many steps in."""
        share = 1 - min(self._decay, (1 + steps) / (10 + steps))
        new, seen = self._source.state_dict(), set()
        for key, value in self.model.state_dict().items():
            if value.data_ptr() in seen and value.numel():  # an elastic network holds some under two names
                continue
            seen.add(value.data_ptr())
            if value.is_floating_point():
                value.lerp_(new[key].to(value.dtype), share)
            else:
                value.copy_(new[key])


class Best:
    """The weights of the best epoch of a training, also in a file beside its checkpoint.

    patience: epochs without a better score after which it is over; None keeps nothing and never stops.
    """

    def __init__(self, patience: int | None, model: nn.Module, checkpoint: Checkpoint | None) -> None:
        self.patience, self.model = patience, model
        self.path = None if checkpoint is None or patience is None else checkpoint.path.with_suffix(".best")
        self.weights: dict[str, torch.Tensor] | None = None

    def recall(self, curve: list[Epoch]) -> None:
        """Read the best weights of what is resumed."""
        if self.path is not None and curve and self.path.is_file():
            self.weights = torch.load(self.path, map_location="cpu", weights_only=True)

    def look(self, curve: list[Epoch]) -> None:
        """Keep the weights if the last epoch is the best."""
        if self.patience is None or _best(curve) != len(curve) - 1:
            return
        self.weights = {key: value.detach().cpu().clone() for key, value in self.model.state_dict().items()}
        if self.path is not None:
            with whole(self.path, "the best weights") as temporary:
                torch.save(self.weights, temporary)

    def over(self, curve: list[Epoch]) -> bool:
        """Whether the last `patience` epochs brought nothing."""
        return self.patience is not None and bool(curve) and len(curve) - 1 - _best(curve) >= self.patience

    def restore(self, curve: list[Epoch]) -> list[str]:
        """Put the best weights back; what to say about it."""
        if self.weights is None:
            return []
        self.model.load_state_dict(self.weights)
        return [f"the weights are those of epoch {_best(curve) + 1}, chosen on the held-out pictures"]


def _best(curve: list[Epoch]) -> int:
    return max(range(len(curve)), key=lambda i: (curve[i].score, -i))
