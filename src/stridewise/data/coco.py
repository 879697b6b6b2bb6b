"""COCO JSON: boxes of pictures in `annotations/*.json` beside `images/`, or `*.coco.json` among the pictures.

Source: the COCO data format; `bbox` is x, y, width, height in pixels from the top left corner, 0-based.
"""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from stridewise.data.cleaning import clean_boxes, finish, inside, name_in, readable_size, split_name, step
from stridewise.data.picture import Picture
from stridewise.data.records import Dataset, Progress, Sample
from stridewise.data.report import Tally
from stridewise.errors import DataError

_OTHER_KINDS = ("captions_", "person_keypoints_", "panoptic_", "stuff_")


def looks_like(root: Path) -> bool:
    """Whether `root` is, or holds, a JSON file with annotations."""
    return bool(_annotation_files(root))


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The boxes of the COCO JSON file, or the folder of such files, at `root`; classes in the order of category ids.

    Crowd regions are left out: their boxes are no objects.
    Raises: DataError when a file is no COCO JSON or its pictures are not found.
    """
    files = _annotation_files(root)
    if not files:
        raise DataError(f"{root}: no annotation JSON: expected annotations/*.json or a .json file")
    tally = Tally()
    splits: dict[str, list[Sample]] = {}
    tables = [(path, _table(path)) for path in files]
    classes = _classes([table for _, table in tables])
    total = tally.found = sum(len(table["images"]) for _, table in tables)
    done = 0
    for path, table in tables:
        part = splits.setdefault(_split(path, root), [])
        folder = _picture_folder(path, root, table["images"])
        rows = _rows_by_picture(table, classes, tally, path.name)
        for entry in table["images"]:
            sample = _sample(entry, folder, root, rows, tally)
            if sample:
                part.append(sample)
            done += 1
            step(progress, done, total)
    home = root if root.is_dir() else root.parent
    kept = finish(splits, home, "detect", tally)
    name = root.name if root.is_dir() else root.stem
    return Dataset(task="detect", name=name, classes=tuple(classes), splits=kept, report=tally.report())


def _annotation_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" else []
    found = [*root.glob("annotations/*.json"), *root.glob("*.coco.json"), *root.glob("*/*.coco.json")]
    return sorted(path for path in found if not path.name.startswith((".", *_OTHER_KINDS)))


def _table(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        loaded = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path}: no JSON that can be read: {str(error)[:80]}. Export it again") from error
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: not COCO JSON, which is an object with images, annotations and categories")
    table = {}
    for key in ("images", "annotations", "categories"):
        entries = loaded.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: not COCO JSON: {key!r} is not a list of objects")
        table[key] = entries
    return table


def _classes(tables: list[dict[str, list[dict[str, Any]]]]) -> dict[str, int]:
    names: dict[str, int] = {}
    for table in tables:
        categories = [entry for entry in table["categories"] if isinstance(entry.get("id"), int)]
        for entry in sorted(categories, key=lambda e: int(e["id"])):
            names.setdefault(str(entry.get("name", entry["id"])), len(names))
    return names


def _rows_by_picture(
    table: dict[str, list[dict[str, Any]]], classes: dict[str, int], tally: Tally, name: str
) -> dict[object, list[list[float]]]:
    index = {entry["id"]: classes[str(entry.get("name", entry["id"]))]
             for entry in table["categories"] if isinstance(entry.get("id"), int)}  # fmt: skip
    known = {entry["id"] for entry in table["images"] if isinstance(entry.get("id"), int | str)}
    rows: dict[object, list[list[float]]] = defaultdict(list)
    for entry in table["annotations"]:
        where, kind, box = entry.get("image_id"), entry.get("category_id"), _corners(entry.get("bbox"))
        label = f"{name} annotation {str(entry.get('id', '?'))[:20]}"
        if not isinstance(where, int | str) or where not in known:
            tally.drop("box", "without a picture", label)
        elif box is None:
            tally.drop("box", "not four numbers", label)
        elif not isinstance(kind, int) or kind not in index:
            tally.drop("box", "of an unknown category", label)
        elif entry.get("iscrowd") in (1, True):
            tally.drop("box", "a crowd region", label)
        else:
            rows[where].append([*box, index[kind]])
    return rows


def _corners(box: object) -> list[float] | None:
    if not isinstance(box, list) or len(box) != 4:
        return None
    try:
        left, top, width, height = (float(value) for value in box)
    except (TypeError, ValueError, OverflowError):
        return None
    return [left, top, left + width, top + height]


def _sample(
    entry: dict[str, Any], folder: Path, root: Path, rows: dict[object, list[list[float]]], tally: Tally
) -> Sample | None:
    file_name, number = entry.get("file_name"), entry.get("id")
    if not inside(file_name) or not isinstance(number, int | str):
        tally.drop("picture", "no id, or no file name inside the data set", str(file_name)[:60])
        return None
    path = folder / str(file_name)
    picture = Picture(name=name_in(root, path), source=path)
    size = readable_size(picture, tally)
    if size is None:
        return None
    if not _agrees(entry, size):
        tally.drop("picture", "another size than its annotation file says", picture.name)
        return None
    return Sample(picture=picture, size=size, boxes=clean_boxes(rows.get(number, []), size, picture.name, tally))


def _agrees(entry: dict[str, Any], size: tuple[int, int]) -> bool:
    written = (entry.get("height"), entry.get("width"))
    return all(
        w is None or (isinstance(w, int | float) and math.isfinite(w) and w == s)
        for w, s in zip(written, size, strict=True)
    )


def _split(path: Path, root: Path) -> str:
    stem = path.name.split(".")[0].removeprefix("instances_")
    return (
        split_name(stem) or (split_name(path.parent.name) if path.parent != root else None) or stem.strip("_") or "all"
    )


def _picture_folder(path: Path, root: Path, images: list[dict[str, Any]]) -> Path:
    split, stem = _split(path, root), path.name.split(".")[0].removeprefix("instances_")
    home = root if root.is_dir() else path.parent.parent if path.parent.name == "annotations" else path.parent
    folders = [path.parent, *(home / a / b for b in (stem, split, "") for a in ("images", ""))]
    names = [str(e["file_name"]) for e in images if inside(e.get("file_name"))]
    for folder in folders:
        if any((folder / name).is_file() for name in names[:100]):
            return folder
    tried = ", ".join(sorted({name_in(home, f) for f in folders}))
    raise DataError(
        f"{path}: its pictures (such as {names[0] if names else 'none'}) are in none of {tried}: put them in images/"
    )
