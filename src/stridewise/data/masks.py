"""Pictures beside masks: `images/` + `masks/` (or `JPEGImages/` + `SegmentationClass/`), paired by name.

A mask holds class ids, or colours when `classes.txt` gives them. Id 255 and classes named void are ignored.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from stridewise.data.classes import find_class_file, read_class_file
from stridewise.data.cleaning import finish, name_in, picture_files, readable_header, step
from stridewise.data.mask import IGNORE, Codes, Mask, raw_codes
from stridewise.data.paired import paired_folders
from stridewise.data.picture import Picture, PictureError
from stridewise.data.records import Dataset, Progress, Sample
from stridewise.data.report import Tally
from stridewise.errors import DataError

MASKS = ("masks", "SegmentationClass", "labels", "annotations", "mask")


def looks_like(root: Path) -> bool:
    """Whether there is a folder of pictures beside a folder of masks."""
    return any(picture_files(folder) for _, _, folder in paired_folders(root, MASKS))


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The data set of masks at `root`. Without a class list every mask is read once to learn the ids.

    Raises: DataError when nothing pairs up, or the masks are coloured and no class list says how.
    """
    tally = Tally()
    pairs = _pairs(root, tally)
    masks = [Mask(name=name_in(root, path), source=path) for _, _, path in pairs]
    names, codes = _classes(root, masks, tally)
    tally.found = len(pairs)
    splits: dict[str, list[Sample]] = {}
    for done, (split, path, mask_path) in enumerate(pairs, 1):
        sample = _sample(root, path, Mask(name=name_in(root, mask_path), source=mask_path, codes=codes), tally)
        if sample:
            splits.setdefault(split, []).append(sample)
        step(progress, done, len(pairs))
    kept = finish(splits, root, "segment", tally)
    return Dataset(task="segment", name=root.name, classes=names, splits=kept, report=tally.report())


def _sample(root: Path, path: Path, mask: Mask, tally: Tally) -> Sample | None:
    picture = Picture(name=name_in(root, path), source=path)
    header = readable_header(picture, tally)
    drawn = readable_header(mask, tally) if header else None
    if header is None or drawn is None:
        return None
    if header.size == drawn.size:
        return Sample(picture=picture, size=header.size, mask=mask)
    if header.stored == drawn.size and drawn.orientation == 1:  # by a program that knows no EXIF
        tally.change("mask", "drawn on the stored rows of its picture: it is turned with it", mask.name)
        return Sample(picture=picture, size=header.size, mask=replace(mask, orientation=header.orientation))
    tally.drop("mask", "another size than its picture", mask.name)
    return None


def _pairs(root: Path, tally: Tally) -> list[tuple[str, Path, Path]]:
    pairs = []
    for split, pictures, masks in paired_folders(root, MASKS):
        by_stem = {path.stem.removesuffix("_mask"): path for path in picture_files(masks)}
        for path in picture_files(pictures):
            if path.stem in by_stem:
                pairs.append((split, path, by_stem.pop(path.stem)))
            else:
                tally.drop("picture", "no mask of its name", name_in(root, path))
        for path in by_stem.values():
            tally.drop("mask", "no picture of its name", name_in(root, path))
    if not pairs:
        why = "; ".join(str(entry) for entry in tally.report().dropped) or "no images/ beside masks/"
        raise DataError(f"{root}: no picture pairs up with a mask: {why}. Give both the same file name")
    return pairs


def _classes(root: Path, masks: list[Mask], tally: Tally) -> tuple[tuple[str, ...], Codes]:
    path = find_class_file(root)
    if path is None:
        return _ids_found(root, masks, tally)
    lines = read_class_file(path)
    coloured = all(line.colour is not None for line in lines)
    if not coloured and any(line.colour is not None for line in lines):
        raise DataError(f"{path}: some classes have a colour and some have none: give all or none")
    written = [
        line.colour if line.colour is not None else line.code if line.code is not None else number
        for number, line in enumerate(lines)
    ]
    if len(set(written)) < len(written):
        raise DataError(f"{path}: two classes share an id or a colour: give each its own")
    kept = [(line.name, code) for line, code in zip(lines, written, strict=True) if not line.void]
    ignored = [code for line, code in zip(lines, written, strict=True) if line.void]
    values = tuple(code for _, code in kept)
    if not coloured and IGNORE not in values:
        ignored.append(IGNORE)
    _check_count(root, len(values))
    return tuple(name for name, _ in kept), Codes(values=values, ignored=tuple(ignored), coloured=coloured)


def _ids_found(root: Path, masks: list[Mask], tally: Tally) -> tuple[tuple[str, ...], Codes]:
    ids: set[int] = set()
    faults: list[PictureError] = []
    for mask in masks:
        try:
            ids.update(np.unique(raw_codes(mask, coloured=False)).tolist())
        except PictureError as error:  # counted where the samples are made, or named here when no mask can be read
            faults.append(error)
    ignored = () if ids <= {0, IGNORE} else (IGNORE,)  # 0 and 255 alone are the two values of a binary mask
    values = tuple(sorted(ids - set(ignored)))
    if not values or values[0] < 0 or values[-1] > 65535:
        raise DataError(
            f"{root}: {faults[0] if faults else 'masks hold no class ids'}. List the classes in classes.txt"
        )
    _check_count(root, len(values))
    tally.note(f"no classes.txt: the {len(values)} ids found in the masks are the classes")
    return tuple(str(value) for value in values), Codes(values=values, ignored=ignored)


def _check_count(root: Path, count: int) -> None:
    if not 1 <= count < IGNORE:
        raise DataError(f"{root}: {count} mask classes, of 1 to {IGNORE - 1} possible: shorten classes.txt")
