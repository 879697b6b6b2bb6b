"""What `[tool.stridewise]` in pyproject.toml says about checks, for all models and for some.

[tool.stridewise]
ignore = ["SW105"]
fail-on = "warning"

[tool.stridewise.per-file."models/*.onnx"]
ignore = ["SW102"]
declared = "8,16,32"
input = "3x640x640"
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from stridewise.errors import UsageError

_KEYS = ("ignore", "fail-on", "declared", "input")
_LEVELS = ("info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a model is checked; empty: not said. ignore: ids of rules."""

    ignore: tuple[str, ...] = ()
    fail_on: str = ""
    declared: str = ""
    input: tuple[str, ...] = ()

    def over(self, below: "Settings") -> "Settings":
        """These settings where they say something, else those below; ignored rules add up."""
        return Settings(
            ignore=(*below.ignore, *self.ignore),
            fail_on=self.fail_on or below.fail_on,
            declared=self.declared or below.declared,
            input=self.input or below.input,
        )

    def checked(self, where: str) -> "Settings":
        """The same, its rules in upper case. Raises: UsageError for one that does not exist."""
        from stridewise.rules import rule_of

        try:
            ids = tuple(rule_of(id).id for id in self.ignore)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
        return Settings(ignore=ids, fail_on=self.fail_on, declared=self.declared, input=self.input)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A project's settings: for every model, and by pattern, in order. folder: the one patterns are relative to."""

    folder: Path
    every: Settings = Settings()
    per_file: tuple[tuple[str, Settings], ...] = ()


def read_settings(start: Path | None = None) -> Kept:
    """The settings of the first pyproject.toml with a [tool.stridewise], from this folder upwards.

    Raises: UsageError naming the key that is unknown or wrong.
    """
    begin = (start or Path.cwd()).absolute()
    for folder in (begin, *begin.parents):
        file = folder / "pyproject.toml"
        try:
            tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("stridewise")
        except (OSError, UnicodeDecodeError):
            continue
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{file}: not TOML: {error}") from error
        if tool is not None:
            return _kept(file, tool)
    return Kept(folder=begin)


def for_model(kept: Kept, model: str, asked: Settings) -> Settings:
    """What holds for one model: asked for on the command line, else said for it, else for all."""
    name = model.removeprefix("onnx:").removeprefix("py:").removeprefix("pt2:")
    names = {model, name}
    file = Path(name.rsplit(":", 1)[0] if ".py:" in name else name).absolute()
    if file.is_relative_to(kept.folder):
        names.add(file.relative_to(kept.folder).as_posix())
    found = kept.every
    for pattern, settings in kept.per_file:
        if any(fnmatchcase(name, pattern) for name in names):
            found = settings.over(found)
    return asked.over(found)


def _kept(file: Path, tool: Any) -> Kept:
    where = f"{file}: [tool.stridewise]"
    table = _table(where, tool)
    per_file = _table(f"{where}: per-file", table.pop("per-file", {}))
    named = tuple((pattern, _settings(f'{where}: per-file."{pattern}"', rows)) for pattern, rows in per_file.items())
    return Kept(folder=file.parent, every=_settings(where, table), per_file=named)


def _table(where: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        raise UsageError(f"{where}: a table is wanted, not {found!r}")
    return dict(found)


def _settings(where: str, found: Any) -> Settings:
    rows = _table(where, found)
    for key in rows:
        if key not in _KEYS:
            raise UsageError(f"{where}: unknown key '{key}'; known are {', '.join(_KEYS)} and per-file")
    if rows.get("fail-on", "warning") not in _LEVELS:
        raise UsageError(f"{where}: fail-on is one of {', '.join(_LEVELS)}, not {rows['fail-on']!r}")
    return Settings(
        ignore=_texts(f"{where}: ignore", rows.get("ignore", [])),
        fail_on=rows.get("fail-on", ""),
        declared=",".join(_texts(f"{where}: declared", rows.get("declared", []))),
        input=_texts(f"{where}: input", rows.get("input", [])),
    ).checked(f"{where}: ignore")


def _texts(where: str, found: Any) -> tuple[str, ...]:
    """One text, or a list of texts and whole numbers."""
    entries: Sequence[Any] = [found] if isinstance(found, str) else found
    if not isinstance(entries, list) or not all(isinstance(e, str | int) for e in entries):
        raise UsageError(f"{where}: a text or a list of texts is wanted, not {found!r}")
    return tuple(str(e) for e in entries)
