"""Charts as SVG: plain shapes and text in generic fonts, colours for light and dark pages, nothing that runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from stridewise.report.document import Chart, Scale, Series

WIDE = 720.0
_ROW, _TALL = 34.0, 300.0  # heights: of a named row, of a plot without such
_RIGHT, _TOP, _BOTTOM = 24.0, 16.0, 46.0
_LETTER = 6.6  # the mean width of a letter, for the room that texts take
# Okabe and Ito's colour-blind safe set; each series keeps its place in it. Dark pages take lighter ones.
_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#a3488a", "#8a6d00", "#3b7ea1")
_DARK = ("#56b4e9", "#ff8c42", "#3fd0a4", "#e79ac8", "#f0e442", "#9ad1f0")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Values from low to high, drawn from `begin` to `end` in pixels."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.begin + share * (self.end - self.begin)


def svg(chart: Chart, *, alone: bool = False, title: bool = False) -> str:
    """The chart as one `<svg>` element; alone: as a file of its own, on paper of its own; title: written above it."""
    bottom_label = bool(chart.x.label) or not chart.x.ticks
    top = _TOP + (26.0 if title else 0.0) + (22.0 if _named(chart) else 0.0)
    tall = top + (_ROW * len(chart.y.ticks) if chart.y.ticks else _TALL) + (_BOTTOM if bottom_label else 12.0)
    left = _left(chart)
    x = _span(chart.x, [p[0] for s in chart.series for p in s.points], left, WIDE - _RIGHT, chart.y.ticks == ())
    below = tall - (_BOTTOM if bottom_label else 12.0)
    y = _vertical(chart, top, below)
    parts = [_axes(chart, x, y, left, below)]
    parts += [_series(series, at, x, y) for at, series in enumerate(chart.series)]
    parts += [_legend(chart, left, top)]
    parts += [_text(left, 22, chart.title, "ink big")] if title else []
    paper = f'<rect class="paper" width="{WIDE:g}" height="{tall:g}"/>' if alone else ""
    space = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
    return (
        f'<svg{space} class="sw-chart" viewBox="0 0 {WIDE:g} {tall:g}" width="{WIDE:g}" height="{tall:g}" role="img">'
        f"<title>{escape(chart.title)}</title><desc>{escape(chart.words)}</desc><style>{_style()}</style>"
        f"{paper}{''.join(parts)}</svg>"
    )


def _style() -> str:
    def colours(ink: str, soft: str, grid: str, paper: str, series: Sequence[str]) -> str:
        rules = [f".sw-chart .ink{{fill:{ink}}}.sw-chart .soft{{fill:{soft}}}.sw-chart .paper{{fill:{paper}}}"]
        rules.append(f".sw-chart .grid{{stroke:{grid}}}.sw-chart .halo{{stroke:{paper}}}")
        rules += [f".sw-chart .f{n}{{fill:{c}}}.sw-chart .s{n}{{stroke:{c}}}" for n, c in enumerate(series)]
        return "".join(rules)

    light = colours("#1c2026", "#5c626c", "#d9dce1", "#ffffff", _LIGHT)
    dark = colours("#e8eaed", "#a6acb5", "#3c4148", "#16181c", _DARK)
    fonts = ".sw-chart{font:12px system-ui,sans-serif}.sw-chart .big{font-size:15px;font-weight:600}"
    lines = ".sw-chart .line{fill:none;stroke-width:2;stroke-linejoin:round}.sw-chart .pale{opacity:.45}"
    halo = ".sw-chart .halo{paint-order:stroke;stroke-width:3px;stroke-linejoin:round}"
    return f"{fonts}{lines}{halo}{light}@media(prefers-color-scheme:dark){{{dark}}}"


def _named(chart: Chart) -> list[tuple[int, Series]]:
    """The series that a legend explains."""
    named = [(at, s) for at, s in enumerate(chart.series) if s.name and s.points]
    return named if len(named) > 1 else []


def _left(chart: Chart) -> float:
    """The room that the texts at the left take."""
    if not chart.y.ticks:
        return 74.0
    return min(max(len(name) for _, name in chart.y.ticks) * _LETTER + 18, 0.45 * WIDE)


def _span(scale: Scale, values: Sequence[float], begin: float, end: float, margin: bool = True) -> _Span:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if scale.zero:
        low, high = min(low, 0.0), max(high, 1.0 if scale.share else high)
    elif margin:
        room = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
        low, high = low - room, high + room
    return _Span(low=low, high=high, begin=begin, end=end)


def _vertical(chart: Chart, top: float, below: float) -> _Span:
    if chart.y.ticks:
        places = [value for value, _ in chart.y.ticks]
        low, high = min(places) - 0.5, max(places) + 0.5
        ends = (top, below) if chart.y.reverse else (below, top)
        return _Span(low=low, high=high, begin=ends[0], end=ends[1])
    heights = [p[1] for s in chart.series for p in s.points]
    heights += [edge for s in chart.series for spread in s.spread if spread for edge in spread]
    return _span(chart.y, heights, below, top)


def _axes(chart: Chart, x: _Span, y: _Span, left: float, below: float) -> str:
    out = []
    for value, name in chart.x.ticks or _ticks(chart.x, x):
        at = x.at(value)
        out.append(_line(at, y.at(y.high), at, y.at(y.low)) + _text(at, below + 16, name, "soft", "middle"))
    if chart.y.ticks:
        room = int((left - 14) / _LETTER)
        for value, name in chart.y.ticks:
            short = name if len(name) <= room else f"{name[: room // 2]}…{name[-(room // 2 - 1) :]}"
            out.append(_line(left, y.at(value), WIDE - _RIGHT, y.at(value)))
            out.append(_text(left - 10, y.at(value) + 4, short, "ink", "end"))
    else:
        for value, name in _ticks(chart.y, y):
            out.append(_line(left, y.at(value), WIDE - _RIGHT, y.at(value)))
            out.append(_text(left - 8, y.at(value) + 4, name, "soft", "end"))
    if chart.x.label:
        out.append(_text((left + WIDE - _RIGHT) / 2, below + 36, chart.x.label, "soft", "middle"))
    if chart.y.label and not chart.y.ticks:
        middle = (y.begin + y.end) / 2
        turned = f'<g transform="rotate(-90 14 {middle:.1f})">{_text(14, middle, chart.y.label, "soft", "middle")}</g>'
        out.append(turned)
    return "".join(out)


def _ticks(scale: Scale, span: _Span) -> list[tuple[float, str]]:
    """Round numbers between the ends of a scale, about five."""
    wide = span.high - span.low
    step = 10 ** math.floor(math.log10(wide / 5))
    step *= min((n for n in (1, 2, 5, 10) if n * step * 6 >= wide), default=10)
    first = math.ceil(span.low / step - 1e-9)
    values = [n * step for n in range(first, math.floor(span.high / step + 1e-9) + 1)]
    return [(v, f"{100 * v:g} %" if scale.share else _number(v)) for v in values]


def _number(value: float) -> str:
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:.6g}"


def _series(series: Series, at: int, x: _Span, y: _Span) -> str:
    colour = at % len(_LIGHT)
    drawn = {"bars": _bars, "points": _points, "line": _points, "steps": _points}[series.kind](series, colour, x, y)
    return f'<g class="{"pale" if series.level == "pale" else ""}">{drawn}</g>'


def _bars(series: Series, colour: int, x: _Span, y: _Span) -> str:
    out = []
    zero = x.at(max(x.low, 0.0))
    for at, (value, row) in enumerate(series.points):
        end, middle = x.at(value), y.at(row)
        begin, wide = min(zero, end), max(abs(end - zero), 1.0)
        out.append(f'<rect class="f{colour}" x="{begin:.1f}" y="{middle - 8:.1f}" width="{wide:.1f}" height="16"/>')
        said = series.labels[at] if series.labels else f"{value:.1%}".replace("%", " %")
        inside = end > x.end - 60
        out.append(_text(end + (-6 if inside else 6), middle + 4, said, "ink halo", "end" if inside else "start"))
    return "".join(out)


def _points(series: Series, colour: int, x: _Span, y: _Span) -> str:
    places = [(x.at(a), y.at(b)) for a, b in series.points]
    out = []
    if series.kind == "steps" and places:
        first, *rest = places
        path = f"M{first[0]:.1f} {first[1]:.1f}" + "".join(f"H{a:.1f}V{b:.1f}" for a, b in rest)
        out.append(f'<path class="line s{colour}" d="{path}"/>')
    elif series.kind == "line":
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        out.append(f'<polyline class="line s{colour}" points="{path}"/>')
    for spread, (a, _) in zip(series.spread, places, strict=False):
        if spread is not None:
            low, high = (y.at(edge) for edge in spread)
            ends = "".join(f"M{a - 4:.1f} {e:.1f}H{a + 4:.1f}" for e in (low, high))
            out.append(f'<path class="line s{colour}" d="M{a:.1f} {low:.1f}V{high:.1f}{ends}"/>')
    size = {"strong": 6.5, "base": 5.5, "plain": 4.0, "pale": 3.0}[series.level]
    if series.kind == "points" or series.labels:
        shown = (
            places if series.kind == "points" else [p for p, said in zip(places, series.labels, strict=True) if said]
        )
        out += [f'<circle class="f{colour}" cx="{a:.1f}" cy="{b:.1f}" r="{size:g}"/>' for a, b in shown]
    return "".join(out) + _labels(series, places)


def _labels(series: Series, places: Sequence[tuple[float, float]]) -> str:
    """What is said beside points: above them to the right, or where no label before lies."""
    out: list[str] = []
    taken: list[tuple[float, float, float]] = []  # begin, end, height
    for said, (a, b) in zip(series.labels, places, strict=False):
        if said:
            wide = len(said) * 7.2
            late = a + wide + 12 > WIDE
            begin = a - 8 - wide if late else a + 8
            ways = [b + off for off in (-6, 16, -20, 30, -34, 44)]
            free = (y for y in ways if not any(begin < r and q < begin + wide and abs(y - z) < 13 for q, r, z in taken))
            y = next(free, ways[0])
            taken.append((begin, begin + wide, y))
            out.append(_text(a - 8 if late else a + 8, y, said, "ink halo", "end" if late else "start"))
    return "".join(out)


def _legend(chart: Chart, left: float, top: float) -> str:
    out, at = [], left
    for place, series in _named(chart):
        out.append(f'<circle class="f{place % len(_LIGHT)}" cx="{at + 5:.1f}" cy="{top - 16:.1f}" r="5"/>')
        out.append(_text(at + 14, top - 12, series.name, "ink"))
        at += 32 + len(series.name) * _LETTER
    return "".join(out)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, said: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def stacked(charts: Sequence[Chart]) -> str:
    """Several charts as one SVG file, each under its title."""
    drawn = [svg(replace(chart, lines=None), alone=True, title=True) for chart in charts]
    if len(drawn) == 1:
        return drawn[0] + "\n"
    tops, tall = [], 0.0
    for one in drawn:
        tops.append(tall)
        tall += float(one.split('viewBox="0 0 ')[1].split('"')[0].split()[1])
    inner = "".join(one.replace("<svg", f'<svg y="{top:g}"', 1) for one, top in zip(drawn, tops, strict=True))
    size = f'viewBox="0 0 {WIDE:g} {tall:g}" width="{WIDE:g}" height="{tall:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{inner}</svg>\n'
