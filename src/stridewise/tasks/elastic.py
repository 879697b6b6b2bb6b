"""A task's network under several plans with one set of weights: built, taught in turns, judged plan by plan.

Source: Yu and Huang 2019, "Universally slimmable networks and improved training techniques", section 3: the largest
and the smallest network in every step, others drawn, all but the largest taught by the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from stridewise.data.mask import IGNORE
from stridewise.errors import PlanError
from stridewise.fronts.front import plans_at
from stridewise.measuring.latency import Latency, latency
from stridewise.plans import Plan
from stridewise.report.document import Document, Table
from stridewise.report.values import of_fields, plain
from stridewise.shown import Shown
from stridewise.surgery.features import Features, named_levels
from stridewise.surgery.undo import Undo
from stridewise.switching.cascade import CascadePoint, cascade_curve
from stridewise.switching.elastic import Elastic
from stridewise.tasks.backbone import Prepare, recalibrate
from stridewise.tasks.detector import Detector
from stridewise.tasks.pictures import Pictures
from stridewise.tasks.segment_heads import Atrous, atrous_rates
from stridewise.tasks.task import DataShape, Evaluation, Source, Task
from stridewise.tracing.trace import trace

Plans: TypeAlias = Sequence[float] | Mapping[str, Plan]
"""Costs, each a share of the network's multiply-adds as it is; or plans by name."""


def elastic_network(
    task: Task, source: Source, plans: Plans, data: DataShape, *, prepare: Prepare | None = None
) -> Elastic:
    """The task's network as it is, and with it the plans: of the network itself, its head follows. Random weights.

    The dearest plan is in use. Raises: LoadError, PlanError.
    """
    model = task.network(source, Plan(), data, prepare=prepare)
    features = getattr(model, "features", None)
    inside = "features.model" if isinstance(features, Features) else "backbone" if hasattr(model, "backbone") else ""
    part = model.get_submodule(inside)
    named = plans if isinstance(plans, Mapping) else plans_at(trace(part, data.shape), plans)

    def adapt(whole: nn.Module, undo: Undo) -> None:
        if isinstance(features, Features):
            _adapt_head(whole, features, data.shape, undo)

    net = Elastic(model, named, input=data.shape, inside=inside, adapt=adapt)
    return net.use(dearest(net))


def _adapt_head(model: nn.Module, features: Features, shape: tuple[int, ...], undo: Undo) -> None:
    """Tell a head, while a plan is in use, what strides the maps it reads have now."""
    found = named_levels(features.model, features.names, shape)
    undo.set(features, "strides", tuple(level.stride for level in found))
    if isinstance(model, Detector):
        undo.set(model, "steps", [level.stride for level in found])
        undo.set(model, "centres", [level.centre for level in found])
        return
    head = getattr(model, "head", None)
    if not isinstance(head, Atrous):
        return
    for branch, rate in zip(head.branches[1:], atrous_rates(found[-1].stride, shape[1:]), strict=True):
        convolution: Any = next(branch.children())
        every = rate * (len(shape) - 1) if len(rate) == 1 else rate
        undo.set(convolution, "dilation", every)
        undo.set(convolution, "padding", every)


def elastic_of(model: nn.Module) -> Elastic | None:
    """The elastic network that this is, or that a wrapper of it holds."""
    inner = getattr(model, "module", model)
    return inner if isinstance(inner, Elastic) else None


def dearest(net: Elastic) -> str:
    """The plan that computes most."""
    return max(net.plans, key=lambda name: net.costs[name])


def turns(model: nn.Module, generator: torch.Generator) -> tuple[str, ...]:
    """The plans of one step: the dearest, the cheapest, and one drawn of the rest; none of a plain network."""
    if not isinstance(model, Elastic):
        return ()
    order = sorted(model.plans, key=lambda name: -model.costs[name])
    rest = order[1:-1]
    drawn = [rest[int(torch.randint(len(rest), (), generator=generator))]] if rest else []
    return (order[0], *drawn, order[-1])


def taught(task: Task, out: Any, teacher: Any, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """What a cheaper plan loses in a step: against the dearest one's answer, a distribution over the classes.

    A detector's positions differ from plan to plan: there every plan learns from the true boxes.
    """
    if task.name == "detect":
        return task.loss(out, y, model)
    each: torch.Tensor = -(teacher.detach().float().softmax(1) * out.float().log_softmax(1)).sum(1)
    if task.name == "segment":
        known = y != IGNORE
        each = each[known] if known.any() else each * 0.0
    return each.mean()


def measure_norms(model: nn.Module, pictures: Pictures) -> int:
    """Measure the norms anew on training pictures, under every plan of an elastic network; how many there are."""
    if not isinstance(model, Elastic):
        return recalibrate(model, pictures)
    count = 0
    for name in model.plans:
        with model.using(name):
            count = recalibrate(model.model, pictures)
    return count


def judged(task: Task, model: nn.Module, pictures: Pictures, device: Any, *, thorough: bool) -> Evaluation:
    """A network judged; an elastic one under every plan: its score is the mean of theirs."""
    net = elastic_of(model)
    if net is None:
        return task.evaluate(model, pictures, device, thorough=thorough)
    rows = by_plan(task, net, pictures, device, thorough=False)
    return Evaluation(
        score=sum(row.score for row in rows.values()) / len(rows),
        figures={f"at {name}": row.score for name, row in rows.items()},
    )


def by_plan(
    task: Task, net: Elastic, pictures: Pictures, device: Any, *, thorough: bool = False
) -> dict[str, Evaluation]:
    """An elastic network judged under every plan."""
    rows = {}
    for name in net.plans:
        with net.using(name):
            rows[name] = task.evaluate(net.model, pictures, device, thorough=thorough)
    return rows


def plans_of(plans: Mapping[str, str]) -> dict[str, Plan]:
    """Plans by name of their TOML texts. Raises: PlanError."""
    try:
        return {name: Plan.from_toml(text) for name, text in plans.items()}
    except (AttributeError, TypeError) as error:
        raise PlanError(f"no plans by name: {error}") from error


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
