"""`stridewise places`: where a layer's cells lie in the picture, which cells see a pixel, how long the map is."""

import click

from stridewise.cli.arguments import MODEL_HELP, model_options, open_model, output_options, parse_sizes, tell
from stridewise.errors import UsageError


def _whole(option: str, texts: tuple[str, ...], example: str) -> list[tuple[int, ...]]:
    """Points such as 3x4, 0 allowed. Raises UsageError."""
    try:
        return [tuple(int(part) for part in text.lower().split("x")) for text in texts]
    except ValueError:
        raise UsageError(f"{option} '{' '.join(texts)}': whole numbers joined by x are wanted, as {example}") from None


@click.command(
    "places",
    help="Where the cells of a layer's map lie in the picture: their grid beside what detectors publish; single cells "
    f"as pixels, pixels as the cells that see them; the map's length as a formula.\n\n{MODEL_HELP}",
)
@model_options
@click.argument("layer", default="")
@click.option("--cell", "cells", multiple=True, metavar="RxC", help="A cell: its centre and the pixels it reads.")
@click.option("--pixel", "pixels", multiple=True, metavar="RxC", help="A pixel: the cells that see it.")
@click.option("--lengths", metavar="N,N,...", help="Input lengths along the first axis: how long the map is at each.")
@click.option("--formula", is_flag=True, help="The map's length as a formula, and as Python to paste.")
@output_options
def command(
    model: str,
    inputs: tuple[str, ...],
    trust: bool,
    layer: str,
    cells: tuple[str, ...],
    pixels: tuple[str, ...],
    lengths: str | None,
    formula: bool,
    as_json: bool,
    markdown: bool,
) -> None:
    """Parse, look up, print."""
    from stridewise.analyses.lengths import out_size
    from stridewise.analyses.places import cells as grid_of_cells
    from stridewise.analyses.places import map_points

    if sum(map(bool, (cells, pixels, lengths, formula))) > 1:
        raise UsageError("--cell, --pixel, --lengths, --formula: one question at a time")
    graph = open_model(model, inputs, trust)
    if lengths:
        wanted = [parse_sizes("--lengths", part.strip(), "16000,32000")[0] for part in lengths.split(",")]
        click.echo(",".join(map(str, out_size(graph, layer, wanted))))
    elif formula:
        rule = out_size(graph, layer)
        tell(rule, as_json=True) if as_json else click.echo(str(rule))
    elif cells or pixels:
        points = _whole("--cell", cells, "3x4") or _whole("--pixel", pixels, "100x200")
        found = map_points(graph, layer, points, to="pixels" if cells else "cells")
        tell(found, as_json=as_json, markdown=markdown)
    else:
        tell(grid_of_cells(graph, layer), as_json=as_json, markdown=markdown)
