"""The ladder: depth across, cumulative stride down, one mark for each step; as a chart, and with characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from stridewise.report.document import Chart, Line, Scale, Series
from stridewise.report.units import by, once, shortened
from stridewise.showing.rows import Layer, View, folded

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


def ladder(view: View, input_size: Sequence[int], title: str) -> Chart:
    """The ladder as a chart: a line through the layers in executed order, a name at every first arrival on a level."""
    levels, layers = _levels(view, input_size), _placed(view)
    row_of = {stride: float(row) for row, stride in enumerate(levels)}
    arrivals = _arrivals(view, layers)
    column = {index: place for place, (index, _, _) in enumerate(layers, 1)}
    points, labels = [(0.0, row_of[_one(input_size)])], [""]
    named: set[Stride] = set()
    for index, _, stride in layers:
        here = [s for s in arrivals.get(stride, []) if s.at == index]
        points.append((float(column[index]), row_of[stride]))
        labels.append(_named(here[:1], 28) if here and stride not in named else "")
        named |= {stride} if here else set()
    points.append((float(len(layers)) + 1, points[-1][1]))
    labels.append("")
    names = [f"stride {once(stride)}, {size}" for stride, size in levels.items()]
    return Chart(
        title=title,
        words=f"Cumulative stride over {len(layers)} layers: {'; '.join(names)}",
        x=Scale(label="layers, in the order they run"),
        y=Scale(ticks=tuple((float(at), name) for at, name in enumerate(names)), reverse=True),
        series=(Series(kind="steps", points=tuple(points), labels=tuple(labels)),),
        lines=lambda width: ladder_lines(view, input_size, width),
    )


def ladder_lines(view: View, input_size: Sequence[int], width: int) -> list[Line]:
    """The ladder with characters, in `width` columns; the bar keeps eight of them, the names get what is left."""
    drawn = rungs(view, input_size, 8, 24)
    stride = max([6, *(len(rung.stride) for rung in drawn)])
    size = max([4, *(len(rung.size) for rung in drawn)])
    room = width - stride - size - 6  # for the bar and the names
    label = max(width * 36 // 100, 24) if width >= 80 else max(room * 3 // 5, 8)
    bar = width - label - 22 if width >= 80 else max(room - label, 4)
    out: list[Line] = [[(f"{'stride':>{stride}}  {'size':>{size}}  depth →", "dim")]]
    for rung in rungs(view, input_size, bar, label):
        place = [(f"{rung.stride:>{stride}}", ""), (f"  {rung.size:>{size}}  ", "dim")]
        out.append([*place, (f"{rung.bar:<{bar}}  ", "step"), (shortened(rung.steps, max(label, room - bar)), "")])
    return out


def _one(input_size: Sequence[int]) -> Stride:
    return (Fraction(1),) * len(input_size)


def _placed(view: View) -> list[tuple[int, Layer, Stride]]:
    """The layers that have positions left: their place in the list, and their cumulative stride."""
    return [(i, layer, stride) for i, layer in enumerate(view.layers) if (stride := _strides(layer)) is not None]


def _levels(view: View, input_size: Sequence[int]) -> dict[Stride, str]:
    """Every cumulative stride there is with the size of its maps, from the finest to the coarsest."""
    levels: dict[Stride, str] = {_one(input_size): by(input_size)}
    for _, layer, stride in _placed(view):
        levels.setdefault(stride, by(layer.out_size))
    for mark in view.marks:
        levels.setdefault(mark.stride, by(mark.size))
    return {stride: levels[stride] for stride in sorted(levels, key=lambda s: (math.prod(s), s))}


def _steps(view: View, layers: Sequence[tuple[int, Layer, Stride]]) -> list[_Step]:
    """Every change of the cumulative stride and every fork, in order."""
    return sorted([*_layer_steps(layers), *_marked_steps(view)], key=lambda s: s.at)


def _arrivals(view: View, layers: Sequence[tuple[int, Layer, Stride]]) -> dict[Stride, list[_Step]]:
    """The steps that lead to each level."""
    out: dict[Stride, list[_Step]] = {}
    for step in _steps(view, layers):
        if step.came != step.stride:
            out.setdefault(step.stride, []).append(step)
    return out


def rungs(view: View, input_size: Sequence[int], width: int, label: int) -> list[Rung]:
    """The levels from the finest to the coarsest; `width` columns for the bar, `label` for the steps' names."""
    layers, levels = _placed(view), _levels(view, input_size)
    order = list(levels)
    row_of = {stride: r for r, stride in enumerate(order)}
    column = {index: place * width // max(len(layers), 1) for place, (index, _, _) in enumerate(layers)}
    cells = [[" "] * width for _ in order]
    for index, _, stride in layers:
        cells[row_of[stride]][column[index]] = "━"
    _fill(cells)
    _write_repeats(cells, view.layers, row_of, column)
    for step in _steps(view, layers):
        x = column.get(step.at, width - 1)
        if step.came != step.stride:
            _connect(cells, row_of.get(step.came), row_of[step.stride], x)
        elif step.stride in row_of:
            cells[row_of[step.stride]][x] = "≠"
    arrivals = _arrivals(view, layers)
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
