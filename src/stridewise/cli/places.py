"""`stridewise sizes` and `stridewise places`: which inputs a network takes, and where its cells lie in them."""

import json
from functools import partial
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
from stridewise.errors import UsageError

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
def sizes(
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


def _cells(option: str, texts: tuple[str, ...], example: str) -> list[tuple[int, ...]]:
    """Points such as 3x4, 0 allowed. Raises UsageError."""
    try:
        return [tuple(int(part) for part in text.lower().split("x")) for text in texts]
    except ValueError:
        raise UsageError(f"{option} '{' '.join(texts)}': whole numbers joined by x are wanted, as {example}") from None


def _measure(scale: "Scale | None", pixels: tuple[str, ...]) -> "tuple[Scale | None, tuple[str, ...]]":
    """What a pixel measures, said with a unit behind (2um), and the pixels that are asked for. Raises UsageError."""
    from stridewise.report.scale import Scale

    said = [text for text in pixels if text[-1:].isalpha()]
    if len(said) + (scale is not None) > 1:
        raise UsageError("--rate, --spacing, --gsd, --pixel: one of them says what a position measures")
    rest = tuple(text for text in pixels if text not in said)
    return Scale.read(said[0], "--pixel") if said else scale, rest


@click.command(
    "places",
    help="Where the cells of a layer's map lie in the picture: their grid beside what detectors publish; single cells "
    f"as pixels, pixels as the cells that see them; the map's length as a formula.\n\n{MODEL_HELP}",
)
@model_options
@click.argument("layer", default="")
@click.option("--cell", "cells", multiple=True, metavar="RxC", help="A cell: its centre and the pixels it reads.")
@click.option(
    "--pixel",
    "pixels",
    multiple=True,
    metavar="RxC",
    help="A pixel: the cells that see it; what it measures where a unit stands behind, 2um.",
)
@click.option("--lengths", metavar="N,N,...", help="Input lengths along the first axis: how long the map is at each.")
@click.option("--formula", is_flag=True, help="The map's length as a formula, and as Python to paste.")
@partial(scale_options, pixel=False)
@output_options
def places(
    model: str,
    inputs: tuple[str, ...],
    trust: bool,
    layer: str,
    cells: tuple[str, ...],
    pixels: tuple[str, ...],
    lengths: str | None,
    formula: bool,
    scale: "Scale | None",
    as_json: bool,
    markdown: bool,
) -> None:
    """Parse, look up, print."""
    from stridewise.analyses.lengths import out_size
    from stridewise.analyses.places import cells as grid_of_cells
    from stridewise.analyses.places import map_points

    scale, pixels = _measure(scale, pixels)
    if sum(map(bool, (cells, pixels, lengths, formula))) > 1:
        raise UsageError("--cell, --pixel, --lengths, --formula: one question at a time")
    if scale is not None and (lengths or formula):
        raise UsageError("--lengths, --formula: count positions; --rate, --spacing, --gsd, --pixel go with the others")
    graph = open_model(model, inputs, trust)
    if lengths:
        wanted = [parse_sizes("--lengths", part.strip(), "16000,32000")[0] for part in lengths.split(",")]
        if markdown:
            raise UsageError("--lengths: numbers with commas between, or --json")
        found = out_size(graph, layer, wanted)
        plain = {"schema": "stridewise.out-sizes/1", "layer": layer, "lengths": wanted, "sizes": list(map(int, found))}
        click.echo(json.dumps(plain) if as_json else ",".join(map(str, found)))
    elif formula:
        rule = out_size(graph, layer)
        if as_json or markdown:
            tell(rule, as_json=as_json, markdown=markdown)
        else:
            click.echo(str(rule))  # code to paste: whole, however wide
    elif cells or pixels:
        points = _cells("--cell", cells, "3x4") or _cells("--pixel", pixels, "100x200")
        placed = map_points(graph, layer, points, to="pixels" if cells else "cells", scale=scale)
        tell(placed, as_json=as_json, markdown=markdown)
    else:
        tell(grid_of_cells(graph, layer, scale=scale), as_json=as_json, markdown=markdown)
