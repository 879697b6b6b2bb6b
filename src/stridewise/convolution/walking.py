"""The walk itself as a moving picture: the window steps over the input, each step fills a cell of the map.

As plain SVG with SMIL animation (nothing runs in it), and as GIF. Of a large picture a detail is walked over.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import TYPE_CHECKING, Any

from stridewise.convolution.figures import SlideFigures as Slide
from stridewise.convolution.panels import Frame, Scale, detail_frame, input_panel, scale_of
from stridewise.errors import once

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SECONDS = 0.4  # a step
_CELL = 20  # pixels a position
_ROWS, _COLUMNS = 6, 8  # cells walked over at most
_GAP, _TOP = 48, 46


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The steps of one stride over a detail. input: colours of its positions (rows, columns); windows: (top, left,
    height, width) of each step, in those positions; cells: colours of the map's cells in the order they fill; shape:
    their rows and columns; values: what is written into them."""

    title: str
    input: tuple[tuple[str, ...], ...]
    windows: tuple[tuple[int, int, int, int], ...]
    cells: tuple[str, ...]
    shape: tuple[int, int]
    values: tuple[float, ...]


def walks(slides: Sequence[Slide], channel: int = 0) -> list[Walk]:
    """A walk a stride, all over the same detail and on one scale of colours."""
    scale, detail = scale_of(slides, channel), detail_frame(slides, 320)
    return [_walk(one, scale, detail, channel) for one in slides]


def _walk(one: Slide, scale: Scale, detail: Frame, channel: int) -> Walk:
    picked = []
    for axis, low, most in zip(one.axes, detail.begin, (_ROWS, _COLUMNS), strict=True):
        first = min(max(0, -(-(low - axis.start(0)) // axis.stride)), axis.out_size - 1)
        picked.append(range(first, min(first + most, axis.out_size)))
    begin = tuple(axis.start(cells[0]) for axis, cells in zip(one.axes, picked, strict=True))
    stop = tuple(axis.start(cells[-1]) + axis.span for axis, cells in zip(one.axes, picked, strict=True))
    colours = input_panel(one, Frame(begin=begin, stop=stop, zoom=1))
    spots = list(product(*picked))
    filled = [one.feature_map[channel][spot] for spot in spots]
    shades = scale.colour(one.feature_map[channel])
    return Walk(
        title=f"stride {once(one.stride)}",
        input=tuple(tuple(_hex(pixel) for pixel in row) for row in colours),
        windows=tuple(
            (
                one.axes[0].start(row) - begin[0],
                one.axes[1].start(column) - begin[1],
                one.axes[0].span,
                one.axes[1].span,
            )
            for row, column in spots
        ),
        cells=tuple(_hex(shades[spot]) for spot in spots),
        shape=(len(picked[0]), len(picked[1])),
        values=tuple(float(value) for value in filled),
    )


def _hex(pixel: Sequence[int]) -> str:
    return f"#{int(pixel[0]):02x}{int(pixel[1]):02x}{int(pixel[2]):02x}"


def _sizes(walk: Walk) -> tuple[int, int]:
    """Width and height of a walk in pixels."""
    wide = _CELL * (len(walk.input[0]) + walk.shape[1]) + 3 * _GAP
    return max(wide, 420), _CELL * max(len(walk.input), walk.shape[0]) + _TOP + 24


def svg(slides: Sequence[Slide], channel: int = 0) -> str:
    """The walks below each other as one SVG file that moves by itself."""
    parts, top, wide = [], 34, 0
    for walk in walks(slides, channel):
        width, height = _sizes(walk)
        parts.append(f'<g transform="translate(0 {top})">{_svg_walk(walk)}</g>')
        top, wide = top + height, max(wide, width)
    style = (
        "text{font:13px system-ui,sans-serif;fill:#1c2026}.paper{fill:#fff}.big{font-size:15px;font-weight:600}"
        "@media(prefers-color-scheme:dark){text{fill:#e8eaed}.paper{fill:#16181c}}"
    )
    heading = slides[0].heading
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {top}" width="{wide}" height="{top}" role="img">'
        f"<title>{escape(heading)}</title><style>{style}</style>"
        f'<rect class="paper" width="{wide}" height="{top}"/><text class="big" x="16" y="26">{escape(heading)}</text>'
        f"{''.join(parts)}</svg>\n"
    )


def _svg_walk(walk: Walk) -> str:
    count = len(walk.windows)
    moves = f'dur="{SECONDS * (count + 3):.1f}s" repeatCount="indefinite" calcMode="discrete"'
    at = [f"{step / (count + 3):.4f}" for step in range(count)]
    left = 16 + _CELL * len(walk.input[0]) + _GAP
    out = [f'<text x="16" y="22">{escape(walk.title)}</text>']
    for row, colours in enumerate(walk.input):
        for column, colour in enumerate(colours):
            out.append(_rect(16 + _CELL * column, _TOP + _CELL * row, _CELL, _CELL, f'fill="{colour}"'))
    for step, colour in enumerate(walk.cells):
        row, column = divmod(step, walk.shape[1])
        times = f'<animate attributeName="opacity" values="0;1" keyTimes="0;{at[step]}" {moves}/>'
        times = times if step else ""
        place = _rect(left + _CELL * column, _TOP + _CELL * row, _CELL, _CELL, f'fill="{colour}"')
        out.append(place.replace("/>", f">{times}</rect>"))
        shown = f'values="0;1;0" keyTimes="0;{at[step]};{at[step + 1]}"' if step and step + 1 < count else ""
        shown = shown or (f'values="0;1" keyTimes="0;{at[step]}"' if step else f'values="1;0" keyTimes="0;{at[1]}"')
        told = f"step {step + 1}: sum {walk.values[step]:.3g}"
        turn = f'<animate attributeName="opacity" {shown} {moves}/>' if count > 1 else ""
        out.append(f'<text x="{left}" y="{_TOP - 12}">{told}{turn}</text>')
    top, side, high, wide = walk.windows[0]
    places = [
        f'<animate attributeName="{name}" values="{";".join(str(base + _CELL * w[axis]) for w in walk.windows)}" '
        f'keyTimes="{";".join(at)}" {moves}/>'
        for name, base, axis in (("x", 16, 1), ("y", _TOP, 0))
    ]
    frame = _rect(16 + _CELL * side, _TOP + _CELL * top, _CELL * wide, _CELL * high, 'fill="none" stroke="#d55e00"')
    out.append(frame.replace("/>", f' stroke-width="3">{"".join(places)}</rect>'))
    return "".join(out)


def _rect(x: int, y: int, wide: int, high: int, more: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{wide}" height="{high}" {more}/>'


def gif(slides: Sequence[Slide], channel: int = 0) -> bytes:
    """The walks below each other as an animated GIF; the shorter ones wait for the longest."""
    from PIL import Image, ImageFont
    from PIL import ImageDraw as Drawing

    every = walks(slides, channel)
    sizes = [_sizes(walk) for walk in every]
    font = ImageFont.load_default(13)
    frames = []
    for step in range(max(len(walk.windows) for walk in every) + 2):
        page = Image.new("RGB", (max(w for w, _ in sizes), 34 + sum(h for _, h in sizes)), "white")
        draw = Drawing.Draw(page)
        draw.text((16, 10), slides[0].heading.replace("×", "x"), "#1c2026", font)
        top = 34
        for walk, (_, height) in zip(every, sizes, strict=True):
            _draw_step(draw, walk, min(step, len(walk.windows) - 1), top, font)
            top += height
        frames.append(page.quantize(256))
    out = io.BytesIO()
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=int(1000 * SECONDS), loop=0)
    return out.getvalue()


def _draw_step(draw: "ImageDraw", walk: Walk, step: int, top: int, font: Any) -> None:
    left = 16 + _CELL * len(walk.input[0]) + _GAP
    draw.text((16, top + 10), walk.title.replace("×", "x"), "#1c2026", font)
    draw.text((left, top + _TOP - 24), f"step {step + 1}: sum {walk.values[step]:.3g}", "#1c2026", font)
    spots = [(16, row, column, c) for row, colours in enumerate(walk.input) for column, c in enumerate(colours)]
    spots += [(left, *divmod(at, walk.shape[1]), walk.cells[at]) for at in range(step + 1)]
    for begin, row, column, colour in spots:
        x, y = begin + _CELL * column, top + _TOP + _CELL * row
        draw.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), fill=colour)
    row, column, high, wide = walk.windows[step]
    x, y = 16 + _CELL * column, top + _TOP + _CELL * row
    draw.rectangle((x, y, x + _CELL * wide - 1, y + _CELL * high - 1), outline="#d55e00", width=3)
