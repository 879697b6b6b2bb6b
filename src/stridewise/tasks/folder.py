"""The run folder of a training, and its worst examples as pictures; every file whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from stridewise.data.drawing import as_png, with_boxes, with_class, with_counts, with_mask
from stridewise.data.mask import IGNORE
from stridewise.errors import StridewiseError, UsageError
from stridewise.files import write_bytes, write_text
from stridewise.plans import Plan
from stridewise.report.figure import png
from stridewise.switching.elastic import Elastic
from stridewise.tasks.elastic import dearest
from stridewise.tasks.pictures import Pictures, Splits
from stridewise.tasks.record import Epoch, TrainRecord, curves
from stridewise.tasks.segment import labels_at
from stridewise.tasks.task import Source, Task, name_of
from stridewise.tasks.trained import save_trained

WORST = 6
_AT_ONCE = 32
_LEGIBLE = 100  # classes up to which the matrix is drawn too


def shown(model: nn.Module, task: Task, pictures: Pictures, device: Any = "cpu") -> dict[str, bytes]:
    """Files by name: `confusion.csv` (and `confusion.png` of up to 100 classes) of a classifier, `worst.png` of
    pictures on two axes."""
    model.eval()
    detector: Any = getattr(model, "module", model)
    files: dict[str, bytes] = {}
    if task.name == "classify":
        table = confusion(detector, pictures, device)
        files["confusion.csv"] = _as_csv(table, pictures.classes)
        if len(pictures.classes) <= _LEGIBLE:
            files["confusion.png"] = as_png([[with_counts(table, pictures.classes)]])
    if pictures.pixels.dim() == 4 and pictures.pixels.shape[1] in (1, 3):
        files["worst.png"] = worst(detector, task, pictures, device)
    return files


def confusion(model: nn.Module, pictures: Pictures, device: Any = "cpu") -> npt.NDArray[np.int64]:
    """Pictures by their class (rows) and by what was said of them (columns), (classes, classes)."""
    count = len(pictures.classes)
    table = np.zeros((count, count), np.int64)
    with torch.inference_mode():
        for x, y in pictures.batches(_AT_ONCE):
            np.add.at(table, (y.numpy(), model(x.to(device))[:, :count].argmax(1).cpu().numpy()), 1)
    return table


def losses(model: nn.Module, task: Task, pictures: Pictures, device: Any = "cpu") -> list[float]:
    """What each picture loses, by the task's own loss."""
    found: list[float] = []
    with torch.inference_mode():
        for x, y in pictures.batches(_AT_ONCE):
            out = model(x.to(device))
            for place in range(len(x)):
                one = slice(place, place + 1)
                part = out[one] if isinstance(out, torch.Tensor) else (out[0][one], out[1][one], out[2])
                found.append(float(task.loss(part, y[one].to(device), model)))
    return found


def worst(model: nn.Module, task: Task, pictures: Pictures, device: Any = "cpu") -> bytes:
    """PNG of the pictures that lose most, the worst first: what is true on the left, what was said on the right."""
    order = np.argsort(-np.array(losses(model, task, pictures, device)), kind="stable")[:WORST].tolist()
    return as_png([_pair(model, task, pictures, place, device) for place in order])


def _pair(model: nn.Module, task: Task, pictures: Pictures, place: int, device: Any) -> tuple[Any, Any]:
    pixels = pictures.pixels[place].permute(1, 2, 0).numpy()
    pixels = np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)
    x = pictures.standard(pictures.pixels[place][None]).to(device)
    y, names = pictures.y[place], pictures.classes
    with torch.inference_mode():
        if task.name == "classify":
            shares = model(x)[0, : len(names)].softmax(0).cpu()
            top = shares.topk(min(3, len(names)))
            said = [f"{names[i]}  {v:.1%}" for v, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)]
            return with_class(pixels, [names[int(y)]]), with_class(pixels, said)
        if task.name == "segment":
            drawn = np.where(y.numpy() == IGNORE, len(names), y.numpy())
            labels = labels_at(model(x)[0].float(), pixels.shape[:2])
            return with_mask(pixels, drawn, (*names, "ignored")), with_mask(pixels, labels, (*names, "ignored"))
        detector: Any = model
        found = detector.predict(x)[0]
    rows = y[y[:, 4] >= 0]
    sure = found["scores"] >= 0.3
    boxes, labels, scores = (found[key][sure].tolist() for key in ("boxes", "labels", "scores"))
    true = with_boxes(pixels, rows[:, :4].tolist(), rows[:, 4].long().tolist(), None, names)
    return true, with_boxes(pixels, boxes, labels, scores, names)


def _as_csv(table: npt.NDArray[np.int64], classes: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(["true \\ said", *classes])
    rows.writerows([name, *counts] for name, counts in zip(classes, table.tolist(), strict=True))
    return out.getvalue().encode()


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
