"""CIFAR-10 and CIFAR-100 files as published: Python batches (read without running them) and binary batches.

Source: the formats described on the CIFAR page: 3,072 bytes a picture, channel after channel, row after row; binary
records have the label (CIFAR-100: coarse, then fine) in front.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stridewise.data.arrays import dataset_of_arrays
from stridewise.data.records import Dataset, Progress
from stridewise.data.report import Tally
from stridewise.errors import DataError

_FOLDERS = ("", "cifar-10-batches-py", "cifar-10-batches-bin", "cifar-100-python", "cifar-100-binary")
_BYTES_LIMIT = 1 << 30
_PICTURE = 3 * 32 * 32

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def looks_like(root: Path) -> bool:
    """Whether there are CIFAR batches in `root` or in the folder its archive unpacks to."""
    return _home(root) is not None


def read(root: Path, progress: Progress | None = None) -> Dataset:
    """The CIFAR data set at `root`, splits `train` and `test`; CIFAR-100 with its 100 fine classes.

    Raises: DataError when a batch is missing, broken, or holds anything but numbers, text and arrays of them.
    """
    home = _home(root)
    if home is None:
        raise DataError(f"{root}: no CIFAR batches: expected data_batch_1 and test_batch, or train and test with meta")
    parts = {}
    for split, files in _batches(home).items():
        batches = [_read_binary(path) if path.suffix == ".bin" else _read_python(path) for path in files]
        if batches:
            parts[split] = tuple(np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    pairs = {split: (arrays[0], arrays[1]) for split, arrays in parts.items()}
    return dataset_of_arrays(home, pairs, _class_names(home), Tally(), progress)


def _home(root: Path) -> Path | None:
    return next((root / name for name in _FOLDERS if any(_batches(root / name).values())), None)


def _batches(home: Path) -> dict[str, list[Path]]:
    for suffix in ("", ".bin"):
        train = [path for n in range(1, 6) if (path := home / f"data_batch_{n}{suffix}").is_file()]
        test = [path for path in [home / f"test_batch{suffix}"] if path.is_file()]
        if train or test:
            return {"train": train, "test": test}
        if (home / ("fine_label_names.txt" if suffix else "meta")).is_file():
            return {
                split: [path for path in [home / f"{split}{suffix}"] if path.is_file()] for split in ("train", "test")
            }
    return {}


def _read_binary(path: Path) -> Batch:
    data = np.frombuffer(_bytes(path), np.uint8)
    lead = 2 if (path.parent / "fine_label_names.txt").is_file() else 1
    if len(data) == 0 or len(data) % (lead + _PICTURE):
        raise DataError(
            f"{path}: {len(data):,} bytes are no whole number of {lead + _PICTURE}-byte records: fetch it again"
        )
    records = data.reshape(-1, lead + _PICTURE)
    return _pixels(records[:, lead:]), records[:, lead - 1].astype(np.int64)


def _read_python(path: Path) -> Batch:
    content = _text_keys(_unpickle(path))
    pixels, labels = content.get("data"), content.get("fine_labels", content.get("labels"))
    rows = (
        isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 2 and pixels.shape[1] == _PICTURE
    )
    if not rows or not isinstance(labels, list) or not all(isinstance(n, int) and -1 < n < 256 for n in labels):
        raise DataError(f"{path}: no CIFAR batch, which has 'data' (N, {_PICTURE}) and 'labels': fetch it again")
    assert isinstance(pixels, np.ndarray)
    return _pixels(pixels), np.array(labels, np.int64)


def _pixels(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _class_names(home: Path) -> tuple[str, ...] | None:
    for name in ("fine_label_names.txt", "batches.meta.txt"):
        if (home / name).is_file():
            text = _bytes(home / name).decode("utf-8", "replace")
            return tuple(line.strip() for line in text.splitlines() if line.strip()) or None
    for name in ("batches.meta", "meta"):
        if (home / name).is_file():
            content = _text_keys(_unpickle(home / name))
            names = content.get("fine_label_names", content.get("label_names"))
            return tuple(_text(name) for name in names) or None if isinstance(names, list) else None
    return None


def _text_keys(content: object) -> dict[str, Any]:
    return {_text(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > _BYTES_LIMIT:
        raise DataError(f"{path}: over {_BYTES_LIMIT:,} bytes: no CIFAR file is that large")
    return path.read_bytes()


def _unpickle(path: Path) -> object:
    try:
        return _Reader(io.BytesIO(_bytes(path)), encoding="bytes").load()
    except Exception as error:  # a broken pickle raises nearly anything
        raise DataError(f"{path}: no CIFAR batch that can be read safely: {str(error)[:80]}. Fetch it again") from error


# The Python implementation: the C one can be made to allocate tens of gigabytes by a few bytes of input.
class _Reader(pickle._Unpickler):
    """Reads a pickle of plain values and uint8 arrays. It resolves four names, none to the code it stands for."""

    def find_class(self, module: str, name: str) -> Any:
        wanted = (module.replace("numpy._core", "numpy.core"), name)
        if wanted == ("numpy.core.multiarray", "_reconstruct"):
            return _Maker(_Array)
        if wanted == ("numpy", "dtype"):
            return _Maker(_Dtype)
        if wanted == ("numpy", "ndarray"):
            return _Maker(_Array)
        if wanted == ("_codecs", "encode"):
            return _Maker(_latin_bytes)
        raise pickle.UnpicklingError(f"it wants {module[:30]}.{name[:30]}, which is not admitted")

    def load(self) -> Any:
        """The content, with every array stand-in replaced by its array."""
        return _resolved(super().load())


class _Maker:
    """Stands for a callable of the pickle: holds no state that the pickle could change."""

    __slots__ = ("_make",)

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it sets the state of a function")


class _Dtype:
    __slots__ = ("code",)

    def __init__(self, code: object, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and padding: of no meaning for single bytes."""


class _Array:
    __slots__ = ("value",)

    def __init__(self, *_: object) -> None:
        self.value: npt.NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or dtype.code not in (b"u1", "u1") or not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("it holds an array of something else than bytes")
        self.value = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


def _latin_bytes(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("it encodes something else than latin1 text")
    return text.encode("latin1")


def _resolved(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _resolved(inner) for key, inner in value.items() if isinstance(key, str | bytes)}
    return value
