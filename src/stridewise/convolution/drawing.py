"""The picture of one kernel at several strides: what each stride reads, computes and keeps, in the input's own frame.

One column a stride: the whole feature map, a detail of the input with the windows on it, the same detail of the map.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stridewise.convolution.figures import AXIS_NAMES, SlideFigures, percent, times
from stridewise.convolution.panels import (
    EMPTY,
    Frame,
    Rgb,
    Scale,
    cell_span,
    detail_frame,
    hatched,
    input_panel,
    map_panel,
    scale_of,
    unread,
    window_span,
)
from stridewise.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Panel = tuple[str, "Image"]  # caption and pixels

_INK, _SOFT = (28, 32, 38), (92, 98, 108)
_FIRST, _NEXT = (213, 94, 0), (0, 114, 178)  # vermilion and blue: Okabe and Ito's colour-blind safe set
_TITLE, _HEAD, _TEXT = 24, 20, 15  # letter heights in pixels
_GAP, _MARGIN, _LINE = 24, 28, 21
_HEAD_LINES = 4  # a title and three lines
_PLAIN = str.maketrans({"×": "x"})  # Pillow's own font has no multiplication sign


def picture(slides: Sequence[SlideFigures], *, channel: int = 0, panel: int | None = None) -> "Image":
    """The drawing of several strides of one kernel over one picture, all maps on one scale.

    `channel` picks the output channel. Units: `panel`, the longer side of a panel, in pixels; by default it shrinks
    with the number of strides. Maps are blue below zero and brown above; a kernel whose weights sum to 1 keeps the
    picture's brightness and gives grey tones, or colours if each channel was convolved on its own.
    Raises: UsageError when there are no slides, they are not of one picture and kernel, or the channel does not exist.
    """
    _check(slides, channel)
    panel = panel or min(480, max(300, 1720 // (len(slides) + 1)))
    scale, detail = scale_of(slides, channel), detail_frame(slides, panel)
    sizes = slides[0].picture.shape[1:]
    all_in_detail = all(
        low <= 0 and high >= size for low, high, size in zip(detail.begin, detail.stop, sizes, strict=True)
    )
    part = "" if all_in_detail else " in detail"
    columns = [_first_column(slides, scale, detail, channel, panel, all_in_detail)]
    for one in slides:
        whole = [] if all_in_detail else [("the whole map", _whole_map(one, scale, channel, panel))]
        windows = (f"the input{part}: windows", _windows_panel(one, detail))
        cells = (f"the map{part}: cells", _cells_panel(one, scale, detail, channel))
        columns.append((_about(one), [*whole, windows, cells]))
    return _page(slides[0].heading, columns)


def _check(slides: Sequence[SlideFigures], channel: int) -> None:
    if not slides:
        raise UsageError("picture: no slides: give at least one")
    first = slides[0]
    for one in slides:
        if not (np.array_equal(one.picture, first.picture) and np.array_equal(one.weight, first.weight)):
            raise UsageError(f"picture: {one.heading} and {first.heading}: draw one kernel on one picture")
    if not 0 <= channel < len(first.feature_map):
        raise UsageError(f"picture: channel {channel}: the feature map has channels 0 to {len(first.feature_map) - 1}")


def _about(one: SlideFigures) -> list[str]:
    gone = " and ".join(
        f"{axis.dropped} {name if axis.dropped > 1 else name.removesuffix('s')}"
        for axis, name in zip(one.axes, AXIS_NAMES, strict=True)
        if axis.dropped
    )
    return [
        f"stride {times(one.stride)}",
        " × ".join(str(axis.out_size) for axis in one.axes) + " cells",
        f"{one.cost.macs:,} multiply-adds, {percent(one.cost.ratio)} of stride 1",
        f"reads {percent(one.read_coverage)}" + (f"; drops the last {gone}" if gone else ""),
    ]


def _image(colours: Rgb) -> "Image":
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(colours))


def _fitted(colours: Rgb, panel: int) -> "Image":
    """A whole picture on a panel: averaged when it shrinks, each pixel repeated when it grows."""
    from PIL import Image

    image = _image(colours)
    share = panel / max(image.size)
    size = tuple(max(1, round(side * share)) for side in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.BOX if share < 1 else Image.Resampling.NEAREST)


def _whole_map(one: SlideFigures, scale: Scale, channel: int, panel: int) -> "Image":
    """The map over the whole input; dropped rows and columns hatched, at least a few screen pixels wide to be seen."""
    sizes = tuple(axis.size for axis in one.axes)
    image = _fitted(map_panel(one, scale, Frame(begin=(0, 0), stop=sizes, zoom=1), channel), panel)
    colours, share = np.asarray(image), panel / max(sizes)
    mask = np.zeros(colours.shape[:2], dtype=np.bool_)
    for at, axis in enumerate(one.axes):
        if axis.dropped:
            np.moveaxis(mask, at, 0)[-max(6, round(axis.dropped * share)) :] = True
    return _image(hatched(colours, mask))


def _windows_panel(one: SlideFigures, frame: Frame) -> "Image":
    """The input with the middle of every window, two neighbouring windows, and what none of them reads."""
    from PIL import ImageDraw

    image = _image(hatched(input_panel(one, frame), unread(one, frame), lines=frame.zoom >= 8))
    draw = ImageDraw.Draw(image)
    if min(one.stride) * frame.zoom >= 8:
        radius = min(4.0, max(1.5, 0.13 * min(one.stride) * frame.zoom))
        rows, columns = (
            [(sum(window_span(axis, cell)) / 2 - low) * frame.zoom for cell in range(axis.out_size)]
            for axis, low in zip(one.axes, frame.begin, strict=True)
        )
        for y in (y for y in rows if 0 <= y < image.height):
            for x in (x for x in columns if 0 <= x < image.width):
                _dot(draw, x, y, radius)
    for cell, colour in _two_cells(one, frame):
        spans = [window_span(axis, at) for axis, at in zip(one.axes, cell, strict=True)]
        _outline(draw, frame.rectangle(spans), colour)
    return image


def _cells_panel(one: SlideFigures, scale: Scale, frame: Frame, channel: int) -> "Image":
    """The same detail of the map, the cells of the two windows marked."""
    from PIL import ImageDraw

    image = _image(map_panel(one, scale, frame, channel))
    draw = ImageDraw.Draw(image)
    for cell, colour in _two_cells(one, frame):
        spans = [cell_span(axis, at) for axis, at in zip(one.axes, cell, strict=True)]
        _outline(draw, frame.rectangle(spans), colour)
    return image


def _two_cells(one: SlideFigures, frame: Frame) -> list[tuple[tuple[int, ...], tuple[int, int, int]]]:
    """The cell in the middle of the frame and the next one along the row; the first is drawn last, on top."""
    middle = []
    for axis, low, high, following in zip(one.axes, frame.begin, frame.stop, (0, 1), strict=True):
        at = int(((low + high) / 2 - cell_span(axis, 0)[0]) // axis.stride)
        middle.append(max(0, min(at, axis.out_size - 1 - following)))
    row, column = middle
    beside = [((row, column + 1), _NEXT)] if column + 1 < one.axes[1].out_size else []
    return [*beside, ((row, column), _FIRST)]


def _dot(draw: "ImageDraw", x: float, y: float, radius: float) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255), outline=_INK)


def _outline(draw: "ImageDraw", box: tuple[float, float, float, float], colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    if right - left < 2 or bottom - top < 2:
        return
    draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=(255, 255, 255), width=2)
    draw.rectangle((left, top, right, bottom), outline=colour, width=3)


def _first_column(
    slides: Sequence[SlideFigures], scale: Scale, detail: Frame, channel: int, panel: int, all_in_detail: bool
) -> tuple[list[str], list[Panel]]:
    from PIL import ImageDraw

    first = slides[0]
    sizes = first.picture.shape[1:]
    whole = _fitted(input_panel(first, Frame(begin=(0, 0), stop=sizes, zoom=1)), panel)
    if not all_in_detail:
        share = panel / max(sizes)
        top, left, bottom, right = (edge * share for edge in (*detail.begin, *detail.stop))
        _outline(ImageDraw.Draw(whole), (left, top, right, bottom), _INK)
    count = len(first.picture)
    kind = {1: "luminance", 3: "colour"}.get(count, f"channel {first.shown} of {count}")
    of = f"filter {channel} of {len(first.feature_map)}" if first.groups == 1 < len(first.feature_map) else ""
    about = ["input", " × ".join(map(str, sizes)) + f", {kind}", of]
    mean = {1: "", 3: ", mean over its input channels"}.get(first.weight.shape[1], ", this channel")
    side = min(280, detail.zoom * (detail.stop[0] - detail.begin[0]))
    panels: list[Panel] = [] if all_in_detail else [("the input, with the detail's frame", whole)]
    return about, [
        *panels,
        (f"the kernel{mean}", _kernel_panel(first, channel, side)),
        ("scale of the maps", _legend(scale, panel)),
    ]


def _kernel_panel(one: SlideFigures, channel: int, side: int) -> "Image":
    """The taps with their numbers: of the channel that is shown, or averaged over the three of a colour picture."""
    from PIL import ImageDraw

    filters = one.weight[channel]
    taps = filters.mean(axis=0) if len(filters) <= 3 else filters[one.shown]
    zoom = min(80, max(1, side // max(taps.shape)))
    limit = float(np.abs(taps).max()) or 1.0
    colours = Scale(low=-limit, high=limit, signed=True).colour(taps)
    image = _image(np.kron(colours, np.ones((zoom, zoom, 1), dtype=np.uint8)))
    draw = ImageDraw.Draw(image)
    for (row, column), tap in np.ndenumerate(taps):
        place = (column * zoom, row * zoom, (column + 1) * zoom - 1, (row + 1) * zoom - 1)
        if zoom >= 8:
            draw.rectangle(place, outline=(255, 255, 255))
        if _width(f"{tap:.2g}", _TEXT) < zoom - 4:
            dark = colours[row, column].mean() < 130
            middle = ((column + 0.5) * zoom, (row + 0.5) * zoom)
            _write(draw, middle, f"{tap:.2g}", _TEXT, (255, 255, 255) if dark else _INK, "mm")
    return image


def _legend(scale: Scale, width: int) -> "Image":
    from PIL import Image, ImageDraw

    width = min(width, 340)
    image = Image.new("RGB", (width, 62 + 5 * 26), "white")
    draw = ImageDraw.Draw(image)
    ramp = scale.colour(np.linspace(scale.low, scale.high, width))
    image.paste(_image(np.repeat(ramp[None], 24, axis=0)), (0, 0))
    middle = (scale.low + scale.high) / 2
    for value, x, anchor in ((scale.low, 0, "la"), (middle, width / 2, "ma"), (scale.high, width, "ra")):
        _write(draw, (x, 29), f"{value:.3g}", _TEXT, anchor=anchor)
    entries = ["the middle of a window", "a window, and the cell it fills", "the next one along the row"]
    for at, words in enumerate([*entries, "pale or hatched: never read", "padding, or no cell here"]):
        _key(image, at, 62 + 26 * at)
        _write(draw, (34, 62 + 26 * at + 9), words, _TEXT, anchor="lm")
    return image


def _key(image: "Image", at: int, top: int) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    if at == 0:
        _dot(draw, 11, top + 9, 5)
    elif at in (1, 2):
        _outline(draw, (2, top + 1, 20, top + 17), _FIRST if at == 1 else _NEXT)
    else:
        patch = np.full((18, 22, 3), EMPTY, dtype=np.uint8)
        image.paste(_image(hatched(patch, np.full((18, 22), at == 3))), (0, top))


def _page(title: str, columns: Sequence[tuple[list[str], list[Panel]]]) -> "Image":
    """Columns of captioned panels under their heads, rows aligned."""
    from PIL import Image, ImageDraw

    widths = [
        max([panel.width for _, panel in panels] + [_width(line, _TEXT) for line in about]) for about, panels in columns
    ]
    heights = [max(panels[at][1].height for _, panels in columns) for at in range(len(columns[0][1]))]
    head = _MARGIN + 44 + _HEAD + 8 + (_HEAD_LINES - 1) * _LINE + 6
    total_width = max(sum(widths) + _GAP * (len(widths) - 1), _width(title, _TITLE)) + 2 * _MARGIN
    page = Image.new("RGB", (total_width, head + sum(heights) + len(heights) * (_LINE + _GAP) + _MARGIN), "white")
    draw = ImageDraw.Draw(page)
    _write(draw, (_MARGIN, _MARGIN), title, _TITLE)
    left = _MARGIN
    for (about, panels), width in zip(columns, widths, strict=True):
        _write(draw, (left, _MARGIN + 44), about[0], _HEAD)
        for at, line in enumerate(about[1:]):
            _write(draw, (left, _MARGIN + 44 + _HEAD + 8 + at * _LINE), line, _TEXT, _SOFT)
        top = head
        for (caption, panel), height in zip(panels, heights, strict=True):
            _write(draw, (left, top), caption, _TEXT, _SOFT)
            page.paste(panel, (left, top + _LINE))
            top += height + _LINE + _GAP
        left += width + _GAP
    return page


def _write(
    draw: "ImageDraw",
    place: tuple[float, float],
    words: str,
    height: int,
    colour: tuple[int, int, int] = _INK,
    anchor: str = "la",
) -> None:
    from PIL import ImageFont

    draw.text(place, words.translate(_PLAIN), colour, ImageFont.load_default(height), anchor=anchor)


def _width(words: str, height: int) -> int:
    from PIL import ImageFont

    return int(ImageFont.load_default(height).getlength(words.translate(_PLAIN))) + 1
