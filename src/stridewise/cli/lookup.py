"""What can be looked up: `stridewise rule`, `claims`, `ops` and `schema`."""

import json
from pathlib import Path
from typing import Any

import click

from stridewise.cli.arguments import OutFile, draw, say, tell
from stridewise.errors import UsageError


@click.command("rule")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="Every rule, in full.")
@click.option("--md", "markdown", is_flag=True, help="Markdown on standard output.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def rule(ids: tuple[str, ...], every: bool, markdown: bool, as_json: bool) -> None:
    """What the rules behind findings look at, why that matters and what to do: `stridewise rule SW104`.

    Without an ID every rule in a line.
    """
    from stridewise.rules import RULES, overview, rule_of

    if every and ids:
        raise UsageError("--all: means every rule; leave the ids out")
    chosen = RULES if every else [rule_of(id) for id in ids]
    if as_json:
        rows = [rule.to_json() for rule in chosen or RULES]
        click.echo(json.dumps(rows[0] if len(rows) == 1 else {"schema": "stridewise.rules/1", "rules": rows}))
    elif not chosen:
        tell(overview(), markdown=markdown)
    for at, rule in enumerate(chosen if not as_json else ()):
        if at:
            click.echo()
        tell(rule, markdown=markdown)


@click.command("claims")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="Every claim; some take many minutes.")
@click.option(
    "-o",
    "--output",
    type=OutFile(".json"),
    help="A JSON file to keep the figures in, beside those of earlier runs.",
)
def claims(names: tuple[str, ...], every: bool, output: Path | None) -> None:
    """Test what is said about stride, and print the figures that docs/stride.md shows, one JSON line a claim.

    Without a NAME the claims are listed. Most are a minute or more of work, on one thread, with seeds.
    """
    from stridewise.claims import CLAIMS

    unknown = sorted(set(names) - set(CLAIMS))
    if unknown:
        raise UsageError(f"no claim {', '.join(unknown)}; there are {', '.join(CLAIMS)}")
    if every and names:
        raise UsageError("--all: means every claim; leave the names out")
    if not names and not every:
        for name, claim in CLAIMS.items():
            say(f"{name:12} {' '.join((claim.__doc__ or '').split())}")
        return
    _test(tuple(CLAIMS) if every else names, output)


def _test(names: tuple[str, ...], output: Path | None) -> None:
    import torch

    from stridewise.claims import CLAIMS
    from stridewise.files import write_text

    figures: dict[str, Any] = {}
    if output is not None and output.exists():
        try:
            figures = json.loads(output.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"-o {output}: holds no JSON object: {error}") from error
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in names:
            figures[name] = CLAIMS[name]()
            click.echo(json.dumps({name: figures[name]}))
            if output is not None:
                write_text(output, json.dumps(figures, indent=1) + "\n")
    finally:
        torch.set_num_threads(threads)


@click.command("ops")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def ops(as_json: bool) -> None:
    """The operations Stridewise has rules for.

    A site's windows can step. An op that is not here makes what follows it unknown: describe it with sw.register.
    """
    from stridewise.showing.text import op_lines, op_table

    if as_json:
        click.echo(json.dumps(op_table()))
    else:
        draw(op_lines)


@click.command("schema")
@click.argument("name", required=False)
def schema(name: str | None) -> None:
    """The JSON schema of what a command prints with --json: `stridewise schema show`; without a NAME the names."""
    from stridewise.schemas import NAMES, schema_of

    click.echo("\n".join(NAMES) if name is None else json.dumps(schema_of(name), indent=1))
