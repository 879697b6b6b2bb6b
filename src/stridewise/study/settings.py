"""The arguments of a search: as its folder keeps them, and read from there again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stridewise.data import Dataset
from stridewise.errors import StudyError
from stridewise.study.own import NamedScore
from stridewise.study.store import DATABASE, Store

LIMITS = (
    *("max_macs", "max_activations", "max_peak_bytes", "max_latency", "output_stride", "pyramid", "min_field"),
    "smallest_map",
)


def stored_call(folder: str | Path, storage: str | None = None) -> dict[str, Any]:
    """The arguments of `search` that the study in a run folder was begun with. Raises: StudyError."""
    if storage is None and not (Path(folder) / DATABASE).is_file():
        raise StudyError(f"{folder}: no study to resume ({DATABASE} is not there): give the folder of an earlier --run")
    store = Store.open(Path(folder), storage)
    try:
        settings = store.settings()
    finally:
        store.close()
    if settings is None or (settings["task"] == "score" and not settings["data"].startswith("py:")):
        raise StudyError(
            f"{folder}: its study was begun from Python, or never begun: call search() on it again with the same score"
        )
    recipe, size = settings.pop("recipe"), settings.pop("size")
    del settings["shortlist"]
    settings.pop("contents", None)
    if settings["task"] == "score":
        del settings["task"]
        settings["score"] = settings.pop("data")
    else:
        del settings["input"]
    return {**settings, **recipe, "size": tuple(size) if size else None, "run": folder, "storage": storage}


def name_of(thing: Any) -> str:
    """A data set, a file or a score in a word, to tell studies apart by."""
    if isinstance(thing, Dataset):
        return thing.name
    if isinstance(thing, str | Path):
        return str(thing)
    if isinstance(thing, NamedScore):
        return thing.name
    return str(getattr(thing, "__qualname__", type(thing).__name__))
