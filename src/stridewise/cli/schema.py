"""`stridewise schema`: the JSON schema of what a command prints with --json."""

import json

import click


@click.command("schema")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """The JSON schema of what a command prints with --json: `stridewise schema show`; without a NAME the names."""
    from stridewise.schemas import NAMES, schema_of

    click.echo("\n".join(NAMES) if name is None else json.dumps(schema_of(name), indent=1))
