"""The libraries that a search needs, asked for before anything else is done."""

from __future__ import annotations

from importlib.util import find_spec

from stridewise.errors import MissingExtraError

_STUDY = ("optuna", "sqlalchemy", "filelock", "scipy")
_TRAINING = ("torch", "lightning", "torchmetrics")


def check_libraries(*, trains: bool) -> None:
    """Raises: MissingExtraError naming the extra that brings all of them, with the first that is missing.

    trains: Stridewise does the training, and not a person's own score.
    """
    for library in (*_STUDY, *(_TRAINING if trains else ())):
        if find_spec(library) is None:
            raise MissingExtraError(library, "study", "a search")
