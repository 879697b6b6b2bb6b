"""`stridewise ops`: the operations Stridewise has rules for, from the registry."""

import json

import click

from stridewise.cli.arguments import draw


@click.command("ops")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(as_json: bool) -> None:
    """The operations Stridewise has rules for.

    A site's windows can step. An op that is not here makes what follows it unknown: describe it with sw.register.
    """
    from stridewise.showing.ops import op_lines, op_table

    if as_json:
        click.echo(json.dumps(op_table()))
    else:
        draw(op_lines)
