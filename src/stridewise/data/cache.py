"""Arrays made once and kept in the user's cache folder. The cache may vanish or be read-only at any time."""

import contextlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stridewise.errors import StridewiseError
from stridewise.files import whole

Arrays = Mapping[str, npt.NDArray[Any]]


def cache_folder() -> Path:
    """Where made data is kept: `STRIDEWISE_CACHE`, else `XDG_CACHE_HOME/stridewise`, else `~/.cache/stridewise`."""
    if named := os.environ.get("STRIDEWISE_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "stridewise"


def cached(name: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays kept under `name`, made and kept when they are not there or broken.

    The file is written beside its place and renamed, so a reader never meets half of it.
    """
    path = cache_folder() / f"{name}.npz"
    broken = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)
    # np.load is given an open file: of a broken one that it opened itself it would not let go
    with contextlib.suppress(*broken), path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
        return {key: kept[key] for key in kept.files}
    made = make()
    with contextlib.suppress(OSError, StridewiseError):  # no cache, no harm: it is made again next time
        _keep(path, made)
    return made


def _keep(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as place, place.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
