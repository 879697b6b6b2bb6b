"""A cheap plan first, a dearer one only for pictures it is unsure of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from stridewise.errors import PlanError
from stridewise.switching.elastic import Elastic


class Cascade(nn.Module):
    """Classifies with the plans of an elastic network in rising cost, picture by picture.

    names: the plans in the order they are tried, all unless given. thresholds: for every plan but the last, the largest
    class probability from which its answer stands. share: after a call, the multiply-adds spent a picture, as a share
    of the network as it is. Raises: PlanError where the thresholds do not fit the plans.
    """

    def __init__(self, network: Elastic, thresholds: Sequence[float], names: Sequence[str] = ()) -> None:
        super().__init__()
        self.network = network
        self.names = tuple(names) or tuple(sorted(network.plans, key=lambda name: network.costs[name]))
        self.thresholds = tuple(thresholds)
        if len(self.thresholds) != len(self.names) - 1 or any(not 0 <= t <= 1 for t in self.thresholds):
            raise PlanError(
                f"cascade: {len(self.names)} plans take {len(self.names) - 1} thresholds from 0 to 1, "
                f"not {', '.join(f'{t:g}' for t in self.thresholds) or 'none'}"
            )
        for name in self.names:
            if name not in network.plans:
                raise PlanError(f"cascade: '{name}' is none of the network's plans: {', '.join(network.plans)}")
        self.share = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *sizes) -> logits (N, classes), each of the plan that was sure enough."""
        open_rows = torch.arange(len(x), device=x.device)
        out: torch.Tensor | None = None
        spent = 0.0
        for number, name in enumerate(self.names):
            with self.network.using(name):
                logits = self.network(x[open_rows])
            spent += self.network.costs[name] * len(open_rows)
            out = logits.new_empty(len(x), *logits.shape[1:]) if out is None else out
            out[open_rows] = logits
            if number < len(self.thresholds):
                unsure = logits.softmax(dim=1).amax(dim=1) < self.thresholds[number]
                open_rows = open_rows[unsure]
            if not len(open_rows):
                break
        self.share = spent / max(len(x), 1)
        assert out is not None
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadePoint:
    """A pair of plans with a threshold: its accuracy (share of pictures) and its cost (multiply-adds a picture, as a
    share of the network as it is)."""

    names: tuple[str, str]
    threshold: float
    accuracy: float
    cost: float


def cascade_curve(
    logits: Mapping[str, torch.Tensor], labels: torch.Tensor, costs: Mapping[str, float]
) -> list[CascadePoint]:
    """What every pair of plans reaches at every threshold that changes anything: the points no other beats, by cost.

    logits: (N, classes) by plan, of the same pictures; labels: (N,).
    """
    right = {name: (row.argmax(1) == labels).double() for name, row in logits.items()}
    points: list[CascadePoint] = []
    for cheap in logits:
        sure, order = logits[cheap].softmax(1).amax(1).sort()  # the first so many go on to the dearer plan
        for dear in logits:
            if costs[dear] <= costs[cheap]:
                continue
            gain = (right[dear] - right[cheap])[order].cumsum(0)
            base, count = right[cheap].sum(), len(labels)
            for number in range(count):
                if number + 1 < count and sure[number + 1] == sure[number]:
                    continue
                points.append(
                    CascadePoint(
                        names=(cheap, dear),
                        threshold=float(sure[number + 1]) if number + 1 < count else 1.0,
                        accuracy=float(base + gain[number]) / count,
                        cost=costs[cheap] + costs[dear] * (number + 1) / count,
                    )
                )
    best: list[CascadePoint] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best
