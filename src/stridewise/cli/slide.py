"""`stridewise slide`: one kernel over one picture at several strides, in numbers and as a picture."""

import json
import textwrap
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stridewise.cli.arguments import draw, parse_sizes, working
from stridewise.errors import StridewiseError, UsageError
from stridewise.files import whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stridewise.convolution import Slide
    from stridewise.measuring.own_filter import OwnFilter

_FILE = "slide.png"


@click.command("slide")
@click.argument("picture")
@click.option("--kernel", "-k", help='A name, rows like "1 0 -1; 2 0 -2", or a file. [default: sobel-x]')
@click.option(
    "--filter",
    "own",
    metavar="MODEL:LAYER:CHANNEL",
    help="A network's own filter on what really comes into its layer, with words on what is bright and why; MODEL as "
    "in `show`, or a run folder of `train`.",
)
@click.option("--weights", metavar="FILE", help="--filter: the model's weights; without them they are random.")
@click.option("--input", "shape", metavar="CxHxW", help="--filter: what the network reads. [default: its own]")
@click.option("--trust", is_flag=True, help="--filter: read files that can run code (pt2:).")
@click.option(
    "--stride",
    "-s",
    "strides",
    multiple=True,
    metavar="S|SxS",
    help="May be repeated. [default: 1, 2 and 4, and the layer's own]",
)
@click.option(
    "--padding",
    "-p",
    metavar="P|PxP|same|valid",
    help="Zeros on every side; begin:end where the sides differ, like 0:1x0:1. [default: 0]",
)
@click.option("--dilation", "-d", metavar="D|DxD", help="Distance between the kernel's taps. [default: 1]")
@click.option(
    "--colour",
    type=click.Choice(["luminance", "channels"]),
    help="What the kernel reads: grey, or each colour channel on its own. [default: luminance]",
)
@click.option(
    "--walk",
    "steps",
    type=click.IntRange(0, 100_000),
    default=0,
    metavar="N",
    help="Write out the first N steps of each stride: window, products, sum.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR|FILE",
    help=f"Folder for {_FILE}, or a file: .png the drawing, .svg and .gif the walk, step by step. [default: the "
    "current folder]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(
    picture: str, strides: tuple[str, ...], own: str | None, steps: int, output: Path, as_json: bool, **settings: Any
) -> None:
    """Slide a kernel over PICTURE: sizes, cost and coverage at each stride, and a drawing of what each one keeps.

    PICTURE is a file, builtin:china, builtin:flower or builtin:digit. Strides, padding and dilation are one number, or
    one for the rows and one for the columns: 4x2. A kernel is one of identity, box, gaussian, sobel-x, sobel-y,
    laplacian, sharpen, gabor, some with a size (gaussian:7) and an angle (gabor:9:45), or your own.
    """
    from stridewise import convolution

    wanted = [_per_axis(stride) for stride in strides]
    words: tuple[str, ...] = ()
    if own is None:
        slides = _slides(picture, wanted, settings)
    else:
        found = _own_filter(picture, own, wanted, settings)
        slides, words = found.slides, (*([found.note] if found.note else []), *found.words)
    file = _write(slides, output)
    if as_json:
        about = {"picture": picture, "file": str(file)} | ({"words": list(words)} if own else {})
        click.echo(json.dumps(convolution.to_json(slides, steps=steps) | about))
    else:
        draw(lambda width: _lines(slides, steps, words, width))
    click.echo(f"wrote {file}", err=True)


def _slides(picture: str, strides: list[Any], settings: dict[str, Any]) -> "Sequence[Slide]":
    """A named or written kernel on the picture itself."""
    from stridewise import convolution

    given = [name for name in ("weights", "shape", "trust") if settings[name]]
    if given:
        raise UsageError(f"--{given[0].replace('shape', 'input')}: is for --filter, a network's own")
    return convolution.slides(
        picture,
        settings["kernel"] or "sobel-x",
        strides=strides or [1, 2, 4],
        padding=_per_axis(settings["padding"] or "0"),
        dilation=_per_axis(settings["dilation"] or "1"),
        colour=settings["colour"] or "luminance",
    )


def _own_filter(picture: str, own: str, strides: list[Any], settings: dict[str, Any]) -> "OwnFilter":
    """A network's filter on what comes into its layer."""
    given = [name for name in ("kernel", "padding", "dilation", "colour") if settings[name] is not None]
    if given:
        raise UsageError(f"--{given[0]}: --filter takes the layer's own; leave it out")
    model, layer, channel = (["", "", *own.rsplit(":", 2)])[-3:]
    if not model or not layer or not channel.isdecimal():
        raise UsageError(f"--filter '{own}': MODEL:LAYER:CHANNEL is wanted, as torchvision:resnet18:layer1.0.conv1:3")
    if any(not isinstance(n, int) for stride in strides for n in (stride if isinstance(stride, tuple) else [stride])):
        raise UsageError("--stride: whole numbers from 1 are wanted, 2 or 4x2")
    from stridewise.measuring.own_filter import own_filter

    net, about = _network(model, settings)
    with working(f"running {model}"):
        return own_filter(net, picture, layer, int(channel[:9]), strides=strides, name=model, **about)


def _network(model: str, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The live network, and how its pictures are given."""
    from stridewise.models.load import default_input, load, resolve
    from stridewise.tasks.train import is_trained, ready

    shape = parse_sizes("--input", settings["shape"]) if settings["shape"] else None
    if is_trained(model):
        run = ready(model)
        return run.model, {"input": shape or run.input, "standard": run.moments}
    spec = resolve(model)
    if spec.kind == "onnx":
        raise UsageError(f"--filter: {model} is a file; the page shows its filters: stridewise serve {model}")
    import torch

    from stridewise.measuring.variants import standard_of

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights that are the same at every call
        net = load(spec, trust=settings["trust"], weights=settings["weights"])
    if not settings["weights"]:
        click.echo(f"{spec}: its weights are random; give --weights FILE", err=True)
    return net, {"input": shape or default_input(spec), "standard": standard_of(spec)}


def _per_axis(text: str) -> Any:
    """2 as a number, 4x2 as a tuple, 0:1 as a pair for each axis; other words as they are, for the library to judge."""
    if "," in text:
        raise UsageError(f"'{text}': axes are joined by x: write {text.replace(',', 'x').replace(' ', '')}")
    entries = [_sides(entry) for entry in text.split("x")]
    if len(entries) > 1:
        return tuple(entries)
    return (entries[0], entries[0]) if isinstance(entries[0], tuple) else entries[0]


def _sides(text: str) -> Any:
    sides = [int(side) if side.removeprefix("-").isdecimal() else side for side in text.split(":")]
    return sides[0] if len(sides) == 1 else tuple(sides)


def _lines(slides: "Sequence[Slide]", steps: int, words: "Sequence[str]", width: int) -> list[list[tuple[str, str]]]:
    """Everything in lines; figures and sentences are broken where the window asks for it, the steps' numbers never."""

    def broken(text: str, indent: int) -> list[str]:
        return textwrap.wrap(text, max(width, 30), subsequent_indent=" " * indent, break_on_hyphens=False) or [""]

    out = broken(slides[0].heading, 2)
    for one in slides:
        out += ["", *(part for line in str(one).splitlines() for part in broken(line, 4))]
        out += [row for step in islice(one.steps(), steps) for row in ("", *str(step).splitlines())]
    out += ["", *(part for sentence in words for part in broken(sentence, 2))] if words else []
    return [[(line, "")] for line in out]


def _write(slides: "Sequence[Slide]", output: Path) -> Path:
    """The drawing, or the walk, in the form that the name's ending says; in a folder a PNG."""
    if not output.suffix or output.is_dir():
        return _write_drawing(slides, output)
    from stridewise.convolution import walking
    from stridewise.files import write_bytes

    make = {".svg": lambda: walking.svg(slides).encode(), ".gif": lambda: walking.gif(slides)}
    ending = output.suffix.lower()
    if ending == ".png":
        _save(slides, output)
    elif ending in make:
        write_bytes(output, make[ending]())
    else:
        raise UsageError(f"-o {output}: no format '{output.suffix}': name a .png, .svg or .gif, or a folder")
    return output


def _save(slides: "Sequence[Slide]", target: Path) -> None:
    from stridewise.convolution import picture

    image = picture(slides)
    with whole(target, advice="Name a folder with -o") as place:
        image.save(place, format="PNG")


def _write_drawing(slides: "Sequence[Slide]", folder: Path) -> Path:
    target = folder / _FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StridewiseError(f"{folder}: no folder can be made: {error.strerror}. Name another with -o") from error
    _save(slides, target)
    return target
