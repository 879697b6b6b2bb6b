"""What several commands take: a model, its input, plans, a page to write; and how reports are drawn."""

import contextlib
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stridewise.errors import LARGEST, UsageError

if TYPE_CHECKING:
    from stridewise.ir import Graph
    from stridewise.plans import Plan
    from stridewise.report.scale import Scale
    from stridewise.shown import Shown

Shape = tuple[int, ...]

MODEL_HELP = """MODEL is timm:NAME, torchvision:NAME, builtin:NAME, onnx:FILE or a .onnx path, py:pkg.mod:factory or
file.py:factory, hf:FOLDER (a transformers model's), plans.json:CONFIGURATION (nnU-Net's), pt2:FILE; a bare name is
looked up in torchvision, then timm."""


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """MODEL, --input with --layout and --arg, and --trust."""

    @functools.wraps(command)
    def run(*args: Any, inputs: tuple[str, ...], layouts: tuple[str, ...], plain: tuple[str, ...], **more: Any) -> Any:
        return command(*args, inputs=_with_layouts(inputs, layouts) + tuple(map(_plain, plain)), **more)

    for decorate in (
        click.option("--trust", is_flag=True, help="Read files that can run code (pt2:)."),
        click.option(
            "--arg",
            "plain",
            multiple=True,
            metavar="NAME=VALUE",
            help="An argument of the forward that is no tensor, scale=2.0 or mode=nearest; repeatable.",
        ),
        click.option(
            "--layout",
            "layouts",
            multiple=True,
            metavar="[NAME=]NHWC",
            help="What each dimension of an input is: N the batch, C channels, any other letter positions. "
            "[default: as the first window reads it]",
        ),
        click.option(
            "--input",
            "inputs",
            multiple=True,
            metavar="[NAME=]CxHxW[:DTYPE]",
            help="Channels and sizes, 3x224x224; once for each named input; ids=77:int64 for whole numbers, "
            "timestep= for one number. [default: what the model was made for]",
        ),
        click.argument("model"),
    ):
        run = decorate(run)
    return run


def _with_layouts(inputs: tuple[str, ...], layouts: tuple[str, ...]) -> tuple[str, ...]:
    """The inputs with layouts behind them, `x=64x48x3@NHWC`; the layout alone where the model's own input is meant."""
    given = list(inputs)
    for text in layouts:
        name, equals, letters = text.rpartition("=")
        at = [i for i, entry in enumerate(given) if entry.startswith(f"{name}{equals}") and "@" not in entry]
        if name and not at:
            raise UsageError(f"--layout {text}: no --input is named {name}")
        if at:
            given[at[0]] += f"@{letters}"
        else:
            given.append(f"@{letters}")
    return tuple(given)


def _plain(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--arg '{text}': a name and a value are wanted, as scale=2.0")
    return f"{name}=={value}"


def opaque_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--opaque, of commands that report ops without a rule."""
    return click.option(
        "--opaque",
        multiple=True,
        metavar="MODULE|OP",
        help="Do not report ops without a rule in this module, or of this name: what follows them stays unknown.",
    )(command)


_FORMATS = {".html", ".htm", ".svg", ".png", ".jpg", ".gif", ".json", ".md", ".toml", ".onnx", ".txt", ".csv", ".pdf"}


class OutFile(click.Path):
    """A file to write; a name whose ending is that of another format is refused. endings: the format's own."""

    def __init__(self, *endings: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises: click.BadParameter."""
        ending = Path(value).suffix.lower()
        if ending in _FORMATS and ending not in self.endings:
            self.fail(f"{value} ends in {ending}, and {self.endings[0]} is written: name it so", param, ctx)
        return super().convert(value, param, ctx)


class _ScaleType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """A scale such as 1x1x3mm; `bare`: the unit of a number without one."""

    name = "scale"

    def __init__(self, bare: str = "") -> None:
        self.bare = bare

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Scale":
        from stridewise.report.scale import Scale

        return Scale.read(value, "scale" if param is None else param.opts[0], self.bare)


def scale_options(command: Callable[..., Any], pixel: bool = True) -> Callable[..., Any]:
    """--rate, --spacing, --gsd and --pixel: what a position of the input measures, handed on as `scale`; pixel=False
    where --pixel is the command's own, which then reads both kinds."""

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> Any:
        said = {name: found for name in names if (found := given.pop(name, None)) is not None}
        if len(said) > 1:
            raise UsageError(f"{' and '.join(f'--{name}' for name in said)}: say one of them")
        return command(*args, scale=next(iter(said.values()), None), **given)

    names = ("rate", "spacing", "gsd", "pixel")
    for option, bare, metavar, about in (
        ("--pixel", "", "2um", "Of a pixel under the microscope: lengths in this unit too."),
        ("--gsd", "", "0.3m", "Ground sample distance, of a pixel seen from above: lengths in this unit too."),
        ("--spacing", "", "1x1x3mm", "Of the voxels, an entry an axis or one for all: lengths in this unit too."),
        ("--rate", "Hz", "HZ", "Samples a second, 16000 or 16kHz: lengths in ms too."),
    ):
        if pixel or option != "--pixel":
            run = click.option(option, type=_ScaleType(bare), metavar=metavar, help=about)(run)
    return run


def parse_sizes(what: str, text: str, example: str = "3x224x224") -> Shape:
    """`3x224x224` as whole numbers. Raises UsageError."""
    try:
        sizes = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1 or max(sizes) > LARGEST:
        most = f" to {LARGEST}" if sizes and max(sizes) > LARGEST else ""
        raise UsageError(f"{what} '{text[:60]}': whole numbers from 1{most} joined by x are wanted, as {example}")
    return sizes


def parse_inputs(texts: Sequence[str]) -> Any:
    """One shape, or shapes by name, as `sw.trace` takes them; None for the model's own.

    Raises: UsageError where named and unnamed ones are mixed.
    """
    if not texts:
        return None
    named = [text.partition("=") for text in texts]
    alone = [text for text, sign, _ in named if not sign]
    if len(texts) == 1 and alone:
        return _parse_entry(texts[0])
    rest = [(name, shape) for name, sign, shape in named if sign]
    plain = [name for name, shape in rest if shape.startswith("=")]
    if len(alone) > 1 or (alone and len(plain) < len(rest)) or len({name for name, _ in rest}) < len(rest):
        raise UsageError("--input: several inputs are named each once: --input x=3x224x224 --input t=1")
    if any(not name for name, _ in rest):
        raise UsageError("--input: a name is wanted before the equals sign: --input x=3x224x224")
    return {name: _parse_entry(shape) for name, shape in [*(("", text) for text in alone), *rest]}


def _parse_entry(text: str) -> Shape | str:
    """Sizes as numbers; what says more than sizes as it is written."""
    if not text:
        return ()
    return text if any(sign in text for sign in ":@=") else parse_sizes("--input", text)


def parse_strides(text: str | None, option: str = "--declared") -> list[int | Shape] | None:
    """`4,8,16,32`, or `4x8,8x16` with unequal axes. Raises UsageError."""
    if text is None:
        return None
    strides = [parse_sizes(option, part.strip(), "4,8,16,32 or 4x8,8x16") for part in text.split(",")]
    return [stride[0] if len(stride) == 1 else stride for stride in strides]


def open_model(model: str, inputs: Sequence[str], trust: bool, opaque: Sequence[str] = ()) -> "Graph":
    """The graph of the model that was named; what a bare name was taken for goes to standard error.

    Raises: UsageError for an opaque name that it has not.
    """
    from stridewise.models.load import check_opaque

    graph = opened(model, inputs, trust, opaque)
    check_opaque([graph], opaque)
    return graph


def opened(model: str, inputs: Sequence[str], trust: bool, opaque: Sequence[str] = ()) -> "Graph":
    """The same for one of several networks: an opaque name may be of another."""
    from stridewise.models.load import open_graph, resolve

    given = parse_inputs(inputs)
    spec = resolve(model)
    if spec.note:
        click.echo(spec.note, err=True)
    with working(f"tracing {spec}"):
        return open_graph(spec, given, trust=trust, opaque=opaque)


def force_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--force, of commands that take plan files."""
    return click.option(
        "--force", is_flag=True, help="Take a plan of another network that has the sites it names, as they were."
    )(command)


def read_plans(paths: Sequence[str], force: bool = False) -> "dict[str, Plan]":
    """Plans by the names of their files; force: for whatever network has their sites."""
    from stridewise.plans import Plan

    plans: dict[str, Plan] = {}
    for path in paths:
        name = Path(path).stem
        plan = Plan.read(path)
        plans[path if name in plans else name] = plan.forced() if force else plan
    return plans


def write_page(path: Path, text: str) -> None:
    """Write a file whole or not at all, and say so on standard error."""
    from stridewise.files import write_text

    write_text(path, text)
    click.echo(f"wrote {path}", err=True)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on standard error while something takes its time, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


@contextlib.contextmanager
def going_on(how: str) -> Iterator[None]:
    """Long work that Ctrl-C may stop: what is said then of how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(how) from stop


STYLES = {"head": "bold", "dim": "dim", "step": "cyan", "warning": "yellow", "error": "bold red", "": ""}


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json and --md."""
    for decorate in (
        click.option("--md", "markdown", is_flag=True, help="Markdown on standard output."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output."),
    ):
        command = decorate(command)
    return command


def tell(result: "Shown", *, as_json: bool = False, markdown: bool = False, every: bool = False) -> None:
    """A result on standard output; every: all its remarks, also on a terminal. Raises: UsageError for two forms."""
    if as_json and markdown:
        raise UsageError("--json and --md: one form at a time")
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False))
    elif markdown:
        click.echo(result.to_markdown(), nl=False)
    else:
        from stridewise.report.terminal import lines

        document = result.document()
        draw(lambda width: lines(document, width, every=every or not sys.stdout.isatty()))


def say(text: str) -> None:
    """Text on standard output; a line wider than the window is broken at its spaces."""
    draw(lambda width: [[(line, "")] for line in text.split("\n")])


def draw(lines: "Callable[[int], Sequence[Sequence[tuple[str, str]]]]") -> None:
    """Lines of styled pieces on standard output, as wide as the window: with colour on a terminal, plain elsewhere.

    Where nobody says how wide the window is, as in a pipe, tables are made for 100 columns and no line is broken.
    """
    from stridewise.report.terminal import folded, joined

    width = shutil.get_terminal_size((100, 24)).columns or 100
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    drawn = [list(line) for line in lines(width if known else 100)]
    if known:
        drawn = [piece for line in drawn for piece in folded(line, width)]
    if not sys.stdout.isatty():
        for line in drawn:
            click.echo(plain_letters(joined([line])))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(no_color="NO_COLOR" in os.environ, highlight=False)
    for line in drawn:
        console.print(Text.assemble(*((plain_letters(text), STYLES[style]) for text, style in line)), soft_wrap=True)


_ASCII = str.maketrans(
    {"×": "x", "→": ">", "–": "-", "−": "-", "…": "~", "≠": "#", "━": "-", "│": "|", "┼": "+", "▼": "v", "▲": "^",
     "╷": "|", "╵": "|", "↓": "/", "↑": "*", "·": "."}
)  # fmt: skip


def plain_letters(text: str) -> str:
    """The text, in plain letters where standard output has no others (LANG=C)."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text
