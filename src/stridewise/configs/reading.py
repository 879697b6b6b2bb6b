"""A config file as a tree of plain values, each with the file and line it stands on; nothing in it is run.

JSON and YAML are read as they are, Python as `configs/expressions.py` says. The files that a config is based on
(`_base_`, `_BASE_`, `with read_base()`) are read beside it and merged below it.
"""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stridewise.configs.expressions import Names, python_values
from stridewise.configs.values import UNKNOWN, Config, Value, merged
from stridewise.errors import MissingExtraError, UsageError

MOST_BYTES = 4_000_000
_MOST_VALUES = 50_000  # YAML's aliases could make far more of a small file
_MOST_BASES = 40
ENDINGS = (".json", ".yaml", ".yml", ".py")


def read_config(path: str) -> Config:
    """The values of a config file. Raises: UsageError in one line for what is no config, too large or too deep."""
    reader = _Reader()
    try:
        root = reader.read(Path(path), 0)
    except (RecursionError, MemoryError) as error:
        raise UsageError(f"{path}: values lie too deep in each other for a config") from error
    if not isinstance(root.content, Mapping):
        raise UsageError(f"{path}: holds no keys and values, so it is no config")
    return Config(path=path, root=root, missing=tuple(reader.missing))


class _Reader:
    """Reads a file and those it is based on. missing: bases that are not there."""

    def __init__(self) -> None:
        self.count = 0
        self.missing: list[str] = []
        self.open: list[Path] = []

    def read(self, path: Path, line: int) -> Value:
        """One file with its bases below it. line: where it is asked for."""
        if path.suffix not in ENDINGS:
            raise UsageError(f"{path}: a config ends in {', '.join(ENDINGS)}")
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        place = path.resolve()
        self.count += 1
        if place in self.open or self.count > _MOST_BASES:
            raise UsageError(f"{path}: is based on itself, or on more than {_MOST_BASES} files")
        self.open.append(place)
        try:
            if path.stat().st_size > MOST_BYTES:
                raise UsageError(f"{path}: over {MOST_BYTES:,} bytes, which no config is")
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read as text") from error
        kind = {".json": _json, ".py": python_values}.get(path.suffix, _yaml)
        own = kind(str(path), text)
        found = self._based(path, own)
        self.open.pop()
        return found

    def _based(self, path: Path, own: Value) -> Value:
        below: Value | None = None
        if not isinstance(own.content, Mapping):
            return own
        for key in ("_base_", "_BASE_"):
            named = own.content.get(key)
            names = [] if named is None else named.content if isinstance(named.content, list) else [named]
            for name in names:
                base = self._base(path, name)
                if base is not None:
                    below = base if below is None else merged(below, base)
        own = replace(own, content={k: v for k, v in own.content.items() if k not in ("_base_", "_BASE_")})
        return own if below is None else merged(below, own)

    def _base(self, path: Path, name: Value) -> Value | None:
        if not isinstance(name.content, str) or Path(name.content).is_absolute() or "::" in name.content:
            self.missing.append(f"{name.content!r} (line {name.line})")
            return None
        place = path.parent / name.content
        if not place.is_file():
            self.missing.append(f"{name.content} (line {name.line})")
            return None
        return self.read(place, name.line)


# -- JSON and YAML -------------------------------------------------------------------------------------------------


def _json(path: str, text: str) -> Value:
    """JSON; its grammar is one of Python's literals but for three names, so that Python's reader knows the lines."""
    try:
        json.loads(text)
        tree = ast.parse(text.strip() or "None", mode="eval")
    except (ValueError, SyntaxError) as error:
        raise UsageError(f"{path}: not JSON: {' '.join(str(error).split())}") from error
    lost = text[: len(text) - len(text.lstrip())].count("\n")
    names = {"true": True, "false": False, "null": None, "NaN": UNKNOWN, "Infinity": UNKNOWN}
    return Names(path, {k: Value(content=v, file=path, line=0) for k, v in names.items()}, lost).value(tree.body)


def _yaml(path: str, text: str) -> Value:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ModuleNotFoundError as error:
        raise MissingExtraError("PyYAML", "configs", f"reading {path}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return _Yaml(path, yaml).value(node)
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


class _Yaml:
    """Nodes of a YAML text as values. Aliases are followed as often as they stand, up to a bound."""

    def __init__(self, path: str, yaml: Any) -> None:
        self.path, self.yaml, self.count = path, yaml, 0
        self.make = yaml.constructor.SafeConstructor()

    def value(self, node: Any) -> Value:
        """The value of a node. Raises: UsageError where there are too many."""
        self.count += 1
        if self.count > _MOST_VALUES:
            raise UsageError(
                f"{self.path}: more than {_MOST_VALUES:,} values come of its aliases: no config has so many"
            )
        if node is None:
            return Value(content=None, file=self.path, line=1)
        line = node.start_mark.line + 1
        content: Any
        if isinstance(node, self.yaml.MappingNode):
            content = {}
            for key, entry in node.value:
                content[str(getattr(key, "value", ""))] = self.value(entry)
        elif isinstance(node, self.yaml.SequenceNode):
            content = [self.value(entry) for entry in node.value]
        else:
            content = self._scalar(node)
        return Value(content=content, file=self.path, line=line)

    def _scalar(self, node: Any) -> Any:
        """A plain value; a text that is written like a Python tuple, as detectron2 has them, is one."""
        kind = node.tag.rpartition(":")[2]
        if kind not in ("str", "int", "float", "bool", "null"):
            return UNKNOWN if node.tag.startswith("!") else node.value
        try:
            found = self.make.construct_object(node)
        except (ValueError, self.yaml.YAMLError):
            return UNKNOWN
        if isinstance(found, str) and found[:1] in ("(", "["):
            try:
                read = ast.literal_eval(found)
            except (ValueError, SyntaxError):
                return found
            return _listed(read, self.path, node.start_mark.line + 1).content
        return found


def _listed(found: Any, path: str, line: int) -> Value:
    if isinstance(found, list | tuple):
        return Value(content=[_listed(entry, path, line) for entry in found], file=path, line=line)
    return Value(content=found, file=path, line=line)
