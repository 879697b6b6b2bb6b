"""The ladder: depth across, cumulative stride down, one mark for each step; drawn with characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from stridewise.report.units import by, once, shortened
from stridewise.showing.fold import folded
from stridewise.showing.rows import Layer, View

Stride = tuple[Fraction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One level of the ladder: its cumulative stride and size, the drawn bar, the steps that lead to it."""

    stride: str
    size: str
    bar: str
    steps: str


def _strides(layer: Layer) -> Stride | None:
    """A layer's cumulative stride, None where it has no positions left on some axis."""
    found = tuple(s for s in layer.cumulative_stride if s is not None)
    return found if found and len(found) == len(layer.cumulative_stride) else None


def rungs(view: View, input_size: Sequence[int], width: int, label: int) -> list[Rung]:
    """The levels from the finest to the coarsest; `width` columns for the bar, `label` for the steps' names."""
    layers = [(i, layer, stride) for i, layer in enumerate(view.layers) if (stride := _strides(layer)) is not None]
    one: Stride = (Fraction(1),) * len(input_size)
    levels: dict[Stride, str] = {one: by(input_size)}
    for _, layer, stride in layers:
        levels.setdefault(stride, by(layer.out_size))
    for mark in view.marks:
        levels.setdefault(mark.stride, by(mark.size))
    order = sorted(levels, key=lambda s: (math.prod(s), s))
    row_of = {stride: r for r, stride in enumerate(order)}
    column = {index: place * width // max(len(layers), 1) for place, (index, _, _) in enumerate(layers)}
    cells = [[" "] * width for _ in order]
    for index, _, stride in layers:
        cells[row_of[stride]][column[index]] = "━"
    _fill(cells)
    _write_repeats(cells, view.layers, row_of, column)
    arrivals: dict[Stride, list[_Step]] = {}
    for step in sorted([*_layer_steps(layers), *_marked_steps(view)], key=lambda s: s.at):
        x = column.get(step.at, width - 1)
        if step.came != step.stride:
            arrivals.setdefault(step.stride, []).append(step)
            _connect(cells, row_of.get(step.came), row_of[step.stride], x)
        elif step.stride in row_of:
            cells[row_of[step.stride]][x] = "≠"
    return [
        Rung(
            stride=once(stride),
            size=levels[stride],
            bar="".join(cells[row_of[stride]]),
            steps=_named(arrivals.get(stride, []), label),
        )
        for stride in order
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A change of the cumulative stride, or (came == stride) a fork."""

    at: int
    name: str
    came: Stride
    stride: Stride
    kernel: tuple[int, ...] = ()


def _layer_steps(layers: Sequence[tuple[int, Layer, Stride]]) -> list[_Step]:
    steps = []
    for at, layer, stride in layers:
        came = tuple(c / s for c, s in zip(stride, layer.stride, strict=True)) if layer.stride else stride
        if came != stride:
            steps.append(_Step(at=at, name=layer.key, came=came, stride=stride, kernel=layer.kernel))
    return steps


def _marked_steps(view: View) -> list[_Step]:
    steps = []
    for mark in view.marks:
        if mark.came != mark.stride:
            steps.append(_Step(at=mark.at, name=mark.name, came=mark.came, stride=mark.stride))
        if mark.fork:
            steps.append(_Step(at=mark.at, name=mark.name, came=mark.stride, stride=mark.stride))
    return steps


def _fill(cells: list[list[str]]) -> None:
    """Close the gaps that fewer layers than columns leave, column by column: the last level goes on."""
    width = len(cells[0])
    current = None
    for x in range(width):
        here = [r for r in range(len(cells)) if cells[r][x] != " "]
        if here:
            current = here[-1]
        elif current is not None:
            cells[current][x] = "━"


def _connect(cells: list[list[str]], start: int | None, end: int, x: int) -> None:
    """A step drawn at column x, from level `start` to level `end`."""
    if start is None:
        return
    down = end > start
    for row in range(min(start, end) + 1, max(start, end)):
        cells[row][x] = "┼" if cells[row][x] in "━┼" else "│"
    cells[end][x] = "▼" if down else "▲"
    if cells[start][x] == " ":
        cells[start][x] = "╷" if down else "╵"


def _write_repeats(
    cells: list[list[str]], layers: Sequence[Layer], row_of: dict[Stride, int], column: dict[int, int]
) -> None:
    """ "×5" on the stretch of the bar where a block is repeated five times."""
    spans: dict[tuple[int, str, int], tuple[int, int]] = {}
    rows = folded(layers)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        stride = _strides(row.first)
        if row.repeats < 2 or stride is None or row.at not in column:
            continue
        block = next((part for part in row.name.split(".") if "-" in part), "")
        prefix = row.name.split(block)[0]
        low = column[row.at]
        end = after.at if after is not None else len(layers)
        high = max((column[i] for i in range(row.at, end) if i in column), default=low)
        key = (row_of[stride], prefix + block, row.repeats)
        before = spans.get(key, (low, high))
        spans[key] = (min(before[0], low), max(before[1], high))
    for (r, _, repeats), (low, high) in spans.items():
        text = f"×{repeats}"
        at = (low + high + 1 - len(text)) // 2
        if high - low + 1 >= len(text) + 2 and all(c == "━" for c in cells[r][at - 1 : at + len(text) + 1]):
            cells[r][at : at + len(text)] = text


def _named(steps: Sequence[_Step], width: int) -> str:
    """The steps that lead to a level: downwards first, the widest window of them by name, the others counted."""
    parts = []
    for arrow, same in (("↓", [s for s in steps if s.stride > s.came]), ("↑", [s for s in steps if s.stride < s.came])):
        if not same:
            continue
        main = max(same, key=lambda s: math.prod(s.kernel) if s.kernel else 0)
        pairs = zip(main.came, main.stride, strict=True)
        factor = once([b / a if arrow == "↓" else a / b for a, b in pairs])
        kernel = f" {by(main.kernel)}" if main.kernel else ""
        more = f" +{len(same) - 1}" if len(same) > 1 else ""
        parts.append((f"{arrow}{factor} ", main.name, f"{kernel}{more}"))
    room = (width - 2 * (len(parts) - 1)) // max(len(parts), 1)
    return "  ".join(a + shortened(name, max(room - len(a) - len(b), 6)) + b for a, name, b in parts)
