"""`stridewise predict`: what a trained network says of pictures; its run folder knows task, network and plan."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stridewise.errors import StridewiseError

if TYPE_CHECKING:
    from stridewise.tasks.trained import Trained


@click.command(
    "predict",
    help="Say what the trained network in RUN, a run folder or its model.safetensors, sees on PICTURES (files or "
    "folders), and write an image of each to -o.",
)
@click.argument("run")
@click.argument("pictures", nargs=-1, required=True)
@click.option(
    "-o", "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the images."
)
@click.option("--least-score", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Boxes drawn.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(run: str, pictures: tuple[str, ...], out: Path, least_score: float, as_json: bool) -> None:
    """Load, predict, print."""
    from stridewise.tasks.trained import load_trained

    say(load_trained(run), pictures, out, least_score=least_score, as_json=as_json)


def say(trained: "Trained", pictures: tuple[str, ...], out: Path, *, least_score: float, as_json: bool) -> None:
    """A line a picture, and an image each in the folder `out`. Raises: StridewiseError."""
    from stridewise.files import write_bytes
    from stridewise.tasks.predict import find_pictures, predict

    found = find_pictures(pictures)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StridewiseError(f"{out}: cannot be made: {error.strerror}") from error
    taken: set[str] = set()
    rows = []
    for number, said in enumerate(predict(trained, found, least_score=least_score)):
        name = Path(said.name).stem
        name = f"{name}-{number}" if name in taken else name
        taken.add(name)
        path = out / f"{name}{said.suffix}"
        write_bytes(path, said.image)
        rows.append({"picture": said.name, "image": str(path), **said.values})
        if not as_json:
            click.echo(said.line)
    if as_json:
        click.echo(json.dumps({"schema": "stridewise.predict/1", "pictures": rows}, allow_nan=False))
    click.echo(f"wrote {len(rows)} images to {out}", err=True)
