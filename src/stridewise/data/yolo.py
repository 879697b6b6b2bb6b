"""YOLO text labels, a line an object: `class cx cy w h`, or a polygon `class x1 y1 x2 y2 ...`, in parts of the picture.

Pictures lie where `data.yaml` says (folders, or text files of paths), in `images/` beside `labels/`, or beside their
labels. A line counts for the picture as displayed. Classes: `data.yaml` or `classes.txt`.
Source: the Ultralytics data set pages: a label lies where its picture does, with `images` in its path made `labels`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stridewise.data import masks
from stridewise.data.classes import DataYaml, find_class_file, read_class_file, read_data_yaml, read_text
from stridewise.data.cleaning import (
    clean_boxes,
    finish,
    ids_said,
    name_in,
    paired_folders,
    picture_files,
    readable_size,
    split_name,
    step,
    subfolders,
)
from stridewise.data.mask import Mask, Shape, Shapes
from stridewise.data.picture import Picture, Size
from stridewise.data.records import Boxes, Dataset, Progress, Sample, Task
from stridewise.data.report import Tally
from stridewise.errors import DataError

_YAML = (".yaml", ".yml")
_CLASSES_LIMIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A picture, where its labels should lie, and its split."""

    split: str
    picture: Path
    label: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One object: its class id, the other numbers, and its line number."""

    kind: int
    values: tuple[float, ...]
    number: int


def looks_like(root: Path) -> bool:
    """Whether there are text labels in a folder beside a folder of pictures, or a `data.yaml` that names some."""
    if root.is_file():
        return root.suffix.lower() in _YAML
    entries = list(_entries(root, _described(root), Tally()))
    if any(entry.label.is_file() for entry in entries):
        return True
    # Labels of which none fits a picture are labels all the same, and `read` says so.
    folders = {entry.label.parent for entry in entries}
    return any(_label_files(f) and not picture_files(f) for f in folders) and not masks.looks_like(root)


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The boxes at `root`, a folder or a `data.yaml`; a polygon counts with the box around it.

    Raises: DataError when no label belongs to a picture, the class list is broken, or ids leave it.
    """
    return _read(root, "detect", progress)


def read_masks(root: Path, progress: Progress | None = None) -> Dataset:
    """The polygons at `root` as masks: class 0 is the background, the others follow. Raises: DataError."""
    return _read(root, "segment", progress)


def _read(path: Path, task: Task, progress: Progress | None) -> Dataset:
    tally = Tally()
    yaml, root = _described(path), path.parent if path.is_file() else path
    entries = list(_entries(path, yaml, tally))
    if not entries:
        raise DataError(f"{root}: no images/ beside labels/: lay it out as images/train + labels/train, or flat")
    _count_orphans(entries, root, tally)
    lines = {entry.label: _lines(entry.label, name_in(root, entry.label), tally) for entry in entries}
    names = _class_names(root, yaml, lines, tally)
    ground = task == "segment" and names[0].lower() != "background"
    tally.found = len(entries)
    splits: dict[str, list[Sample]] = {}
    for done, entry in enumerate(entries, 1):
        sample = _sample(entry, root, lines[entry.label], task, tally, shift=int(ground), posed=yaml.posed)
        if sample is not None:
            splits.setdefault(entry.split, []).append(sample)
        step(progress, done, len(entries))
    kept = finish(splits, root, task, tally)
    classes = ("background", *names) if ground else names
    return Dataset(task=task, name=root.name, classes=classes, splits=kept, report=tally.report())


def _described(root: Path) -> DataYaml:
    """What the data.yaml says: the file itself, or the first in the folder that names classes or splits."""
    if root.is_file():
        return read_data_yaml(root)
    for path in sorted(p for suffix in _YAML for p in root.glob(f"*{suffix}")):
        found = read_data_yaml(path)
        if found.names or found.splits:
            return found
    return DataYaml(names=())


def _entries(root: Path, yaml: DataYaml, tally: Tally) -> Iterator[_Entry]:
    """The pictures by split: as the data.yaml says where that is there, else by looking."""
    home = root.parent if root.is_file() else root
    listed = [
        entry for split, texts in yaml.splits.items() for text in texts for entry in _at(split, text, home, yaml, tally)
    ]
    if listed:
        missing = [split for split in yaml.splits if split not in {entry.split for entry in listed}]
        if missing:
            tally.note(f"data.yaml: nothing lies where it says for {', '.join(missing)}")
        yield from {entry.picture: entry for entry in listed}.values()
        return
    for split, pictures, labels in paired_folders(home, ("labels",)):
        yield from (_Entry(split=split, picture=p, label=labels / f"{p.stem}.txt") for p in picture_files(pictures))
    for part, folder in [("all", home), *((split_name(p.name) or "", p) for p in subfolders(home))]:
        beside = {path.stem for path in _label_files(folder)} if part else set()
        mixed = picture_files(folder) if beside else []
        if any(path.stem in beside for path in mixed):
            yield from (_Entry(split=part, picture=p, label=p.with_suffix(".txt")) for p in mixed)


def _at(split: str, text: str, home: Path, yaml: DataYaml, tally: Tally) -> Iterator[_Entry]:
    """The pictures in a folder, or in a text file of paths, that a data.yaml names."""
    tries = [home / yaml.path / text, home / text, home / text.removeprefix("../")]
    place = next((path.resolve() for path in tries if path.exists()), None)
    if place is None:
        return
    if place.is_dir():
        files = picture_files(place, deep=True, tally=tally)
    else:
        rows = (row.strip() for row in read_text(place).splitlines())
        files = [place.parent / row if row.startswith("./") else home / yaml.path / row for row in rows if row]
    yield from (_Entry(split=split, picture=file, label=_label_of(file)) for file in files)


def _label_of(picture: Path) -> Path:
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _label_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.txt") if p.name not in {"classes.txt", "README.txt"})


def _class_names(root: Path, yaml: DataYaml, lines: Mapping[Path, tuple[_Line, ...]], tally: Tally) -> tuple[str, ...]:
    """The names, after their count was held against the ids in the labels. Raises: DataError where ids leave it."""
    names = yaml.names
    if not names:
        path = find_class_file(root) or find_class_file(root / "labels")
        names = tuple(line.name for line in read_class_file(path)) if path else ()
    by_id = {line.kind: (label, line.number) for label, rows in lines.items() for line in rows}
    low, high = min(by_id, default=0), max(by_id, default=-1)
    if not names:
        tally.note("no data.yaml with names and no classes.txt: classes are called by their numbers")
        names = tuple(str(number) for number in range(min(high, _CLASSES_LIMIT) + 1))
    if low < 0 or high >= len(names):
        label, number = by_id[low if low < 0 else high]
        hint = "ids begin at 0: take 1 from each" if low == 1 and high == len(names) else "mend the labels or the names"
        raise DataError(
            f"{root}: class ids {low} to {high} in the labels (as in {name_in(root, label)}:{number}), "
            f"{len(names)} names for ids 0 to {len(names) - 1}: {hint}"
        )
    if low > 0:
        tally.note(f"class ids in the labels begin at {low}: no object is of 0 ({names[0]}); if that is odd, ids "
                   "were written from 1")  # fmt: skip
    tally.note(ids_said(range(len(names)), names))
    return names


def _lines(path: Path, name: str, tally: Tally) -> tuple[_Line, ...]:
    if not path.is_file():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        tally.drop("label file", "cannot be read as text", name)
        return ()
    found = []
    for number, row in enumerate(text.splitlines(), 1):
        words = row.split()
        try:
            kind, *values = map(float, words) if words else (0.0,)
        except ValueError:
            kind, values = 0.5, []
        if kind.is_integer() and len(values) >= 4 and len(values) % 2 == 0:
            found.append(_Line(kind=int(kind), values=tuple(values), number=number))
        elif words:
            tally.drop("box", "a line that is not `class cx cy w h`", f"{name}:{number}")
    return tuple(found)


def _sample(
    entry: _Entry, root: Path, lines: tuple[_Line, ...], task: Task, tally: Tally, *, shift: int, posed: bool
) -> Sample | None:
    picture = Picture(name=name_in(root, entry.picture), source=entry.picture)
    size = readable_size(picture, tally)
    if size is None:
        return None
    if not entry.label.is_file():
        tally.change("picture", "without a label file: no objects", picture.name)
    if task == "detect":
        return Sample(picture=picture, size=size, boxes=_boxes(lines, size, picture.name, tally, posed=posed))
    shapes = []
    for line in lines:
        if len(line.values) < 6 or posed:
            tally.drop("box", "without a polygon", f"{picture.name}, line {line.number}")
        else:
            corners = zip(line.values[::2], line.values[1::2], strict=True)
            polygon = tuple((x * size[1], y * size[0]) for x, y in corners)
            shapes.append(Shape(index=line.kind + shift, polygons=(polygon,)))
    mask = Mask(name=picture.name, source=Shapes(size=size, shapes=tuple(shapes)))
    return Sample(picture=picture, size=size, mask=mask)


def _boxes(lines: tuple[_Line, ...], size: Size, name: str, tally: Tally, *, posed: bool) -> Boxes:
    rows = []
    height, width = size
    for line in lines:
        if len(line.values) == 4 or posed:  # of a pose, key points follow the box
            x, y, wide, high = line.values[:4]
            begin, end = (x - wide / 2, y - high / 2), (x + wide / 2, y + high / 2)
        else:
            tally.change("object", "a polygon: the box around it is used (--task segment takes its shape)", name)
            begin, end = ((pick(line.values[::2]), pick(line.values[1::2])) for pick in (min, max))
        rows.append([begin[0] * width, begin[1] * height, end[0] * width, end[1] * height, line.kind])
    return clean_boxes(rows, size, name, tally)


def _count_orphans(entries: list[_Entry], root: Path, tally: Tally) -> None:
    """Count labels without a picture. Raises: DataError where no picture has any."""
    known = {entry.label for entry in entries}
    folders = {entry.label.parent for entry in entries}
    orphans = [p for folder in sorted(folders) if folder.is_dir() for p in _label_files(folder) if p not in known]
    listing = {entry.picture.parent for entry in entries}
    for path in orphans:
        if path.parent not in listing or path.parent.name != root.name:  # lists of paths lie beside pictures too
            tally.drop("label file", "no picture of its name", name_in(root, path))
    if orphans and not any(path.is_file() for path in known):
        raise DataError(
            f"{root}: none of {len(orphans)} label files has the name of a picture: {name_in(root, orphans[0])} beside "
            f"{name_in(root, entries[0].picture)}. Give both the same name"
        )
