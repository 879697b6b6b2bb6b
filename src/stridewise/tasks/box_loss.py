"""What a detector loses: scores against the overlap of what they stand for, sides against the boxes asked for."""

from __future__ import annotations

import torch
from torch.nn import functional

from stridewise.tasks.assign import assigned, ignored_scores
from stridewise.tasks.detector import as_cells, corners


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
