"""The run folder: plan.toml, result.json, front.png and report.html, each written beside its place and renamed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from stridewise.errors import StudyError
from stridewise.plans import write_text
from stridewise.study.result import SearchResult

PLAN, RESULT, PICTURE, PAGE = "plan.toml", "result.json", "front.png", "report.html"


def write_files(result: SearchResult, folder: Path) -> None:
    """Write what a person opens. Raises: StudyError where a file cannot be written."""
    from stridewise.study.plot import picture

    write_text(folder / PLAN, result.plan.to_toml(), StudyError)
    write_text(folder / RESULT, json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n", StudyError)
    _write_bytes(folder / PICTURE, picture(result))
    write_text(folder / PAGE, result.to_html(), StudyError)


def _write_bytes(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StudyError(f"{path}: cannot be written: {error.strerror}") from error
