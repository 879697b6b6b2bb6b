"""The best linear decoder of a map from a coarser one: what of it is still linearly readable.

Each cell of the coarse map, with its neighbours, predicts the values of the fine map that lie under it. A ridge
regression by normal equations in float64, fitted on some pictures and judged on others, error split into bands after
decoding. A linear decoder is one among many: what it reads is a lower bound on what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from stridewise.errors import DataError
from stridewise.measuring.aliasing import blocks, outside, spread
from stridewise.measuring.intervals import Floats

REACH = 1
"""Cells to each side that the decoder sees: a neighbourhood of three an axis."""

MOST_FEATURES = 640
_CELLS_AN_INPUT = 4
LEAST_CHANNELS = 4
"""Leading channels below which a decoder that had to drop some reads next to nothing, whatever there is."""

_RIDGES = tuple(10.0**power for power in range(-12, 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """One picture's fine map (channels, *sizes) and the coarse one made from it (channels, *cells).

    stride: fine positions a cell; start: the fine position under the first cell's first value, an entry an axis.
    """

    fine: Floats
    coarse: Floats
    stride: tuple[int, ...]
    start: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """What a decoder cannot read, as shares of the energy on held-out pictures: `lost[i]` of the detail outside the
    band of `bands[i]` (None where there is none), `total` of everything (it hides the detail behind the rest).

    features: inputs of the decoder a cell; reduced: channels were cut to their leading principal components first.
    """

    bands: tuple[tuple[float, ...], ...]
    lost: tuple[float | None, ...]
    total: float | None
    features: int
    reduced: bool


class TooFewCellsError(DataError):
    """So few cells to fit by that what a decoder reads says nothing; `pictures` of this size would do."""

    def __init__(self, cells: int, pictures: int) -> None:
        super().__init__(f"detail: {cells} cells are too few to fit a decoder: measure on {pictures} pictures")
        self.pictures = pictures


def readable(pairs: Sequence[Pair], bands: Sequence[Sequence[float]], *, held_out: float = 0.34) -> Readable:
    """How much of the fine maps the coarse ones still hold, by the best linear decoder.

    bands: strides an axis, in fine positions; for each the detail that does not fit on such a grid is judged. The last
    pictures (share `held_out`, at least one) judge, the others fit. Raises: DataError for fewer than two pictures, or
    maps too small for a neighbourhood; TooFewCellsError.
    """
    if len(pairs) < 2:
        raise too_few(len(pairs))
    cut = len(pairs) - max(round(held_out * len(pairs)), 1)
    shrink, reduced = _components([pair.coarse for pair in pairs[:cut]])
    if shrink is not None and len(shrink) < LEAST_CHANNELS:
        inner = [int(np.prod([n - 2 * REACH for n in pair.coarse.shape[1:]])) for pair in pairs]
        wanted_cells = _CELLS_AN_INPUT * LEAST_CHANNELS * (2 * REACH + 1) ** (pairs[0].coarse.ndim - 1)
        fit = -(-wanted_cells // max(min(inner), 1))
        raise TooFewCellsError(sum(inner[:cut]), math.ceil(fit / (1 - held_out)) + 1)
    known, wanted = _rows(pairs[:cut], shrink)
    solve = _fit(known, wanted)
    lost = np.zeros((len(bands) + 1, 2))
    for pair in pairs[cut:]:
        inputs, values = _rows([pair], shrink)
        truth = _map(values, pair)
        error = truth - _map(solve(inputs), pair)
        for place, band in enumerate(bands):
            lost[place] += outside(error, band)[0], outside(truth, band)[0]
        lost[-1] += outside(error, band)[1], outside(truth, band)[1]
    shares = [float(left / there) if there > 0 else None for left, there in lost]
    return Readable(
        bands=tuple(tuple(band) for band in bands),
        lost=tuple(shares[:-1]),
        total=shares[-1],
        features=known.shape[1],
        reduced=reduced,
    )


def too_few(pictures: int) -> DataError:
    """What to raise where there are none to judge by."""
    told = "1 picture" if pictures == 1 else f"{pictures} pictures"
    return DataError(f"detail: {told}: two or more are wanted, to fit a decoder and to judge it")


def _components(maps: Sequence[Floats]) -> tuple[Floats | None, bool]:
    """The leading principal directions of the channels, (kept, channels), where there are too many of them for the
    work, or for the cells to fit (four cells an input at least)."""
    channels, axes = maps[0].shape[0], maps[0].ndim - 1
    cells = sum(int(np.prod([n - 2 * REACH for n in m.shape[1:]])) for m in maps)
    kept = max(min(MOST_FEATURES, cells // _CELLS_AN_INPUT) // (2 * REACH + 1) ** axes, 1)
    if channels <= kept:
        return None, False
    flat = np.concatenate([m.reshape(channels, -1) for m in maps], axis=1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    _, directions = _decomposed(_product(centred, centred.T))
    return directions[:, -kept:].T, True


def _decomposed(square: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(torch.from_numpy(square))
    return values.numpy(), vectors.numpy()


def _rows(pairs: Sequence[Pair], shrink: Floats | None) -> tuple[Floats, Floats]:
    """(neighbourhoods, values): a row for each inner cell of all pictures."""
    inputs, values = [], []
    for pair in pairs:
        coarse = pair.coarse if shrink is None else np.tensordot(shrink, pair.coarse, axes=1)
        start = pair.start or (0,) * len(pair.stride)
        fine = blocks(pair.fine[(slice(None), *(slice(s, None) for s in start))], pair.stride)
        cells = tuple(min(a, b) for a, b in zip(coarse.shape[1:], fine.shape[1:], strict=True))
        if min(cells) < 2 * REACH + 2:
            raise DataError(
                f"detail: a map of {'x'.join(map(str, cells))} cells has too few neighbours: larger --input"
            )
        inner = tuple(slice(REACH, n - REACH) for n in cells)
        around = [
            coarse[(slice(None), *(slice(o, n - 2 * REACH + o) for o, n in zip(offset, cells, strict=True)))]
            for offset in product(range(2 * REACH + 1), repeat=len(cells))
        ]
        inputs.append(np.concatenate(around).reshape(len(around) * len(coarse), -1).T)
        values.append(fine[(slice(None), *inner)].reshape(len(fine), -1).T)
    return np.concatenate(inputs), np.concatenate(values)


def _map(values: Floats, pair: Pair) -> Floats:
    """Rows of one picture back to a fine map of its inner cells."""
    start = pair.start or (0,) * len(pair.stride)
    sizes = zip(pair.coarse.shape[1:], pair.fine.shape[1:], pair.stride, start, strict=True)
    inner = [min(cells, (fine - first) // step) - 2 * REACH for cells, fine, step, first in sizes]
    return spread(values.T.reshape(-1, *inner), pair.stride)


class _Solve:
    """Predicts rows: (inputs - mean) @ weights + mean of the values."""

    def __init__(self, inputs: Floats, values: Floats, weights: Floats) -> None:
        self.inputs, self.values, self.weights = inputs, values, weights

    def __call__(self, inputs: Floats) -> Floats:
        return _product(inputs - self.inputs, self.weights) + self.values


def _product(first: Floats, second: Floats) -> Floats:
    """The matrix product by torch, which keeps to the threads it is given."""
    product: Floats = (torch.from_numpy(np.ascontiguousarray(first)) @ torch.from_numpy(second)).numpy()
    return product


def _fit(inputs: Floats, values: Floats) -> _Solve:
    """Ridge regression whose strength a fifth of the rows chooses (whole stretches of them, not neighbours)."""
    fifth = max(len(inputs) // 5, 1)
    strengths = _ridge(inputs[:-fifth], values[:-fifth])
    scores = [float(((values[-fifth:] - solve(inputs[-fifth:])) ** 2).sum()) for solve in strengths]
    best = int(np.argmin(scores))
    return _ridge(inputs, values, (_RIDGES[best],))[0]


def _ridge(inputs: Floats, values: Floats, strengths: Sequence[float] = _RIDGES) -> list[_Solve]:
    """One decoder a strength, in units of the mean variance of the inputs, from one decomposition."""
    middle, level = inputs.mean(axis=0), values.mean(axis=0)
    centred = inputs - middle
    spectrum, directions = _decomposed(_product(centred.T, centred))
    target = _product(directions.T, _product(centred.T, values - level))
    unit = max(float(spectrum.mean()), np.finfo(np.float64).tiny)
    return [
        _Solve(middle, level, _product(directions, target / (np.clip(spectrum, 0, None) + strength * unit)[:, None]))
        for strength in strengths
    ]
