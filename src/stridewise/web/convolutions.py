"""One convolution for the page: a kernel, stride, padding and dilation on a few real pixels, window by window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stridewise.convolution import NAMED, axes, convolve, read_kernel
from stridewise.convolution.window import Axis
from stridewise.errors import GeometryError, StridewiseError, UsageError
from stridewise.web.pictures import Pictures
from stridewise.web.work import incoming
from stridewise.web.workbench import Opened

Json = dict[str, Any]
Plane = NDArray[np.float64]
_MOST_SIDE, _MOST_STRIDE, _MOST_SPAN, _MOST_CELLS = 48, 64, 33, 128
_BORDERS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""torch's names for what stands around the input, and NumPy's. Source: torch.nn.Conv2d, `padding_mode`."""


def convolution(pictures: Pictures, opened: Opened, asked: Json) -> Json:
    """What one filter makes of a square of pixels at each stride asked for.

    asked: kernel (a name, or "own": the layer's), channel and reads (of an own filter: which of its outputs, and which
    of its inputs), strides ([h, w] each), dilation, padding ([begin, end] an axis, "same" or "valid"), border,
    transposed, signal (one row of pixels), side, at (top and left as shares of what can be cut, or "edge": where the
    strongest edge is). Raises: UsageError, GeometryError.
    """
    side = _number(asked, "side", 20, 4, _MOST_SIDE)
    own = asked.get("kernel") == "own"
    about: Json
    if own:
        about, weights, plane = _own(pictures, opened, asked)
    else:
        kernel, weights = read_kernel(_named(asked))
        about, plane = {"kernel": kernel}, _grey(pictures, opened, side)
    if weights.ndim != 2 or max(weights.shape) > _MOST_SPAN:
        raise UsageError(f"kernel: at most {_MOST_SPAN} taps a side are shown here")
    square, cut = _square(plane, asked.get("at", [0.5, 0.5]), side)
    border, turned, flat = asked.get("border", "zeros"), asked.get("transposed", False), asked.get("signal", False)
    if border not in _BORDERS or not isinstance(turned, bool) or not isinstance(flat, bool):
        raise UsageError(f"border: one of {', '.join(_BORDERS)} is wanted; transposed and signal: true or false")
    if flat:
        square, weights = square[len(square) // 2][None], _profile(weights)
    strides = asked.get("strides", [[1, 1]])
    if not isinstance(strides, list) or not 1 <= len(strides) <= 2:
        raise UsageError("strides: one or two settings are shown side by side")
    dilation = _number(asked, "dilation", 1, 1, 8)
    pads = _pads(asked.get("padding", "same"))
    if flat and not isinstance(pads, str):
        pads = [(0, 0), pads[1]]
    square, weights = np.round(square, 4), np.round(weights, 4)
    work = _transposed if turned else _windowed
    return about | {
        "kernels": sorted(NAMED),
        "sizes": {name: entry.size for name, entry in NAMED.items() if entry.resizable},
        "weights": weights.tolist(),
        "pixels": square.tolist(),
        "cut": cut,
        "transposed": turned,
        "signal": flat,
        "maps": [work(square, weights, _stride(stride, flat), pads, dilation, border) for stride in strides],
    }


def _windowed(square: Plane, weights: Plane, stride: list[int], pads: Any, dilation: int, border: str) -> Json:
    """One map: its numbers, and along each axis which pixels and taps every cell reads."""
    along = axes(square.shape, weights.shape, stride=stride, padding=pads, dilation=dilation)
    around = [(axis.begin, axis.end) for axis in along]
    if border == "reflect" and any(max(pair) >= axis.size for pair, axis in zip(around, along, strict=True)):
        raise GeometryError("padding: a reflected border is at most one pixel less than the input; take less of it")
    padded = np.pad(square, around, mode=_BORDERS[border])  # type: ignore[call-overload]  # a name of its table
    out = convolve(padded[None], weights[None, None], stride=stride, padding=0, dilation=dilation)[0]
    read = [_axis(axis, border) for axis in along]
    return {
        "stride": stride,
        "axes": read,
        "out": np.round(out, 4).tolist(),
        "multiplications": int(np.prod([axis.out_size * axis.kernel for axis in along])),
    }


def _axis(axis: Axis, border: str) -> Json:
    sources = np.pad(np.arange(axis.size), (axis.begin, axis.end), mode=_BORDERS[border])  # type: ignore[call-overload]
    if border == "zeros":
        sources[: axis.begin] = sources[axis.begin + axis.size :] = -1
    read = sources[axis.positions() + axis.begin]  # (cells, taps)
    reads = np.bincount(read[read >= 0], minlength=axis.size)
    return {
        "size": axis.size,
        "kernel": axis.kernel,
        "stride": axis.stride,
        "dilation": axis.dilation,
        "begin": axis.begin,
        "end": axis.end,
        "out_size": axis.out_size,
        "remainder": axis.remainder,
        "dropped": axis.dropped,
        "formula": axis.formula,
        "windows": [[axis.start(cell), axis.span] for cell in range(axis.out_size)],
        "positions": axis.positions().tolist(),
        "taps": [[[int(source), tap] for tap, source in enumerate(line)] for line in read],
        "around": sources.tolist() if border != "zeros" else None,
        "reads": reads.tolist(),
        "coverage": float((reads > 0).mean()),
    }


def _transposed(square: Plane, weights: Plane, stride: Sequence[int], pads: Any, dilation: int, border: str) -> Json:
    """One map of a transposed convolution, in which every pixel spreads the whole filter and a cell sums what reaches
    it: its numbers, and along each axis which pixels and taps every cell sums. "same" makes it stride times as large,
    where a filter is no shorter than the stride.

    Raises: GeometryError where nothing is left, where too much is, or for a border other than zeros.

    Source: torch.nn.ConvTranspose2d, "Shape"; the filter is spread as it is, not flipped.
    """
    if border != "zeros":
        raise GeometryError(f"border '{border}': a transposed convolution has none but zeros; choose zeros")
    along = [
        _spread_axis(size, kernel, step, dilation, pads if isinstance(pads, str) else pads[at])
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


def _spread_axis(size: int, kernel: int, stride: int, dilation: int, pads: Any) -> Json:
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


def _stride(stride: Any, flat: bool) -> list[int]:
    if not isinstance(stride, list) or len(stride) != 2 or any(not isinstance(s, int) for s in stride):
        raise UsageError("stride: two whole numbers are wanted, for rows and columns")
    if max(stride) > _MOST_STRIDE:
        raise UsageError(f"stride: at most {_MOST_STRIDE} is shown here")
    return [1, stride[1]] if flat else stride


def _pads(padding: Any) -> str | list[tuple[int, int]]:
    if padding in ("same", "valid"):
        return str(padding)
    try:
        pads = [(int(begin), int(end)) for begin, end in padding]
    except (TypeError, ValueError) as error:
        raise UsageError("padding: begin and end are wanted for each axis, or 'same' or 'valid'") from error
    if len(pads) != 2 or any(not 0 <= n <= _MOST_SPAN for pair in pads for n in pair):
        raise UsageError(f"padding: 0 to {_MOST_SPAN} is shown here")
    return pads


def _profile(weights: Plane) -> Plane:
    """A filter along one axis: the sums of its columns, or of its rows where those are nothing. Shape: (1, taps)."""
    columns, rows = weights.sum(axis=0), weights.sum(axis=1)
    taps: Plane = columns if np.abs(columns).max() > 1e-9 else rows
    return taps[None]


def _grey(pictures: Pictures, opened: Opened, side: int) -> Plane:
    shape = opened.shape()
    sizes = shape[1:] if len(shape) == 3 and min(shape[1:]) >= side else (max(side, 64),) * 2
    plane: Plane = pictures.fitted(1, sizes)[0]
    return plane


def _square(plane: Plane, at: Any, side: int) -> tuple[Plane, Json]:
    """A square cut out where the page points, and where it lies."""
    rows, columns = (min(side, n) for n in plane.shape)
    room = [n - taken for n, taken in zip(plane.shape, (rows, columns), strict=True)]
    if at == "edge":
        top, left = _edge(plane, rows, columns)
    else:
        pair = isinstance(at, list) and len(at) == 2
        if not pair or any(not isinstance(a, int | float) or isinstance(a, bool) or not 0 <= a <= 1 for a in at):
            raise UsageError("at: two shares of the picture from 0 to 1 are wanted, or 'edge'")
        top, left = (round(a * n) for a, n in zip(at, room, strict=True))
    shares = [where / n if n else 0 for where, n in zip((top, left), room, strict=True)]
    cut = {"at": shares, "top": top, "left": left, "rows": rows, "columns": columns, "of": list(plane.shape)}
    return plane[top : top + rows, left : left + columns], cut


def _edge(plane: Plane, rows: int, columns: int) -> tuple[int, int]:
    """Where a cut shows an edge best: its left half and its right half differ most, each being even in itself."""
    windows = np.lib.stride_tricks.sliding_window_view(plane, (rows, columns))[::2, ::2]
    left, right = windows[..., : columns // 2], windows[..., columns - columns // 2 :]
    score = np.abs(left.mean((-1, -2)) - right.mean((-1, -2))) - 0.5 * (left.std((-1, -2)) + right.std((-1, -2)))
    top, first = np.unravel_index(int(score.argmax()), score.shape)
    return int(top) * 2, int(first) * 2


def _own(pictures: Pictures, opened: Opened, asked: Json) -> tuple[Json, Plane, Plane]:
    """A filter of the chosen layer for one of its input channels, and that channel of what really comes into the layer.

    Where the network cannot be run here, the grey picture stands in its place, and the page is told so.
    """
    key = str(asked.get("layer", ""))
    weight = opened.filter(key)
    if weight.ndim != 4:
        raise UsageError(f"{key}: its filter is not two-dimensional; choose another layer")
    outs, per_group = weight.shape[:2]
    channel = _number(asked, "channel", 0, 0, outs - 1)
    reads = asked.get("reads")
    if reads is None:
        reads = int(np.abs(weight[channel]).sum(axis=(1, 2)).argmax())
    reads = _number({"reads": reads}, "reads", 0, 0, per_group - 1)
    plane: Plane
    try:
        coming = incoming(opened, pictures, key)
        groups = len(coming) // per_group
        first = channel // (outs // groups) * per_group
        plane, place = coming[first + reads], f"channel {first + reads} of {len(coming)} of the layer's real input"
    except StridewiseError as error:
        plane, place = _grey(pictures, opened, 20), f"the grey picture: {' '.join(str(error).split())}"
    about = {
        "kernel": f"{key}, filter {channel} of {outs}",
        "own": {"channel": channel, "of": outs, "reads": reads, "reads_of": per_group, "place": place},
    }
    return about, weight[channel, reads].astype(np.float64), plane.astype(np.float64)


def _named(asked: Json) -> str:
    """The kernel's name; anything that could name a file is refused."""
    kernel = str(asked.get("kernel", "sobel-x"))[:40]
    if kernel.split(":")[0] not in NAMED:
        raise UsageError(f"kernel '{kernel}': there are {', '.join(sorted(NAMED))}")
    return kernel


def _number(asked: Json, name: str, default: int, least: int, most: int) -> int:
    value = asked.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{name}: a whole number from {least} to {most} is wanted, not {str(value)[:20]}")
    return value
