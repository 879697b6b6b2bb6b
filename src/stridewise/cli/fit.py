"""`stridewise fit`: which strides a data set permits."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from stridewise.data import FORMATS
from stridewise.data.picture import Size
from stridewise.data.records import Progress, Task
from stridewise.errors import DataError
from stridewise.fit import Limits, fit, stride_set
from stridewise.fit.strides import Stride, StrideSet


def _pair(ctx: click.Context, option: click.Parameter, value: str | None) -> Stride | None:
    """`8` or `360x480`: one whole number for both axes, or height x width."""
    return None if value is None else stride_set(value)[0]


def _sets(ctx: click.Context, option: click.Parameter, value: tuple[str, ...]) -> tuple[StrideSet, ...]:
    """`8,16,32`, or with unequal axes `8x16,16x32`, any number of times."""
    return tuple(stride_set(text) for text in value)


@click.command(name="fit")
@click.option("--data", required=True, help="A folder, an .npz, a COCO .json, builtin:digits or builtin:digit-scenes.")
@click.option("--task", type=click.Choice(["segment", "detect", "classify"]), help="Default: what the data serves.")
@click.option("--format", type=click.Choice(list(FORMATS)), help="Default: found by looking.")
@click.option("--split", help="train, val, test or all. Default: all splits together.")
@click.option("--resize", metavar="HxW", callback=_pair, help="Bring every picture to this size first.")
@click.option(
    "--strides", metavar="S,S,...", callback=_sets, multiple=True, help="Output strides, 8,16,32; repeatable."
)
@click.option("--receptive-field", metavar="HxW", callback=_pair, help="Of the network, to compare with objects.")
@click.option("--min-reachable", type=click.FloatRange(0, 1), default=Limits().reachable, show_default=True)
@click.option("--min-cells", type=click.IntRange(0), default=Limits().cells, show_default=True)
@click.option("--min-miou", type=click.FloatRange(0, 1), default=Limits().miou, show_default=True)
@click.option("--min-energy", type=click.FloatRange(0, 1), default=Limits().energy, show_default=True)
@click.option("--verify", is_flag=True, help="Decode every picture first, to find broken ones.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to this file.")
def command(
    data: str,
    task: Task | None,
    format: str | None,
    split: str | None,
    resize: Size | None,
    strides: tuple[StrideSet, ...],
    receptive_field: Size | None,
    min_reachable: float,
    min_cells: int,
    min_miou: float,
    min_energy: float,
    verify: bool,
    as_json: bool,
    html: Path | None,
) -> None:
    """Which strides a data set permits, without training.

    Boxes: do objects contain cell centres, how many, do centres collide. Masks: what is left of labels rounded to a
    stride. Classes: how much of the pictures' spectrum a step keeps.
    """
    limits = Limits(reachable=min_reachable, cells=min_cells, miou=min_miou, energy=min_energy)
    with _progress() as progress:
        result = fit(
            data,
            task,
            format=format,
            split=split,
            resize=resize,
            strides=strides or None,
            receptive_field=receptive_field,
            limits=limits,
            verify=verify,
            progress=progress,
        )
    if html:
        _write(html, result.to_html())
        click.echo(f"page written to {html}", err=True)
    click.echo(json.dumps(result.to_json(), allow_nan=False) if as_json else str(result))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}. Choose another file for --html") from error


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on standard error, on a terminal, for whatever takes over a second."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        bar.stop()
        begin, task = time.monotonic(), bar.add_task("pictures")
        shown = False

        def advance(done: int, total: int) -> None:
            nonlocal shown
            if not shown and time.monotonic() - begin > 1:
                bar.start()
                shown = True
            if shown:
                bar.update(task, completed=done, total=total)

        yield advance
