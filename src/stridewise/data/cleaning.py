"""What readers share: which boxes and pictures are fit for use. What is not is counted in a Tally."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from stridewise.data.grids import SOUNDS, VOLUMES, Grid, suffix_of
from stridewise.data.mask import Mask, Shapes
from stridewise.data.picture import SUFFIXES, Header, Picture, PictureError, Size, white_of
from stridewise.data.records import Boxes, Dataset, Progress, Sample, Task, with_white
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


def split_in(text: str) -> str | None:
    """The split that a word of a file's name says: `val` of `instances_val2017`, `train` of `labels_train_part1`."""
    return next((found for word in re.split(r"[^A-Za-z]+", text) if (found := split_name(word))), None)


def clean_boxes(
    rows: Sequence[Sequence[float]], size: Size, name: str, tally: Tally, ignored: Sequence[Sequence[float]] = ()
) -> Boxes:
    """Boxes from rows of x0, y0, x1, y1, class, inside a picture of `size`: the usable ones, clipped to the picture.

    ignored: rows of the regions that are to be ignored.

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
    return Boxes(
        corners=clipped[good],
        classes=classes[good].astype(np.int64),
        ignored=clean_boxes(ignored, size, name, tally) if ignored else None,
    )


def readable_header(picture: Picture | Mask | Grid, tally: Tally) -> Header | None:
    """The header of a picture or mask, or None after counting why it cannot be used; what is remarkable is counted."""
    what = "mask" if isinstance(picture, Mask) else "picture"
    try:
        header = picture.header()
    except PictureError as error:
        tally.drop(what, error.reason, picture.name)
        return None
    if header.orientation != 1:
        tally.change(what, "turned upright, as its EXIF orientation says", picture.name)
    if header.deep and what == "picture":
        tally.change(what, "of more than 8 bits a channel, brought to 8", picture.name)
        tally.deep.add(picture.name)
    if header.pages > 1:
        tally.change(what, "holds several: the first one is used", picture.name)
    return header


def opened_sample(path: Path, root: Path, tally: Tally) -> Sample | None:
    """The picture, sound or volume in a file, or None after counting why it cannot be used. A TIFF of several pages is
    a volume."""
    name = name_in(root, path)
    source = source_of(path, name)
    header = readable_header(source, tally)
    if header is None:
        return None
    return Sample(picture=source, size=header.size, spacing=header.spacing)


def source_of(path: Path, name: str) -> Picture | Grid:
    """A file as a picture, a sound or a volume."""
    suffix = suffix_of(path)
    if suffix in SOUNDS:
        return Grid(name=name, source=path, axes=1)
    if suffix in {".nii", ".nii.gz"}:
        return Grid(name=name, source=path, axes=3)
    picture = Picture(name=name, source=path)
    if suffix in {".tif", ".tiff"}:
        try:
            pages = picture.header().pages
        except PictureError:  # counted where the picture is used
            pages = 1
        if pages > 1:
            return Grid(name=name, source=path, axes=3)
    return picture


def stem_of(path: Path) -> str:
    """A file's name without what says its kind."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def readable_size(picture: Picture | Mask | Grid, tally: Tally) -> Size | None:
    """The picture's size as displayed, or None after counting why it cannot be used."""
    header = readable_header(picture, tally)
    return None if header is None else header.size


def picture_files(folder: Path, *, deep: bool = False, tally: Tally | None = None) -> list[Path]:
    """The picture files in `folder` (and below it when `deep`) by suffix, in order; hidden ones are skipped.

    Links to folders below it are not followed: `tally` counts them.
    """
    found = list(folder.rglob("*") if deep else folder.iterdir())
    if deep and tally is not None:
        for path in (p for p in found if p.is_symlink() and p.is_dir()):
            tally.drop("folder", "a link to a folder, which is not followed", f"{folder.name}/{name_in(folder, path)}")
    known = SUFFIXES | SOUNDS | VOLUMES
    return sorted(p for p in found if suffix_of(p) in known and not p.name.startswith((".", "__")))


def subfolders(parent: Path) -> list[Path]:
    """The folders in `parent`, in order; hidden ones, and links that lead back to where they lie, are skipped."""
    found = sorted(p for p in parent.iterdir() if not p.name.startswith((".", "__")) and p.is_dir())
    above = {parent.resolve(), *parent.resolve().parents}
    return [p for p in found if not (p.is_symlink() and p.resolve() in above)]


def inside(text: object) -> bool:
    """Whether a path written in a file is relative and stays inside its folder."""
    if not isinstance(text, str) or not text or "\0" in text:
        return False
    path = PurePosixPath(text.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]


def name_in(root: Path, path: Path) -> str:
    """How a file of the data set is called in reports: its path below `root`."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def ids_said(ids: Sequence[int], names: Sequence[str], what: str = "class ids") -> str:
    """Which id was taken for which class, in a line.

    >>> ids_said(range(3), ("WBC", "RBC", "Platelets"))
    'class ids 0 to 2 = WBC, RBC, Platelets'
    """
    whole = list(ids) == list(range(ids[0], ids[0] + len(ids))) if ids else False
    said = f"{ids[0]} to {ids[-1]}" if whole and len(ids) > 1 else ", ".join(map(str, ids[:12]))
    more = f", ... ({len(names)})" if len(names) > 12 else ""
    return f"{what} {said} = {', '.join(names[:12])}{more}"


def finish(splits: dict[str, list[Sample]], root: Path, task: Task, tally: Tally) -> dict[str, tuple[Sample, ...]]:
    """Splits without the empty ones, train before val before test. Raises: DataError when no sample is left."""
    order = {"train": 0, "val": 1, "test": 2}
    kept = {name: tuple(splits[name]) for name in sorted(splits, key=lambda n: (order.get(n, 3), n)) if splits[name]}
    axes = sorted({len(sample.size) for part in kept.values() for sample in part})
    if len(axes) > 1:
        raise DataError(f"{root}: pictures of {axes[0]} and of {axes[-1]} axes in one data set: keep one kind")
    note_shared(kept, tally)
    if tally.deep:
        kept = _under_one_white(kept, tally)
    masks = [s.mask.source for part in kept.values() for s in part if s.mask is not None]
    if masks and all(isinstance(mask, Shapes) and not mask.shapes for mask in masks):
        raise DataError(f"{root}: no object has an outline to draw a mask of: read it with --task detect")
    tally.kept = sum(len(part) for part in kept.values())
    if not kept:
        why = "; ".join(str(entry) for entry in tally.report().dropped) or "there are no picture files"
        raise DataError(f"{root}: no picture is left to {task}: {why}. Check the folder and --format")
    return kept


def _under_one_white(splits: Mapping[str, Sequence[Sample]], tally: Tally) -> dict[str, tuple[Sample, ...]]:
    """The splits with one rule for all pictures of 16-bit numbers: 12 bits stored in 16 would come almost black."""
    samples = [sample for part in splits.values() for sample in part]
    deep = [s.picture for s in samples if isinstance(s.picture, Picture) and s.name in tally.deep]
    white, largest = white_of(deep)
    if largest:
        tally.note(f"numbers of 16 bits: the largest met is {largest:,}, so {white:,} becomes 255 in all pictures")
    return {name: tuple(with_white(sample, white) for sample in part) for name, part in splits.items()}


def dataset_of(
    task: Task, name: str, classes: Sequence[str], splits: dict[str, tuple[Sample, ...]], tally: Tally
) -> Dataset:
    """What a reader found, with the channels that its signals or volumes have; pictures are given with 3.

    Raises: DataError where their channels differ.
    """
    grids = [s for part in splits.values() for s in part if isinstance(s.picture, Grid)]
    found = sorted({s.picture.header().channels for s in grids})
    if len(found) > 1:
        raise DataError(f"{name}: {found[0]} and {found[-1]} channels in one data set: keep one kind")
    channels = found[0] if found else 3
    return Dataset(
        task=task, name=name, classes=tuple(classes), splits=splits, report=tally.report(), channels=channels
    )


def note_shared(splits: Mapping[str, Sequence[Sample]], tally: Tally) -> None:
    """Count the pictures that lie, byte for byte, in two splits: a score on them says too much."""
    if len(splits) < 2:
        return
    sizes = {split: [(_length(sample.picture), sample) for sample in part] for split, part in splits.items()}
    home: dict[object, set[str]] = defaultdict(set)
    for split, entries in sizes.items():
        for length, _ in entries:
            home[length].add(split)
    seen: dict[object, str] = {}
    for split, entries in sizes.items():
        for length, sample in entries:
            if len(home[length]) > 1:  # most files have a length of their own and need not be read
                before = seen.setdefault((length, _digest(sample.picture)), split)
                if before != split:
                    tally.change("picture", f"of {split} is in {before} too: a score on it says too much", sample.name)


def _length(picture: Picture | Grid) -> object:
    source = picture.source
    if isinstance(source, Path):
        try:
            return source.stat().st_size
        except OSError:
            return -1
    return len(source) if isinstance(source, bytes) else source.shape


def _digest(picture: Picture | Grid) -> bytes:
    source = picture.source
    data = source.read_bytes() if isinstance(source, Path) else source
    return hashlib.blake2b(data if isinstance(data, bytes) else data.tobytes(), digest_size=16).digest()


def step(progress: Progress | None, done: int, total: int) -> None:
    """Report progress when somebody listens."""
    if progress:
        progress(done, total)


PICTURES = ("images", "JPEGImages", "img", "imgs", "image", "leftImg8bit", "imagesTr")


def paired_folders(root: Path, others: tuple[str, ...]) -> list[tuple[str, Path, Path]]:
    """(split, picture folder, other folder) for `images/train` + `other/train`, `train/images` + `train/other`, flat.

    An empty list when `root` is laid out otherwise.
    """
    found = []
    for parent, split in [(root, None), *((p, split_name(p.name)) for p in subfolders(root) if split_name(p.name))]:
        for pictures in (parent / name for name in PICTURES if (parent / name).is_dir()):
            for other in (parent / name for name in others if (parent / name).is_dir()):
                found += [(split, pictures, other)] if split else _inner(pictures, other)
    return found


def _inner(pictures: Path, other: Path) -> list[tuple[str, Path, Path]]:
    named = [(split_name(p.name), p) for p in subfolders(pictures)]
    inner = [(split, p, other / p.name) for split, p in named if split and (other / p.name).is_dir()]
    return inner or [("all", pictures, other)]
