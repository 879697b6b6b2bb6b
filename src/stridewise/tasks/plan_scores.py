"""What an elastic network is worth under every plan: score, cost and time, and what a cascade of two plans reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from stridewise.measuring.latency import Latency, latency
from stridewise.report.document import Document, Table
from stridewise.report.values import of_fields, plain
from stridewise.shown import Shown
from stridewise.switching.cascade import CascadePoint, cascade_curve
from stridewise.switching.elastic import Elastic
from stridewise.tasks.elastic import by_plan
from stridewise.tasks.pictures import Pictures
from stridewise.tasks.task import Evaluation, Task

_SHOWN = 6  # cascades in text; all of them in JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanScore:
    """One plan. cost: multiply-adds of the network without the task's head, as a share of it as it is."""

    name: str
    cost: float
    found: Evaluation
    time: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanScores(Shown):
    """Every plan of an elastic network on the same pictures, times measured in turn in one run.

    cascade: of a classifier, the pairs of plans with a threshold that no other beats; chosen on these very pictures, so
    that their accuracies are a little too good.
    """

    metric: str
    rows: tuple[PlanScore, ...]
    cascade: tuple[CascadePoint, ...] = ()

    def document(self) -> Document:
        """A table of the plans, one of the cascades."""
        parts = [
            Table(
                title=f"{self.metric} and time by plan",
                head=("plan", "multiply-adds", self.metric, "95 % interval", "ms a picture"),
                rows=tuple(
                    (
                        row.name,
                        f"{row.cost:.2f}x",
                        f"{row.found.score:.1%}",
                        _interval(row.found),
                        f"{1e3 * row.time.median:.2f}",
                    )
                    for row in self.rows
                ),
                notes=(f"times: measured, {self.rows[0].time.rounds} rounds in turn, median, one picture a call",),
            )
        ]
        if self.cascade:
            step = max(1, -(-len(self.cascade) // _SHOWN))
            chosen = self.cascade[::-1][::step][::-1]
            parts.append(
                Table(
                    title="two plans, the dearer one where the cheaper is less sure than the threshold",
                    head=("plans", "threshold", "multiply-adds", self.metric),
                    rows=tuple(
                        (" then ".join(p.names), f"{p.threshold:.3f}", f"{p.cost:.2f}x", f"{p.accuracy:.1%}")
                        for p in chosen
                    ),
                    notes=("thresholds chosen on these very pictures: a little too good",),
                )
            )
        return Document(title="by plan", parts=tuple(parts), quiet=True)

    def to_json(self) -> dict[str, Any]:
        """Plain values: an entry a plan, and the cascades."""
        return {"metric": self.metric, "plans": self._records(), "cascade": plain(self.cascade)}

    def _records(self) -> list[dict[str, Any]]:
        return [
            {"name": r.name, "cost": r.cost, "time": r.time.to_json(), **of_fields(r.found, "correct")}
            for r in self.rows
        ]


def plan_scores(task: Task, net: Elastic, pictures: Pictures, device: str = "cpu", *, rounds: int = 20) -> PlanScores:
    """An elastic network judged and timed under every plan; the plan in use stays."""
    scores = by_plan(task, net, pictures, device, thorough=True)
    before = net.active
    x = pictures.standard(pictures.pixels[:1]).to(device)
    try:
        times = latency({name: lambda batch, name=name: net.use(name)(batch) for name in net.plans}, x, rounds=rounds)
    finally:
        net.use(before)
    rows = tuple(
        PlanScore(name=name, cost=net.costs[name], found=scores[name], time=time)
        for name, time in zip(net.plans, times, strict=True)
    )
    cascade = cascade_curve(_answers(net, pictures, device), pictures.y, net.costs) if task.name == "classify" else []
    return PlanScores(metric=task.metric, rows=rows, cascade=tuple(cascade))


def _answers(net: Elastic, pictures: Pictures, device: str) -> Mapping[str, torch.Tensor]:
    """What every plan says of every picture, (N, classes)."""
    out = {}
    with torch.inference_mode():
        for name in net.plans:
            with net.using(name):
                out[name] = torch.cat([net(x.to(device)).float().cpu() for x, _ in pictures.batches(200)])
    return out


def _interval(found: Evaluation) -> str:
    return "" if found.low is None or found.high is None else f"{found.low:.1%} to {found.high:.1%}"
