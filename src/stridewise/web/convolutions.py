"""One convolution for the page: a kernel, stride, padding and dilation on a few real pixels, window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stridewise.convolution import NAMED, axes, convolve, multiplications, read_kernel
from stridewise.convolution.window import Axis
from stridewise.errors import UsageError
from stridewise.web.pictures import Pictures
from stridewise.web.workbench import Opened

Json = dict[str, Any]
_MOST_SIDE, _MOST_STRIDE, _MOST_SPAN = 48, 64, 33


def convolution(pictures: Pictures, opened: Opened, asked: Json) -> Json:
    """What one filter makes of a square of pixels at each stride asked for.

    asked: kernel (a name), strides ([h, w] each), dilation, padding ([begin, end] an axis or "same"), side, at (top and
    left as shares of the picture). Raises: UsageError, GeometryError.
    """
    side = _number(asked, "side", 20, 4, _MOST_SIDE)
    kernel, weights = _own(opened, asked) if asked.get("kernel") == "own" else read_kernel(_named(asked))
    if weights.ndim != 2 or max(weights.shape) > _MOST_SPAN:
        raise UsageError(f"kernel: at most {_MOST_SPAN} taps a side are shown here")
    square = _square(pictures, opened, asked, side)
    padding = asked.get("padding", "same")
    dilation = _number(asked, "dilation", 1, 1, 8)
    strides = asked.get("strides", [[1, 1]])
    if not isinstance(strides, list) or not 1 <= len(strides) <= 2:
        raise UsageError("strides: one or two settings are shown side by side")
    return {
        "kernel": kernel,
        "kernels": sorted(NAMED),
        "sizes": {name: entry.size for name, entry in NAMED.items() if entry.resizable},
        "weights": np.round(weights, 4).tolist(),
        "pixels": np.round(square, 4).tolist(),
        "maps": [_at_stride(square, weights, stride, padding, dilation) for stride in strides],
    }


def _at_stride(square: NDArray[np.float64], weights: Any, stride: Any, padding: Any, dilation: int) -> Json:
    if not isinstance(stride, list) or len(stride) != 2 or any(not isinstance(s, int) for s in stride):
        raise UsageError("stride: two whole numbers are wanted, for rows and columns")
    if max(stride) > _MOST_STRIDE:
        raise UsageError(f"stride: at most {_MOST_STRIDE} is shown here")
    pads = padding if padding in ("same", "valid") else _pads(padding)
    along = axes(square.shape, weights.shape, stride=stride, padding=pads, dilation=dilation)
    rounded = np.round(weights, 4)
    out = convolve(np.round(square, 4)[None], rounded[None, None], stride=stride, padding=pads, dilation=dilation)[0]
    work = multiplications((1, *square.shape), (1, 1, *weights.shape), stride=stride, padding=pads, dilation=dilation)
    return {
        "stride": stride,
        "axes": [_axis(axis) for axis in along],
        "out": np.round(out, 4).tolist(),
        "multiplications": work.total,
        "on_padding": work.on_padding,
    }


def _pads(padding: Any) -> list[tuple[int, int]]:
    try:
        pads = [(int(begin), int(end)) for begin, end in padding]
    except (TypeError, ValueError) as error:
        raise UsageError("padding: begin and end are wanted for each axis, or 'same' or 'valid'") from error
    if any(not 0 <= n <= _MOST_SPAN for pair in pads for n in pair):
        raise UsageError(f"padding: 0 to {_MOST_SPAN} is shown here")
    return pads


def _axis(axis: Axis) -> Json:
    reads = np.zeros(axis.size, dtype=int)
    np.add.at(reads, axis.positions()[axis.inside()], 1)
    return {
        "size": axis.size,
        "kernel": axis.kernel,
        "stride": axis.stride,
        "dilation": axis.dilation,
        "begin": axis.begin,
        "end": axis.end,
        "span": axis.span,
        "out_size": axis.out_size,
        "remainder": axis.remainder,
        "dropped": axis.dropped,
        "formula": axis.formula,
        "positions": axis.positions().tolist(),
        "reads": reads.tolist(),
        "coverage": float(axis.coverage()),
    }


def _square(pictures: Pictures, opened: Opened, asked: Json, side: int) -> NDArray[np.float64]:
    """A square of grey pixels, cut where the page points."""
    shape = opened.shape()
    sizes = shape[1:] if len(shape) == 3 and min(shape[1:]) >= side else (max(side, 64),) * 2
    picture: NDArray[np.float64] = pictures.fitted(1, sizes)[0]
    at = asked.get("at", [0.5, 0.5])
    if not isinstance(at, list) or len(at) != 2 or any(not isinstance(a, int | float) or not 0 <= a <= 1 for a in at):
        raise UsageError("at: two shares of the picture from 0 to 1 are wanted")
    top, left = (int(a * (n - side)) for a, n in zip(at, sizes, strict=True))
    square: NDArray[np.float64] = picture[top : top + side, left : left + side]
    return square


def _own(opened: Opened, asked: Json) -> tuple[str, NDArray[np.float64]]:
    """A filter of the chosen layer, summed over its input channels: what it makes of a grey picture."""
    key = str(asked.get("layer", ""))
    weight = opened.filter(key)
    if weight.ndim != 4:
        raise UsageError(f"{key}: its filter is not two-dimensional; choose another layer")
    channel = _number(asked, "channel", 0, 0, len(weight) - 1)
    return f"{key}, channel {channel}", weight[channel].sum(axis=0).astype(np.float64)


def _named(asked: Json) -> str:
    """The kernel's name; anything that could name a file is refused."""
    kernel = str(asked.get("kernel", "sobel-x"))[:40]
    if kernel.split(":")[0] not in NAMED:
        raise UsageError(f"kernel '{kernel}': there are {', '.join(sorted(NAMED))}")
    return kernel


def _number(asked: Json, name: str, default: int, least: int, most: int) -> int:
    value = asked.get(name, default)
    if not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{name}: a whole number from {least} to {most} is wanted, not {str(value)[:20]}")
    return value
