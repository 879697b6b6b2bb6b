"""`stridewise evaluate` and `stridewise predict`: a trained network on other data; its run folder knows the rest."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stridewise.cli.arguments import say
from stridewise.errors import StridewiseError
from stridewise.files import write_bytes

if TYPE_CHECKING:
    from stridewise.tasks.trained import Trained


@click.command(
    "evaluate",
    help="Judge the trained network in RUN, a run folder or its model.safetensors, on the held-out pictures of --data. "
    "Its task, network, plan, classes and picture size come from the file. One trained with --elastic is judged and "
    "timed under each of its plans.",
)
@click.argument("run")
@click.option("--data", required=True, help="A folder, an .npz, a COCO .json, a data.yaml, or builtin:NAME.")
@click.option("--format", metavar="NAME", help="Of the data, where it is not told apart.")
@click.option("--mask-suffix", metavar="TEXT", help="What a mask's name ends in behind its picture's, such as _L.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option(
    "-o", "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the confusion matrix and the "
    "pictures it did worst on."
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def evaluate(
    run: str,
    data: str,
    format: str | None,
    mask_suffix: str | None,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Judge, print, draw."""
    from stridewise.data import open_dataset
    from stridewise.tasks.elastic import plan_scores
    from stridewise.tasks.folder import shown
    from stridewise.tasks.train import evaluated
    from stridewise.tasks.trained import load_trained

    trained = load_trained(run)
    dataset = open_dataset(data, trained.task.name, format, mask_suffix=mask_suffix)  # type: ignore[arg-type]
    record, splits = evaluated(run, trained, dataset, device)
    for note in record.notes:
        click.echo(f"note: {note}", err=True)
    plans = None if trained.elastic is None else plan_scores(trained.task, trained.elastic, splits.held_out, device)
    told = record.to_json()
    if plans is not None:
        told |= {key: value for key, value in plans.to_json().items() if key != "metric"}
    if as_json:
        click.echo(json.dumps(told, allow_nan=False))
    else:
        say(f"{record}\n\n{plans}" if plans else str(record))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in shown(trained.model, trained.task, splits.held_out).items():
            write_bytes(out / name, content)
            click.echo(f"wrote {out / name}", err=True)


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
def predict(run: str, pictures: tuple[str, ...], out: Path, least_score: float, as_json: bool) -> None:
    """Load, predict, print."""
    from stridewise.tasks.trained import load_trained

    tell_pictures(load_trained(run), pictures, out, least_score=least_score, as_json=as_json)


def tell_pictures(
    trained: "Trained", pictures: tuple[str, ...], out: Path, *, least_score: float, as_json: bool
) -> None:
    """A line a picture, and an image each in the folder `out`. Raises: StridewiseError."""
    from stridewise.files import write_bytes
    from stridewise.tasks.trained import find_pictures, predict

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
            click.echo(said.line)  # a line a picture, also where it is long: scripts read it
    if as_json:
        click.echo(json.dumps({"schema": "stridewise.predict/1", "pictures": rows}, allow_nan=False))
    click.echo(f"wrote {len(rows)} images to {out}", err=True)
