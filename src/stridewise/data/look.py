"""Some pictures of a data set with what was read of them, as one image to look at: boxes, masks, classes in place."""

import numpy as np
from PIL import Image

from stridewise.data.drawing import as_png, with_boxes, with_class, with_mask
from stridewise.data.grids import Grid
from stridewise.data.mask import IGNORE
from stridewise.data.picture import Bytes, PictureError
from stridewise.data.records import Dataset, Sample
from stridewise.errors import DataError

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
