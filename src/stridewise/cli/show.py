"""`stridewise show`: sizes, strides, fields and costs of every layer."""

import json
from pathlib import Path

import click

from stridewise.cli.arguments import MODEL_HELP, draw, model_options, opaque_option, open_model, read_plans, write_page


@click.command(
    "show",
    help=f"Sizes, strides, fields and costs of every layer; several plans side by side.\n\n{MODEL_HELP}",
)
@model_options
@opaque_option
@click.option("--plan", "plans", multiple=True, metavar="FILE", help="A plan (TOML) to set beside; repeatable.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Pictures at once, for the costs.")
@click.option("--train", is_flag=True, help="Also the memory that backward keeps.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to this file.")
def command(
    model: str,
    inputs: tuple[str, ...],
    trust: bool,
    opaque: tuple[str, ...],
    plans: tuple[str, ...],
    batch: int,
    train: bool,
    as_json: bool,
    html: Path | None,
) -> None:
    """Parse, show, print."""
    from stridewise.showing.show import show
    from stridewise.showing.text import lines

    named = read_plans(plans)
    report = show(open_model(model, inputs, trust, opaque), named, batch=batch, train=train)
    if html is not None:
        write_page(html, report.to_html())
    if as_json:
        click.echo(json.dumps(report.to_json()))
    elif html is None:
        draw(lambda width: lines(report, width))
