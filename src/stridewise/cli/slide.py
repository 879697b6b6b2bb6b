"""`stridewise slide`: one kernel over one picture at several strides, in numbers and as a picture."""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stridewise.errors import StridewiseError, UsageError
from stridewise.files import whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stridewise.convolution import Slide

_FILE = "slide.png"


@click.command("slide")
@click.argument("picture")
@click.option(
    "--kernel", "-k", default="sobel-x", show_default=True, help='A name, rows like "1 0 -1; 2 0 -2", or a file.'
)
@click.option(
    "--stride",
    "-s",
    "strides",
    multiple=True,
    default=("1", "2", "4"),
    metavar="S|SxS",
    help="May be repeated. [default: 1, 2 and 4]",
)
@click.option(
    "--padding",
    "-p",
    default="0",
    show_default=True,
    metavar="P|PxP|same|valid",
    help="Zeros on every side; begin:end where the sides differ, like 0:1x0:1.",
)
@click.option(
    "--dilation", "-d", default="1", show_default=True, metavar="D|DxD", help="Distance between the kernel's taps."
)
@click.option(
    "--colour",
    type=click.Choice(["luminance", "channels"]),
    default="luminance",
    show_default=True,
    help="What the kernel reads: grey, or each colour channel on its own.",
)
@click.option(
    "--walk",
    "steps",
    type=click.IntRange(min=0),
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
    picture: str,
    kernel: str,
    strides: tuple[str, ...],
    padding: str,
    dilation: str,
    colour: str,
    steps: int,
    output: Path,
    as_json: bool,
) -> None:
    """Slide a kernel over PICTURE: sizes, cost and coverage at each stride, and a drawing of what each one keeps.

    PICTURE is a file, builtin:china, builtin:flower or builtin:digit. Strides, padding and dilation are one number, or
    one for the rows and one for the columns: 4x2. A kernel is one of identity, box, gaussian, sobel-x, sobel-y,
    laplacian, sharpen, gabor, some with a size (gaussian:7) and an angle (gabor:9:45), or your own.
    """
    from stridewise import convolution

    slides = convolution.slides(
        picture,
        kernel,
        strides=[_per_axis(stride) for stride in strides],
        padding=_per_axis(padding),
        dilation=_per_axis(dilation),
        colour=colour,
    )
    file = _write(slides, output)
    if as_json:
        found = {"picture": picture, "file": str(file)}
        click.echo(json.dumps(convolution.to_json(slides, steps=steps) | found))
    else:
        click.echo(_text(slides, steps))
    click.echo(f"wrote {file}", err=True)


def _per_axis(text: str) -> Any:
    """2 as a number, 4x2 as a tuple, 0:1 as a pair for each axis; other words as they are, for the library to judge."""
    entries = [_sides(entry) for entry in text.split("x")]
    if len(entries) > 1:
        return tuple(entries)
    return (entries[0], entries[0]) if isinstance(entries[0], tuple) else entries[0]


def _sides(text: str) -> Any:
    sides = [int(side) if side.removeprefix("-").isdecimal() else side for side in text.split(":")]
    return sides[0] if len(sides) == 1 else tuple(sides)


def _text(slides: "Sequence[Slide]", steps: int) -> str:
    parts = [slides[0].heading]
    for one in slides:
        parts += [str(one), *(str(step) for step in islice(one.steps(), steps))]
    return "\n\n".join(parts)


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
