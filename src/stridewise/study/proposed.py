"""The plan that gradient descent proposes: strides learned in one training, rounded, costed exactly, as one candidate.

It has no privilege: it is trained and judged as the others are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stridewise.errors import PlanError, UsageError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.study.candidates import Candidate, candidate
from stridewise.study.pool import Pool, keeps_limits
from stridewise.study.store import Store
from stridewise.study.training import TrainScore
from stridewise.study.value import Study

if TYPE_CHECKING:
    import torch
    from torch import nn

    from stridewise.switching.learned import LearnedStrides

PRICE = 0.3  # of the loss, for each 1x of the network's multiply-adds
_NOTE = "learned plan"


def with_proposals(found: Pool, graph: Graph, study: Study, trains: TrainScore | None, store: Store) -> Pool:
    """The pool and what `study.moves.propose` asks for beside it; learned once a study, in a training that resumes.

    A plan that breaks a limit, does not serve or is there already is left out. Raises: UsageError where nothing can be
    learned, PlanError where the network does not permit it.
    """
    if "learned" not in study.moves.propose:
        return found
    if trains is None or trains.name != "classify":
        raise UsageError("search: --propose learned is for classifiers: other heads read whole strides")
    text: str | None = store.note(_NOTE)
    if text is None:
        try:
            net, _ = learned_strides(trains, study.budget.epochs, store.folder / "learned.ckpt")
        except PlanError as error:
            raise PlanError(f"--propose learned: {error}") from error
        text = net.plan().to_toml()
        store.keep_note(_NOTE, text)
    plan = Plan.from_toml(text)
    added = candidate(graph, plan, "learned", "learned")
    if not plan or any(plan == other.plan for other in found.chosen) or trains.refusal(plan):
        return found
    return replace(found, chosen=(*found.chosen, _within(added, found)))


def _within(added: Candidate, found: Pool) -> Candidate:
    return replace(added, within=keeps_limits(added, found.front.limits))


def learned_strides(
    trains: TrainScore,
    epochs: int,
    checkpoint: Path,
    *,
    price: float = PRICE,
    start: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
) -> tuple[LearnedStrides, float]:
    """A network whose strides were trained beside its weights, and its score with them.

    start: the steps that are learned and where each begins; those of the network, unless given. Everything runs at
    stride 1 first, so a training takes as long as one of the finest plan. Raises: PlanError.
    """
    import torch

    from stridewise.switching.learned import learned
    from stridewise.tasks.backbone import build
    from stridewise.tasks.checkpoint import Checkpoint
    from stridewise.tasks.loop import Aim, fit
    from stridewise.tasks.recipe import Recipe

    task, splits, recipe = trains.task, trains.splits, trains.recipe or Recipe()

    def loss(out: Any, y: torch.Tensor, net: nn.Module) -> torch.Tensor:
        strides: LearnedStrides = net  # type: ignore[assignment]
        return task.loss(out, y, net) + price * strides.cost()

    def judge(net: nn.Module, device: Any) -> float:
        return task.evaluate(net, splits.held_out, device, thorough=False).score

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = learned(build(trains.model, len(splits.classes)), splits.shape, at=None if start is None else list(start))
        if start is not None:
            net.start(start)
        stamp = (("strides of", str(trains.model)), ("epochs", str(epochs)), ("recipe", str(recipe)))
        aim = Aim(loss=loss, judge=judge, name="learned strides")
        kept = Checkpoint(path=checkpoint, stamp=stamp)
        done = fit(net, splits.train, recipe, aim, epochs=epochs, seed=seed, checkpoint=kept)
    checkpoint.unlink(missing_ok=True)
    return net, done.curve[-1].score
