"""What a search asks for before anything else: its libraries, and the study that a run folder holds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from stridewise.errors import MissingExtraError, StudyError, UsageError
from stridewise.study.store import DATABASE, Store
from stridewise.study.value import Study

_STUDY = ("optuna", "sqlalchemy", "filelock", "scipy")
_TRAINING = ("torch", "lightning", "torchmetrics")
_LIVE = "<"  # what stands for an object that only Python had


def check_libraries(*, trains: bool) -> None:
    """Raises: MissingExtraError naming the extra that brings all of them, with the first that is missing.

    trains: Stridewise does the training, and not a person's own score.
    """
    for library in (*_STUDY, *(_TRAINING if trains else ())):
        if find_spec(library) is None:
            raise MissingExtraError(library, "study", "a search")


def stored_study(folder: str | Path, storage: str | None = None) -> Study:
    """The study that a run folder was begun with. Raises: StudyError."""
    if storage is None and not (Path(folder) / DATABASE).is_file():
        raise StudyError(f"{folder}: no study to resume ({DATABASE} is not there): give the folder of an earlier --run")
    check_libraries(trains=False)
    store = Store.open(Path(folder), storage)
    try:
        found = store.settings()
    finally:
        store.close()
    names = [str(found[name]) for name in ("model", "data", "score") if found.get(name)] if found else []
    if found is None or any(name.startswith(_LIVE) for name in names):
        raise StudyError(
            f"{folder}: its study was begun from Python, or never begun: call search() on it again with the same score"
        )
    found.pop("contents", None)
    try:
        return Study.from_json(found)
    except UsageError as error:
        raise StudyError(f"{folder}: {error}: it was begun with another version of Stridewise") from error
