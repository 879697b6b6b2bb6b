"""A detector without compiled ops: on every level one head says, at each cell, which class is there and its four sides.

Source: Tian et al. 2019, "FCOS: fully convolutional one-stage object detection", with the score trained towards the
overlap (Li et al. 2020, "Generalized focal loss") in place of a branch for centreness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stridewise.measuring.matching import overlaps
from stridewise.surgery.features import Features, Level
from stridewise.tasks.assign import IDEAL, Cells
from stridewise.tasks.pyramid import Pyramid

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
