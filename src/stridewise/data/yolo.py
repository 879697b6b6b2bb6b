"""YOLO text labels: `images/` + `labels/`, one line an object, `class cx cy w h` in parts of the picture.

Polygon lines (`class x1 y1 x2 y2 ...`) count with the box around them. Classes: `data.yaml` or `classes.txt`.
"""

from pathlib import Path

from stridewise.data.classes import find_class_file, read_class_file, read_yaml_names
from stridewise.data.cleaning import clean_boxes, finish, name_in, picture_files, readable_size, step
from stridewise.data.paired import paired_folders
from stridewise.data.picture import Picture, Size
from stridewise.data.records import Boxes, Dataset, Progress, Sample
from stridewise.data.report import Tally
from stridewise.errors import DataError


def looks_like(root: Path) -> bool:
    """Whether there are text labels in a folder beside a folder of pictures."""
    return any(_label_files(labels) for _, _, labels in paired_folders(root, ("labels",)))


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The boxes at `root`; a picture without a label file has no objects.

    Raises: DataError when there are no `images/` beside `labels/`, or the class list is broken.
    """
    tally = Tally()
    folders = paired_folders(root, ("labels",))
    if not folders:
        raise DataError(f"{root}: no images/ beside labels/: lay it out as images/train + labels/train, or flat")
    files = [(split, path, labels) for split, pictures, labels in folders for path in picture_files(pictures)]
    names = _class_names(root)
    if names is None:
        names = _numbers_found([labels for _, _, labels in folders])
        tally.note("no data.yaml with names and no classes.txt: classes are called by their numbers")
    tally.found = len(files)
    splits: dict[str, list[Sample]] = {}
    for done, (split, path, labels) in enumerate(files, 1):
        picture = Picture(name=name_in(root, path), source=path)
        size = readable_size(picture, tally)
        if size is not None:
            boxes = _boxes(labels / f"{path.stem}.txt", root, size, len(names), tally)
            splits.setdefault(split, []).append(Sample(picture=picture, size=size, boxes=boxes))
        step(progress, done, len(files))
    _count_orphans(folders, root, tally)
    kept = finish(splits, root, "detect", tally)
    return Dataset(task="detect", name=root.name, classes=names, splits=kept, report=tally.report())


def _label_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.txt") if p.name != "classes.txt")


def _class_names(root: Path) -> tuple[str, ...] | None:
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        if names := read_yaml_names(path):
            return names
    path_or_none = find_class_file(root) or find_class_file(root / "labels")
    return tuple(line.name for line in read_class_file(path_or_none)) if path_or_none else None


def _numbers_found(folders: list[Path]) -> tuple[str, ...]:
    top = -1
    for path in (path for folder in folders for path in _label_files(folder)):
        firsts = [line.split()[0] for line in _lines(path) or () if line.split()]
        top = max([top, *(int(f) for f in firsts if f.isascii() and f.isdigit() and len(f) < 5)])
    return tuple(str(number) for number in range(top + 1))


def _boxes(path: Path, root: Path, size: Size, classes: int, tally: Tally) -> Boxes:
    name = name_in(root, path)
    lines = _lines(path) if path.is_file() else []
    if lines is None:
        tally.drop("label file", "cannot be read as text", name)
    rows = []
    for number, line in enumerate(lines or [], 1):
        row = _row(line, size) if line.strip() else None
        if row is None and line.strip():
            tally.drop("box", "a line that is not `class cx cy w h`", f"{name}:{number}")
        elif row is not None and not 0 <= row[4] < classes:
            tally.drop("box", "of an unknown class", f"{name}:{number}")
        elif row is not None:
            rows.append(row)
    return clean_boxes(rows, size, name, tally)


def _row(line: str, size: Size) -> list[float] | None:
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    if len(values) < 5 or len(values) % 2 == 0 or not values[0].is_integer():
        return None
    height, width = size
    if len(values) == 5:
        middle, extent = values[1:3], values[3:5]
        begin, end = ([m + sign * e / 2 for m, e in zip(middle, extent, strict=True)] for sign in (-1, 1))
    else:
        begin, end = ([pick(values[1::2]), pick(values[2::2])] for pick in (min, max))
    return [begin[0] * width, begin[1] * height, end[0] * width, end[1] * height, values[0]]


def _lines(path: Path) -> list[str] | None:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return None


def _count_orphans(folders: list[tuple[str, Path, Path]], root: Path, tally: Tally) -> None:
    for _, pictures, labels in folders:
        stems = {path.stem for path in picture_files(pictures)}
        for path in _label_files(labels):
            if path.stem not in stems:
                tally.drop("label file", "no picture of its name", name_in(root, path))
