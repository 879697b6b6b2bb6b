"""`stridewise search`: choose strides for a task."""

import json
import re
from pathlib import Path
from typing import Any

import click

from stridewise.cli.arguments import going_on, tell
from stridewise.cli.options import read_settings, read_study, study_options, training_options
from stridewise.errors import UsageError


@click.command(name="search")
@click.argument("model", required=False)
@study_options
@training_options
@click.option("--study", type=click.Path(path_type=Path), help="Take the study from this JSON file.")
@click.option("--print-study", is_flag=True, help="Print the study as JSON, and train nothing.")
@click.option("--run", type=click.Path(path_type=Path), help="Folder that keeps the study. [default: runs/MODEL]")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the study in this folder.")
@click.option("--storage", metavar="URL", help="Keep the records in a database: postgresql://user@host/name.")
@click.option("--workers", type=click.IntRange(0), help="Training processes. [default: one a core, at most 4]")
@click.option("--ray", metavar="ADDRESS", help="Place trainings on a Ray cluster: auto, host:port, local.")
@click.option("--cpus", type=click.FloatRange(0), default=1.0, show_default=True, help="Of a training, with --ray.")
@click.option("--gpus", type=click.FloatRange(0), default=0.0, show_default=True, help="Of a training, with --ray.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    model: str | None,
    study: Path | None,
    print_study: bool,
    run: Path | None,
    resume: Path | None,
    storage: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Choose strides for a task: what each cost buys, the best plan within limits, the cheapest that loses little.

    The run folder keeps every training: the same command goes on after a stop and trains nothing twice; one with more
    --trials, --cost, --finalists or --seeds makes the study longer.
    """
    from stridewise.cli.standing import standing
    from stridewise.study.executors import Executor, Ray, Workers, cores
    from stridewise.study.search import search
    from stridewise.study.settings import stored_study

    ray, workers = options.pop("ray"), options.pop("workers")
    place = {key: options.pop(key) for key in ("cpus", "gpus")}
    if ray is not None and workers is not None:
        raise UsageError("--workers are processes of this machine, --ray places trainings elsewhere: leave one out")
    on: Executor = Workers(min(4, cores()) if workers is None else workers) if ray is None else Ray(ray, **place)
    if resume is not None:
        _check_alone(f"--resume {resume}", "the folder")
        asked, folder = stored_study(resume, storage), resume
    else:
        asked = _asked(model, study, options)
        name = f"{asked.model}-{asked.data or asked.score}"
        folder = run or Path("runs") / re.sub(r"[^\w.-]+", "-", name)
    if print_study:
        click.echo(json.dumps(asked.to_json(), indent=1))
        return
    again = f"what is known by now is in {folder}; the same command, or search --resume {folder}, goes on"
    with going_on(again), standing() as progress:
        result = search(asked, on=on, run=folder, storage=storage, tell=progress)
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False))
        return
    tell(result)
    click.echo(f"\nSee {folder}/report.html; the plan is in {folder}/plan.toml.", err=True)


def _asked(model: str | None, file: Path | None, options: dict[str, Any]) -> Any:
    """The study that the options or a file say. Raises: UsageError."""
    from stridewise.study.settings import check_libraries
    from stridewise.study.value import Study

    if file is not None:
        _check_alone(f"--study {file}", "that file")
        return Study.read(file)
    given = read_settings(read_study(options))
    if model is None or ("data" in given) == ("score" in given):
        raise UsageError(
            "search wants a MODEL and --data, as in: stridewise search builtin:resnet20 --data builtin:digits "
            "(or --score, your own training, instead of --data)"
        )
    if "score" in given:
        check_libraries(trains=False)
        _check_input(model, given)
    return Study.of(model, **given)


# What may be said of a study that is in a file: where its records are and where it runs.
_OF_THE_PLACE = ("resume", "study", "print_study", "storage", "workers", "ray", "cpus", "gpus", "as_json")


def _check_alone(option: str, where: str) -> None:
    """Raises: UsageError where something is given that a file says already."""
    context = click.get_current_context()
    allowed = (*_OF_THE_PLACE, *(("run",) if option.startswith("--study") else ()))
    given = [
        "MODEL" if isinstance(parameter, click.Argument) else "/".join(parameter.opts)
        for parameter in context.command.params
        if parameter.name not in allowed
        and context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        longer = (
            "; the whole command again, with --run and more --trials, --cost, --finalists or --seeds, goes on longer"
        )
        raise UsageError(
            f"{option} takes all of the study from {where}: leave {' and '.join(given)} out"
            + (longer if option.startswith("--resume") else "")
        )


def _check_input(model: str, given: dict[str, Any]) -> None:
    """The input of a network that a person's own score trains."""
    if "input" not in given and model.startswith("builtin:"):
        from stridewise.models.builtin import input_of

        given["input"] = input_of(model.removeprefix("builtin:"))
    if "input" not in given:
        raise UsageError(f"{model}: --score wants the network's input too, as in --input 3x224x224")
