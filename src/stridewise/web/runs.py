"""Run folders of `stridewise search`, named on the command line: what each holds, read anew when asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
RESULT, SCHEMA = "result.json", "stridewise.search/1"
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Runs:
    """The run folders of one start."""

    folders: Sequence[Path] = ()

    def read(self) -> list[Json]:
        """One entry a folder: its name with its result, or with the reason that there is none and what to do."""
        return [{"name": folder.name, **_read(folder)} for folder in self.folders]


def _read(folder: Path) -> Json:
    path = folder / RESULT
    try:
        if path.stat().st_size > _MOST_BYTES:
            return {"error": f"{folder}: {RESULT} is larger than {_MOST_BYTES >> 20} MiB: not a study's"}
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"error": f"{folder}: holds no {RESULT} yet: it is written when `stridewise search` ends or is stopped"}
    except (OSError, ValueError) as error:
        return {"error": f"{path}: cannot be read ({error}): run the same `stridewise search` again"}
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        return {"error": f"{path}: is not a study's result (schema {SCHEMA}): name a folder of `stridewise search`"}
    return {"result": found}
