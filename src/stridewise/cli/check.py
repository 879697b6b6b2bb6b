"""`stridewise check`: findings about networks' strides; exit 3 when there are any at the chosen level.

What `[tool.stridewise]` in pyproject.toml says holds for all models, and for some:

    [tool.stridewise]
    ignore = ["SW105"]
    fail-on = "warning"

    [tool.stridewise.per-file."models/*.onnx"]
    ignore = ["SW102"]
    declared = "8,16,32"
    input = "3x640x640"
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stridewise.cli.arguments import (
    MODEL_HELP,
    force_option,
    opaque_option,
    opened,
    parse_strides,
    read_plans,
    tell,
)
from stridewise.errors import UsageError

if TYPE_CHECKING:
    from stridewise.analyses.findings import Findings
    from stridewise.ir import Graph
    from stridewise.plans import Plan

FORMATS = ("text", "json", "md", "sarif", "github")


@click.command(
    "check",
    help="Findings about networks' strides; exit 3 when there are any at the chosen level. What [tool.stridewise] in "
    f"pyproject.toml says holds where an option is not given.\n\n{MODEL_HELP}",
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--input", "inputs", multiple=True, metavar="[NAME=]CxHxW", help="Channels and sizes, 3x224x224.")
@click.option("--trust", is_flag=True, help="Read files that can run code (pt2:).")
@opaque_option
@force_option
@click.option("--plan", metavar="FILE", help="Check the network under this plan (TOML).")
@click.option("--declared", metavar="S,S,...", help="Strides the network is said to have, 4,8,16,32 or 4x8,8x16.")
@click.option("--config", metavar="FILE", help="A config that declares strides: .py, .yaml, .json; read, never run.")
@click.option("--target", metavar="NAME|FILE", help="A chip whose limits to keep, ethos-u55, or a file of your own.")
@click.option("--ignore", multiple=True, metavar="ID,ID,...", help="Leave these rules out: SW105. May be given again.")
@click.option(
    "--fail-on",
    type=click.Choice(["info", "warning", "error"]),
    help="The lowest severity that makes the exit code 3. [default: warning]",
)
@click.option("--format", type=click.Choice(FORMATS), help="How to print; sarif and github are for CI. [default: text]")
@click.option("--all", "every", is_flag=True, help="Write out every finding, also on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(
    models: tuple[str, ...],
    inputs: tuple[str, ...],
    trust: bool,
    opaque: tuple[str, ...],
    plan: str | None,
    force: bool,
    declared: str | None,
    config: str | None,
    target: str | None,
    ignore: tuple[str, ...],
    fail_on: str | None,
    format: str | None,
    every: bool,
    as_json: bool,
) -> int:
    """Parse, check, print; the exit code."""
    form = "json" if as_json else format or "text"
    if as_json and format not in (None, "json"):
        raise UsageError(f"--json and --format {format}: one form at a time")
    asked = Settings(
        ignore=tuple(id.strip() for text in ignore for id in text.split(",") if id.strip()),
        fail_on=fail_on or "",
        declared=declared or "",
        input=inputs,
    ).checked("--ignore")
    from stridewise.models.load import check_opaque

    changes = None if plan is None else next(iter(read_plans([plan], force).values()))
    kept = read_settings()
    each = [for_model(kept, model, asked) for model in models]
    graphs = [opened(model, settings.input, trust, opaque) for model, settings in zip(models, each, strict=True)]
    check_opaque(graphs, opaque)
    done = [_checked(graph, one, changes, target, config) for graph, one in zip(graphs, each, strict=True)]
    failed = any(found.at_least(one.fail_on or "warning") for found, one in zip(done, each, strict=True))
    _print(models, done, form, every)
    return 3 if failed else 0


def _checked(
    graph: "Graph",
    settings: "Settings",
    changes: "Plan | None",
    target: str | None,
    config: str | None,
) -> "Findings":
    from stridewise.analyses.findings import check

    strides = parse_strides(settings.declared or None)
    if changes is not None:
        from stridewise.rewrites.restride import restride

        graph = restride(graph, changes).graph
    return check(graph, declared=strides, target=target, config=config).without(settings.ignore)


def _print(models: Sequence[str], done: "Sequence[Findings]", form: str, every: bool) -> None:
    if form in ("sarif", "github"):
        from stridewise.cli.exchange import annotations, place_of, sarif

        placed = [(place_of(model), found) for model, found in zip(models, done, strict=True)]
        click.echo(json.dumps(sarif(placed), indent=1) if form == "sarif" else "\n".join(annotations(placed)))
    elif form == "json" and len(done) > 1:
        click.echo(json.dumps({"schema": "stridewise.checks/1", "checks": [found.to_json() for found in done]}))
    else:
        for model, found in zip(models, done, strict=True):
            if len(done) > 1 and form == "text":
                click.echo(f"{model}:")
            tell(found, as_json=form == "json", markdown=form == "md", every=every)


# -- what the project says ---------------------------------------------------------------------------------------------

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
