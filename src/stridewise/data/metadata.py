"""Hugging Face's `imagefolder` with a `metadata.jsonl` or `metadata.csv`: a row a picture, beside the pictures.

Source: the Datasets pages on image folders: `file_name`, and a column of labels, or `objects` with `bbox` (x, y, width,
height) and `categories`.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stridewise.data.classes import read_text
from stridewise.data.cleaning import (
    clean_boxes,
    dataset_of,
    finish,
    ids_said,
    inside,
    name_in,
    opened_sample,
    split_name,
    step,
    subfolders,
)
from stridewise.data.records import Dataset, Progress, Sample, Task
from stridewise.data.report import Tally
from stridewise.errors import DataError

FILES = ("metadata.jsonl", "metadata.csv")
LABELS = ("label", "labels", "class", "category", "target")


def looks_like(root: Path) -> bool:
    """Whether there is such a file in `root`, or in the folders of its splits."""
    return any(True for _ in _files(root))


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The classes, or the boxes, of the pictures that the files name. Raises: DataError where they name neither."""
    tally = Tally()
    rows = [(split, path.parent, row) for split, path in _files(root) for row in _rows(path, root, tally)]
    boxed = any("objects" in row for _, _, row in rows)
    values = [value for _, _, row in rows for value in (_categories(row) if boxed else [_label(row)])]
    known = sorted({value for value in values if value is not None}, key=lambda v: (isinstance(v, str), v))
    if not known:
        raise DataError(f"{root}: {FILES[0]} names neither {'/'.join(LABELS)} nor objects with categories")
    task: Task = "detect" if boxed else "classify"
    classes = tuple(map(str, known))
    tally.note(ids_said(range(len(known)), classes))
    tally.found = len(rows)
    splits: dict[str, list[Sample]] = {}
    for done, (split, folder, row) in enumerate(rows, 1):
        sample = _sample(folder, row, root, tally)
        if sample is not None and boxed:
            splits.setdefault(split, []).append(_with_boxes(sample, row, known, tally))
        elif sample is not None and _label(row) is not None:
            splits.setdefault(split, []).append(replace(sample, label=known.index(_label(row))))
        elif sample is not None:
            tally.drop("picture", "without a label", sample.name)
        step(progress, done, len(rows))
    return dataset_of(task, root.name, classes, finish(splits, root, task, tally), tally)


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for split, folder in [("all", root), *((split_name(p.name) or "", p) for p in subfolders(root))]:
        path = next((folder / name for name in FILES if (folder / name).is_file()), None) if split else None
        if path is not None:
            yield split, path


def _rows(path: Path, root: Path, tally: Tally) -> Iterator[dict[str, Any]]:
    lines = read_text(path).splitlines()
    if path.suffix == ".csv":
        yield from (dict(row) for row in csv.DictReader(lines) if row.get("file_name"))
        return
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            row = ()
        if isinstance(row, dict) and "file_name" in row:
            yield row
        elif row is not None:
            tally.drop("line", "no object with a file_name", f"{name_in(root, path)}:{number}")


def _label(row: dict[str, Any]) -> Any:
    found = next((row[key] for key in LABELS if key in row), None)
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def _categories(row: dict[str, Any]) -> list[Any]:
    objects = row.get("objects")
    found = objects.get("categories", objects.get("category")) if isinstance(objects, dict) else None
    return [v if isinstance(v, str | int) else None for v in found] if isinstance(found, list) else []


def _sample(folder: Path, row: dict[str, Any], root: Path, tally: Tally) -> Sample | None:
    if not inside(row["file_name"]):
        tally.drop("picture", "no file name inside the data set", str(row["file_name"])[:60])
        return None
    return opened_sample(folder / row["file_name"], root, tally)


def _with_boxes(sample: Sample, row: dict[str, Any], known: list[Any], tally: Tally) -> Sample:
    objects = row.get("objects")
    boxes = objects.get("bbox", []) if isinstance(objects, dict) else []
    rows = []
    for box, kind in zip(boxes if isinstance(boxes, list) else [], _categories(row), strict=False):
        four = isinstance(box, list) and len(box) == 4 and all(isinstance(n, int | float) for n in box)
        if not four or kind is None:
            tally.drop("box", "not four numbers and a category", sample.name)
        else:
            rows.append([box[0], box[1], box[0] + box[2], box[1] + box[3], known.index(kind)])
    return replace(sample, boxes=clean_boxes(rows, sample.size, sample.name, tally))
