"""What a filter answers to and where its map is brightest, in words: the pattern, the place, the sign.

A cell's value is exactly three parts: the mean of its window times the sum of the filter (the level), what the rest of
the window has in common with the filter (the pattern), and the bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod

import numpy as np

from stridewise.convolution.figures import SlideFigures, times
from stridewise.convolution.operation import Array

_ENOUGH = 0.5  # of a filter's energy, before one word stands for it
_SIDES = ("right", "up and right", "up", "up and left", "left", "down and left", "down", "down and right")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One cell of a map. `begin` and `stop`: its window, input positions an axis, `stop` not included. `value` is
    `level` + `pattern` + `bias`; `likeness`: from -1 (the filter's opposite) to 1 (the filter itself). `by_channel`:
    the products summed for each input channel; with the bias they are `value` too."""

    cell: tuple[int, ...]
    begin: tuple[int, ...]
    stop: tuple[int, ...]
    value: float
    level: float
    pattern: float
    bias: float
    likeness: float
    by_channel: tuple[float, ...]


def answer_at(one: SlideFigures, cell: Sequence[int], channel: int = 0) -> Answer:
    """The cell of one output channel, taken apart. Source: sum(w x) = sum(w) mean(x) + sum((w - mean(w)) x)."""
    index = int(np.ravel_multi_index((channel, *cell), one.feature_map.shape))
    step = next(islice(one.steps(index), 1))
    level = float(step.values.mean() * step.weight.sum())
    window, weight = step.values - step.values.mean(), step.weight - step.weight.mean()
    size = float(np.linalg.norm(window) * np.linalg.norm(weight))
    return Answer(
        cell=tuple(int(at) for at in cell),
        begin=step.begin,
        stop=step.stop,
        value=step.value,
        level=level,
        pattern=step.sum - level,
        bias=step.bias,
        likeness=float((window * weight).sum()) / size if size else 0.0,
        by_channel=tuple(float(part.sum()) for part in step.products),
    )


def strongest(one: SlideFigures, channel: int = 0) -> tuple[Answer, Answer]:
    """The cells with the largest and the smallest value."""
    values = one.feature_map[channel]
    high, low = (np.unravel_index(int(find()), values.shape) for find in (values.argmax, values.argmin))
    return answer_at(one, [int(at) for at in high], channel), answer_at(one, [int(at) for at in low], channel)


def nearest(one: SlideFigures, begin: Sequence[int], channel: int = 0) -> Answer:
    """The cell whose window begins nearest to an input position."""
    cell = [
        min(max(0, round((at - axis.start(0)) / axis.stride)), axis.out_size - 1)
        for at, axis in zip(begin, one.axes, strict=True)
    ]
    return answer_at(one, cell, channel)


def describe(weight: Array) -> str:
    """What a filter answers to. Shape: (channels, rows, columns).

    >>> describe(np.array([[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]))
    'an edge: brighter to the right'
    """
    energy = (weight**2).sum(axis=(1, 2))
    if not energy.any():
        return "nothing, its weights are all zero"
    plane, where = weight.sum(axis=0), ""
    if len(weight) > 1 and (plane**2).sum() < _ENOUGH * len(weight) * energy.sum():
        most = int(energy.argmax())
        rgb = len(weight) == 3
        names = ("red", "green", "blue") if rgb else tuple(map(str, range(len(weight))))
        share = f"{100 * energy[most] / energy.sum():.0f} % of its weight"
        plane, where = weight[most], f", most in {names[most] if rgb else f'input channel {most}'} ({share})"
    if plane.size == 1:
        return f"the {'largest' if plane.sum() > 0 else 'smallest'} values{where}; one tap sees no shape"
    return _shape(plane) + where


def _shape(plane: Array) -> str:
    """The shape of one plane of weights: level, edge, spot or wave, where one of them is most of it."""
    total = float((plane**2).sum())
    if plane.sum() ** 2 / plane.size > _ENOUGH * total:
        return f"the level: {'bright' if plane.sum() > 0 else 'dark'} all over the window"
    rest = plane - plane.mean()
    total = float((rest**2).sum())
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in plane.shape)
    slopes = [np.broadcast_to(axis, plane.shape) for axis in (-rows[:, None], columns[None])]
    up, right = (float((rest * slope).sum() / (np.linalg.norm(slope) or 1.0)) for slope in slopes)
    if up**2 + right**2 > _ENOUGH * total:
        return f"an edge: brighter to the {_side(up, right)}".replace("to the up", "up").replace("to the down", "down")
    for width in (6, 3, 2):
        bell = np.exp(-0.5 * (rows[:, None] ** 2 + columns**2) / (max(plane.shape) / width) ** 2)
        bell = bell - bell.mean()
        like = float((rest * bell).sum() / (np.linalg.norm(bell) or 1.0))
        if like**2 > _ENOUGH * total:
            return f"a spot {'brighter' if like > 0 else 'darker'} than what is around it"
    waves = np.abs(np.fft.fft2(rest)) ** 2
    at = np.unravel_index(int(waves.argmax()), waves.shape)
    if 2 * waves[at] > _ENOUGH * waves.sum():
        turns = [min(int(k), n - int(k)) for k, n in zip(at, plane.shape, strict=True)]
        along = "slanting stripes" if all(turns) else ("stripes lying" if turns[0] else "stripes standing")
        return f"{along}, {max(turns)} in the window's length"
    return "no single shape (neither edge, spot nor stripes are half of it)"


def _side(up: float, right: float) -> str:
    return _SIDES[round(np.degrees(np.arctan2(up, right)) / 45) % 8]


Place = Callable[[Sequence[float]], str]
"""Where the middle of a window, input positions, lies in the picture, in words; "" where that is not known."""


def brightness(slides: Sequence[SlideFigures], place: Place = lambda _: "") -> list[str]:
    """Sentences on one filter at several strides: its pattern, its brightest and darkest cell at the finest, and what
    the other strides keep of the brightest."""
    fine = min(slides, key=lambda one: prod(one.stride))
    if float(np.ptp(fine.feature_map[0])) <= 1e-9 * float(np.abs(fine.feature_map[0]).max()):
        return [f"the filter answers to {describe(fine.weight[0])}", "the map is flat: every cell has one value"]
    high, low = strongest(fine)
    return [
        f"the filter answers to {describe(fine.weight[0])}",
        f"brightest at stride {times(fine.stride)}: {_cell(high, place)}: {_why(high)}",
        f"darkest: {_cell(low, place)}: {_why(low)}" + ("; a ReLU right behind leaves 0" if low.value < 0 else ""),
        *(_kept(one, high, place) for one in slides if one is not fine),
    ]


def _cell(answer: Answer, place: Place) -> str:
    window = " and ".join(
        f"{name} {begin} to {stop - 1}"
        for name, begin, stop in zip(("rows", "columns"), answer.begin, answer.stop, strict=True)
    )
    middle = [(begin + stop - 1) / 2 for begin, stop in zip(answer.begin, answer.stop, strict=True)]
    return f"cell {answer.cell}, {answer.value:+.4g}, window {window}{place(middle)}"


def _why(answer: Answer) -> str:
    parts = {"the pattern": answer.pattern, "the level": answer.level, "the bias": answer.bias}
    told = ", ".join(f"{name} {value:+.3g}" for name, value in parts.items() if value)
    like = answer.likeness
    looks = "looks like the filter" if like > 0.5 else "looks like its opposite" if like < -0.5 else "has little of it"
    most = max(range(len(answer.by_channel)), key=lambda k: answer.by_channel[k] * (1 if answer.value > 0 else -1))
    source = f", most from input channel {most} ({answer.by_channel[most]:+.3g})" if len(answer.by_channel) > 3 else ""
    return f"{told or 'nothing'}{source}; what is there {looks} (likeness {like:+.2f})"


def _kept(one: SlideFigures, high: Answer, place: Place) -> str:
    """What another stride makes of the brightest place of the finest one."""
    here, own = nearest(one, high.begin), strongest(one)[0]
    off = [b - a for a, b in zip(high.begin, here.begin, strict=True)]
    stride = f"stride {times(one.stride)}"
    if not any(off):
        return f"{stride}: cell {here.cell} stands at the same place, {here.value:+.4g}"
    away = " and ".join(f"{abs(n)} {name}{'s' * (abs(n) != 1)}" for n, name in zip(off, ("row", "column"), strict=True))
    missed = any(abs(n) >= stop - begin for n, begin, stop in zip(off, high.begin, high.stop, strict=True))
    lost = "the step jumps over the place: " if missed else ""
    rest = "" if own.cell == here.cell else f"; its own brightest is {_cell(own, place)}"
    return f"{stride}: {lost}the nearest window is {away} off, {here.value:+.4g}{rest}"
