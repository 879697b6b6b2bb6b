"""What `train` and `search` take: a training's head and recipe, and the options made from the fields of a study."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import click

from stridewise.cli.arguments import parse_strides
from stridewise.errors import UsageError

Command = Callable[..., Any]


def training_options(command: Command) -> Command:
    """Options of a task's head and of its recipe; what is not given is None, and left to the library's defaults."""
    precisions = click.Choice(["32-true", "16-mixed", "bf16-mixed"])
    for decorate in reversed(
        (
            click.option("--batch", type=click.IntRange(2), help="Pictures in a step. [default: 64]"),
            click.option("--rate", "--lr", "rate", type=float, help="Peak learning rate. [default: 0.005]"),
            click.option("--decay", type=float, help="Weight decay. [default: 0.05]"),
            click.option(
                "--augment", metavar="A,B,...", help="shift, flip, scale, bend, light, invert. [default: nothing]"
            ),
            click.option("--accumulate", type=click.IntRange(1), help="Batches a step. [default: 1]"),
            click.option("--warmup", type=float, help="Share of the steps in which the rate rises. [default: 0.1]"),
            click.option(
                "--ema", type=float, metavar="DECAY", help="Judge and keep a running average, 0.999. [default: none]"
            ),
            click.option("--clip", type=float, help="Largest norm of a gradient. [default: any]"),
            click.option("--precision", type=precisions, help="[default: 32-true]"),
            click.option("--device", help="cpu, cuda, mps or auto. [default: cpu]"),
            click.option("--head", type=click.Choice(["atrous", "decoder"]), help="segment. [default: decoder]"),
            click.option("--levels", metavar="4,8,...", help="segment, detect: strides read. [default: all from 4 on]"),
            click.option("--width", type=click.IntRange(1), help="segment, detect: of the head. [default: 64]"),
            click.option(
                "--sizes", metavar="A,B", help="detect: sides of small and large objects, pixels. [default: 32,96]"
            ),
        )
    ):
        command = decorate(command)
    return command


def read_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, lists read. Raises: UsageError."""
    settings = {key: value for key, value in given.items() if value is not None}
    if "augment" in settings:
        settings["augment"] = tuple(part.strip() for part in settings["augment"].split(",") if part.strip())
    if "levels" in settings:
        settings["levels"] = tuple(parse_strides(settings["levels"], "--levels") or ())
    if "sizes" in settings:
        settings["sizes"] = _pair(settings["sizes"])
    return settings


def _pair(text: str) -> tuple[float, float]:
    try:
        small, large = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--sizes '{text}': two numbers are wanted, as 32,96") from error
    return small, large


class Amount(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """0.8x of what the network has as it is, or a number with a letter: thousands of elements, or 1024s of bytes."""

    name = "N"

    def __init__(self, *, of_bytes: bool = False) -> None:
        self.bytes = of_bytes
        self.units = (
            {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30} if of_bytes else {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}
        )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """As it was written where it is a share, else a whole number."""
        if not isinstance(value, str) or re.fullmatch(r"\d+(\.\d+)?x", value):
            return value  # type: ignore[no-any-return]
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)(?:i?B)?" if self.bytes else r"(\d+(?:\.\d+)?)([kMG]?)", value)
        if not found:
            what = "64M (MiB), 1.5G (GiB) or bytes" if self.bytes else "300M, 1.2G or a whole number"
            self.fail(f"{value}: write 0.8x (of the network as it is), {what}", param, ctx)
        return round(float(found[1]) * self.units[found[2]])


class Pattern(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """Whole numbers written in one way."""

    def __init__(self, name: str, pattern: str, part: str, example: str) -> None:
        self.name, self.pattern, self.part, self.example = name, pattern, part, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        if not re.fullmatch(self.pattern, value):
            self.fail(f"{value}: write {self.example}", param, ctx)
        return tuple(int(number) for number in value.split(self.part))


class Words(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """Words with commas between."""

    name = "A,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The words."""
        parts = value.split(",") if isinstance(value, str) else value
        words = tuple(part.strip() for part in parts if part.strip())
        if not words:
            self.fail("there is no word in it: write one, or several with commas between", param, ctx)
        return words


_NUMBERS = r"[1-9]\d*"
KINDS: dict[str, Any] = {
    "amount": Amount(),
    "bytes": Amount(of_bytes=True),
    "stride": Pattern("S|SxS", rf"{_NUMBERS}(x{_NUMBERS})*", "x", "8, or 8x16 where the axes differ"),
    "steps": Pattern("4,8,16,32", rf"{_NUMBERS}(,{_NUMBERS})*", ",", "4,8,16,32"),
    "shape": Pattern("3x224x224", rf"{_NUMBERS}(x{_NUMBERS})+", "x", "3x224x224 (channels x height x width)"),
    "size": Pattern("S|HxW", rf"{_NUMBERS}(x{_NUMBERS})?", "x", "64 or 48x64 (height x width)"),
}


def study_options(command: Command) -> Command:
    """An option for every field of a study that has one; what is not given is None, and left to the field."""
    from stridewise.study.value import option_fields

    for one in reversed(option_fields()):
        command = _option(one)(command)
    return command


def _option(one: Any) -> Callable[[Command], Command]:
    from stridewise.study.value import default_of

    how, default = one.metadata, default_of(one)
    kind, flags = how["kind"], how["flags"]
    shown = default not in (None, "", (), False, 0) and kind != "words"
    text = how["text"] + (f"  [default: {default}]" if shown else "")
    name = one.name
    if kind == "flag":
        return click.option(*flags, name, is_flag=True, default=None, help=text)
    if how.get("metavar", "").endswith("|none"):
        return click.option(*flags, name, multiple=True, metavar=how["metavar"], help=text)
    if kind == "choice":
        return click.option(*flags, name, type=click.Choice(how["choices"]), help=text)
    if kind == "words":
        return click.option(*flags, name, type=Words(), help=text)
    if kind == "count":
        return click.option(*flags, name, type=click.IntRange(how["least"]), help=text)
    if kind == "share":
        return click.option(*flags, name, type=click.FloatRange(how["least"]), help=text)
    if kind == "latency":
        return click.option(*flags, name, metavar="0.8x|12ms", help=text)
    if kind in KINDS:
        return click.option(*flags, name, type=KINDS[kind], help=text)
    return click.option(*flags, name, metavar=how.get("metavar", "TEXT"), help=text)


def read_study(given: dict[str, Any]) -> dict[str, Any]:
    """The fields that were given, by name: sizes and steps as a study writes them."""
    found = {name: value for name, value in given.items() if value not in (None, ())}
    if len(found.get("output_stride", ())) == 1:
        (found["output_stride"],) = found["output_stride"]
    if len(found.get("size", ())) == 1:
        found["size"] = found["size"] * 2
    if "none" in found.get("rivals", ()) and len(found["rivals"]) > 1:
        others = " ".join(name for name in found["rivals"] if name != "none")
        raise UsageError(f"--rival none trains no other network, and {others} is asked for: leave one of them out")
    if "rivals" in found:
        found["rivals"] = tuple(name for name in found["rivals"] if name != "none")
    return found
