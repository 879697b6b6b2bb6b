"""Labels drawn onto pictures, and a few of a data set's pictures so, to look at."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stridewise.data.grids import Grid
from stridewise.data.mask import IGNORE
from stridewise.data.picture import Bytes, PictureError
from stridewise.data.records import Dataset, Sample
from stridewise.errors import DataError

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


_LARGEST = 1024  # pixels of a side; larger pictures are reduced first


def look(dataset: Dataset, count: int = 5, *, split: str | None = None) -> bytes:
    """PNG of `count` pictures, evenly picked, one below the other, each with its class, boxes or mask drawn.

    Boxes named `ignored` are regions where nothing counts. A slice is drawn of a volume, a line of a
    signal. Raises: DataError when none can be decoded.
    """
    samples = dataset.split(split)
    drawn: list[Image.Image] = []
    for place in np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int).tolist():
        try:
            drawn.append(_drawn(samples[place], dataset))
        except PictureError:
            continue
    if not drawn:
        raise DataError(f"{dataset.name}: no picture to look at can be decoded")
    return as_png([[image] for image in drawn])


def _drawn(sample: Sample, dataset: Dataset) -> Image.Image:
    size = sample.size
    if max(size) > _LARGEST and len(size) == 2:
        scale = _LARGEST / max(size)
        size = tuple(max(1, round(n * scale)) for n in size)
    pixels, middle = _pixels(sample, size)
    if sample.boxes is not None:
        factor = np.array([size[1] / sample.size[1], size[0] / sample.size[0]] * 2)
        ignored = sample.boxes.ignored
        corners = [*(sample.boxes.corners * factor), *([] if ignored is None else ignored.corners * factor)]
        kinds = [*sample.boxes.classes.tolist(), *([] if ignored is None else [len(dataset.classes)] * len(ignored))]
        return with_boxes(pixels, corners, kinds, None, (*dataset.classes, "ignored"))
    if sample.mask is not None:
        mask = sample.mask.load(size)[middle]
        labels = np.where(mask == IGNORE, len(dataset.classes), mask)
        labels = labels if labels.ndim == 2 else np.repeat(labels[None], pixels.shape[0], axis=0)
        return with_mask(pixels, labels, (*dataset.classes, "ignored"))
    return with_class(pixels, [f"{sample.name}: {dataset.classes[sample.label or 0]}"])


def _pixels(sample: Sample, size: tuple[int, ...]) -> tuple[Bytes, tuple[int | slice, ...]]:
    """The picture, (height, width, 3); of a volume its middle slice, of a signal its curve; and which part that is."""
    if not isinstance(sample.picture, Grid):
        return sample.picture.load(size), ()
    values = sample.picture.load(size)
    middle: tuple[int | slice, ...] = (size[0] // 2,) if len(size) == 3 else ()
    plane = values[middle][..., 0]
    low, high = float(plane.min()), float(plane.max())
    scaled = (255 * (plane - low) / max(high - low, 1e-12)).astype(np.uint8)
    if plane.ndim == 1:
        curve = np.full((96, len(scaled)), 255, np.uint8)
        curve[(95 - scaled.astype(int) * 95 // 255), np.arange(len(scaled))] = 0
        scaled = curve
    return np.repeat(scaled[:, :, None], 3, axis=2), middle
