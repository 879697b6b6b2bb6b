"""`stridewise serve`: the local page."""

import atexit
import json
import logging
import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from stridewise.cli.arguments import MODEL_HELP, opaque_option, parse_inputs, scale_options
from stridewise.errors import LoadError, MissingExtraError

if TYPE_CHECKING:
    from stridewise.report.scale import Scale


@click.command(
    "serve", help=f"See strides, change them and watch what follows, on a page of this machine.\n\n{MODEL_HELP}"
)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--input", "inputs", multiple=True, metavar="[NAME=]CxHxW", help="Channels and sizes, 3x224x224.")
@click.option("--weights", metavar="FILE", help="Trained weights (.safetensors, or a torch file of tensors).")
@click.option("--trust", is_flag=True, help="Read files that can run code (pt2:).")
@opaque_option
@scale_options
@click.option("--fit", "fitted", metavar="FILE", help="What `stridewise fit --json` printed, to show beside.")
@click.option(
    "--run",
    "folders",
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="A run folder of `stridewise search`, to show beside. May be given again.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to listen. [default: a free port]")
@click.option("--at", "fragment", default="", metavar="WHERE", help="What stands behind the # of a page's address.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def command(
    models: tuple[str, ...],
    inputs: tuple[str, ...],
    weights: str | None,
    trust: bool,
    opaque: tuple[str, ...],
    scale: "Scale | None",
    fitted: str | None,
    folders: tuple[Path, ...],
    port: int,
    fragment: str,
    no_browser: bool,
) -> None:
    """Parse, bind, print the address, serve."""
    try:
        from stridewise.web import plans, safety, server, workbench
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise MissingExtraError(str(error.name), "web", "the page") from error
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    bench = workbench.Workbench(models or workbench.bundled(), parse_inputs(inputs), trust, weights, opaque, scale)
    if weights is not None and not Path(weights).is_file():
        raise LoadError(f"{weights}: there is no such file of weights; name a .safetensors file")
    if opaque:  # what they name is known once the networks are read
        bench.warm().join()
        bench.check_opaque()
    extras: dict[str, Any] = {"fit": _read(fitted)} if fitted else {}
    listener = server.bound(port)
    token = safety.new_token()
    number = listener.getsockname()[1]
    address = f"http://{server.ADDRESS}:{number}/?token={token}"
    if fragment:
        address += "#" + quote(fragment.removeprefix("#"), safe="=&:,+.[]%")

    def ready() -> None:
        click.echo(f"Stridewise: {address}")
        click.echo("stop with Ctrl+C", err=True)
        if not opaque:
            bench.warm()
        if not no_browser:
            webbrowser.open(address)

    app = server.make_app(bench, token=token, port=number, extras=extras, runs=plans.Runs(folders))
    with _left_at_once():
        server.run(app, listener, ready)


@contextmanager
def _left_at_once() -> Iterator[None]:
    """Ctrl-C ends the process once the exit handlers of what was loaded meanwhile have run, without taking the
    interpreter down: a thread that is inside torch then (importing, tracing) can abort the process."""
    interrupted: list[bool] = []
    atexit.register(lambda: _leave(130) if interrupted else None)  # what is registered first runs last
    try:
        yield
    except KeyboardInterrupt:
        interrupted.append(True)
        raise


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _read(path: str) -> Any:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(found, dict) or found.get("schema") != "stridewise.fit/1":
        raise LoadError(f"{path}: not what `stridewise fit --json` prints (schema stridewise.fit/1 is wanted)")
    return found
