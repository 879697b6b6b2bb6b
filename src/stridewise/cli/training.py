"""What `train` and `search` take of a training, its head and its recipe, and how it is read."""

from __future__ import annotations

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
