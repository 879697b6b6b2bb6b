"""What to do about an input that a network does not take: its names, its channels, the smallest size that works."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from stridewise.analyses.inputs import sizes
from stridewise.analyses.limits import smallest_input
from stridewise.errors import StridewiseError, by
from stridewise.ir import Graph
from stridewise.tracing.inputs import Argument, called

Shapes: TypeAlias = Mapping[str, Argument]
_LARGEST = 1024
_ROUND = (32, 64, 224, 16, 7, 8)  # what networks mostly want multiples of


def hint(model: nn.Module, shapes: Shapes, attempt: Callable[[Shapes], Graph]) -> str:
    """A remedy for a failed trace in words ("" where none is known), found by tracing at other inputs.

    The names its forward takes, where others were given; else, for a single input, the channels of the first
    convolution, then sizes doubled up to 1024, and round ones.
    """
    named = _names(model, shapes)
    if named or len(shapes) != 1:
        return named
    ((name, argument),) = shapes.items()
    if argument.text or not argument.sizes:
        return ""
    channels, *given = argument.sizes
    wanted = _channels(model)
    for axes in dict.fromkeys((len(given), _axes(model))):
        for candidate in dict.fromkeys((channels, wanted or channels)):
            for tried in _sizes(tuple(given) if axes == len(given) else (given[0] if given else 224,) * axes):
                try:
                    graph = attempt({name: argument.resized((candidate, *tried))})
                except StridewiseError:
                    continue
                return _said(graph, (channels, *given), (candidate, *tried))
    with contextlib.suppress(StridewiseError):
        attempt({name: replace(argument, dtype=torch.int64, positions=tuple(range(1, len(argument.shape))))})
        return f"it takes whole numbers: say {by(argument.sizes)}:int64"
    return ""


def _sizes(given: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Sizes to try: the given ones, doubled as long as they are no larger than 1024 squared, then rounded up."""
    most = _LARGEST ** max(len(given), 1)
    doubled = given
    while math.prod(doubled) <= most and given:
        yield doubled
        doubled = tuple(2 * n for n in doubled)
    for step in _ROUND:
        rounded = tuple(-(-n // step) * step for n in given)
        if given and rounded != given and math.prod(rounded) <= 4 * most:
            yield rounded


def part_hint(model: nn.Module, attempt: Callable[[nn.Module], Graph]) -> str:
    """The part with the most weights that can be traced where the whole cannot, as in detectors whose forward asks for
    numbers (which boxes are good enough); "" where there is none."""
    if isinstance(model, torch.jit.ScriptModule):  # whose parts are TorchScript too
        return ""
    sizes = {name: sum(p.numel() for p in part.parameters() if not is_lazy(p)) for name, part in model.named_children()}
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        try:
            graph = attempt(model.get_submodule(name))
        except StridewiseError:
            continue
        if not graph.sites:
            continue
        return f"its part '{name}' can be traced: give model.{name}, in a file as file.py:function"
    return ""


def _names(model: nn.Module, shapes: Shapes) -> str:
    """The inputs of the forward, where one it needs is missing or one it does not know is given."""
    try:
        known = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):  # compiled forwards have none
        return ""
    takes = [p for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in known) or not takes:
        return ""
    if len(called(model.forward, dict.fromkeys(shapes, 0))[0]) and "" not in shapes:
        return ""  # they go into the one dict that it takes
    given = {key or takes[0].name for key in shapes}
    needed = {p.name for p in takes if p.default is p.empty}
    if needed <= given <= {p.name for p in takes}:
        return ""
    every = ", ".join(p.name if p.name in needed else f"{p.name} (may be left out)" for p in takes)
    return f"its inputs are {every}: give each by its name, as --input {takes[0].name}=3x224x224"


def _said(graph: Graph, given: tuple[int, ...], works: tuple[int, ...]) -> str:
    if given[:2] == (1, works[0]) and len(given) == len(works) + 1:
        return f"sizes are given without the batch, as {by(given[1:])}"
    said = []
    if len(given) != len(works):
        said.append(f"it takes {len(works) - 1} axes beside the channels, not {len(given) - 1}")
    if given[0] != works[0]:
        said.append(f"it takes {works[0]} channels, not {given[0]}")
    if len(given) == len(works) and given[1:] != works[1:]:
        said.append(_about_sizes(graph, given[1:], works[1:]))
    return "; ".join(said)


def _about_sizes(graph: Graph, given: tuple[int, ...], works: tuple[int, ...]) -> str:
    """What refuses the given sizes, and those around them that work; the smallest where all are too small."""
    smallest = smallest_input(graph)
    if None in smallest:
        return f"the smallest size that works is {by(works)}"
    if any(n < (least or 0) for n, least in zip(given, smallest, strict=True)):
        return f"the smallest size that works is {by(smallest)}"
    near = sizes(graph, given).near
    assert near is not None
    around = [by(n or 0 for n in each) for each in (near.below, near.above) if None not in each]
    why = next(filter(None, near.why), "")
    if near.works or not around:  # the graph does not say why
        return f"at {by(works)} it works"
    return f"{why}; the nearest sizes that work are {' and '.join(dict.fromkeys(around))}"


def _first_convolution(model: nn.Module) -> nn.Module | None:
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return next((m for m in model.modules() if isinstance(m, kinds)), None)


def _channels(model: nn.Module) -> int | None:
    first = _first_convolution(model)
    return None if first is None else int(first.in_channels)  # type: ignore[arg-type]


def _axes(model: nn.Module) -> int:
    first = _first_convolution(model)
    return 2 if first is None else len(first.kernel_size)  # type: ignore[arg-type]
