"""Class folders: `root/<class>/*.jpg`, or `root/{train,val,test}/<class>/*.jpg`."""

from dataclasses import replace
from pathlib import Path

from stridewise.data.cleaning import (
    dataset_of,
    finish,
    ids_said,
    name_in,
    opened_sample,
    picture_files,
    split_name,
    step,
    subfolders,
)
from stridewise.data.records import Dataset, Progress, Sample
from stridewise.data.report import Tally
from stridewise.errors import DataError


def looks_like(root: Path) -> bool:
    """Whether there are folders with pictures in them."""
    return any(_first_picture(folder) for _, parent in _parents(root) for folder in subfolders(parent))


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The data set of class folders at `root`; classes are the sorted folder names of all splits.

    Raises: DataError when fewer than two class folders hold pictures.
    """
    tally = Tally()
    files = [
        (split, folder.name, path)
        for split, parent in _parents(root)
        for folder in subfolders(parent)
        for path in _listed(folder, root, tally)
    ]
    classes = tuple(sorted({label for _, label, _ in files}))
    if len(classes) < 2:
        met = f"one class folder, {classes[0]!r}" if classes else "no class folders with pictures"
        raise DataError(
            f"{root}: {met}: classification needs two or more, laid out as CLASS/*.jpg or train/CLASS/*.jpg"
        )
    index = {label: i for i, label in enumerate(classes)}
    tally.found = len(files)
    splits: dict[str, list[Sample]] = {}
    for done, (split, label, path) in enumerate(files, 1):
        sample = opened_sample(path, root, tally)
        if sample is not None:
            splits.setdefault(split, []).append(replace(sample, label=index[label]))
        step(progress, done, len(files))
    _note_missing(splits, classes, tally)
    kept = finish(splits, root, "classify", tally)
    tally.note(ids_said(range(len(classes)), classes, "classes"))
    return dataset_of("classify", root.name, classes, kept, tally)


def _parents(root: Path) -> list[tuple[str, Path]]:
    named = [(split, folder) for folder in subfolders(root) if (split := split_name(folder.name))]
    return named or [("all", root)]


def _first_picture(folder: Path) -> bool:
    return bool(picture_files(folder)) or any(picture_files(inner) for inner in subfolders(folder))


def _listed(folder: Path, root: Path, tally: Tally) -> list[Path]:
    files = picture_files(folder, deep=True, tally=tally)
    if not files:
        tally.drop("folder", "holds no pictures", name_in(root, folder))
    return files


def _note_missing(splits: dict[str, list[Sample]], classes: tuple[str, ...], tally: Tally) -> None:
    for split, part in splits.items():
        missing = [label for i, label in enumerate(classes) if i not in {sample.label for sample in part}]
        if missing:
            tally.note(f"split {split} has no picture of {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}")
