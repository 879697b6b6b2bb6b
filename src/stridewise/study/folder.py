"""The run folder: plan.toml, result.json, front.png and report.html, each whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from stridewise.errors import StudyError
from stridewise.files import write_bytes, write_text
from stridewise.study.result import SearchResult

PLAN, RESULT, PICTURE, PAGE = "plan.toml", "result.json", "front.png", "report.html"


def write_files(result: SearchResult, folder: Path) -> None:
    """Write what a person opens. Raises: StudyError where a file cannot be written."""
    from stridewise.report.figure import png

    write_text(folder / PLAN, result.plan.to_toml(), error=StudyError)
    write_text(folder / RESULT, json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n", error=StudyError)
    write_bytes(folder / PICTURE, png(result.document().pictures), error=StudyError)
    write_text(folder / PAGE, result.to_html(), error=StudyError)
