"""Where a trained network fails: the confusion matrix of its classes, and the pictures that it loses most on."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from stridewise.data.drawing import as_png, with_boxes, with_class, with_counts, with_mask
from stridewise.data.mask import IGNORE
from stridewise.tasks.pictures import Pictures
from stridewise.tasks.segment import labels_at
from stridewise.tasks.task import Task

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
