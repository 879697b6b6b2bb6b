"""A picture with what is known or said of it: a class, a mask laid over it, or boxes."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stridewise.data.picture import Bytes

_LEAST_SIDE = 360  # pictures are enlarged to be looked at until their shorter side has this many pixels
_OPACITY = 0.55
_LINE = 18
Colour = tuple[int, int, int]


def colours(count: int) -> list[Colour]:
    """`count` colours that are told apart, the same ones every time: hue by the golden ratio, vivid, dark, pale."""
    rows = [colorsys.hsv_to_rgb(i * 0.618 % 1, *((0.9, 1.0), (0.9, 0.6), (0.45, 1.0))[i % 3]) for i in range(count)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in rows]


def with_class(pixels: Bytes, lines: Sequence[str]) -> Image.Image:
    """The picture above lines of text."""
    return _with_legend(_enlarged(pixels)[0], [(line, None) for line in lines])


def with_mask(pixels: Bytes, labels: Bytes, classes: Sequence[str]) -> Image.Image:
    """The picture beside itself under a mask (height, width) of class indices, with a legend of the classes found."""
    table = np.array(colours(len(classes)), np.float32)
    mixed = pixels * (1 - _OPACITY) + table[labels] * _OPACITY
    left, right = _enlarged(pixels)[0], _enlarged(mixed.astype(np.uint8))[0]
    both = Image.new("RGB", (left.width + right.width + 4, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 4, 0))
    share = np.bincount(labels.reshape(-1), minlength=len(classes)) / labels.size
    named = [(f"{classes[i]}  {share[i]:.1%}", _whole(table[i])) for i in np.argsort(-share) if share[i] > 0]
    return _with_legend(both, named[:12])


def with_boxes(
    pixels: Bytes,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    scores: Sequence[float] | None,
    classes: Sequence[str],
) -> Image.Image:
    """The picture with boxes x0, y0, x1, y1, each with its class and any score, and how many of each class."""
    image, factor = _enlarged(pixels)
    draw, font, table = ImageDraw.Draw(image), ImageFont.load_default(size=12), colours(len(classes))
    rated = scores or [1.0] * len(boxes)
    for box, label, score in sorted(zip(boxes, labels, rated, strict=True), key=lambda row: row[2]):
        corners = [value * factor for value in box]
        draw.rectangle(corners, outline=table[label], width=2)
        text = classes[label] if scores is None else f"{classes[label]} {score:.2f}"
        place = (corners[0] + 1, max(corners[1] - 14, 0))
        draw.rectangle(draw.textbbox(place, text, font=font), fill=table[label])
        draw.text(place, text, fill="white" if sum(table[label]) < 380 else "black", font=font)
    counts = np.bincount(np.array(labels, np.int64), minlength=len(classes))
    named = [(f"{classes[i]}: {counts[i]}", table[i]) for i in np.argsort(-counts) if counts[i]]
    return _with_legend(image, named or [("nothing found", None)])


def with_counts(table: np.ndarray[tuple[int, ...], np.dtype[np.int64]], classes: Sequence[str]) -> Image.Image:
    """Counts (classes, classes) as cells, the darker the larger a share of their row, with the names beside."""
    font, side, count = ImageFont.load_default(size=11), 34, len(classes)
    names = [name if len(name) < 22 else f"{name[:20]}.." for name in classes]
    room = max(int(font.getlength(name)) for name in names) + 10
    out = Image.new("RGB", (room + side * count + 4, room + side * count + 4), "white")
    draw = ImageDraw.Draw(out)
    for place, name in enumerate(names):
        draw.text((4, room + place * side + 10), name, fill="black", font=font)
        upright = Image.new("RGB", (room, side), "white")
        ImageDraw.Draw(upright).text((4, 10), name, fill="black", font=font)
        out.paste(upright.rotate(90, expand=True), (room + place * side, 0))
    for (row, column), number in np.ndenumerate(table):
        share = number / max(table[row].sum(), 1)
        corner = (room + column * side, room + row * side)
        fill = tuple(round(255 - share * (255 - c)) for c in (8, 48, 107))
        draw.rectangle((*corner, corner[0] + side - 1, corner[1] + side - 1), fill=fill, outline=(220, 220, 220))
        if number:
            draw.text((corner[0] + 4, corner[1] + 10), str(number), fill="white" if share > 0.5 else "black", font=font)
    return out


def as_png(rows: Sequence[Sequence[Image.Image]]) -> bytes:
    """Images side by side in rows below each other, as PNG."""
    wide = max(sum(image.width + 8 for image in row) for row in rows)
    sheet = Image.new("RGB", (wide, sum(max(i.height for i in row) + 8 for row in rows)), "white")
    top = 0
    for row in rows:
        left = 0
        for image in row:
            sheet.paste(image, (left, top))
            left += image.width + 8
        top += max(image.height for image in row) + 8
    file = io.BytesIO()
    sheet.save(file, format="PNG")
    return file.getvalue()


def _enlarged(pixels: Bytes) -> tuple[Image.Image, int]:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    factor = max(1, -(-_LEAST_SIDE // min(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST), factor


def _with_legend(image: Image.Image, entries: Sequence[tuple[str, Colour | None]]) -> Image.Image:
    out = Image.new("RGB", (image.width, image.height + _LINE * len(entries) + 6), "white")
    out.paste(image, (0, 0))
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(size=13)
    for row, (text, colour) in enumerate(entries):
        top = image.height + 4 + row * _LINE
        if colour is not None:
            draw.rectangle((6, top + 2, 18, top + 14), fill=colour)
        draw.text((24 if colour is not None else 6, top), text, fill="black", font=font)
    return out


def _whole(row: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Colour:
    red, green, blue = (int(v) for v in row)
    return red, green, blue
