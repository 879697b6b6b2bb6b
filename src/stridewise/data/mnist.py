"""MNIST's idx files as published (also Fashion-MNIST, KMNIST): `train-images-idx3-ubyte[.gz]` and its like.

Source: the format as the MNIST page describes it: two zero bytes, a type, the number of axes, lengths, the data.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stridewise.data.arrays import dataset_of_arrays
from stridewise.data.records import Dataset, Progress
from stridewise.data.report import Tally
from stridewise.errors import DataError

_STEMS = {"train": "train", "t10k": "test", "test": "test"}
_BYTES_LIMIT = 4 << 30


def looks_like(root: Path) -> bool:
    """Whether there are idx files."""
    return bool(_files(root))


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The data set of idx files at `root`, splits `train` and `test`.

    Raises: DataError when a file is missing, cut short, or no idx of unsigned bytes.
    """
    files = _files(root)
    parts = {}
    for stem, split in _STEMS.items():
        images, labels = files.get(f"{stem}-images"), files.get(f"{stem}-labels")
        if images and labels:
            parts[split] = (read_idx(images, 3), read_idx(labels, 1))
    if not parts:
        raise DataError(
            f"{root}: no idx pictures with labels: expected train-images-idx3-ubyte and train-labels-idx1-ubyte"
        )
    return dataset_of_arrays(root, parts, None, Tally(), progress)


def read_idx(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes with this many axes. Raises: DataError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, *shape = struct.unpack(f">{1 + axes}I", file.read(4 + 4 * axes))
            if magic != 0x800 + axes:
                raise DataError(
                    f"{path}: starts with {magic:#010x}, not {0x800 + axes:#010x}: no idx file of {axes} axes"
                )
            count = int(np.prod([int(n) for n in shape], dtype=object))
            if count > _BYTES_LIMIT:
                raise DataError(
                    f"{path}: announces {count:,} bytes, the limit is {_BYTES_LIMIT:,}: the header is broken"
                )
            data = file.read(count)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{path}: cut short or no gzip file: {str(error)[:60]}. Fetch it again") from error
    if len(data) < count:
        raise DataError(f"{path}: {len(data):,} of {count:,} bytes are there: the file is cut short, fetch it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _files(root: Path) -> dict[str, Path]:
    # "train-images-idx3-ubyte", "train-images.idx3-ubyte", with or without ".gz"; the plain file first
    found = {}
    for path in sorted(root.glob("*idx[13]-ubyte*"), reverse=True):
        found[path.name.split("idx")[0].rstrip("-.")] = path
    return found
