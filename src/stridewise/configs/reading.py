"""A config file as a tree of plain values, each with the file and line it stands on; nothing in it is run.

JSON and YAML are read as they are. Of a Python config the assignments at its top level are worked out, as far as they
are literals, `dict(...)`, names given before, sums and products; all else is `UNKNOWN`. The files that a config is
based on (`_base_`, `_BASE_`, `with read_base()`) are read beside it and merged below it.
"""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stridewise.errors import MissingExtraError, UsageError

MOST_BYTES = 4_000_000
_MOST_VALUES = 50_000  # YAML's aliases could make far more of a small file
_MOST_BASES = 40
_MOST_ITEMS = 100_000  # of a list that is multiplied
ENDINGS = (".json", ".yaml", ".yml", ".py")


class Unknown:
    """What a config leaves to code."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number, text, truth value or None, a list or mapping of values, or `UNKNOWN`; and where it stands."""

    content: Any
    file: str
    line: int

    def get(self, *path: str) -> Value | None:
        """What lies below these keys; None where a key is missing."""
        found: Value | None = self
        for key in path:
            if found is None or not isinstance(found.content, Mapping):
                return None
            found = found.content.get(key)
        return found

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.content, Mapping):
            return {key: value.plain() for key, value in self.content.items()}
        if isinstance(self.content, list):
            return [value.plain() for value in self.content]
        return self.content

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Value]]:
        """All values in mappings and lists below this one, with their keys."""
        yield path, self
        if isinstance(self.content, Mapping):
            for key, value in self.content.items():
                yield from value.walk((*path, key))
        elif isinstance(self.content, list):
            for at, value in enumerate(self.content):
                yield from value.walk((*path, str(at)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config file: its values, and the files it is based on that are not there."""

    path: str
    root: Value
    missing: tuple[str, ...] = ()


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
        kind = {".json": _json, ".py": _python}.get(path.suffix, _yaml)
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


def merged(below: Value, above: Value) -> Value:
    """Two mappings as one: what `above` says holds, key by key; `_delete_=True` drops what is below."""
    if not isinstance(below.content, Mapping) or not isinstance(above.content, Mapping):
        return above
    drop = above.content.get("_delete_")
    if drop is not None and drop.content is True:
        return replace(above, content={k: v for k, v in above.content.items() if k != "_delete_"})
    content = dict(below.content)
    for key, value in above.content.items():
        content[key] = merged(content[key], value) if key in content else value
    return replace(above, content=content)


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
    return _Names(path, {k: Value(content=v, file=path, line=0) for k, v in names.items()}, lost).value(tree.body)


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


# -- Python --------------------------------------------------------------------------------------------------------


def _python(path: str, text: str) -> Value:
    """The names that a Python config assigns at its top level."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{path}: not Python: {' '.join(str(error).split())}") from error
    names = _Names(path, {}, 0)
    bases: list[Value] = []
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                names.assign(target, names.value(statement.value))
        elif isinstance(statement, ast.With):
            bases += [
                b for inner in statement.body if isinstance(inner, ast.ImportFrom) for b in _imported(path, inner)
            ]
        elif isinstance(statement, ast.Expr):
            names.updated(statement.value)
    content = {k: v for k, v in names.known.items() if not k.startswith("__")}
    if bases:
        content["_base_"] = Value(content=bases, file=path, line=bases[0].line)
    return Value(content=content, file=path, line=1)


def _imported(path: str, statement: ast.ImportFrom) -> Iterator[Value]:
    """The files behind `from .._base_.models.x import *` in `with read_base()`."""
    if statement.level and statement.module:
        up = "../" * (statement.level - 1)
        yield Value(content=f"{up}{statement.module.replace('.', '/')}.py", file=path, line=statement.lineno)


class _Names:
    """Works out expressions over the names known so far; what it cannot is UNKNOWN, and keeps its line."""

    def __init__(self, path: str, known: dict[str, Value], lost: int) -> None:
        self.path, self.known, self.lost = path, known, lost

    def value(self, node: ast.expr) -> Value:
        """The value of an expression."""
        return Value(content=self._content(node), file=self.path, line=node.lineno + self.lost)

    def _content(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.List() | ast.Tuple() | ast.Set():
                return self._items(node.elts)
            case ast.Dict():
                return self._mapping(node)
            case ast.Call():
                return self._called(node)
            case ast.Name():
                return self.known[node.id].content if node.id in self.known else UNKNOWN
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                found = self._content(inner)
                return -found if _is_number(found) else UNKNOWN
            case ast.BinOp():
                return _combined(node.op, self._content(node.left), self._content(node.right))
            case ast.Subscript():
                return self._picked(self._content(node.value), self._content(node.slice))
            case ast.Attribute():
                return self._picked(self._content(node.value), node.attr)
        return UNKNOWN

    def _items(self, entries: Sequence[ast.expr]) -> list[Value]:
        out: list[Value] = []
        for entry in entries:
            if isinstance(entry, ast.Starred):
                inner = self._content(entry.value)
                out += inner if isinstance(inner, list) else [Value(content=UNKNOWN, file=self.path, line=entry.lineno)]
            else:
                out.append(self.value(entry))
        return out

    def _mapping(self, node: ast.Dict) -> dict[str, Value]:
        out: dict[str, Value] = {}
        for key, entry in zip(node.keys, node.values, strict=True):
            if key is None:
                inner = self._content(entry)
                out |= inner if isinstance(inner, dict) else {}
            else:
                out[str(self._content(key))] = self.value(entry)
        return out

    def _called(self, node: ast.Call) -> Any:
        """`dict(...)`, `list(...)`; of any other call its name and keywords, as of a class that a config would make."""
        name = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
        if isinstance(node.func, ast.Call) and node.func.args:  # L(FPN)(...), of detectron2's lazy configs
            name = ast.unparse(node.func.args[0])
        if name in ("list", "tuple") and len(node.args) == 1:
            return self._content(node.args[0])
        out: dict[str, Value] = {}
        for entry in node.keywords:
            if entry.arg is None:
                inner = self._content(entry.value)
                out |= inner if isinstance(inner, dict) else {}
            else:
                out[entry.arg] = self.value(entry.value)
        if name != "dict":
            out["type"] = Value(content=name, file=self.path, line=node.lineno)
        return out

    @staticmethod
    def _picked(found: Any, key: Any) -> Any:
        if isinstance(found, dict) and str(key) in found:
            return found[str(key)].content
        if isinstance(found, list) and isinstance(key, int) and -len(found) <= key < len(found):
            return found[key].content
        return UNKNOWN

    def assign(self, target: ast.expr, value: Value) -> None:
        """Give a name, or a place below one, its value."""
        if isinstance(target, ast.Name):
            self.known[target.id] = value
        elif isinstance(target, ast.Subscript | ast.Attribute):
            holder = self._content(target.value)
            key = target.attr if isinstance(target, ast.Attribute) else self._content(target.slice)
            if isinstance(holder, dict):
                holder[str(key)] = value
            elif isinstance(holder, list) and isinstance(key, int) and -len(holder) <= key < len(holder):
                holder[key] = value

    def updated(self, node: ast.expr) -> None:
        """`model.update(dict(...))` and the like: keys that are known are given anew."""
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("update", "merge")
        ):
            holder = self._content(node.func.value)
            for found in (
                *(self._content(a) for a in node.args),
                self._called(ast.Call(ast.Name("dict"), [], node.keywords)),
            ):
                if isinstance(holder, dict) and isinstance(found, dict):
                    holder.update(found)


def _combined(how: ast.operator, left: Any, right: Any) -> Any:
    """Sums, products and quotients of numbers; lists joined and repeated."""
    if isinstance(left, list) and isinstance(right, list) and isinstance(how, ast.Add):
        return [*left, *right]
    if isinstance(left, int) and isinstance(right, list):
        left, right = right, left
    if isinstance(left, list) and isinstance(right, int) and isinstance(how, ast.Mult):
        return left * right if len(left) * right <= _MOST_ITEMS else UNKNOWN
    if not (_is_number(left) and _is_number(right)) or max(abs(left), abs(right)) > 1e15:
        return UNKNOWN
    try:
        match how:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
            case ast.FloorDiv():
                return left // right
            case ast.Pow() if 0 <= right <= 32 and abs(left) <= 64:
                return left**right
    except ZeroDivisionError:
        pass
    return UNKNOWN


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)
