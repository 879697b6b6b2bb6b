"""What a trained network says of pictures: plain values, and an image of each to look at."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stridewise.data.cleaning import picture_files, source_of
from stridewise.data.drawing import with_boxes, with_class, with_mask
from stridewise.data.grids import Grid
from stridewise.data.picture import Bytes, Picture, PictureError, Size
from stridewise.data.records import Sample, loaded
from stridewise.errors import DataError
from stridewise.tasks.segment import labels_at
from stridewise.tasks.trained import Trained

LEAST_SCORE = 0.3
_TOP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said of one picture: plain values, one line of text, and the image as PNG.

    Of signals and volumes the image is an array (NumPy's .npy): the class of every position, or the scores.
    """

    name: str
    values: dict[str, Any]
    line: str
    image: bytes
    suffix: str = ".png"


def find_pictures(paths: Sequence[str | Path]) -> list[Picture | Grid]:
    """The picture files named, and those in the folders named. Raises: DataError where there are none."""
    files: list[Path] = []
    for path in map(Path, paths):
        files += picture_files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{', '.join(map(str, paths))}: no pictures there: name picture files, or a folder of them")
    return [source_of(file, str(file)) for file in files]


def predict(
    trained: Trained, pictures: Sequence[Picture | Grid], *, least_score: float = LEAST_SCORE
) -> Iterator[Said]:
    """What the network says of each picture, at the picture's own size. Raises: PictureError for a broken one."""
    channels, *size = trained.data.shape
    for picture in pictures:
        header = picture.header()
        if len(header.size) != len(size):
            raise PictureError(picture.name, f"{len(header.size)} axes where the network reads {len(size)}")
        sample = Sample(picture=picture, size=header.size)
        seen = loaded(sample, tuple(size), channels)
        x = trained.standard(torch.from_numpy(np.array(seen)).movedim(-1, 0)[None])
        if isinstance(picture, Grid):
            yield _of_grid(trained, x, picture.name, header.size)
            continue
        pixels = picture.load()
        values, line, image = _SAYS[trained.task.name](trained, x, pixels, least_score)
        out = io.BytesIO()
        image.save(out, format="PNG")
        yield Said(name=picture.name, values=values, line=f"{picture.name}: {line}", image=out.getvalue())


def _of_grid(trained: Trained, x: torch.Tensor, name: str, size: Size) -> Said:
    """A signal or a volume: the class of each position at its own size, or the share of each class."""
    with torch.inference_mode():
        out = trained.model(x)[0]
    classes, file = trained.data.classes, io.BytesIO()
    if trained.task.name == "segment":
        labels = labels_at(out, size)
        np.save(file, labels)
        share = np.bincount(labels.reshape(-1), minlength=len(classes)) / labels.size
        values = {"shares": {n: float(v) for n, v in zip(classes, share, strict=True) if v > 0}}
        line = ", ".join(f"{n} {v:.1%}" for n, v in values["shares"].items())
        return Said(name=name, values=values, line=f"{name}: {line}", image=file.getvalue(), suffix=".npy")
    shares = out[: len(classes)].softmax(0)
    np.save(file, shares.numpy())
    best = int(shares.argmax())
    scores = dict(zip(classes, shares.tolist(), strict=True))
    line = f"{name}: {classes[best]} {scores[classes[best]]:.1%}"
    return Said(name=name, values={"class": classes[best], "scores": scores}, line=line, image=file.getvalue(),
                suffix=".npy")  # fmt: skip


Answer = tuple[dict[str, Any], str, Image.Image]


def _classes(trained: Trained, x: torch.Tensor, pixels: Bytes, least_score: float) -> Answer:
    with torch.inference_mode():
        shares = trained.model(x)[0].softmax(0)
    top = shares.topk(min(_TOP, len(trained.data.classes)))
    rows = [(trained.data.classes[i], v) for v, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)]
    lines = [f"{name}  {share:.1%}" for name, share in rows]
    values = {"class": rows[0][0], "scores": dict(rows)}
    return values, ", ".join(lines), with_class(pixels, lines)


def _mask(trained: Trained, x: torch.Tensor, pixels: Bytes, least_score: float) -> Answer:
    with torch.inference_mode():
        labels = labels_at(trained.model(x)[0], (pixels.shape[0], pixels.shape[1]))
    names = trained.data.classes
    share = np.bincount(labels.reshape(-1), minlength=len(names)) / labels.size
    shares = {names[i]: float(share[i]) for i in np.argsort(-share) if share[i] > 0}
    line = ", ".join(f"{name} {value:.1%}" for name, value in list(shares.items())[:4])
    return {"shares": shares}, line, with_mask(pixels, labels, names)


def _boxes(trained: Trained, x: torch.Tensor, pixels: Bytes, least_score: float) -> Answer:
    detector: Any = trained.model
    found = detector.predict(x)[0]
    sure = found["scores"] >= least_score
    scale = torch.tensor([pixels.shape[1] / x.shape[-1], pixels.shape[0] / x.shape[-2]] * 2)
    boxes = (found["boxes"][sure] * scale).tolist()
    labels, scores = found["labels"][sure].tolist(), found["scores"][sure].tolist()
    names = trained.data.classes
    rows = [
        {"class": names[label], "score": score, "box": box}
        for box, label, score in zip(boxes, labels, scores, strict=True)
    ]
    line = ", ".join(f"{names[k]} {v:.2f}" for k, v in list(zip(labels, scores, strict=True))[:6]) or "nothing"
    return {"boxes": rows}, f"{len(rows)} found: {line}", with_boxes(pixels, boxes, labels, scores, names)


_SAYS = {"classify": _classes, "segment": _mask, "detect": _boxes}
