"""The run folder of a training: what is written while it runs, and when it ends; every file whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from stridewise.errors import StridewiseError, UsageError
from stridewise.files import write_bytes, write_text
from stridewise.plans import Plan
from stridewise.report.figure import png
from stridewise.switching.elastic import Elastic
from stridewise.tasks.elastic import dearest
from stridewise.tasks.examples import shown
from stridewise.tasks.pictures import Splits
from stridewise.tasks.record import Epoch, TrainRecord, curves
from stridewise.tasks.task import Source, Task, name_of
from stridewise.tasks.trained import save_trained

CHECKPOINT, WEIGHTS, PLAN, RESULT = "last.ckpt", "model.safetensors", "plan.toml", "result.json"
METRICS, CURVES, BOARD = "metrics.csv", "curves.png", "tensorboard"


class RunFolder:
    """A folder for one training.

    Raises: UsageError where it holds a training already and `resume` is not given, or none to resume; StridewiseError
    where it cannot be written.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        there = self.checkpoint.exists() or (self.path / RESULT).exists()
        if there and not resume and not _follower():
            raise UsageError(f"{path}: holds a training already: pass --resume to go on, or name another --run")
        # One stopped before its first epoch ended left a plan and no checkpoint: it begins anew.
        if resume and not there and not (self.path / PLAN).exists():
            raise UsageError(f"{path}: no training to resume ({CHECKPOINT} is not there): leave --resume out")
        self._board: Any = None

    @property
    def checkpoint(self) -> Path:
        """The file a training goes on from."""
        return self.path / CHECKPOINT

    def begin(self, plan: Plan) -> None:
        """Make the folder and write the plan."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StridewiseError(f"{self.path}: the run folder cannot be made: {error.strerror}") from error
        write_text(self.path / PLAN, plan.to_toml())

    def tell(self, curve: list[Epoch], task: Task, title: str) -> None:
        """Bring the metrics and the curves up to date after an epoch."""
        table = io.StringIO(newline="")
        rows = csv.writer(table)
        rows.writerow(["epoch", "loss", task.metric])
        rows.writerows([number, e.loss, e.score] for number, e in enumerate(curve, 1))
        write_text(self.path / METRICS, table.getvalue())
        write_bytes(self.path / CURVES, png(curves(curve, task.metric)))
        self._to_board(len(curve), curve[-1], task.metric)

    def keep(self, model: nn.Module, task: Task, source: Source, plan: Plan, splits: Splits) -> None:
        """Write the trained network, and where it fails; of an elastic one every plan, and where its dearest fails."""
        save_trained(self.path / WEIGHTS, model, task, source, plan, splits)
        if isinstance(model, Elastic):
            for name, one in model.plans.items():
                write_text(self.path / f"plan-{name}.toml", one.to_toml())
            model = model.use(dearest(model)).model
        device = next((p.device for p in model.parameters()), "cpu")
        for name, content in shown(model, task, splits.held_out, device).items():
            write_bytes(self.path / name, content)

    def end(self, record: TrainRecord) -> None:
        """Write the record."""
        write_text(self.path / RESULT, json.dumps(record.to_json(), indent=1, allow_nan=False) + "\n")
        if self._board is not None:
            self._board.close()

    def _to_board(self, epoch: int, last: Epoch, metric: str) -> None:
        """A TensorBoard log, where that library is installed."""
        if self._board is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            self._board = SummaryWriter(str(self.path / BOARD))
        self._board.add_scalar("loss", last.loss, epoch)
        self._board.add_scalar(metric, last.score, epoch)
        self._board.flush()


def title_of(task: Task, source: Source, splits: Splits) -> str:
    """What a training is called above its curves."""
    return f"{task.name}: {name_of(source)} on {splits.name}"


def _follower() -> bool:
    """Whether this process was started by another one of the same training, which made the folder."""
    return os.environ.get("LOCAL_RANK", "0") != "0" or os.environ.get("NODE_RANK", "0") != "0"
