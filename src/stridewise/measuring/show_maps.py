"""`measure --maps`: the feature maps of a model and its plans for one photograph, as one picture file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stridewise.data import Dataset, Picture, Sample
from stridewise.measuring.maps import sheet, write_sheet
from stridewise.measuring.pictures import load_pictures, photograph
from stridewise.measuring.variants import variants
from stridewise.plans import Plan


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
