"""`stridewise evaluate`: a trained network judged on any data of its classes; its run folder knows the rest."""

import json
from pathlib import Path

import click

from stridewise.files import write_bytes


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
def command(
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
    from stridewise.tasks.examples import shown
    from stridewise.tasks.plan_scores import plan_scores
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
    click.echo(json.dumps(told, allow_nan=False) if as_json else f"{record}\n\n{plans}" if plans else str(record))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in shown(trained.model, trained.task, splits.held_out).items():
            write_bytes(out / name, content)
            click.echo(f"wrote {out / name}", err=True)
