"""Kernels with a name, and kernels as a person writes them: `gaussian:5`, `"1 0 -1; 2 0 -2"`, a text file, an array.

Rows go down the picture, columns to the right. Every kernel is a cross-correlation: sobel-x is positive where the
picture gets brighter to the right.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stridewise.errors import LoadError, UsageError
from stridewise.files import is_file

Kernel = NDArray[np.float64]

_LARGEST = 255  # taps a side of a named kernel
_LARGEST_FILE = 1 << 20  # bytes
_NUMBERS_ONLY = re.compile(r"[-+0-9.eE/,;\s]*[0-9][-+0-9.eE/,;\s]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A kernel's recipe: `make(size)` or, where it has an angle in degrees, `make(size, angle)`."""

    make: Callable[..., Kernel]
    about: str
    size: int
    resizable: bool = True
    turns: bool = False


def identity(size: int) -> Kernel:
    """A one in the middle: what a stride alone keeps of a picture."""
    if size % 2 == 0:
        raise UsageError(f"kernel identity:{size}: an even size has no middle: take {size - 1} or {size + 1}")
    kernel = np.zeros((size, size))
    kernel[size // 2, size // 2] = 1.0
    return kernel


def box(size: int) -> Kernel:
    """The mean of the window. Sums to 1."""
    return np.full((size, size), 1.0 / size**2)


def gaussian(size: int) -> Kernel:
    """A bell, sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8. Sums to 1. Source: OpenCV getGaussianKernel."""
    bell: Kernel = np.exp(-0.5 * (_centred(size) / (0.3 * ((size - 1) / 2 - 1) + 0.8)) ** 2)
    bell /= bell.sum()
    return np.outer(bell, bell)


def gabor(size: int, angle: float = 0.0) -> Kernel:
    """A wave under a bell; the wave runs along `angle` degrees, from rightwards (0) to upwards (90).

    wavelength = size / 2.5, sigma = 0.56 * wavelength (one octave). Sums to 0, so an even grey gives 0; the magnitudes
    sum to 1.
    Source: Daugman 1985, eq. 1, the even part with a round envelope.
    """
    if size < 3:
        raise UsageError(f"kernel gabor:{size}: a wave needs a size of at least 3")
    rows, columns = np.meshgrid(-_centred(size), _centred(size), indexing="ij")
    along = columns * np.cos(np.radians(angle)) + rows * np.sin(np.radians(angle))
    wavelength = size / 2.5
    bell = np.exp(-0.5 * (rows**2 + columns**2) / (0.56 * wavelength) ** 2)
    wave = np.cos(2 * np.pi * along / wavelength)
    kernel: Kernel = bell * (wave - (bell * wave).sum() / bell.sum())
    kernel /= np.abs(kernel).sum()
    return kernel


def _centred(size: int) -> Kernel:
    return np.arange(size, dtype=np.float64) - (size - 1) / 2


def _fixed(*rows: tuple[float, ...]) -> Callable[..., Kernel]:
    return lambda _size: np.array(rows, dtype=np.float64)


NAMED = {
    "identity": Named(make=identity, about="one tap: what the stride alone keeps", size=1),
    "box": Named(make=box, about="the mean of the window", size=3),
    "gaussian": Named(make=gaussian, about="a smooth mean", size=5),
    "sobel-x": Named(
        make=_fixed((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), about="brighter to the right", size=3, resizable=False
    ),
    "sobel-y": Named(
        make=_fixed((-1, -2, -1), (0, 0, 0), (1, 2, 1)), about="brighter downwards", size=3, resizable=False
    ),
    "laplacian": Named(
        make=_fixed((0, 1, 0), (1, -4, 1), (0, 1, 0)), about="darker than its neighbours", size=3, resizable=False
    ),
    "sharpen": Named(
        make=_fixed((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
        about="the picture minus its Laplacian",
        size=3,
        resizable=False,
    ),
    "gabor": Named(make=gabor, about="stripes across an angle in degrees", size=9, turns=True),
}


def kernel_names() -> list[str]:
    """Every named kernel as it may be written."""
    return [
        name + ("[:SIZE]" if entry.resizable else "") + ("[:ANGLE]" if entry.turns else "")
        for name, entry in NAMED.items()
    ]


def read_kernel(source: str | Path | ArrayLike) -> tuple[str, Kernel]:
    """(name, weights) of a named kernel, rows written out ("1 0 -1; 2 0 -2"), a text file of rows, or an array.

    Shapes: (rows, columns); an array may also be (C, rows, columns) or (O, C, rows, columns), a network's own filters.
    Fractions may be written "1/9". In a file each line is a row and # starts a comment.
    Raises: UsageError for an unknown name or a kernel that is no rectangle of finite numbers; LoadError for a file.

    >>> read_kernel("1 0 -1; 2 0 -2; 1 0 -1")[1].shape
    (3, 3)
    """
    if isinstance(source, Path):
        return source.name, _checked(_rows(_text(source), str(source)), str(source))
    if not isinstance(source, str):
        return "own kernel", _checked(source, "kernel")
    if _NUMBERS_ONLY.fullmatch(source) or ";" in source:
        return "own kernel", _checked(_rows(source, "kernel"), "kernel")
    if source.partition(":")[0] in NAMED:
        return source, _named(source)
    if is_file(source):
        return read_kernel(Path(source))
    raise UsageError(
        f"kernel '{source[:60]}' is unknown and no file has that name: take one of {', '.join(kernel_names())}, or"
        ' write its rows: "1 0 -1; 2 0 -2; 1 0 -1"'
    )


def _named(source: str) -> Kernel:
    name, *settings = source.split(":")
    entry = NAMED[name]
    allowed = entry.resizable + entry.turns
    if len(settings) > allowed:
        form = next(form for form in kernel_names() if form.partition("[")[0] == name)
        raise UsageError(f"kernel '{source}': it is written {form}")
    size = _size(source, settings[0]) if settings else entry.size
    return entry.make(size, *(_angle(source, text) for text in settings[1:]))


def _size(source: str, text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _LARGEST:
        raise UsageError(f"kernel '{source}': size '{text}': a whole number from 1 to {_LARGEST} is needed")
    return int(text)


def _angle(source: str, text: str) -> float:
    try:
        angle = float(text)
    except ValueError:
        angle = math.nan
    if not math.isfinite(angle):
        raise UsageError(f"kernel '{source}': angle '{text}': a number of degrees is needed")
    return angle


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise LoadError(f"{path}: larger than {_LARGEST_FILE} bytes: a kernel is a few rows of numbers")
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise LoadError(f"{path}: {reason}: a kernel file holds rows of numbers") from error
    return "\n".join(line.partition("#")[0] for line in text.splitlines())


def _rows(text: str, where: str) -> list[list[float]]:
    lines = [line.replace(",", " ").split() for line in re.split(r"[;\n]", text)]
    rows = [[_number(word, where, at) for word in line] for at, line in enumerate(filter(None, lines), 1)]
    lengths = [len(row) for row in rows]
    if not rows or len(set(lengths)) > 1:
        raise UsageError(f"{where}: rows of one length are needed, like '1 0 -1; 2 0 -2', not of {lengths} numbers")
    return rows


def _number(word: str, where: str, row: int) -> float:
    try:
        return float(Fraction(word)) if "/" in word else float(word)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise UsageError(f"{where}: '{word}' in row {row} is no number") from error


def _checked(source: ArrayLike, where: str) -> Kernel:
    try:
        kernel = np.array(source, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: not an array of real numbers: {error}") from error
    if kernel.ndim not in (2, 3, 4) or kernel.size == 0:
        raise UsageError(f"{where} {kernel.shape}: needed is (rows, columns), or (out, in, rows, columns) for filters")
    bad = np.argwhere(~np.isfinite(kernel))
    if len(bad):
        at = tuple(int(i) for i in bad[0])
        raise UsageError(f"{where}: {len(bad)} of {kernel.size} values are not finite, the first at {at}: {kernel[at]}")
    return kernel
