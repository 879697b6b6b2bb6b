"""Which cell of which level is to find which box: by the box's size relative to the level's stride."""

from __future__ import annotations

from dataclasses import dataclass

import torch

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
