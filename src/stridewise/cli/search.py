"""`stridewise search`: choose strides for a task."""

import json
import re
from pathlib import Path
from typing import Any

import click

from stridewise.cli.training import read_settings, training_options
from stridewise.errors import UsageError


def _size(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`64` or `48x64`."""
    if value is None:
        return None
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", value):
        raise click.BadParameter(f"{value}: write 64 or 48x64 (height x width)")
    first, _, second = value.partition("x")
    return int(first), int(second or first)


def _macs(ctx: click.Context, option: click.Parameter, value: str | None) -> str | int | None:
    """`0.8x`, `300M`, `1.2G` or a whole number."""
    if value is None or re.fullmatch(r"\d+(\.\d+)?x", value):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", value)
    if not found:
        raise click.BadParameter(f"{value}: write 0.8x (of the network as it is), 300M, 1.2G or a whole number")
    return round(float(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]])


def _stride(ctx: click.Context, option: click.Parameter, value: str | None) -> int | tuple[int, ...] | None:
    """`8` or `8x16`."""
    if value is None:
        return None
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", value):
        raise click.BadParameter(f"{value}: write 8, or 8x16 where the axes differ")
    steps = tuple(int(part) for part in value.split("x"))
    return steps[0] if len(steps) == 1 else steps


def _bytes(ctx: click.Context, option: click.Parameter, value: str | None) -> str | int | None:
    """`0.8x`, `64M` (MiB), `1.5G` (GiB) or a whole number."""
    if value is None or re.fullmatch(r"\d+(\.\d+)?x", value):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)(?:i?B)?", value)
    if not found:
        raise click.BadParameter(f"{value}: write 0.8x (of the network as it is), 64M (MiB), 1.5G (GiB) or bytes")
    return round(float(found[1]) * {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}[found[2]])


def _steps(ctx: click.Context, option: click.Parameter, value: str | None) -> list[int]:
    """`4,8,16,32`."""
    if value is None:
        return []
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", value):
        raise click.BadParameter(f"{value}: write 4,8,16,32")
    return [int(part) for part in value.split(",")]


def _shape(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """`3x224x224`."""
    if value is None:
        return None
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", value):
        raise click.BadParameter(f"{value}: write 3x224x224 (channels x height x width)")
    return tuple(int(part) for part in value.split("x"))


@click.command(name="search")
@click.argument("model", required=False)
@click.option("--task", type=click.Choice(["classify", "segment", "detect"]), default="classify", show_default=True)
@click.option("--data", help="A folder, an .npz, builtin:digits ...")
@click.option("--score", metavar="FILE.py:FUNCTION", help="Your own training: score(plan, budget, seed) -> float.")
@click.option("--input", metavar="3x224x224", callback=_shape, help="The network's input, with --score.")
@click.option("--size", metavar="S|HxW", callback=_size, help="Bring every picture to this size first.")
@click.option("--max-macs", metavar="N", callback=_macs, help="0.8x of the network as it is, 300M, or a whole number.")
@click.option("--max-activations", metavar="N", callback=_macs, help="0.8x, 12M or a whole number of elements.")
@click.option("--max-memory", metavar="N", callback=_bytes, help="Peak of activations: 0.8x, 64M (MiB) or bytes.")
@click.option("--max-latency", metavar="0.8x|12ms", help="Measured here for one picture on one thread.")
@click.option("--output-stride", metavar="S|SxS", callback=_stride, help="Only plans with this output stride.")
@click.option("--pyramid", metavar="4,8,16,32", callback=_steps, help="Only plans with maps at these strides.")
@click.option("--min-field", type=click.IntRange(0), default=0, help="Input positions that the last map must see.")
@click.option("--smallest-map", type=click.IntRange(1), default=1, help="Positions that every map keeps on each axis.")
@click.option(
    "--slots/--no-slots", default=None, help="Also step between modules. [default: where it steps there today]"
)
@click.option("--trials", type=click.IntRange(2), default=12, show_default=True, help="Plans in the shortlist.")
@click.option("--budget", type=click.IntRange(1), default=9, show_default=True, help="Epochs of a full training.")
@click.option(
    "--cost", type=click.FloatRange(1), default=5.0, show_default=True, help="Full trainings the selection may cost."
)
@click.option("--finalists", type=click.IntRange(1), default=3, show_default=True, help="Plans that get all seeds.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Full trainings of each finalist.")
@click.option(
    "--rival",
    "rivals",
    multiple=True,
    metavar="MODEL|none",
    help="Train this one beside the finalists. [default: a smaller input and a narrower network of the same cost]",
)
@click.option("--weights", metavar="FILE", help="Begin with these (safetensors), kept by dilation where a plan can.")
@click.option("--trust", is_flag=True, help="Read weights that can run code.")
@training_options
@click.option("--run", type=click.Path(path_type=Path), help="Folder that keeps the study. [default: runs/MODEL]")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the study in this folder.")
@click.option("--storage", metavar="URL", help="Keep the records in a database: postgresql://user@host/name.")
@click.option("--workers", type=click.IntRange(0), help="Training processes. [default: one a core, at most 4]")
@click.option("--ray", metavar="ADDRESS", help="Place trainings on a Ray cluster: auto, host:port, local.")
@click.option("--cpus", type=click.FloatRange(0), default=1.0, show_default=True, help="Of a training, with --ray.")
@click.option("--gpus", type=click.FloatRange(0), default=0.0, show_default=True, help="Of a training, with --ray.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    model: str | None, resume: Path | None, run: Path | None, workers: int | None, as_json: bool, **options: Any
) -> None:
    """Choose strides for a task: exact cost front, shortlist, short trainings, seeds for the finalists.

    The run folder keeps every training: the same command goes on after a stop and trains nothing twice.
    """
    from stridewise.cli.standing import standing
    from stridewise.study.places import cores
    from stridewise.study.search import search
    from stridewise.study.settings import stored_call

    count = min(4, cores()) if workers is None else workers
    place = {key: options.pop(key) for key in ("ray", "cpus", "gpus")}
    if resume is not None:
        _check_resumed(resume)
        call = stored_call(resume, options["storage"])
    else:
        if model is None or (options["data"] is None) == (options["score"] is None):
            raise UsageError(
                "search wants a MODEL and --data, as in: stridewise search builtin:resnet20 --data builtin:digits "
                "(or --score, your own training, instead of --data)"
            )
        given = read_settings(options)
        given["max_peak_bytes"] = given.pop("max_memory", None)
        given["rivals"] = _rivals(given.pop("rivals"))
        if given.get("score"):
            del given["task"]
            _check_input(model, given)
        folder = run or Path("runs") / re.sub(r"[^\w.-]+", "-", f"{model}-{options['data'] or options['score']}")
        call = {"model": model, **given, "run": folder}
    with standing() as tell:
        result = search(**call, **place, workers=count, tell=tell)
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False))
        return
    click.echo(str(result))
    click.echo(f"\nSee {call['run']}/report.html; the plan is in {call['run']}/plan.toml.", err=True)


# What may be said of a study that goes on: where its records are and where it runs.
_OF_THE_PLACE = ("resume", "storage", "workers", "ray", "cpus", "gpus", "as_json")


def _check_resumed(resume: Path) -> None:
    """Raises: UsageError where something is given that the folder says already."""
    context = click.get_current_context()
    given = [
        "MODEL" if isinstance(parameter, click.Argument) else parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in _OF_THE_PLACE
        and context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"--resume {resume} takes all of the study from the folder: leave {' and '.join(given)} out")


def _rivals(given: tuple[str, ...]) -> list[str] | None:
    return None if not given else [name for name in given if name != "none"]


def _check_input(model: str, given: dict[str, Any]) -> None:
    """The input of a network that a person's own score trains."""
    if "input" not in given and model.startswith("builtin:"):
        from stridewise.models.builtin import input_of

        given["input"] = input_of(model.removeprefix("builtin:"))
    if "input" not in given:
        raise UsageError(f"{model}: --score wants the network's input too, as in --input 3x224x224")
