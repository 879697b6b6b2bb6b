"""A transposed convolution on a few pixels: every pixel spreads the whole filter, and a cell sums what reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stridewise.errors import GeometryError

Json = dict[str, Any]
Plane = NDArray[np.float64]
_MOST_CELLS = 128


def transposed(square: Plane, weights: Plane, stride: Sequence[int], pads: Any, dilation: int, border: str) -> Json:
    """One map: its numbers, and along each axis which pixels and taps every cell sums. "same" makes it stride times as
    large, where a filter is no shorter than the stride.

    Raises: GeometryError where nothing is left, where too much is, or for a border other than zeros.

    Source: torch.nn.ConvTranspose2d, "Shape"; the filter is spread as it is, not flipped.
    """
    if border != "zeros":
        raise GeometryError(f"border '{border}': a transposed convolution has none but zeros; choose zeros")
    along = [
        _axis(size, kernel, step, dilation, pads if isinstance(pads, str) else pads[at])
        for at, (size, kernel, step) in enumerate(zip(square.shape, weights.shape, stride, strict=True))
    ]
    full = np.zeros([axis["out_size"] + sum(axis["cropped"]) for axis in along])
    for tap in np.ndindex(weights.shape):
        reached = tuple(
            slice(k * dilation, k * dilation + (n - 1) * step + 1, step)
            for k, n, step in zip(tap, square.shape, stride, strict=True)
        )
        full[reached] += square * weights[tap]
    kept = tuple(slice(axis["cropped"][0], axis["cropped"][0] + axis["out_size"]) for axis in along)
    out = full[kept]
    return {
        "stride": list(stride),
        "axes": along,
        "out": np.round(out, 4).tolist(),
        "multiplications": int(np.prod([sum(map(len, axis["taps"])) for axis in along])),
    }


def _axis(size: int, kernel: int, stride: int, dilation: int, pads: Any) -> Json:
    spread = dilation * (kernel - 1) + 1
    over = max(0, spread - stride)  # what goes beyond stride times the input
    begin, end = {"same": (over // 2, over - over // 2), "valid": (0, 0)}.get(pads, pads) if pads else (0, 0)
    full = (size - 1) * stride + spread
    out_size = full - begin - end
    if out_size < 1:
        raise GeometryError(f"padding {begin} + {end} takes away all of the {full} cells; take less of it")
    if out_size > _MOST_CELLS:
        raise GeometryError(f"{out_size} cells: at most {_MOST_CELLS} are shown here; take a smaller stride or crop")
    taps: list[list[list[int]]] = [[] for _ in range(out_size)]
    for k in range(kernel):
        for i in range(size):
            cell = i * stride + k * dilation - begin
            if 0 <= cell < out_size:
                taps[cell].append([i, k])
    reads = np.bincount([i for cell in taps for i, _ in cell], minlength=size)
    spans = [(min(i for i, _ in cell), max(i for i, _ in cell)) if cell else (0, -1) for cell in taps]
    return {
        "size": size,
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "begin": 0,
        "end": 0,
        "cropped": [begin, end],
        "out_size": out_size,
        "remainder": 0,
        "dropped": 0,
        "formula": f"out = ({size} - 1)*{stride} + {dilation}*({kernel}-1) + 1 - {begin} - {end} = {out_size}",
        "windows": [[first, last - first + 1] for first, last in spans],
        "taps": taps,
        "around": None,
        "reads": reads.tolist(),
        "coverage": float((reads > 0).mean()),
    }
