"""The checkpoint of a training, written whole or not at all; weights that stand in for the last ones."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stridewise.errors import LoadError
from stridewise.files import whole
from stridewise.tasks.recipe import quiet
from stridewise.tasks.record import Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A file, and the stamp of the training it belongs to: (what, value) pairs, compared one by one."""

    path: Path
    stamp: tuple[tuple[str, str], ...]

    def save(self, fabric: Any, state: dict[str, Any], curve: list[Epoch]) -> None:
        """Write it beside its place, then rename it. Raises: StridewiseError where it cannot be written."""
        content = {**state, "curve": [[e.loss, e.score] for e in curve], "stamp": [list(pair) for pair in self.stamp]}
        mark = os.environ.get("MASTER_PORT", "") if fabric.world_size > 1 else ""
        with whole(self.path, "the checkpoint", mark=mark, rename=fabric.is_global_zero) as temporary, quiet():
            fabric.save(temporary, content)

    def resumed(self, fabric: Any, state: dict[str, Any]) -> list[Epoch]:
        """The curve so far, what `state` holds brought to where it ends; nothing where there is no file.

        Raises: LoadError naming what differs, for another training's.
        """
        if not self.path.exists():
            return []
        try:
            with quiet():
                rest = fabric.load(self.path, weights_only=True)
            theirs = {str(what): str(value) for what, value in rest["stamp"]}
            curve = [Epoch(loss=float(loss), score=float(score)) for loss, score in rest["curve"]]
        except Exception as error:  # a broken file shows itself in many ways
            raise LoadError(
                f"{self.path}: not a readable checkpoint ({_first_line(error)}): delete it to begin anew"
            ) from error
        for what, value in self.stamp:
            if theirs.get(what) != value:
                told = f": {theirs.get(what, 'none')} there, {value} here" if len(value) < 60 else ""
                raise LoadError(
                    f"{self.path}: the checkpoint of another training (another {what}{told}): delete it or name another"
                )
        for key, part in state.items():
            part.load_state_dict(rest[key])
        return curve


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


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
