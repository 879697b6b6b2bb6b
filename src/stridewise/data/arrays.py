"""Whole arrays of pictures as a data set: `.npz` files and the helper that MNIST and CIFAR files share.

An `.npz` holds `x`/`y`, Keras's `x_train`/`y_train`/..., `train_images`/`train_labels`/..., or JPEG files end to end as
`train_jpeg`/`train_offsets`/`train_labels`; `class_names` where it likes. Labels of shape (N, height, width) are masks.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stridewise.data.cleaning import dataset_of, finish, ids_said, readable_size, step
from stridewise.data.grids import Grid
from stridewise.data.mask import IGNORE, Mask
from stridewise.data.picture import Bytes, Picture
from stridewise.data.records import Dataset, Progress, Sample, Task
from stridewise.data.report import Tally
from stridewise.errors import DataError

_BYTES_LIMIT = 16 << 30
_CLASSES_LIMIT = 65_536
_CHANNELS = 16
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Signals, volumes, or pictures of other than 1 or 3 channels: (N, *sizes, channels), as many sizes as `axes`."""

    values: npt.NDArray[Any]
    axes: int

    def __len__(self) -> int:
        return len(self.values)


Pixels = list[bytes] | Bytes | Stack


def looks_like(root: Path) -> bool:
    """Whether `root` is an `.npz` file."""
    return root.is_file() and root.suffix.lower() == ".npz"


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The data set in the `.npz` file at `root`.

    Raises: DataError when it is broken, holds Python objects, or has no pictures with labels under a known name.
    """
    loaded = _load(root)
    tally = Tally()
    parts: dict[str, tuple[Pixels, npt.NDArray[Any]]] = {}
    for split in (*_SPLITS, "all"):
        labels = _first(loaded, (f"{split}_labels", f"y_{split}") if split != "all" else ("y", "labels"))
        pictures = None if labels is None else _pictures(loaded, split, root, labels.shape)
        if pictures is not None and labels is not None:
            parts[split] = (pictures, labels)
    if not parts:
        raise DataError(
            f"{root}: no x and y arrays under a known name among {', '.join(sorted(loaded)[:8])}: call them x and y"
        )
    return dataset_of_arrays(root, parts, _names(loaded), tally, progress)


def dataset_of_arrays(
    root: Path,
    parts: Mapping[str, tuple[Pixels, npt.NDArray[Any]]],
    names: tuple[str, ...] | None,
    tally: Tally,
    progress: Progress | None = None,
) -> Dataset:
    """A data set from pictures and labels by split; pictures (N, height, width[, 1 or 3]) uint8, encoded files, or the
    `Values` of signals and volumes, (N, *sizes, channels).

    Raises: DataError when counts differ, labels are no whole numbers, or no picture is left.
    """
    for split, (pictures, labels) in parts.items():
        if len(pictures) != len(labels):
            raise DataError(
                f"{root}: {split} has {len(pictures)} pictures and {len(labels)} labels: give one label a picture"
            )
        if labels.dtype.kind not in "iub":
            raise DataError(f"{root}: {split} labels are {labels.dtype}, not whole numbers: give class indices")
        if labels.ndim == 2 and labels.shape[1] != 1 and not _marks(pictures, labels):
            raise DataError(f"{root}: {split} has {labels.shape[1]} labels a picture: one class each is read")
    masks = all(_marks(pictures, labels) for pictures, labels in parts.values())
    names = names or _numbered(root, [labels for _, labels in parts.values()], masks=masks)
    tally.found = total = sum(len(labels) for _, labels in parts.values())
    splits: dict[str, list[Sample]] = {}
    done = 0
    for split, (pictures, labels) in parts.items():
        for number in range(len(labels)):
            source = _source(f"{split}/{number}", pictures, number)
            sample = _sample(source, labels[number], len(names), tally, mask=masks)
            if sample:
                splits.setdefault(split, []).append(sample)
            done += 1
            step(progress, done, total)
    task: Task = "segment" if masks else "classify"
    kept = finish(splits, root, task, tally)
    if names:
        tally.note(ids_said(range(len(names)), names))
    return dataset_of(task, root.stem, names, kept, tally)


def _source(name: str, pictures: Pixels, number: int) -> Picture | Grid:
    if isinstance(pictures, Stack):
        return Grid(name=name, source=pictures.values[number], axes=pictures.axes)
    return Picture(name=name, source=pictures[number])


def _sample(picture: Picture | Grid, label: Any, classes: int, tally: Tally, *, mask: bool) -> Sample | None:
    size = readable_size(picture, tally)
    if size is None:
        return None
    if mask:
        if label.shape != size or ((label != IGNORE) & ((label < 0) | (label >= classes))).any():
            tally.drop("mask", "another size than its picture, or ids of no class", picture.name)
            return None
        return Sample(picture=picture, size=size, mask=Mask(name=picture.name, source=label.astype(np.uint8)))
    index = int(label.reshape(-1)[0])
    if not 0 <= index < classes:
        tally.drop("picture", "a label of no class", picture.name)
        return None
    return Sample(picture=picture, size=size, label=index)


def _load(root: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(root) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _BYTES_LIMIT:
            raise DataError(f"{root}: {size:,} bytes when unpacked, the limit is {_BYTES_LIMIT:,}: split it")
        with root.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except DataError:
        raise
    except Exception as error:  # a broken archive raises BadZipFile, zlib.error, ValueError, EOFError, MemoryError, ...
        reason = "it holds Python objects" if "pickle" in str(error) else str(error)[:80] or type(error).__name__
        raise DataError(f"{root}: no .npz of plain arrays: {reason}. Save it again with numpy.savez") from error


def _pictures(loaded: Mapping[str, npt.NDArray[Any]], split: str, root: Path, labels: tuple[int, ...]) -> Pixels | None:
    if f"{split}_jpeg" in loaded and f"{split}_offsets" in loaded:
        return _encoded(loaded[f"{split}_jpeg"], loaded[f"{split}_offsets"], root)
    keys = (f"{split}_images", f"x_{split}") if split != "all" else ("x", "images")
    found = _first(loaded, keys)
    return None if found is None else _stacked(found, labels) or _eight_bit(found, root)


def _marks(pictures: Pixels, labels: npt.NDArray[Any]) -> bool:
    """Whether labels (N, *sizes) say a class of every position."""
    if isinstance(pictures, Stack) and pictures.axes == 1:
        return labels.ndim == 2 and labels.shape[1] > 1 and labels.shape == pictures.values.shape[:2]
    return labels.ndim > 2


def _stacked(pixels: npt.NDArray[Any], labels: tuple[int, ...]) -> Stack | None:
    """Arrays that are no pictures: (N, length), (N, *sizes of a volume[, channels]), or of other than 1 or 3 channels.

    The masks' axes decide where there are masks. Else an axis at the end or in front counts as channels where it has up
    to 4 entries, or up to 16 and fewer than half of what the others have.
    """
    if pixels.dtype.kind not in "fiub" or 0 in pixels.shape or not 2 <= pixels.ndim <= 5:
        return None
    last, first = pixels.shape[-1], pixels.shape[1]
    if len(labels) > 2 or (len(labels) == 2 and labels[1] > 1 and labels == pixels.shape[:2]):  # masks
        axes = len(labels) - 1
        channelled = pixels.ndim == axes + 2
    else:
        few, others = min(last, first), sorted(pixels.shape[1:])[1:]
        channelled = pixels.ndim >= 4 and (few <= 4 or (few <= _CHANNELS and 2 * few < min(others)))
        axes = pixels.ndim - 1 - channelled
    if axes == 2 and (not channelled or {last, first} & {1, 3}):
        return None
    if not channelled:
        return Stack(values=pixels[..., None], axes=axes) if pixels.ndim == axes + 1 else None
    return Stack(values=pixels if last <= first or axes == 1 else np.moveaxis(pixels, 1, -1), axes=axes)


def _encoded(joined: npt.NDArray[Any], offsets: npt.NDArray[Any], root: Path) -> list[bytes]:
    whole = offsets.ndim == 1 and offsets.dtype.kind in "iu" and joined.dtype == np.uint8 and joined.ndim == 1
    if not whole or (np.diff(offsets.astype(np.int64)) < 0).any() or (len(offsets) and offsets[0] < 0):
        raise DataError(
            f"{root}: offsets do not cut the file bytes: expected rising whole numbers, one more than pictures"
        )
    data = joined.tobytes()
    return [data[begin:end] for begin, end in zip(offsets.tolist(), offsets.tolist()[1:], strict=False)]


def _eight_bit(pixels: npt.NDArray[Any], root: Path) -> Bytes:
    if pixels.ndim == 4 and pixels.shape[3] not in (1, 3) and pixels.shape[1] in (1, 3):
        pixels = np.moveaxis(pixels, 1, 3)
    shaped = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] in (1, 3))
    if not shaped or 0 in pixels.shape:
        raise DataError(
            f"{root}: pictures of shape {pixels.shape}: expected (N, height, width) with 1 or 3 channels at the end"
        )
    if pixels.dtype == np.uint8:
        return pixels
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.dtype.kind in "fiu" else (-1.0, -1.0)
    scale = 255.0 if pixels.dtype.kind == "f" and high <= 1.0 else 1.0
    if not (low >= 0.0 and high * scale <= 255.0):
        raise DataError(
            f"{root}: pixels are {pixels.dtype} from {low:g} to {high:g}: save them as uint8, or floats in 0..1"
        )
    return np.round(pixels * scale).astype(np.uint8)


def _names(loaded: Mapping[str, npt.NDArray[Any]]) -> tuple[str, ...] | None:
    found = loaded.get("class_names")
    return tuple(str(name) for name in found.reshape(-1)) or None if found is not None else None


def _numbered(root: Path, labels: list[npt.NDArray[Any]], *, masks: bool) -> tuple[str, ...]:
    counted = [part[part != IGNORE] if masks else part for part in labels]
    top = max((int(part.max()) for part in counted if part.size), default=-1)
    limit = IGNORE if masks else _CLASSES_LIMIT
    if not 0 <= top < limit:
        raise DataError(f"{root}: labels go up to {top}, of 0 to {limit - 1} possible: give class indices from 0")
    return tuple(str(number) for number in range(top + 1))


def _first(loaded: Mapping[str, npt.NDArray[Any]], keys: tuple[str, ...]) -> npt.NDArray[Any] | None:
    return next((loaded[key] for key in keys if key in loaded), None)
