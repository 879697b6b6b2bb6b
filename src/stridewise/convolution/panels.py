"""The panels of the drawing, as RGB arrays: feature maps in the input's own frame, what is read, the kernel, the scale.

A position p of an axis covers [p, p + 1). A cell is drawn one step wide, around the middle of its window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stridewise.convolution.figures import SlideFigures
from stridewise.convolution.operation import Array
from stridewise.convolution.window import Axis

Rgb = NDArray[np.uint8]
Mask = NDArray[np.bool_]

EMPTY = (222, 225, 230)
_HATCH, _PALE = (60, 64, 72), (255, 255, 255)
# Blue below zero, near white at zero, brown above; lightness falls on both sides, so it reads without colour too.
_SIGNED = [
    (8, 48, 107),
    (54, 121, 182),
    (158, 202, 225),
    (247, 247, 247),
    (253, 190, 112),
    (217, 105, 18),
    (107, 48, 4),
]
_GREY = [(0, 0, 0), (255, 255, 255)]
_SHADES = 511  # odd: zero has a shade of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Values from `low` to `high` as colours; what lies beyond takes the colour of the end."""

    low: float
    high: float
    signed: bool

    def colour(self, values: Array) -> Rgb:
        """Shape: (...) -> (..., 3)."""
        stops = np.array(_SIGNED if self.signed else _GREY, dtype=np.float64)
        shades = np.linspace(0, len(stops) - 1, _SHADES)
        table = np.stack([np.interp(shades, np.arange(len(stops)), part) for part in stops.T], axis=-1)
        place = (values - self.low) * ((_SHADES - 1) / (self.high - self.low))
        found: Rgb = table.round().astype(np.uint8)[np.clip(np.rint(place), 0, _SHADES - 1).astype(np.int16)]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A part of the input plane, `begin` to `stop` an axis, at `zoom` screen pixels a position."""

    begin: tuple[int, ...]
    stop: tuple[int, ...]
    zoom: int

    def places(self, at: int) -> NDArray[np.float64]:
        """Where on axis `at` the middle of each screen pixel lies."""
        return self.begin[at] + (np.arange((self.stop[at] - self.begin[at]) * self.zoom) + 0.5) / self.zoom

    def rectangle(self, spans: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
        """Input intervals of rows and columns as left, top, right, bottom on the screen, not outside the frame."""
        clipped = [
            [(min(max(edge, begin), stop) - begin) * self.zoom for edge in span]
            for span, begin, stop in zip(spans, self.begin, self.stop, strict=True)
        ]
        (top, bottom), (left, right) = clipped
        return left, top, right - 1, bottom - 1


def scale_of(slides: Sequence[SlideFigures], channel: int) -> Scale:
    """One scale for all maps: the picture's own for a kernel that keeps brightness, else by the largest magnitudes."""
    maps = [one.feature_map[channel] for one in slides]
    if np.isclose(slides[0].weight[channel].sum(), 1.0):
        return _brightness(slides[0])
    limit = max(float(np.quantile(np.abs(values), 0.995)) for values in maps) or 1.0
    return Scale(low=-limit, high=limit, signed=True)


def _brightness(one: SlideFigures) -> Scale:
    """Black to white as in the picture itself: 0 to 1, or as far as its values reach; of many, the channel shown."""
    if len(one.picture) in (1, 3):
        return Scale(low=min(0.0, float(one.picture.min())), high=max(1.0, float(one.picture.max())), signed=False)
    values = one.picture[one.shown]
    low = min(0.0, float(values.min()))
    return Scale(low=low, high=max(float(values.max()), low + 1e-6), signed=False)


def cell_span(axis: Axis, cell: int) -> tuple[float, float]:
    """The interval of the input in which a cell is drawn."""
    middle = axis.start(cell) + axis.span / 2
    return middle - axis.stride / 2, middle + axis.stride / 2


def window_span(axis: Axis, cell: int) -> tuple[float, float]:
    """The interval of the input that a cell's window spans."""
    return axis.start(cell), axis.start(cell) + axis.span


def map_panel(one: SlideFigures, scale: Scale, frame: Frame, channel: int) -> Rgb:
    """The feature map where its windows stood. Grey maps of a picture's three channels make a colour picture."""
    cells = [
        np.floor((frame.places(at) - cell_span(axis, 0)[0]) / axis.stride).astype(int)
        for at, axis in enumerate(one.axes)
    ]
    real = [(cell >= 0) & (cell < axis.out_size) for cell, axis in zip(cells, one.axes, strict=True)]
    index = np.ix_(*(np.clip(cell, 0, axis.out_size - 1) for cell, axis in zip(cells, one.axes, strict=True)))
    if one.groups == 3 and not scale.signed:
        colours = np.stack([scale.colour(part[index])[..., 0] for part in one.feature_map], axis=-1)
    else:
        colours = scale.colour(one.feature_map[channel][index])
    colours[~np.logical_and.outer(*real)] = EMPTY
    return colours


def input_panel(one: SlideFigures, frame: Frame) -> Rgb:
    """The picture as the kernel sees it, in grey or colour; outside it the padding."""
    places = [np.floor(frame.places(at)).astype(int) for at in range(2)]
    sizes = one.picture.shape[1:]
    real = [(place >= 0) & (place < size) for place, size in zip(places, sizes, strict=True)]
    index = np.ix_(*(np.clip(place, 0, size - 1) for place, size in zip(places, sizes, strict=True)))
    scale = _brightness(one)
    channels = one.picture if len(one.picture) == 3 else [one.picture[one.shown]] * 3
    colours = np.stack([scale.colour(part[index])[..., 0] for part in channels], axis=-1)
    colours[~np.logical_and.outer(*real)] = EMPTY
    return colours


def unread(one: SlideFigures, frame: Frame) -> Mask:
    """Screen pixels whose input position no window reads."""
    seen = []
    for at, axis in enumerate(one.axes):
        place = np.floor(frame.places(at)).astype(int)
        inside = (place >= 0) & (place < axis.size)
        seen.append((inside, inside & axis.read()[np.clip(place, 0, axis.size - 1)]))
    (rows, read_rows), (columns, read_columns) = seen
    mask: Mask = np.logical_and.outer(rows, columns) & ~np.logical_and.outer(read_rows, read_columns)
    return mask


def hatched(colours: Rgb, mask: Mask, *, lines: bool = True) -> Rgb:
    """Pale where the mask is true, with diagonal lines unless the parts are too small for them."""
    rows, columns = np.indices(mask.shape)
    on_line: Mask = np.asarray((rows + columns) % 8 < 2) & lines
    over = np.where(on_line[..., None], np.array(_HATCH), np.array(_PALE))
    keep = 0.4 if lines else 0.2
    return np.where(mask[..., None], (keep * colours + (1 - keep) * over).astype(np.uint8), colours)


def detail_frame(slides: Sequence[SlideFigures], panel: int) -> Frame:
    """The part of the picture shown enlarged: all of it with its padding if that fits, else where it varies most."""
    sizes = slides[0].picture.shape[1:]
    wanted = max(16, max(4 * axis.stride + axis.span for one in slides for axis in one.axes))
    if max(sizes) <= 1.5 * wanted:
        begin = tuple(-max(pads) for pads in zip(*([axis.begin for axis in one.axes] for one in slides), strict=True))
        stop = tuple(
            max(ends) for ends in zip(*([axis.size + axis.end for axis in one.axes] for one in slides), strict=True)
        )
        longest = max(high - low for low, high in zip(begin, stop, strict=True))
        return Frame(begin=begin, stop=stop, zoom=max(1, panel // longest))
    across = [max(1, round(panel * size / max(sizes))) for size in sizes]
    zoom = max(2, min(across) // wanted)
    counts = [min(size, max(wanted, screen // zoom)) for size, screen in zip(sizes, across, strict=True)]
    begin = _busiest(slides[0].picture.mean(axis=0), counts)
    return Frame(begin=begin, stop=tuple(low + count for low, count in zip(begin, counts, strict=True)), zoom=zoom)


def _busiest(grey: Array, counts: Sequence[int]) -> tuple[int, ...]:
    """Where a part of this many positions an axis changes most from block to block: shapes count, grain does not."""
    block = max(1, min(counts) // 5)
    rows, columns = (size // block * block for size in grey.shape)
    blocks = grey[:rows, :columns].reshape(rows // block, block, columns // block, block).mean(axis=(1, 3))
    change: Array = np.zeros_like(blocks)
    for at in range(2):
        change += np.abs(np.diff(blocks, axis=at, append=np.take(blocks, [-1], axis=at)))
    high, wide = (min(count // block, size) for count, size in zip(counts, blocks.shape, strict=True))
    sums: Array = np.pad(change.cumsum(axis=0).cumsum(axis=1), [(1, 0), (1, 0)])
    parts = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    found = np.unravel_index(np.argmax(parts), parts.shape)
    return tuple(min(int(at) * block, size - count) for at, size, count in zip(found, grey.shape, counts, strict=True))
