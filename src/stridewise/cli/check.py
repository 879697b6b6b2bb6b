"""`stridewise check`: findings about a network's strides; exit 3 when there are any at the chosen level."""

import json

import click

from stridewise.cli.arguments import (
    MODEL_HELP,
    draw,
    model_options,
    opaque_option,
    open_model,
    parse_strides,
    read_plans,
)


@click.command(
    "check",
    help=f"Findings about a network's strides; exit 3 when there are any at the chosen level.\n\n{MODEL_HELP}",
)
@model_options
@opaque_option
@click.option("--plan", metavar="FILE", help="Check the network under this plan (TOML).")
@click.option("--declared", metavar="S,S,...", help="Strides the network is said to have, 4,8,16,32 or 4x8,8x16.")
@click.option(
    "--fail-on",
    type=click.Choice(["info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="The lowest severity that makes the exit code 3.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    model: str,
    inputs: tuple[str, ...],
    trust: bool,
    opaque: tuple[str, ...],
    plan: str | None,
    declared: str | None,
    fail_on: str,
    as_json: bool,
) -> int:
    """Parse, check, print; the exit code."""
    from stridewise.analyses.findings import check
    from stridewise.showing.text import finding_lines

    strides = parse_strides(declared)
    changes = None if plan is None else next(iter(read_plans([plan]).values()))
    graph = open_model(model, inputs, trust, opaque)
    if changes is not None:
        from stridewise.rewrites.restride import restride

        graph = restride(graph, changes).graph
    found = check(graph, declared=strides)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        draw(lambda width: finding_lines(found, width) or [[(str(found), "")]])
    return 3 if found.at_least(fail_on) else 0
