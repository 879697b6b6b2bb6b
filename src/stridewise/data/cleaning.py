"""What readers share: which boxes and pictures are fit for use. What is not is counted in a Tally."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from stridewise.data.picture import SUFFIXES, Picture, PictureError, Size
from stridewise.data.records import Boxes, Progress, Sample, Task
from stridewise.data.report import Tally
from stridewise.errors import DataError

_SPLITS = {
    "train": "train", "training": "train", "trainset": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def split_name(text: str) -> str | None:
    """`train`, `val` or `test` for the usual spellings (`valid`, `train2017`), else None."""
    return _SPLITS.get(text.lower().rstrip("0123456789").rstrip("_-"))


def clean_boxes(rows: Sequence[Sequence[float]], size: Size, name: str, tally: Tally) -> Boxes:
    """Boxes from rows of x0, y0, x1, y1, class, inside a picture of `size`: the usable ones, clipped to the picture.

    Boxes that are not finite, have no area or lie outside are counted and left out; clipped ones are counted.
    """
    table = np.array(rows, np.float64).reshape(-1, 5)
    corners, classes = table[:, :4], table[:, 4]
    height, width = size
    clipped = np.clip(corners, 0.0, np.array([width, height, width, height], np.float64))
    with np.errstate(invalid="ignore"):
        faults = [
            ("not finite numbers", ~np.isfinite(corners).all(axis=1)),
            ("zero area", (corners[:, 2:] <= corners[:, :2]).any(axis=1)),
            ("outside the picture", (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)),
        ]
    good = np.ones(len(table), bool)
    for reason, bad in faults:
        if (bad & good).any():
            tally.drop("box", reason, name, int((bad & good).sum()))
        good &= ~bad
    # Half a pixel over the edge is how rounding in an annotation tool looks; only more is worth a word.
    over = good & (np.abs(clipped - np.where(good[:, None], corners, 0.0)) > 0.5).any(axis=1)
    if over.any():
        tally.change("box", "reaches over the picture's edge, clipped", name, int(over.sum()))
    return Boxes(corners=clipped[good], classes=classes[good].astype(np.int64))


def readable_size(picture: Picture, tally: Tally, what: str = "picture") -> Size | None:
    """The picture's size from its header, or None after counting why it cannot be used."""
    try:
        return picture.size()
    except PictureError as error:
        tally.drop(what, error.reason, picture.name)
        return None


def picture_files(folder: Path, *, deep: bool = False) -> list[Path]:
    """The picture files in `folder` (and below it when `deep`) by suffix, in order; hidden ones are skipped."""
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def inside(text: object) -> bool:
    """Whether a path written in a file is relative and stays inside its folder."""
    if not isinstance(text, str) or not text or "\0" in text:
        return False
    path = PurePosixPath(text.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]


def name_in(root: Path, path: Path) -> str:
    """How a file of the data set is called in reports: its path below `root`."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def finish(splits: dict[str, list[Sample]], root: Path, task: Task, tally: Tally) -> dict[str, tuple[Sample, ...]]:
    """Splits without the empty ones, train before val before test. Raises: DataError when no sample is left."""
    order = {"train": 0, "val": 1, "test": 2}
    kept = {name: tuple(splits[name]) for name in sorted(splits, key=lambda n: (order.get(n, 3), n)) if splits[name]}
    tally.kept = sum(len(part) for part in kept.values())
    if not kept:
        why = "; ".join(str(entry) for entry in tally.report().dropped) or "there are no picture files"
        raise DataError(f"{root}: no picture is left to {task}: {why}. Check the folder and --format")
    return kept


def step(progress: Progress | None, done: int, total: int) -> None:
    """Report progress when somebody listens."""
    if progress:
        progress(done, total)
