"""`stridewise show`: sizes, strides, fields and costs of every layer."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stridewise.cli.arguments import (
    MODEL_HELP,
    OutFile,
    force_option,
    model_options,
    opaque_option,
    opened,
    output_options,
    read_plans,
    scale_options,
    tell,
    write_page,
)
from stridewise.errors import UsageError

if TYPE_CHECKING:
    from stridewise.report.scale import Scale


@click.command(
    "show",
    help=f"Sizes, strides, fields and costs of every layer; several plans side by side.\n\n{MODEL_HELP}",
)
@model_options
@opaque_option
@force_option
@click.option("--plan", "plans", multiple=True, metavar="FILE", help="A plan (TOML) to set beside; repeatable.")
@click.option("--beside", "other", metavar="MODEL", help="Another model to set beside: rows aligned, what differs.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Pictures at once, for the costs.")
@click.option("--train", is_flag=True, help="Also the memory that backward keeps.")
@scale_options
@click.option("--all", "every", is_flag=True, help="Write out every finding, also on a terminal.")
@output_options
@click.option("--html", type=OutFile(".html", ".htm"), help="Write a page to this file.")
@click.option("--svg", type=OutFile(".svg"), help="Write the ladder to this file.")
def command(
    model: str,
    inputs: tuple[str, ...],
    trust: bool,
    opaque: tuple[str, ...],
    plans: tuple[str, ...],
    force: bool,
    other: str | None,
    batch: int,
    train: bool,
    scale: "Scale | None",
    every: bool,
    as_json: bool,
    markdown: bool,
    html: Path | None,
    svg: Path | None,
) -> None:
    """Parse, show, print."""
    from stridewise.models.load import check_opaque
    from stridewise.showing.beside import Beside, beside
    from stridewise.showing.show import Report, show

    if other is not None and plans:
        raise UsageError("--beside and --plan: one at a time; write the plan onto the network first (set ... -o FILE)")
    named = read_plans(plans, force)
    graphs = [opened(name, inputs, trust, opaque) for name in (model, other) if name is not None]
    check_opaque(graphs, opaque)
    report: Report | Beside
    if other is None:
        report = show(graphs[0], named, batch=batch, train=train, scale=scale)
    else:
        report = beside(*graphs, names=[Path(m).name for m in (model, other)], batch=batch, train=train, scale=scale)
    for path, make in ((html, report.to_html), (svg, report.to_svg)):
        if path is not None:
            write_page(path, make())
    if as_json or markdown or (html is None and svg is None):
        tell(report, as_json=as_json, markdown=markdown, every=every)
