"""`stridewise measure`: what strides do to a network, measured; plans side by side."""

from pathlib import Path
from typing import Any

import click

from stridewise.cli.arguments import (
    MODEL_HELP,
    OutFile,
    force_option,
    model_options,
    parse_inputs,
    read_plans,
    tell,
    write_page,
)
from stridewise.cli.standing import bars
from stridewise.errors import UsageError

_WHAT = "latency, memory, shift, detail, fields, accuracy"


@click.command(
    "measure",
    help="Latency, memory, shift consistency, detail and accuracy of a network as it is and under plans, measured in "
    "one run; or of trained ones: MODEL may be a run folder of `stridewise train`, an elastic one is measured under "
    f"each of its plans.\n\n{MODEL_HELP}",
)
@model_options
@force_option
@click.option("--plan", "plans", multiple=True, metavar="FILE", help="Also under this plan (TOML); repeatable.")
@click.option("--what", default="latency,memory", show_default=True, metavar="A,B,...", help=f"Any of {_WHAT}.")
@click.option("--data", help="A data set, or builtin:digits. [default: two photographs that scikit-learn ships]")
@click.option("--split", help="train, val, test or all. [default: val, else test, else all]")
@click.option("--images", type=click.IntRange(1), default=32, show_default=True, help="Pictures to measure on.")
@click.option("--mode", type=click.Choice(["crop", "roll", "pad"]), default="crop", show_default=True)
@click.option("--preset", type=click.Choice(["zhang2019"]), help="224 of 256 pixels, one pair of offsets 0 to 31.")
@click.option("--offsets", type=click.IntRange(2), default=16, show_default=True, help="Drawn where the grid is large.")
@click.option("--weights", metavar="FILE", help="Weights for the model; without them they are random.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Of latency and memory.")
@click.option("--rounds", type=click.IntRange(10, 10_000), default=20, show_default=True, help="Of latency.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--maps", "sheet_path", type=OutFile(".png"), help="Draw what each layer keeps, to this PNG.")
@click.option("--picture", type=click.Path(dir_okay=False), help="The photograph for --maps.")
@click.option("--beside", multiple=True, metavar="RUN", help="Also this trained network, where MODEL is one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--html", type=OutFile(".html", ".htm"), help="Write a page to this file.")
def command(
    model: str,
    inputs: tuple[str, ...],
    trust: bool,
    plans: tuple[str, ...],
    force: bool,
    what: str,
    sheet_path: str | None,
    picture: str | None,
    as_json: bool,
    html: Path | None,
    offsets: int,
    preset: str | None,
    beside: tuple[str, ...],
    **settings: Any,
) -> None:
    """Parse, measure, print."""
    from stridewise.measuring.run import measure

    given = parse_inputs(inputs)
    if isinstance(given, dict):
        raise UsageError("measure: networks of several inputs are not measured; wrap it to take one")
    if picture and not sheet_path:
        raise UsageError("--picture: is the photograph for --maps FILE")
    changes = read_plans(plans, force)
    subject, name = _subject(model, beside, settings["device"])
    if sheet_path and not isinstance(subject, str):
        raise UsageError("--maps: wants the name of a network, not a trained one")
    with bars() as bar:
        result = measure(
            subject,
            changes,
            what=[part.strip() for part in what.split(",") if part.strip()],
            input=given,
            trust=trust,
            drawn=offsets,
            preset=preset or "",
            progress=bar and (lambda what, done, total: bar(what, done / max(total, 1))),
            **settings,
        )
    if sheet_path:
        from stridewise.measuring.maps import draw_maps

        draw_maps(name, changes, sheet_path, picture, given, settings["weights"], trust)
        click.echo(f"wrote {sheet_path}", err=True)
    if html:
        write_page(html, result.to_html())
    tell(result, as_json=as_json)


def _subject(model: str, beside: tuple[str, ...], device: str) -> tuple[Any, str]:
    """What to measure: the name of a network, or trained ones; and how it is called."""
    from stridewise.models.load import resolve
    from stridewise.tasks.train import is_trained, ready_by_plan

    if is_trained(model):
        return [one for path in (model, *beside) for one in ready_by_plan(path, device=device)], model
    if beside:
        raise UsageError(f"--beside: {model} is no trained network: name run folders of `stridewise train`")
    spec = resolve(model)
    if spec.note:
        click.echo(spec.note, err=True)
    return str(spec), str(spec)
