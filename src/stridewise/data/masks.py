"""Pictures beside masks: `images/` + `masks/` (or `JPEGImages/` + `SegmentationClass/`), or with a suffix.

Paired by name, without the suffixes that are usual (`_mask`, `_labelIds`, ...). A mask holds class ids, or colours when
`classes.txt` gives them. Id 255 and classes named void are ignored.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from stridewise.data.classes import find_class_file, read_class_file
from stridewise.data.cleaning import (
    dataset_of,
    finish,
    ids_said,
    name_in,
    paired_folders,
    picture_files,
    readable_header,
    source_of,
    split_name,
    stem_of,
    step,
    subfolders,
)
from stridewise.data.grids import Grid
from stridewise.data.mask import IGNORE, Codes, Mask, raw_codes
from stridewise.data.picture import PictureError
from stridewise.data.records import Dataset, Progress, Sample
from stridewise.data.report import Tally
from stridewise.data.voc import homes, split_lists
from stridewise.errors import DataError

MASKS = ("masks", "SegmentationClass", "labels", "annotations", "mask", "gtFine", "gt", "labelsTr", "annots")
SUFFIXES = (
    "_gtFine_labelIds",
    "_gtFine_labelTrainIds",
    "_labelIds",
    "_labelTrainIds",
    "_mask",
    "_masks",
    "_label",
    "_labels",
    "_gt",
    "_seg",
    "_segmentation",
    "_L",
)
"""Behind the name of a mask, the first that fits; `--mask-suffix` names another."""
_PICTURE_SUFFIXES = ("_leftImg8bit", "_image", "_img", "_sat", "_0000")
_OTHERS = ("_color", "_instanceIds", "_polygons")
VOC_CLASSES = tuple(
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor".split()
)
"""Source: the VOC development kit, section 3.3."""


def looks_like(root: Path) -> bool:
    """Whether there is a folder of pictures beside a folder of masks, or masks among the pictures."""
    return any(pairs for _, pairs, _, _ in _folders(root, None))


def read(root: Path, progress: Progress | None = None, suffix: str | None = None) -> Dataset:
    """The data set of masks at `root`. Without a class list every mask is read once to learn the ids.

    suffix: what a mask's name ends in behind its picture's. Raises: DataError when nothing pairs up, or the masks are
    coloured and no class list says how.
    """
    tally = Tally()
    pairs = _pairs(root, tally, suffix)
    masks = [_mask(root, path) for _, _, path in pairs]
    names, codes = _classes(root, masks, tally)
    tally.found = len(pairs)
    splits: dict[str, list[Sample]] = {}
    for done, (split, path, mask_path) in enumerate(pairs, 1):
        sample = _sample(root, path, replace(_mask(root, mask_path), codes=codes), tally)
        if sample:
            splits.setdefault(split, []).append(sample)
        step(progress, done, len(pairs))
    kept = finish(splits, root, "segment", tally)
    return dataset_of("segment", root.name, names, kept, tally)


def _mask(root: Path, path: Path) -> Mask:
    source = source_of(path, name_in(root, path))
    return Mask(name=source.name, source=source if isinstance(source, Grid) else path)


def _sample(root: Path, path: Path, mask: Mask, tally: Tally) -> Sample | None:
    picture = source_of(path, name_in(root, path))
    header = readable_header(picture, tally)
    drawn = readable_header(mask, tally) if header else None
    if header is None or drawn is None:
        return None
    if header.size == drawn.size:
        return Sample(picture=picture, size=header.size, mask=mask, spacing=header.spacing)
    if header.stored == drawn.size and drawn.orientation == 1:  # by a program that knows no EXIF
        tally.change("mask", "drawn on the stored rows of its picture: it is turned with it", mask.name)
        return Sample(picture=picture, size=header.size, mask=replace(mask, orientation=header.orientation))
    tally.drop("mask", "another size than its picture", mask.name)
    return None


def _folders(
    root: Path, suffix: str | None, tally: Tally | None = None
) -> Iterator[tuple[str, dict[Path, Path], list[Path], list[Path]]]:
    """Split, masks by their pictures, pictures without a mask, masks without a picture; folder by folder."""
    apart = [row for home in homes(root) for row in paired_folders(home, MASKS)]
    for split, pictures, masks in apart:
        lists = split_lists(masks.parent, "Segmentation") if masks.name == "SegmentationClass" else {}
        by_stem = _by_stem(picture_files(masks, deep=True, tally=tally), suffix)
        files = [
            path for path in picture_files(pictures, deep=True, tally=tally) if not lists or stem_of(path) in lists
        ]
        paired = {path: by_stem.pop(_stem(path)) for path in files if _stem(path) in by_stem}
        for part in sorted(set(lists.values())) or [split]:
            own = {path: mask for path, mask in paired.items() if not lists or lists[stem_of(path)] == part}
            yield part, own, [p for p in files if p not in paired], list(by_stem.values()) if not lists else []
    if apart:
        return
    for split, folder in [("all", root), *((split_name(p.name) or "", p) for p in subfolders(root))]:
        files = picture_files(folder) if split else []
        marks = [path for path in files if any(stem_of(path).endswith(s) for s in ([suffix] if suffix else SUFFIXES))]
        by_stem = _by_stem(marks, suffix)
        pictures_here = [path for path in files if path not in marks]
        paired = {path: by_stem.pop(_stem(path)) for path in pictures_here if _stem(path) in by_stem}
        if paired:
            yield split, paired, [p for p in pictures_here if p not in paired], list(by_stem.values())


def _by_stem(masks: list[Path], suffix: str | None) -> dict[str, Path]:
    """Masks by the names of their pictures; of several for one picture, that of the first suffix."""
    found: dict[str, tuple[int, Path]] = {}
    for path in masks:
        stem, order = stem_of(path), ((suffix,) if suffix else SUFFIXES)
        place = next((n for n, s in enumerate(order) if stem.endswith(s)), len(order))
        stem = stem.removesuffix(order[place]) if place < len(order) else stem
        if not stem.endswith(_OTHERS) and (stem not in found or place < found[stem][0]):
            found[stem] = (place, path)
    return {stem: path for stem, (_, path) in found.items()}


def _stem(picture: Path) -> str:
    stem = stem_of(picture)
    return next((stem.removesuffix(s) for s in _PICTURE_SUFFIXES if stem.endswith(s)), stem)


def _pairs(root: Path, tally: Tally, suffix: str | None) -> list[tuple[str, Path, Path]]:
    pairs = []
    for split, paired, lonely, masks in _folders(root, suffix, tally):
        pairs += [(split, path, mask) for path, mask in paired.items()]
        for path in lonely:
            tally.drop("picture", "no mask of its name", name_in(root, path))
        for path in masks:
            tally.drop("mask", "no picture of its name", name_in(root, path))
    if not pairs:
        why = "; ".join(str(entry) for entry in tally.report().dropped) or "no images/ beside masks/"
        raise DataError(
            f"{root}: no picture pairs up with a mask: {why}. Give both the same file name, or say --mask-suffix"
        )
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
    if not coloured:
        tally.note(ids_said(values, [name for name, _ in kept], "mask ids"))
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
    if set(values) <= set(range(len(VOC_CLASSES))) and any(p.name == "SegmentationClass" for p in _parents(masks)):
        tally.note(ids_said(range(len(VOC_CLASSES)), VOC_CLASSES, "no classes.txt: the ids are those of VOC:"))
        return VOC_CLASSES, Codes(values=tuple(range(len(VOC_CLASSES))), ignored=ignored)
    tally.note(f"no classes.txt: the {len(values)} ids found in the masks are the classes")
    return tuple(str(value) for value in values), Codes(values=values, ignored=ignored)


def _parents(masks: list[Mask]) -> set[Path]:
    return {mask.source.parent for mask in masks if isinstance(mask.source, Path)}


def _check_count(root: Path, count: int) -> None:
    if not 1 <= count < IGNORE:
        raise DataError(f"{root}: {count} mask classes, of 1 to {IGNORE - 1} possible: shorten classes.txt")
