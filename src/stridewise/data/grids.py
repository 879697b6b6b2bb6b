"""Signals, volumes and pictures of any number of channels: values on one, two or three axes, decoded when asked for.

NIfTI and MetaImage-like stacks come through nibabel and tifffile (extra `volumes`), sounds through soundfile (extra
`audio`). Values stay as they are, as float32: a deviation of the whole set scales them, not the type they came in.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stridewise.data.picture import Header, PictureError, Size
from stridewise.errors import MissingExtraError

Floats32 = npt.NDArray[np.float32]

VALUES_LIMIT = 256_000_000
"""A volume or sound with more values than this is refused before it is decoded."""

SOUNDS = frozenset({".wav", ".flac", ".ogg"})
VOLUMES = frozenset({".nii", ".nii.gz", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Values by a file, or as an array (*sizes, channels); `axes` of them are not channels."""

    name: str
    source: Path | npt.NDArray[Any]
    axes: int

    def header(self) -> Header:
        """Sizes and spacing from the header alone. Raises: PictureError."""
        if isinstance(self.source, np.ndarray):
            return Header(size=self.source.shape[: self.axes], channels=self.source.shape[-1])
        found: Header = _guarded(self.name, lambda path: _reader(path).header(path), self.source)
        return found

    def size(self) -> Size:
        """Positions on each axis. Raises: PictureError."""
        return self.header().size

    def load(self, size: Size | None = None) -> Floats32:
        """The values, (*sizes, channels) float32, brought to `size` when given (linear, averaged where it shrinks).

        Raises: PictureError when they cannot be decoded, or are no finite numbers.
        """
        source = self.source
        values = source if isinstance(source, np.ndarray) else _guarded(self.name, _load, source)
        values = np.asarray(values, np.float32)
        if not np.isfinite(values).all():
            raise PictureError(self.name, "values that are no finite numbers")
        found: Floats32 = values if size is None else resized(values, size)
        return found


def resized(values: npt.NDArray[Any], size: Sequence[int]) -> Floats32:
    """Values (*sizes, channels) brought to other sizes axis by axis, with Pillow's triangle filter.

    >>> resized(np.array([[0.0], [1.0], [2.0], [3.0]]), (2,)).ravel().round(3).tolist()
    [0.571, 2.429]
    """
    found = np.asarray(values, np.float32)
    for axis, wanted in enumerate(size):
        if found.shape[axis] != wanted:
            weights = _triangle(found.shape[axis], wanted)
            found = np.moveaxis(np.tensordot(weights, found, axes=(1, axis)), 0, axis)
    return found


def _triangle(have: int, wanted: int) -> Floats32:
    """Weights (wanted, have). Source: Pillow, Resample.c: support scaled by the reduction, sums to one."""
    ratio = have / wanted
    reach = max(ratio, 1.0)
    middles = (np.arange(wanted) + 0.5) * ratio
    weights = np.clip(1 - np.abs(np.arange(have) + 0.5 - middles[:, None]) / reach, 0, None)
    shares: Floats32 = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def nearest(indices: npt.NDArray[Any], size: Sequence[int]) -> npt.NDArray[Any]:
    """Class indices (*sizes) brought to other sizes: each position takes what its middle lies in."""
    for axis, wanted in enumerate(size):
        have = indices.shape[axis]
        indices = indices.take(((np.arange(wanted) + 0.5) * have / wanted).astype(int), axis)
    return indices


def suffix_of(path: Path) -> str:
    """`.nii.gz` for what ends so, else the last suffix, in small letters."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    header: Callable[[Path], Header]
    load: Callable[[Path], npt.NDArray[Any]]


def _load(path: Path) -> npt.NDArray[Any]:
    return _reader(path).load(path)


def _guarded(name: str, work: Callable[[Path], Any], path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = work(path)
    except (PictureError, MissingExtraError):
        raise
    except FileNotFoundError as error:
        raise PictureError(name, "the file is missing") from error
    except Exception as error:  # decoders of broken files raise nearly anything
        raise PictureError(name, "truncated or broken") from error
    sizes = found.size if isinstance(found, Header) else found.shape
    if 0 in sizes or np.prod(sizes, dtype=np.float64) > VALUES_LIMIT:
        raise PictureError(name, f"empty, or over the limit of {VALUES_LIMIT:,} values")
    return found


def _reader(path: Path) -> _Reader:
    suffix = suffix_of(path)
    return _SOUND if suffix in SOUNDS else _STACK if suffix in {".tif", ".tiff"} else _NIFTI


def _library(name: str, extra: str, purpose: str) -> Any:
    try:
        return __import__(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(name, extra, purpose) from error


def _nifti(path: Path) -> Any:
    return _library("nibabel", "volumes", "reading NIfTI volumes").load(path)


def _nifti_header(path: Path) -> Header:
    image = _nifti(path)
    sizes, channels = _parted(image.shape)
    return Header(size=sizes, channels=channels, spacing=tuple(map(float, image.header.get_zooms()[:3])))


def _nifti_load(path: Path) -> npt.NDArray[Any]:
    image = _nifti(path)
    if np.prod(image.shape, dtype=np.float64) > VALUES_LIMIT:
        raise PictureError(path.name, f"over the limit of {VALUES_LIMIT:,} values")
    sizes, channels = _parted(image.shape)
    return np.asarray(image.dataobj, np.float32).reshape(*sizes, channels)


def _parted(shape: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Three sizes and the channels of a volume of three or four axes."""
    if not 3 <= len(shape) <= 5 or (len(shape) == 5 and shape[3] != 1):
        raise PictureError("", f"{len(shape)} axes, of 3 and channels expected")
    return tuple(shape[:3]), int(np.prod(shape[3:]))


def _stack(path: Path) -> Any:
    return _library("tifffile", "volumes", "reading TIFF stacks").TiffFile(path)


def _stack_header(path: Path) -> Header:
    with _stack(path) as file:
        shape, axes = file.series[0].shape, file.series[0].axes
    channels = shape[-1] if axes.endswith(("S", "C")) else 1
    sizes = tuple(shape[:-1] if axes.endswith(("S", "C")) else shape)
    if len(sizes) != 3:
        raise PictureError(path.name, f"{len(sizes)} axes, of 3 expected")
    return Header(size=sizes, channels=channels)


def _stack_load(path: Path) -> npt.NDArray[Any]:
    header = _stack_header(path)
    if np.prod(header.size, dtype=np.float64) * header.channels > VALUES_LIMIT:
        raise PictureError(path.name, f"over the limit of {VALUES_LIMIT:,} values")
    with _stack(path) as file:
        found: npt.NDArray[Any] = file.asarray().reshape(*header.size, header.channels)
    return found


def _sound_header(path: Path) -> Header:
    info = _library("soundfile", "audio", "reading sounds").info(str(path))
    return Header(size=(info.frames,), channels=info.channels, spacing=(1 / info.samplerate,))


def _sound_load(path: Path) -> npt.NDArray[Any]:
    values, _ = _library("soundfile", "audio", "reading sounds").read(str(path), dtype="float32", always_2d=True)
    return np.asarray(values)


_NIFTI = _Reader(header=_nifti_header, load=_nifti_load)
_STACK = _Reader(header=_stack_header, load=_stack_load)
_SOUND = _Reader(header=_sound_header, load=_sound_load)
