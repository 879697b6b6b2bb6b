"""`stridewise check`: findings about networks' strides; exit 3 when there are any at the chosen level."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from stridewise.cli.arguments import (
    MODEL_HELP,
    force_option,
    opaque_option,
    open_model,
    parse_strides,
    read_plans,
    tell,
)
from stridewise.cli.settings import Settings, for_model, read_settings
from stridewise.errors import UsageError

if TYPE_CHECKING:
    from stridewise.analyses.findings import Findings
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
    changes = None if plan is None else next(iter(read_plans([plan], force).values()))
    kept = read_settings()
    done: list[Findings] = []
    failed = False
    for model in models:
        settings = for_model(kept, model, asked)
        found = _checked(model, settings, trust, opaque, changes, target, config)
        failed = failed or bool(found.at_least(settings.fail_on or "warning"))
        done.append(found)
    _print(models, done, form, every)
    return 3 if failed else 0


def _checked(
    model: str,
    settings: Settings,
    trust: bool,
    opaque: Sequence[str],
    changes: "Plan | None",
    target: str | None,
    config: str | None,
) -> "Findings":
    from stridewise.analyses.findings import check

    strides = parse_strides(settings.declared or None)
    graph = open_model(model, settings.input, trust, opaque)
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
