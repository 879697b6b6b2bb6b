"""Pictures of what each layer keeps of a photograph, at true scale: every map as large as what it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from stridewise.data import Dataset, Picture, Sample
from stridewise.data.picture import Bytes
from stridewise.errors import UsageError
from stridewise.files import whole
from stridewise.measuring.capture import run_watched
from stridewise.measuring.intervals import Floats
from stridewise.measuring.ladder import maps
from stridewise.measuring.pictures import as_image, load_pictures, photograph
from stridewise.measuring.variants import Variant, variants
from stridewise.plans import Plan

_TEXT, _GAP = 16, 6
_READABLE = 240
"""Screen pixels a column is wide at least: small inputs are enlarged as a whole, names then fit."""


def as_colours(values: Floats) -> Bytes:
    """A map (channels, height, width) as RGB: its three leading principal components, each stretched to 0..255.

    Components follow the map's own variance; a sign is chosen so that a component's skew is upwards. Fewer than three
    channels repeat the last one.
    """
    channels = values.reshape(len(values), -1)
    centred = channels - channels.mean(axis=1, keepdims=True)
    _, vectors = torch.linalg.eigh(torch.from_numpy(centred @ centred.T))
    leading = vectors.numpy()[:, ::-1][:, :3].T @ centred
    leading *= np.where((leading**3).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    low, high = (np.percentile(leading, q, axis=1, keepdims=True) for q in (1, 99))
    span = np.where(high > low, high - low, 1.0)
    scaled = np.clip(255 * (leading - low) / span, 0, 255).astype(np.uint8)
    scaled = np.concatenate([scaled, np.repeat(scaled[-1:], 3 - len(scaled), axis=0)])
    pixels: Bytes = scaled.reshape(3, *values.shape[1:]).transpose(1, 2, 0)
    return pixels


def map_pictures(variant: Variant, x: torch.Tensor) -> tuple[tuple[str, Image.Image], ...]:
    """(name, picture) of each map of one network for one picture (1, 3, height, width), finest first.

    A position is drawn as large as the pixels it stands for, so that what a stride leaves is seen at true scale.
    Raises: UsageError for an ONNX file.
    """
    if variant.model is None:
        raise UsageError(f"{variant.name}: maps look inside a live model, not an ONNX file")
    found = []
    ladder = maps(variant.graph)
    seen = next(iter(run_watched(variant.model, [m.watch for m in ladder], x)))
    for m in ladder:
        if m.watch not in seen:
            continue
        pixels = as_colours(seen[m.watch][0 if m.inserted else 1][0].double().numpy())
        image = as_image(pixels).resize(
            (pixels.shape[1] * m.stride[1], pixels.shape[0] * m.stride[0]), Image.Resampling.NEAREST
        )
        by = "x".join(map(str, m.stride)) if len(set(m.stride)) > 1 else str(m.stride[0])
        found.append((f"{m.path}, stride {by}, {m.channels} channels", image))
    return tuple(found)


def sheet(variants: Sequence[Variant], x: torch.Tensor, photograph: Bytes) -> Image.Image:
    """One picture: a column for each network, the photograph on top, below it what each of its maps keeps."""
    columns = [[(v.name, as_image(photograph)), *map_pictures(v, x)] for v in variants]
    zoom = -(-_READABLE // photograph.shape[1])
    columns = [[(name, _enlarged(image, zoom)) for name, image in column] for column in columns]
    wide = max(image.width for column in columns for _, image in column) + _GAP
    rows = max(len(column) for column in columns)
    tall = [max(column[r][1].height for column in columns if r < len(column)) + _TEXT + _GAP for r in range(rows)]
    out = Image.new("RGB", (wide * len(columns) + _GAP, sum(tall) + _GAP), "white")
    draw = ImageDraw.Draw(out)
    for place, column in enumerate(columns):
        top = _GAP
        for row, (name, image) in enumerate(column):
            left = _GAP + place * wide
            draw.text((left, top), name, fill="black")
            out.paste(image, (left, top + _TEXT))
            top += tall[row]
    return out


def _enlarged(image: Image.Image, zoom: int) -> Image.Image:
    return image.resize((zoom * image.width, zoom * image.height), Image.Resampling.NEAREST)


def write_sheet(path: str | Path, image: Image.Image) -> None:
    """Write a sheet as PNG. Raises: UsageError in one line where it cannot be written."""
    with whole(path, error=UsageError) as place:
        image.save(place, format="PNG")


def draw_maps(
    model: Any,
    plans: Mapping[str, Plan],
    path: str | Path,
    picture: str | Path | None = None,
    input: Sequence[int] | None = None,
    weights: Any = None,
    trust: bool = False,
    seed: int = 0,
) -> None:
    """Write the maps of a model, as it is and under plans, for a photograph (None: a built-in one) to a PNG file.

    The photograph is brought to the network's input size, aspect kept, its middle cut out. Raises: StridewiseError.
    """
    found = variants(model, plans, input=input, weights=weights, trust=trust, seed=seed)
    data: Dataset | None = None
    if picture is not None:
        pixels = photograph(picture)
        sample = Sample(picture=Picture(name=str(picture), source=pixels), size=pixels.shape[:2], label=0)
        data = Dataset(task="classify", name=str(picture), classes=("",), splits={"all": (sample,)})
    one = load_pictures(data, found.input[1:], 1, standard="imagenet", seed=seed)
    write_sheet(path, sheet(found.every, one.x, np.ascontiguousarray(one.pixels[0])))
