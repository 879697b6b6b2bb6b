"""COCO JSON: objects of pictures in `annotations/*.json` beside `images/`, or JSON files among or above the pictures.

Source: the COCO data format; `bbox` is x, y, width, height in pixels from the top left corner, 0-based. The frame of
the boxes is the one whose height and width the file gives: as stored, or as displayed under EXIF.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stridewise.data.cleaning import (
    clean_boxes,
    finish,
    ids_said,
    inside,
    name_in,
    readable_header,
    split_in,
    step,
)
from stridewise.data.mask import IGNORE, Mask, Polygon, Shape, Shapes, run_lengths
from stridewise.data.picture import Header, Picture, Size, turned_corners
from stridewise.data.records import Dataset, Progress, Sample, Task
from stridewise.data.report import Tally
from stridewise.errors import DataError

_OTHER_KINDS = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")
_KEYS = ("images", "annotations", "categories")
_SNIFFED = 1 << 20

Table = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    """One annotation: x0, y0, x1, y1, its class, whether it is a region to ignore, and its outline as written."""

    corners: list[float]
    kind: int
    ignored: bool
    outline: Any
    label: str


def looks_like(root: Path) -> bool:
    """Whether `root` is, or holds, a JSON file with annotations."""
    return bool(_annotation_files(root))


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The boxes of the COCO JSON file, or the folder of such files, at `root`; classes in the order of category ids.

    Crowd regions, and those marked `ignore`, are no objects: they are kept as regions where nothing counts.
    Raises: DataError when a file is no COCO JSON or its pictures are not found.
    """
    return _read(root, "detect", progress)


def read_masks(root: Path, progress: Progress | None = None) -> Dataset:
    """The outlines of the objects as masks: class 0 is the background; regions to ignore count nowhere.

    Raises: DataError, also where objects have boxes alone.
    """
    return _read(root, "segment", progress)


def _read(root: Path, task: Task, progress: Progress | None) -> Dataset:
    files = _annotation_files(root)
    if not files:
        raise DataError(f"{root}: no annotation JSON: expected annotations/*.json or a .json file")
    tally = Tally()
    splits: dict[str, list[Sample]] = {}
    tables = [(path, _table(path)) for path in files]
    classes = _classes([table for _, table in tables], tally)
    if not classes:
        raise DataError(f"{root}: categories name no class: give each an id and a name")
    total = tally.found = sum(len(table["images"]) for _, table in tables)
    done = 0
    for path, table in tables:
        part = splits.setdefault(_split(path, root), [])
        folder = _picture_folder(path, root, table["images"])
        objects = _by_picture(table, classes, tally, path.name)
        for entry in table["images"]:
            sample = _sample(entry, folder, root, objects, task, tally)
            if sample:
                part.append(sample)
            done += 1
            step(progress, done, total)
    home = root if root.is_dir() else root.parent
    kept = finish({split: _once(part, split, tally) for split, part in splits.items()}, home, task, tally)
    name = root.name if root.is_dir() else root.stem
    names = ("background", *classes) if task == "segment" else tuple(classes)
    return Dataset(task=task, name=name, classes=names, splits=kept, report=tally.report())


def _once(part: list[Sample], split: str, tally: Tally) -> list[Sample]:
    """A picture that two files of a split name is used once, with the objects of the first."""
    first: dict[str, Sample] = {}
    for sample in part:
        if first.setdefault(sample.name, sample) is not sample:
            tally.drop("picture", f"named twice in {split}", sample.name)
    return list(first.values())


def _annotation_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" else []
    found = {p for pattern in ("annotations/*.json", "*.json", "*/*.coco.json") for p in root.glob(pattern)}
    usual = [path for path in sorted(found) if not path.name.startswith((".", *_OTHER_KINDS))]
    return [path for path in usual if path.parent != root or path.name.endswith(".coco.json") or _sniffed(path)]


def _sniffed(path: Path) -> bool:
    """Whether a JSON file beside the pictures, which may be anything, is one of annotations."""
    with path.open("rb") as file:
        begin = file.read(_SNIFFED)
        file.seek(max(0, path.stat().st_size - _SNIFFED))
        ends = begin + file.read(_SNIFFED)
    return all(f'"{key}"'.encode() in ends for key in ("images", "annotations"))


def _table(path: Path) -> Table:
    try:
        loaded = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path}: no JSON that can be read: {str(error)[:80]}. Export it again") from error
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: not COCO JSON, which is an object with images, annotations and categories")
    table = {}
    for key in _KEYS:
        entries = loaded.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: not COCO JSON: {key!r} is not a list of objects")
        table[key] = entries
    return table


def _classes(tables: list[Table], tally: Tally) -> dict[str, int]:
    """Index by name, in the order of category ids; which id was taken for which name is noted, file by file."""
    names: dict[str, int] = {}
    for table in tables:
        categories = [entry for entry in table["categories"] if isinstance(entry.get("id"), int)]
        ordered = sorted(categories, key=lambda e: int(e["id"]))
        for entry in ordered:
            names.setdefault(str(entry.get("name", entry["id"])), len(names))
        if ordered:
            ids = [int(e["id"]) for e in ordered]
            tally.note(ids_said(ids, [str(e.get("name", e["id"])) for e in ordered], "category ids"))
    return names


def _by_picture(table: Table, classes: Mapping[str, int], tally: Tally, name: str) -> dict[object, list[_Object]]:
    index = {entry["id"]: classes[str(entry.get("name", entry["id"]))]
             for entry in table["categories"] if isinstance(entry.get("id"), int)}  # fmt: skip
    known = {entry["id"] for entry in table["images"] if isinstance(entry.get("id"), int | str)}
    objects: dict[object, list[_Object]] = defaultdict(list)
    for entry in table["annotations"]:
        where, kind, box = entry.get("image_id"), entry.get("category_id"), _corners(entry.get("bbox"))
        label = f"{name} annotation {str(entry.get('id', '?'))[:20]}"
        ignored = any(entry.get(key) in (1, True) for key in ("iscrowd", "ignore"))
        if not isinstance(where, int | str) or where not in known:
            tally.drop("box", "without a picture", label)
        elif box is None:
            tally.drop("box", "not four numbers", label)
        elif not isinstance(kind, int) or kind not in index:
            tally.drop("box", "of an unknown category", label)
        else:
            if ignored:
                tally.change("box", "a crowd, or marked to ignore: nothing counts there", label)
            outline = entry.get("segmentation")
            objects[where].append(_Object(corners=box, kind=index[kind], ignored=ignored, outline=outline, label=label))
    return objects


def _corners(box: object) -> list[float] | None:
    if not isinstance(box, list) or len(box) != 4:
        return None
    try:
        left, top, width, height = (float(value) for value in box)
    except (TypeError, ValueError, OverflowError):
        return None
    return [left, top, left + width, top + height]


def _sample(
    entry: dict[str, Any],
    folder: Path,
    root: Path,
    objects: Mapping[object, list[_Object]],
    task: Task,
    tally: Tally,
) -> Sample | None:
    file_name, number = entry.get("file_name"), entry.get("id")
    if not inside(file_name) or not isinstance(number, int | str):
        tally.drop("picture", "no id, or no file name inside the data set", str(file_name)[:60])
        return None
    path = folder / str(file_name)
    picture = Picture(name=name_in(root, path), source=path)
    header = readable_header(picture, tally)
    if header is None:
        return None
    if _agrees(entry, header.size):
        turn = 1
    elif _agrees(entry, header.stored):  # the boxes were drawn by a program that knows no EXIF
        turn = header.orientation
        tally.change("picture", "with boxes drawn on the stored rows: they are turned with it", picture.name)
    else:
        tally.drop("picture", "another size than its annotation file says", picture.name)
        return None
    here = objects.get(number, [])
    if task == "segment":
        mask = _mask(here, header, turn, picture.name, tally)
        return Sample(picture=picture, size=header.size, mask=mask)
    rows, ignored = (
        [[*_upright(o.corners, header, turn), o.kind] for o in here if o.ignored == which] for which in (False, True)
    )
    boxes = clean_boxes(rows, header.size, picture.name, tally, ignored)
    return Sample(picture=picture, size=header.size, boxes=boxes)


def _upright(corners: list[float], header: Header, turn: int) -> list[float]:
    found: list[float] = turned_corners(np.array([corners]), header.stored, turn)[0].tolist()
    return found


def _mask(objects: list[_Object], header: Header, turn: int, name: str, tally: Tally) -> Mask:
    size = header.stored if turn != 1 else header.size
    shapes = []
    for one in objects:
        shape = _shape(one.outline, IGNORE if one.ignored else one.kind + 1, size)
        if shape is None:
            tally.drop("object", "without an outline", one.label)
        else:
            shapes.append(shape)
    return Mask(name=name, source=Shapes(size=size, shapes=tuple(shapes)), orientation=turn)


def _shape(outline: Any, index: int, size: Size) -> Shape | None:
    if isinstance(outline, dict):
        runs = run_lengths(outline.get("counts"), size) if outline.get("size") == list(size) else None
        return None if runs is None else Shape(index=index, runs=runs)
    if not isinstance(outline, list):
        return None
    polygons = [_polygon(part) for part in outline]
    good = tuple(polygon for polygon in polygons if polygon is not None)
    return Shape(index=index, polygons=good) if good and len(good) == len(polygons) else None


def _polygon(part: Any) -> Polygon | None:
    numbers = isinstance(part, list) and all(isinstance(n, int | float) and math.isfinite(n) for n in part)
    if not numbers or len(part) < 6 or len(part) % 2:
        return None
    return tuple(zip(map(float, part[::2]), map(float, part[1::2]), strict=True))


def _agrees(entry: dict[str, Any], size: Size) -> bool:
    written = (entry.get("height"), entry.get("width"))
    return all(
        w is None or (isinstance(w, int | float) and math.isfinite(w) and w == s)
        for w, s in zip(written, size, strict=True)
    )


def _split(path: Path, root: Path) -> str:
    stem = path.name.split(".")[0].removeprefix("instances_")
    return split_in(stem) or (split_in(path.parent.name) if path.parent != root else None) or stem.strip("_") or "all"


def _picture_folder(path: Path, root: Path, images: list[dict[str, Any]]) -> Path:
    split, stem = _split(path, root), path.name.split(".")[0].removeprefix("instances_")
    home = root if root.is_dir() else path.parent.parent if path.parent.name == "annotations" else path.parent
    folders = [path.parent, *(home / a / b for b in (stem, split, "") for a in ("images", ""))]
    folders += sorted(path for path in home.glob("images/*") if path.is_dir())
    names = [str(e["file_name"]) for e in images if inside(e.get("file_name"))]
    for folder in folders:
        if any((folder / name).is_file() for name in names[:100]):
            return folder
    tried = ", ".join(sorted({name_in(home, f) for f in folders}))
    raise DataError(
        f"{path}: its pictures (such as {names[0] if names else 'none'}) are in none of {tried}: put them in images/"
    )
