"""`stridewise sizes`: which input sizes a network takes, and what to do with a picture of another size."""

from typing import TYPE_CHECKING

import click

from stridewise.cli.arguments import (
    MODEL_HELP,
    model_options,
    opaque_option,
    open_model,
    output_options,
    parse_sizes,
    scale_options,
    tell,
)

if TYPE_CHECKING:
    from stridewise.report.scale import Scale


@click.command(
    "sizes",
    help="Which input sizes a network takes, exactly: per axis the set, the divisor, what refuses the other sizes."
    f"\n\n{MODEL_HELP}",
)
@model_options
@opaque_option
@click.option("--near", metavar="HxW", help="A picture's sizes, 350x525: the least to pad or crop until it fits.")
@scale_options
@output_options
def command(
    model: str,
    inputs: tuple[str, ...],
    trust: bool,
    opaque: tuple[str, ...],
    near: str | None,
    scale: "Scale | None",
    as_json: bool,
    markdown: bool,
) -> None:
    """Parse, work out, print."""
    from stridewise.analyses.inputs import sizes

    around = None if near is None else parse_sizes("--near", near, "350x525")
    tell(sizes(open_model(model, inputs, trust, opaque), around, scale), as_json=as_json, markdown=markdown)
