"""Findings for other programs: SARIF for code scanning, and GitHub's workflow commands."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stridewise
from stridewise.rules import RULES, rule_of

if TYPE_CHECKING:
    from stridewise.analyses.findings import Findings
    from stridewise.findings import Finding

_SARIF = {"error": "error", "warning": "warning", "info": "note"}
_GITHUB = {"error": "error", "warning": "warning", "info": "notice"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model comes from: its file, "" for one of a library, and the line of the function that makes it."""

    name: str
    file: str = ""
    line: int = 1


def place_of(model: str) -> Place:
    """The place of a model that is named as on the command line."""
    name = model.removeprefix("onnx:").removeprefix("py:").removeprefix("pt2:")
    file, _, factory = name.rpartition(":") if ".py:" in name else (name, "", "")
    if not Path(file).is_file():
        return Place(name=model)
    return Place(name=model, file=Path(file).as_posix(), line=_line_of(Path(file), factory) if factory else 1)


def _line_of(file: Path, name: str) -> int:
    """The line on which a function or class of a Python file begins, 1 where that is not to be seen."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return 1
    kinds = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
    return next((n.lineno for n in tree.body if isinstance(n, kinds) and n.name == name), 1)


def sarif(checks: "Sequence[tuple[Place, Findings]]") -> dict[str, Any]:
    """One SARIF log, version 2.1.0, with every rule and every finding.

    Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".
    """
    index = {rule.id: at for at, rule in enumerate(RULES)}
    rules = [
        {
            "id": rule.id,
            "name": "".join(word.capitalize() for word in rule.name.split()),
            "shortDescription": {"text": rule.name},
            "fullDescription": {"text": f"{rule.what} {rule.why}"},
            "help": {"text": rule.fix},
            "defaultConfiguration": {"level": _SARIF[rule.severity.split(",")[0]]},
        }
        for rule in RULES
    ]
    results = [
        {
            "ruleId": found.rule,
            "ruleIndex": index[found.rule],
            "level": _SARIF[found.severity],
            "message": {"text": found.message},
            "locations": [_location(_at(place, found), found.key)],
        }
        for place, findings in checks
        for found in findings
    ]
    driver = {"name": "stridewise", "version": stridewise.__version__, "rules": rules}
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _at(place: Place, found: "Finding") -> Place:
    """Where a finding is shown: at the config that it speaks of, else at the model."""
    return Place(name=place.name, file=Path(found.file).as_posix(), line=found.line) if found.file else place


def _location(place: Place, key: str) -> dict[str, Any]:
    found: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": f"{place.name}/{key}", "kind": "module"}]}
    if place.file:
        found["physicalLocation"] = {
            "artifactLocation": {"uri": place.file},
            "region": {"startLine": place.line},
        }
    return found


def annotations(checks: "Sequence[tuple[Place, Findings]]") -> list[str]:
    """A workflow command a finding: GitHub shows it at the file."""
    out = []
    for model, findings in checks:
        for found in findings:
            place = _at(model, found)
            where = f"file={_property(place.file)},line={place.line}," if place.file else ""
            title = _property(f"{found.rule} {rule_of(found.rule).name}")
            out.append(f"::{_GITHUB[found.severity]} {where}title={title}::{_data(f'{place.name}: {found.message}')}")
    return out


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
