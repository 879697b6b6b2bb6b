"""`stridewise train`: a network under a plan, trained for a task, judged, and used on pictures."""

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stridewise.cli.arguments import MODEL_HELP, force_option, going_on, parse_sizes, read_plans, tell
from stridewise.cli.options import read_settings, training_options
from stridewise.cli.standing import counting
from stridewise.errors import UsageError

if TYPE_CHECKING:
    from stridewise.tasks.train import Report


@click.command(
    "train",
    help="Train MODEL under a plan for TASK, judge it on held-out pictures, keep it in a run folder; or judge and use "
    f"a trained one.\n\n{MODEL_HELP}",
)
@click.argument("task", type=click.Choice(["classify", "segment", "detect"]))
@click.argument("model")
@click.argument("more", nargs=-1, metavar="")  # a shell makes several files of --predict's *.jpg
@force_option
@click.option("--plan", metavar="FILE", help="Train under this plan (TOML).")
@click.option(
    "--elastic",
    metavar="A,B,...",
    help="One set of weights under several plans: costs as 0.25x,0.5x,1x,2x of the network, or plan files.",
)
@click.option("--data", help="A folder, an .npz, a COCO .json, a data.yaml, or builtin:NAME.")
@click.option("--format", metavar="NAME", help="Of the data, where it is not told apart.")
@click.option("--mask-suffix", metavar="TEXT", help="What a mask's name ends in behind its picture's, such as _L.")
@click.option("--size", metavar="HxW", help="Bring pictures to this size. [default: as they are]")
@click.option("--weights", metavar="FILE", help="Begin with these weights (safetensors); random without.")
@click.option("--trust", is_flag=True, help="Read weights that can run code.")
@click.option("--epochs", type=click.IntRange(0), default=10, show_default=True, help="0: with --weights.")
@training_options
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True, help="On each node.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True)
@click.option("--patience", type=click.IntRange(1), help="Epochs without a better score.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Processor threads. [default: torch's]")
@click.option(
    "--run", metavar="DIR", help="Keep network, metrics, curves and checkpoint in this folder. [default: runs/NAME-N]"
)
@click.option("--resume", is_flag=True, help="Go on with the training in --run.")
@click.option("--stop-after", type=click.IntRange(1), metavar="N", help="Stop after N epochs; --resume goes on.")
@click.option("--evaluate", metavar="CKPT", help="Train nothing: judge this run folder or model.safetensors on --data.")
@click.option("--predict", multiple=True, metavar="PICTURE", help="Then say what is on these files or folders, to -o.")
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for --predict's images.")
@click.option("--least-score", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Boxes drawn.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    task: str,
    model: str,
    more: tuple[str, ...],
    evaluate: str | None,
    predict: tuple[str, ...],
    out: Path | None,
    least_score: float,
    as_json: bool,
    threads: int | None,
    force: bool,
    **given: Any,
) -> None:
    """Parse, train or judge, predict, print."""
    if more and not predict:
        raise UsageError(f"train: '{more[0]}' is one argument too many; pictures go behind --predict")
    predict += more
    if given["data"] is None and (evaluate is None or not predict):
        raise UsageError("train: name the pictures with --data")
    if predict and out is None:
        raise UsageError("--predict: name a folder for the images with -o")
    if predict and evaluate is None and given["run"] is None:
        raise UsageError("--predict: wants a trained network: --run DIR to train one, or --evaluate CKPT")
    if given["resume"] and given["run"] is None:
        raise UsageError("--resume: name the run folder with --run")
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    from stridewise.models.load import resolve

    if given["plan"] is not None:
        given["plan"] = next(iter(read_plans([given["plan"]], force).values()))
    spec = resolve(model)
    if spec.note:
        click.echo(spec.note, err=True)
    record = None
    if evaluate is None:
        record = _trained(task, str(spec), given, force)
    elif given["data"] is not None:
        from stridewise.tasks.train import evaluate as judged

        names = ("data", "plan", "format", "device")
        told = {name: given[name] for name in names if given[name] is not None}
        record = judged(task, str(spec), evaluate, **told)
    if os.environ.get("LOCAL_RANK", "0") != "0":  # one of several processes of a training: the first one speaks
        return
    if record is not None:
        for note in record.notes:
            click.echo(f"note: {note}", err=True)
        if not record.finished:
            click.echo(f"stopped after epoch {len(record.curve)} of {record.budget}: --resume goes on", err=True)
        tell(record, as_json=as_json)
    if predict and out is not None and (record is None or record.finished):
        _predict(task, str(spec), evaluate or given["run"], predict, out, least_score, as_json and record is None)


def _trained(task: str, model: str, given: dict[str, Any], force: bool) -> Any:
    from stridewise.tasks.train import train

    settings = read_settings(given)
    if given["elastic"] is not None:
        settings["elastic"] = parse_elastic(given["elastic"], force)
    if given["size"] is not None:
        settings["size"] = parse_size(given["size"])
    from stridewise.data import open_dataset

    suffix, format = settings.pop("mask_suffix", None), settings.pop("format", None)
    settings["data"] = open_dataset(settings["data"], task, format, mask_suffix=suffix)  # type: ignore[arg-type]
    named = settings.setdefault("run", os.environ.get(_RUN) or next_run(task, model))
    os.environ[_RUN] = named  # for the other processes of a training on several devices
    try:
        again = f"the same command with --run {named} --resume goes on behind the last whole epoch"
        with going_on(again), counting("training") as progress:
            record = train(task, model, progress=progress, each=_line, **settings)
    finally:
        del os.environ[_RUN]
    if given["run"] is None and os.environ.get("LOCAL_RANK", "0") == "0":
        click.echo(
            f"run folder: {named} (stridewise evaluate {named} --data D, predict {named} PICTURES -o DIR)", err=True
        )
    return record


def parse_elastic(text: str, force: bool = False) -> Any:
    """`0.5x,1x` as costs, `a.toml,b.toml` as plans by name. Raises UsageError, PlanError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if parts and all(part.endswith(".toml") for part in parts):
        return read_plans(parts, force)
    try:
        return [float(part.removesuffix("x")) for part in parts]
    except ValueError as error:
        raise UsageError(f"--elastic '{text}': costs as 0.25x,0.5x,1x,2x are wanted, or plan files") from error


def parse_size(text: str) -> tuple[int, int]:
    """`96x128`, or one number for both. Raises UsageError."""
    sizes = parse_sizes("--size", text)
    if len(sizes) > 2:
        raise UsageError(f"--size '{text}': height and width are wanted, as 96x128")
    return sizes[0], sizes[-1]


def _predict(
    task: str, model: str, path: str, pictures: tuple[str, ...], out: Path, least_score: float, as_json: bool
) -> None:
    from stridewise.cli.evaluate import tell_pictures
    from stridewise.tasks.trained import check_same, load_trained

    trained = load_trained(path)
    check_same(path, trained, task, model, None)
    tell_pictures(trained, pictures, out, least_score=least_score, as_json=as_json)


def next_run(task: str, model: str) -> str:
    """The run folder of a training that names none: `runs/NAME-N`, the first number that is free."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in f"{task}-{model.rpartition(':')[2]}")
    taken = {path.name for path in Path("runs").glob("*")}
    return str(Path("runs") / next(f"{name}-{n}" for n in itertools.count(1) if f"{name}-{n}" not in taken))


def _line(epoch: "Report") -> None:
    """One epoch in a line."""
    best = "  best" if epoch.best else ""
    click.echo(
        f"epoch {epoch.number} of {epoch.total}: loss {epoch.loss:.4g}, {epoch.metric} {epoch.score:.1%}, "
        f"rate {epoch.rate:.2g}, {epoch.seconds:.1f} s{best}",
        err=True,
    )


_RUN = "STRIDEWISE_RUN"
