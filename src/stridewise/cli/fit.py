"""`stridewise fit`: which strides a data set permits."""

import json
from pathlib import Path

import click

from stridewise.cli.arguments import OutFile, say, scale_options, tell, write_page
from stridewise.cli.standing import counting
from stridewise.data import FORMATS, open_dataset
from stridewise.data.drawing import look as pictured
from stridewise.data.picture import Size
from stridewise.data.records import Task
from stridewise.datafit import Limits, findings, fit, stride_set
from stridewise.datafit.strides import DEFAULT, Stride, StrideSet, written
from stridewise.errors import UsageError
from stridewise.files import write_bytes
from stridewise.report.scale import Scale
from stridewise.report.values import plain


def _pair(ctx: click.Context, option: click.Parameter, value: str | None) -> Stride | None:
    """`8` or `360x480`: one whole number for both axes, or height x width."""
    return None if value is None else stride_set(value)[0]


def _sets(ctx: click.Context, option: click.Parameter, value: tuple[str, ...]) -> tuple[StrideSet, ...]:
    """`8,16,32`, or with unequal axes `8x16,16x32`, any number of times."""
    return tuple(stride_set(text) for text in value)


@click.command(name="fit")
@click.argument("plans", required=False, metavar="[PLANS.json[:CONFIGURATION]]")
@click.option("--data", help="A folder, an .npz, a COCO .json, a data.yaml, or builtin:NAME.")
@click.option("--task", type=click.Choice(["segment", "detect", "classify"]), help="Default: what the data serves.")
@click.option("--format", type=click.Choice(list(FORMATS)), help="Default: found by looking.")
@click.option("--split", help="train, val, test or all. Default: all splits together.")
@click.option("--resize", metavar="HxW", callback=_pair, help="Bring every picture to this size first.")
@click.option(
    "--strides", metavar="S,S,...", callback=_sets, multiple=True, help="Output strides, 8,16,32; repeatable."
)
@click.option("--receptive-field", metavar="HxW", callback=_pair, help="Of the network, to compare with objects.")
@click.option("--model", help="A network, or a run folder of `train`, whose real output strides are compared (SW301).")
@scale_options
@click.option("--min-reachable", type=click.FloatRange(0, 1), default=Limits().reachable, show_default=True)
@click.option("--min-cells", type=click.IntRange(0), default=Limits().cells, show_default=True)
@click.option("--min-miou", type=click.FloatRange(0, 1), default=Limits().miou, show_default=True)
@click.option("--min-energy", type=click.FloatRange(0, 1), default=Limits().energy, show_default=True)
@click.option("--mask-suffix", metavar="TEXT", help="What a mask's name ends in behind its picture's, such as _L.")
@click.option("--look", type=OutFile(".png"), help="Write five pictures with what was read of them.")
@click.option("--verify", is_flag=True, help="Decode every picture first, to find broken ones.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--html", type=OutFile(".html", ".htm"), help="Write a page to this file.")
def command(
    plans: str | None,
    data: str | None,
    task: Task | None,
    format: str | None,
    split: str | None,
    resize: Size | None,
    strides: tuple[StrideSet, ...],
    receptive_field: Size | None,
    model: str | None,
    scale: Scale | None,
    min_reachable: float,
    min_cells: int,
    min_miou: float,
    min_energy: float,
    mask_suffix: str | None,
    look: Path | None,
    verify: bool,
    as_json: bool,
    html: Path | None,
) -> None:
    """Which strides a data set permits, without training.

    Boxes: do objects contain cell centres, how many, do centres collide. Masks: what is left of labels rounded to a
    stride. Classes: how much of the pictures' spectrum a step keeps. Of nnU-Net's plans: the steps that its rule makes
    of patch and spacing, and others beside them.
    """
    if plans is not None:
        _of_plans(plans, as_json, click.get_current_context())
        return
    if data is None:
        raise UsageError("fit wants --data, a folder or file of pictures, or nnU-Net's plans.json")
    limits = Limits(reachable=min_reachable, cells=min_cells, miou=min_miou, energy=min_energy)
    networks = _networks(model, resize) if model else {}
    if networks:
        strides = (*(strides or DEFAULT), *dict.fromkeys(own for own, _ in networks.values()))
        receptive_field = receptive_field or next(iter(networks.values()))[1]
    with counting("pictures") as progress:
        dataset = open_dataset(data, task, format, mask_suffix=mask_suffix, progress=progress)
        result = fit(
            dataset,
            split=split,
            resize=resize,
            strides=strides or None,
            receptive_field=receptive_field,
            limits=limits,
            verify=verify,
            progress=progress,
        )
    if scale is not None:
        result = result.scaled(scale)
    if look:
        write_bytes(look, pictured(dataset, split=result.split))
        click.echo(f"wrote {look}", err=True)
    found = {name: findings(result, own) for name, (own, _) in networks.items()}
    if html:
        write_page(html, result.to_html())
    if as_json:
        more = [
            {"model_strides": [list(s) for s in own], "findings": plain(found[name])}
            for name, (own, _) in networks.items()
        ]
        by_plan = {} if len(more) < 2 else {"plans": dict(zip(found, more, strict=True))}
        click.echo(json.dumps({**result.to_json(), **(more[0] if more else {}), **by_plan}, allow_nan=False))
        return
    tell(result)
    for name, (own, field) in networks.items():
        say(f"\n{name}: output strides {written(own)}, receptive field {_pixels(field)}")
        for finding in found[name]:
            say(f"{finding.rule} {finding.severity}: {finding.message}")
        if not found[name]:
            click.echo(
                "no findings" if result.task != "classify" else "no findings: classes need no cells of their own"
            )


def _of_plans(plans: str, as_json: bool, context: click.Context) -> None:
    """The steps a configuration has, those of the published rule, and ours, each with its field and cost."""
    from stridewise.configs.nnunet import read_network
    from stridewise.datafit.nnunet import compared
    from stridewise.models.nnunet import graph_of

    source = click.core.ParameterSource.COMMANDLINE
    given = [p.opts[0] for p in context.command.params if context.get_parameter_source(p.name or "") is source]
    others = [name for name in given if name not in ("plans", "--json")]
    if others:
        raise UsageError(
            f"{plans}: plans are judged by their patch and spacing alone: leave {' and '.join(others)} out"
        )
    tell(compared(plans, read_network(plans), graph_of), as_json=as_json)


def _networks(model: str, resize: Size | None) -> dict[str, tuple[StrideSet, Size | None]]:
    """The real output strides and the receptive field of a network, at the size the pictures are brought to; of a
    trained one at its own size, an elastic one's under each plan."""
    from stridewise.datafit.network import output_strides, receptive_field
    from stridewise.models.load import default_input, open_graph, resolve
    from stridewise.tasks.train import is_trained

    if is_trained(model):
        from stridewise.tasks.train import ready_by_plan
        from stridewise.tracing.trace import trace

        graphs = {run.name: trace(run.model, run.input, name=run.name) for run in ready_by_plan(model)}
    else:
        spec = resolve(model)
        if spec.note:
            click.echo(spec.note, err=True)
        given = default_input(spec)
        shape = (3, *resize) if resize and spec.kind != "onnx" else None if spec.kind == "onnx" else given
        graphs = {model: open_graph(spec, shape)}
    return {name: (output_strides(graph), receptive_field(graph)) for name, graph in graphs.items()}


def _pixels(field: Size | None) -> str:
    return "unknown" if field is None else f"{field[0]}x{field[1]}"
