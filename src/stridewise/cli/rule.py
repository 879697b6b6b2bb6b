"""`stridewise rule`: what a rule looks at, why that matters and what to do."""

import json

import click

from stridewise.cli.arguments import tell
from stridewise.errors import UsageError


@click.command("rule")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="Every rule, in full.")
@click.option("--md", "markdown", is_flag=True, help="Markdown on standard output.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(ids: tuple[str, ...], every: bool, markdown: bool, as_json: bool) -> None:
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
