"""The checkpoint of a training that goes on: model, optimizer and curve, written whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stridewise.errors import LoadError
from stridewise.files import whole
from stridewise.tasks.libraries import quiet
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
