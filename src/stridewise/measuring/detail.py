"""Detail lost: at each step of a network, and of the picture itself along its depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from stridewise.errors import DataError, by
from stridewise.findings import Finding
from stridewise.ir import Graph
from stridewise.measuring.aliasing import Aliasing, energy_at_stride_one, share_outside
from stridewise.measuring.capture import run_watched
from stridewise.measuring.decoder import Pair, Readable, TooFewCellsError, readable, too_few
from stridewise.measuring.intervals import Floats
from stridewise.measuring.ladder import Map, Stepping, maps, powers, stepping

MOST_CELLS = 12_000
"""Cells of all pictures together that a decoder is fitted on and judged by: enough for its inputs."""

JUDGED_CHANNELS = 64

NOT_ATTENUATED = 0.1
"""Share of energy above the new Nyquist from which SW109 speaks: a step of two on white noise meets 0.75."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDetail:
    """One step. lost: share of its input's detail above the new Nyquist that a linear decoder cannot read from its
    output (None: too few positions, or no detail); at_most: the decoder saw a part of the channels only, so less may be
    lost. total: of everything. aliasing: energy above the new Nyquist where the step is taken (None: not to be met).
    """

    path: str
    kind: str
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    lost: float | None
    total: float | None
    at_most: bool
    aliasing: Aliasing | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthDetail:
    """One map along the depth: share of the picture's detail finer than `finer_than[i]` pixels still linearly readable
    there (a lower bound; None: nothing so fine in the pictures, or too few positions)."""

    path: str
    stride: tuple[int, ...]
    finer_than: tuple[int, ...]
    kept: tuple[float | None, ...]
    at_most: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What a network keeps of detail. without: sites that step without a module of their own, which are not judged.

    starved: maps that the pictures are too few to judge by, and how many pictures would do.
    """

    steps: tuple[StepDetail, ...]
    depth: tuple[DepthDetail, ...]
    pictures: int
    without: tuple[str, ...]
    starved: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        steps = [
            {
                "key": s.path,
                "op": s.kind,
                "stride": list(s.stride),
                "cumulative_stride": list(s.after),
                "lost": s.lost,
                "lost_total": s.total,
                "upper_bound": s.at_most,
                "aliasing": None if s.aliasing is None else s.aliasing.to_json(),
            }
            for s in self.steps
        ]
        depth = [
            {
                "key": d.path,
                "cumulative_stride": list(d.stride),
                "kept": [{"finer_than": p, "share": share} for p, share in zip(d.finer_than, d.kept, strict=True)],
                "upper_bound": d.at_most,
            }
            for d in self.depth
        ]
        return {
            "kind": "measured",
            "pictures": self.pictures,
            "steps": steps,
            "depth": depth,
            "not_judged": list(self.without),
            "too_few_pictures": [{"key": key, "wanted": wanted} for key, wanted in self.starved],
        }


def detail(
    model: nn.Module, graph: Graph, pictures: torch.Tensor, *, tick: Callable[[int, int], None] | None = None
) -> Detail:
    """Detail lost at each step and along the depth of a live model, on pictures (N, channels, *sizes) of its size.

    The later third of the pictures judges, the others fit. The model is left as it was.
    Raises: DataError for fewer than two pictures.
    """
    if len(pictures) < 2:
        raise too_few(len(pictures))
    steps, without = stepping(graph, model)
    ladder = maps(graph)
    paths = [s.path for s in steps] + [m.watch for m in ladder]
    cells = max(int((MOST_CELLS / len(pictures)) ** (1 / graph.axes)), 8)
    taken: dict[str, list[tuple[Floats, Floats]]] = {path: [] for path in paths}
    energies: dict[str, list[tuple[Any, Any]]] = {s.path: [] for s in steps}
    for number, found in enumerate(run_watched(model, paths, pictures)):
        for path, (before, after) in found.items():
            taken[path].append((_numbers(before), _numbers(after)))
        for step in steps:
            if step.path in found:
                energies[step.path].append(energy_at_stride_one(model, step, *found[step.path]))
        if tick is not None:
            tick(number + 1, len(pictures))
    images = [_numbers(x[None]) for x in pictures]
    starved: dict[str, int] = {}
    return Detail(
        steps=tuple(_step(step, taken[step.path], energies[step.path], cells, starved) for step in steps),
        depth=tuple(
            _depth(m, [both[0 if m.inserted else 1] for both in taken[m.watch]], images, ladder, cells, starved)
            for m in ladder
        ),
        pictures=len(pictures),
        without=without,
        starved=tuple(starved.items()),
    )


def lost_at(
    fine: Sequence[Floats], coarse: Sequence[Floats], stride: Sequence[int], *, held_out: float = 0.34
) -> Readable:
    """What a decoder cannot read of fine maps (channels, *sizes) from coarse ones, one of each a picture; the last
    pictures (share `held_out`) judge."""
    pairs = [Pair(fine=a, coarse=b, stride=tuple(stride)) for a, b in zip(fine, coarse, strict=True)]
    return readable(pairs, [tuple(stride)], held_out=held_out)


def _numbers(tensor: torch.Tensor) -> Floats:
    numbers: Floats = tensor[0].double().numpy()
    return numbers


def _step(
    step: Stepping, seen: list[tuple[Floats, Floats]], energies: list[Any], cells: int, starved: dict[str, int]
) -> StepDetail:
    aliasing = Aliasing.of(energies) if energies and all(e is not None for e in energies) else None
    found: Readable | None = None
    if len(seen) > 1:
        every = max(seen[0][0].shape[0] // JUDGED_CHANNELS, 1)
        pairs = [_cut(Pair(fine=a[::every], coarse=b, stride=step.stride, start=()), cells) for a, b in seen]
        found = _readable(step.path, pairs, [step.stride], starved)
    return StepDetail(
        path=step.path,
        kind=step.kind,
        stride=step.stride,
        before=step.before,
        after=step.after,
        lost=found.lost[0] if found else None,
        total=found.total if found else None,
        at_most=bool(found and found.reduced),
        aliasing=aliasing,
    )


def _depth(
    m: Map, seen: list[Floats], images: list[Floats], ladder: Sequence[Map], cells: int, starved: dict[str, int]
) -> DepthDetail:
    finer = tuple(2 * n for n in powers([other.stride for other in ladder]))
    found: Readable | None = None
    if len(seen) == len(images) and len(seen) > 1:
        begin = [centre - (s - 1) // 2 for centre, s in zip(m.start, m.stride, strict=True)]
        skip = [max(-(b // s), 0) for b, s in zip(begin, m.stride, strict=True)]
        start = tuple(b + n * s for b, n, s in zip(begin, skip, m.stride, strict=True))
        inside = (slice(None), *(slice(n, None) for n in skip))
        pairs = [
            _cut(Pair(fine=image, coarse=coarse[inside], stride=m.stride, start=start), cells)
            for image, coarse in zip(images, seen, strict=True)
        ]
        found = _readable(m.path, pairs, [(p / 2,) * len(m.stride) for p in finer], starved)
    kept = tuple(None if v is None else 1 - v for v in found.lost) if found else (None,) * len(finer)
    return DepthDetail(path=m.path, stride=m.stride, finer_than=finer, kept=kept, at_most=bool(found and found.reduced))


def _readable(
    path: str, pairs: list[Pair], bands: Sequence[Sequence[float]], starved: dict[str, int]
) -> Readable | None:
    """The reading, None where maps are too small for a neighbourhood, or too few: then `starved` says so."""
    try:
        return readable(pairs, bands)
    except TooFewCellsError as error:
        starved[path] = max(error.pictures, starved.get(path, 0))
        return None
    except DataError:
        return None


def _cut(pair: Pair, cells: int) -> Pair:
    """The middle of a pair, at most `cells` cells an axis."""
    start = pair.start or (0,) * len(pair.stride)
    first = [max((n - cells) // 2, 0) for n in pair.coarse.shape[1:]]
    coarse = pair.coarse[(slice(None), *(slice(f, f + cells) for f in first))]
    where = zip(first, pair.stride, start, strict=True)
    fine = pair.fine[(slice(None), *(slice(o + f * s, o + (f + cells) * s) for f, s, o in where))]
    return Pair(fine=np.ascontiguousarray(fine), coarse=coarse, stride=pair.stride)


def picture_detail(pictures: torch.Tensor, stride: Sequence[int]) -> float | None:
    """Share of the pictures' own energy outside the band of a stride: what there is to be lost."""
    return share_outside([_numbers(x[None]) for x in pictures], stride)


def aliasing_findings(found: Detail, threshold: float = NOT_ATTENUATED) -> Iterator[Finding]:
    """SW109: the steps that fold a good part of their energy."""
    for step in found.steps:
        if step.aliasing is not None and step.aliasing.folded >= threshold:
            yield Finding(
                rule="SW109",
                severity="info",
                key=step.path,
                message=f"{step.path}: {100 * step.aliasing.folded:.0f} % of the energy before its step of "
                f"{by(step.stride)} lies above the new Nyquist and folds onto lower frequencies (on these pictures). "
                "A blur before the step attenuates it, and costs detail",
            )
