"""What else makes a network cheaper: a smaller input, a narrower network. Built to cost what a plan costs, so that a
stride is compared with what people would do instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stridewise.errors import StridewiseError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.study.candidates import Candidate, candidate
from stridewise.study.jobs import Rival

if TYPE_CHECKING:
    from torch import nn

    from stridewise.study.training import TrainScore

# Arguments by which factories of torchvision, timm and people's own files take a width: a factor of today's.
_FACTORS = ("width_mult", "channel_multiplier", "width_multiplier")
# Arguments that are a number of their own, and what a smaller one is called.
_NUMBERS = {"width": "narrower", "depth": "shallower", "kernel": "smaller kernels", "kernel_size": "smaller kernels"}
_SHARES = tuple(step / 20 for step in range(19, 1, -1))
_TOO_CHEAP = 0.6  # of the plan's cost: a rival that much cheaper is no rival at the same cost


@dataclass(frozen=True, slots=True)
class Variant:
    """Makes a named network with one of its factory's arguments changed; can be sent to a worker."""

    model: str
    argument: str
    value: float

    def __call__(self, num_classes: int) -> nn.Module:
        from stridewise.models.load import load, resolve

        spec = resolve(self.model)
        name = "classes" if spec.kind == "builtin" else "num_classes"
        settings: dict[str, Any] = {name: num_classes, self.argument: self.value}
        return load(spec, **settings)


def rivals_at(score: TrainScore, default: Candidate, macs: int) -> list[tuple[Rival, Candidate]]:
    """The dearest networks of at most `macs` multiply-adds: at a smaller input, and with less width, depth or kernel
    where the factory takes it. None where the plan is not cheaper than the default; with weights only those that
    these fit, for a network from random weights is no rival to a trained one."""
    if macs >= default.macs:
        return []
    found = []
    for rivals in (_smaller(score), *_variants(score)):
        made = _dearest(score, rivals, macs)
        if made is not None and made[1].macs >= _TOO_CHEAP * macs:
            found.append(made)
    return found


def named(score: TrainScore, models: Sequence[str]) -> list[tuple[Rival, Candidate]]:
    """The networks a person named as rivals; those that the study's weights do not fit begin with random ones, which
    their names say. Raises: LoadError and what tracing raises."""
    rivals = []
    for model in models:
        fits = _fits(score, Rival(name=model, model=model))
        rivals.append(Rival(name=model if fits else f"{model} (random weights)", model=model, weights=fits))
    return [(rival, _costed(score, rival)) for rival in rivals]


_SCALES, _WIDTHS = (0.85, 0.7, 0.5), (0.75, 0.5)


def smaller(score: TrainScore) -> list[Rival]:
    """The same network on pictures of some shares of the size."""
    _, *size = score.splits.shape
    sizes = dict.fromkeys(tuple(max(1, round(share * n)) for n in size) for share in _SCALES)
    return [Rival(name=f"input {h}x{w}", model=score.model, size=(h, w)) for h, w in sizes if [h, w] != size]


def narrower(score: TrainScore) -> list[Rival]:
    """The network made narrower, shallower or with smaller kernels, where its factory takes such an argument."""
    if not isinstance(score.model, str):
        return []
    out = []
    for argument in _factors(score.model):
        out += [_variant(score.model, argument, share) for share in _WIDTHS]
    for argument, today in _numbers(score.model):
        if "kernel" in argument:
            values = [today - 2] if today > 2 else []
        else:
            values = list(dict.fromkeys(max(1, round(share * today)) for share in _WIDTHS))
        out += [_variant(score.model, argument, value) for value in values if value < today]
    return out


def _variant(model: str, argument: str, value: float) -> Rival:
    word = _NUMBERS.get(argument, "narrower")
    return Rival(name=f"{word}, {argument} {value:g}", model=Variant(model, argument, value))


def _factors(model: str) -> list[str]:
    """The factory's arguments that are a factor of today's width; a factory that takes anything may take them."""
    from stridewise.models.load import factory_of

    factory = factory_of(model)
    if factory is None:
        return []
    taken = inspect.signature(factory[0]).parameters
    return [name for name in _FACTORS if name in taken]


def _dearest(score: TrainScore, rivals: Iterator[Rival], macs: int) -> tuple[Rival, Candidate] | None:
    """The first of falling cost that is cheap enough."""
    for rival in rivals:
        try:
            made = _costed(score, rival)
        except (StridewiseError, RuntimeError):  # too small for the network, or an argument it does not take
            return None
        if made.macs <= macs:
            return (rival, made) if _fits(score, rival) else None
    return None


def _fits(score: TrainScore, rival: Rival) -> bool:
    """Whether the study's weights, where it has any, fit the rival."""
    return score.fitting(rival)


def _costed(score: TrainScore, rival: Rival) -> Candidate:
    """The rival with its costs, at the size its pictures are brought to."""
    from stridewise.tasks.backbone import build
    from stridewise.tracing.trace import trace

    channels, *size = score.splits.shape
    model = build(rival.model, len(score.splits.classes))
    graph: Graph = trace(model, (channels, *(rival.size or size)), name=rival.name)
    return candidate(graph, Plan(), rival.name, "rival")


def _smaller(score: TrainScore) -> Iterator[Rival]:
    _, *size = score.splits.shape
    for step in range(1, max(size)):
        height, width = (max(1, round(n * (1 - step / max(size)))) for n in size)
        yield Rival(name=f"input {height}x{width}", model=score.model, size=(height, width))


def _variants(score: TrainScore) -> list[Iterator[Rival]]:
    if not isinstance(score.model, str):
        return []
    out = [_scaled(score.model, argument) for argument in _FACTORS]
    return out + [_lowered(score.model, *found) for found in _numbers(score.model)]


def _scaled(model: str, argument: str) -> Iterator[Rival]:
    for share in _SHARES:
        yield Rival(name=f"narrower, {argument} {share:g}", model=Variant(model, argument, share))


def _lowered(model: str, argument: str, today: int) -> Iterator[Rival]:
    step = 2 if "kernel" in argument else 1
    for value in range(today - step, 0, -step):
        yield Rival(name=f"{_NUMBERS[argument]}, {argument} {value}", model=Variant(model, argument, value))


def _numbers(model: str) -> list[tuple[str, int]]:
    """(argument, today's value) of the factory's whole numbers that make a network smaller."""
    from stridewise.models.load import factory_of

    factory: tuple[Callable[..., Any], dict[str, Any]] | None = factory_of(model)
    if factory is None:
        return []
    make, given = factory
    found = {name: given.get(name, p.default) for name, p in inspect.signature(make).parameters.items()}
    return [(n, v) for n, v in found.items() if n in _NUMBERS and isinstance(v, int) and not isinstance(v, bool)]
