"""A Python config as values: the assignments at its top level are worked out, as far as they are literals, `dict(...)`,
names given before, sums and products; all else is `UNKNOWN`. Nothing in it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from stridewise.configs.values import UNKNOWN, Value
from stridewise.errors import UsageError

_MOST_ITEMS = 100_000  # of a list that is multiplied


def python_values(path: str, text: str) -> Value:
    """The names that a Python config assigns at its top level."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{path}: not Python: {' '.join(str(error).split())}") from error
    names = Names(path, {}, 0)
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


class Names:
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
