"""A detector: one head for all levels, the boxes it stands for, which cell is to find which box, and what it loses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stridewise.measuring.matching import overlaps
from stridewise.surgery.features import Features, Level
from stridewise.tasks.segment_heads import Pyramid

IDEAL = 4.0  # steps of its level that a box is long, as near as the levels allow
IGNORED = -2  # minus k: the class of a row that is a region in which nothing of class k counts
_REACH = 1.5  # steps around a box's centre within which cells are asked for it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """The positions of all levels, P in all. centre (P, 2): x, y in pixels; step (P, 2): stride across, down."""

    centre: torch.Tensor
    step: torch.Tensor

    @property
    def stride(self) -> torch.Tensor:
        """One number a cell: the root of its step's area."""
        return self.step.prod(-1).sqrt()


def level_of(side: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    """The place in `strides` (L,) of the level that a box of `side` pixels (root of its area) belongs to: the one whose
    `IDEAL` steps are nearest to it in ratio, so that sizes beyond either end belong to the end."""
    ratio = torch.log2(side.clamp(min=1e-3)[..., None] / (IDEAL * strides))
    return ratio.abs().argmin(-1)


def assigned(cells: Cells, boxes: torch.Tensor) -> torch.Tensor:
    """For each picture and cell the row of the box it is to find, or -1: (B, P).

    boxes: (B, M, 5) x0, y0, x1, y1, class, class -1 where there is none. A cell is asked for a box of its level when
    its centre lies inside it and within 1.5 steps of its middle; the nearest cell always is; the smallest box wins.
    """
    strides, of_cell = torch.unique(cells.stride, return_inverse=True)
    corners, there = boxes[..., :4], boxes[..., 4] >= 0  # (B, M, 4), (B, M)
    size = corners[..., 2:] - corners[..., :2]
    area = size.clamp(min=0).prod(-1)
    on_level = (level_of(area.sqrt(), strides)[:, None] == of_cell[:, None]) & there[:, None]  # (B, P, M)
    away = (cells.centre[:, None] - (corners[..., :2] + corners[..., 2:])[:, None] / 2).abs()  # (B, P, M, 2)
    inside = (away < size[:, None] / 2).all(-1) & (away < _REACH * cells.step[:, None]).all(-1)
    distance = away.square().sum(-1).masked_fill(~on_level, torch.inf)
    nearest = torch.zeros_like(inside).scatter_(1, distance.argmin(1, keepdim=True), value=True)
    asked = on_level & (inside | nearest)
    # A box without any other cell keeps its nearest one, whichever other box wants it.
    cost = area[:, None] * torch.where(on_level & nearest & ~(on_level & inside).any(1, keepdim=True), 1e-6, 1.0)
    best, row = cost.masked_fill(~asked, torch.inf).min(-1)
    return torch.where(torch.isfinite(best), row, -1)


def ignored_scores(cells: Cells, boxes: torch.Tensor, classes: int) -> torch.Tensor | None:
    """Which scores of which cells count nothing, (B, P, classes): those of class k at cells inside a region to ignore
    for k; None where there is no such region. boxes: (B, M, 5), the class of such a region -2 - k."""
    regions = boxes[..., 4] <= IGNORED
    if not regions.any():
        return None
    x, y = cells.centre.T[:, None, :, None]  # (1, P, 1) each
    x0, y0, x1, y1 = boxes[:, None, :, :4].unbind(-1)  # (B, 1, M)
    inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1) & regions[:, None]  # (B, P, M)
    kind = torch.where(regions, IGNORED - boxes[..., 4], 0).long()
    of_class = torch.nn.functional.one_hot(kind, classes)[:, None] > 0  # (B, 1, M, classes)
    found: torch.Tensor = (inside[..., None] & of_class).any(2)
    return found


Found: TypeAlias = dict[str, torch.Tensor]
"""boxes (n, 4) x0, y0, x1, y1 in pixels of the input, labels (n,), scores (n,), best first."""

_PRIOR = 0.01  # the score of every class at every cell before training
_LEAST_SCORE, _CANDIDATES, _MOST = 0.02, 400, 100
_SAME = 0.6  # overlap from which two boxes of a class are one


class Detector(nn.Module):
    """A backbone's maps, a pyramid, one head for all levels.

    forward gives (scores (N, P, classes) before the sigmoid, sides (N, P, 4) left, top, right, bottom in pixels,
    cells (P, 4) x, y, step across, step down), P positions of all levels; `predict` the boxes.
    """

    def __init__(self, features: Features, levels: Sequence[Level], classes: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.pyramid = Pyramid([level.channels for level in levels], width)
        self.tower = nn.Sequential(*_unit(width), *_unit(width))
        self.classes = nn.Conv2d(width, classes, 3, padding=1)
        self.sides = nn.Conv2d(width, 4, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(levels)))
        self.steps = [level.stride for level in levels]
        self.centres = [level.centre for level in levels]
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.constant_(self.classes.bias, -math.log((1 - _PRIOR) / _PRIOR))  # type: ignore[arg-type]
        nn.init.normal_(self.sides.weight, std=0.01)
        half = IDEAL / 2  # steps from the middle to a side
        nn.init.constant_(self.sides.bias, math.log(math.expm1(half)))  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) -> scores, sides, cells."""
        scores, sides, cells = [], [], []
        maps = self.pyramid(self.features(x))
        for m, scale, step, centre in zip(maps, self.scales, self.steps, self.centres, strict=True):
            tower = self.tower(m)
            at = _grid(m.shape[-2:], step, centre, x)
            scores.append(self.classes(tower).flatten(2).transpose(1, 2))
            raw = self.sides(tower).flatten(2).transpose(1, 2)
            sides.append(functional.softplus(raw * scale) * at[:, 2:].repeat(1, 2))
            cells.append(at)
        return torch.cat(scores, 1), torch.cat(sides, 1), torch.cat(cells)

    @torch.no_grad()
    def predict(self, x: torch.Tensor) -> list[Found]:
        """The boxes found in each picture, on the CPU."""
        scores, sides, cells = self(x)
        boxes = corners(cells, sides.float())
        bound = torch.tensor([x.shape[-1], x.shape[-2]] * 2, device=boxes.device)
        boxes = torch.minimum(boxes.clamp(min=0), bound)
        return [_picked(s, b) for s, b in zip(scores.float().sigmoid().cpu(), boxes.cpu(), strict=True)]


def corners(cells: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    """Boxes (..., P, 4) x0, y0, x1, y1 from the distances of their sides to the cells' centres."""
    centre = cells[:, :2]
    return torch.cat([centre - sides[..., :2], centre + sides[..., 2:]], -1)


def as_cells(cells: torch.Tensor) -> Cells:
    """The rows (P, 4) that forward gives, by name."""
    return Cells(centre=cells[:, :2], step=cells[:, 2:])


def kept_apart(
    boxes: np.ndarray[Any, np.dtype[np.float64]], labels: np.ndarray[Any, np.dtype[np.int64]], most: int = _MOST
) -> list[int]:
    """Rows to keep of boxes sorted by score, best first: those that overlap no kept one of their class by 0.6."""
    table = overlaps(boxes, boxes) * (labels[:, None] == labels[None])
    left = np.ones(len(boxes), bool)
    kept: list[int] = []
    for row in range(len(boxes)):
        if left[row] and len(kept) < most:
            kept.append(row)
            left &= table[row] < _SAME
    return kept


def _picked(scores: torch.Tensor, boxes: torch.Tensor) -> Found:
    """The boxes of one picture: scores (P, classes), boxes (P, 4)."""
    flat = scores.flatten()
    value, place = flat.topk(min(_CANDIDATES, len(flat)))
    place, value = place[value >= _LEAST_SCORE], value[value >= _LEAST_SCORE]
    cell, label = place // scores.shape[1], place % scores.shape[1]
    kept = kept_apart(boxes[cell].double().numpy(), label.numpy())
    return {"boxes": boxes[cell][kept], "labels": label[kept], "scores": value[kept]}


def _grid(size: Sequence[int], step: Sequence[int], centre: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """x, y, step across, step down of every position of a map, (h * w, 4)."""
    down, across = (
        torch.arange(n, device=like.device, dtype=torch.float32) * s + c
        for n, s, c in zip(size, step, centre, strict=True)
    )
    y, x = torch.meshgrid(down, across, indexing="ij")
    steps = torch.tensor([step[1], step[0]], device=like.device, dtype=torch.float32).expand(y.numel(), 2)
    return torch.cat([x.reshape(-1, 1), y.reshape(-1, 1), steps], 1)


def _unit(width: int) -> tuple[nn.Module, ...]:
    groups = next(n for n in (8, 4, 2, 1) if width % n == 0)
    return nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.ReLU(inplace=True)


def detection_loss(scores: torch.Tensor, sides: torch.Tensor, cells: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """A number, from what a Detector gives for pictures whose boxes are (N, most, 5), class -1 where there is none,
    -2 - k of a region in which nothing of class k counts."""
    row = assigned(as_cells(cells), boxes)  # (N, P)
    asked = row >= 0
    count = asked.sum().clamp(min=1)
    wanted = boxes.gather(1, row.clamp(min=0)[..., None].expand(-1, -1, 5))
    target = torch.zeros_like(scores)
    loss = scores.sum() * 0.0
    if asked.any():
        picture, cell = asked.nonzero(as_tuple=True)
        true = wanted[picture, cell]
        shared, giou = pair_overlaps(corners(cells, sides)[picture, cell], true[:, :4])
        target[picture, cell, true[:, 4].long()] = shared.detach().to(target.dtype)
        loss = loss + 2.0 * (1 - giou).sum() / count
    focal = quality_focal(scores, target)
    ignored = ignored_scores(as_cells(cells), boxes, scores.shape[-1])
    if ignored is not None:
        focal = focal.masked_fill(ignored & (target == 0), 0.0)
    return loss + focal.sum() / count


def quality_focal(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy of each score with its target in 0..1, weighted by the square of how far it is off.

    Source: Li et al. 2020, "Generalized focal loss", equation 1, with beta 2.
    """
    off = (target - scores.sigmoid()).square()
    return off * functional.binary_cross_entropy_with_logits(scores, target, reduction="none")


def pair_overlaps(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Intersection over union, and its generalised form, of boxes (n, 4) with boxes (n, 4), row by row.

    Source: Rezatofighi et al. 2019, "Generalized intersection over union", algorithm 1.
    """
    begin, end = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    shared = (end - begin).clamp(min=0).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) for b in (first, second)]
    union = (areas[0] + areas[1] - shared).clamp(min=1e-6)
    low, high = torch.minimum(first[:, :2], second[:, :2]), torch.maximum(first[:, 2:], second[:, 2:])
    hull = (high - low).clamp(min=0).prod(-1).clamp(min=1e-6)
    share = shared / union
    return share, share - (hull - union) / hull
