"""The plan that gradient descent proposes: strides learned in one training, rounded, costed exactly, as one candidate.

It has no privilege: it is trained and judged as the others are.
"""

from __future__ import annotations

from dataclasses import replace

from stridewise.errors import PlanError, UsageError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.study.candidates import candidate, keeps_limits
from stridewise.study.pool import Pool
from stridewise.study.store import Store
from stridewise.study.training import TrainScore
from stridewise.study.value import Limits, Study
from stridewise.tasks.recipe import Recipe

_NOTE = "learned plan"
_SHAPES = ("output_stride", "pyramid", "min_field", "smallest_map", "target")  # limits that a price does not know


def with_proposals(found: Pool, graph: Graph, study: Study, trains: TrainScore | None, store: Store) -> Pool:
    """The pool and what `study.moves.propose` asks for beside it; learned once a study, in a training that resumes.

    A plan that breaks a limit, does not serve or is there already is left out. Raises: UsageError where nothing can be
    learned, PlanError where the network does not permit it.
    """
    if "learned" not in study.moves.propose:
        return found
    if trains is None or trains.name != "classify":
        raise UsageError("search: --propose learned is for classifiers: other heads read whole strides")
    kept = [name for name in _SHAPES if getattr(study.limits, name) != getattr(Limits(), name)]
    if kept:
        options = " or ".join(f"--{name.replace('_', '-')}" for name in kept)
        raise UsageError(f"search: descent keeps to no {options}: leave it out, or --propose learned")
    text: str | None = store.note(_NOTE)
    if text is None:
        from stridewise.tasks.learned import learned_strides

        task, recipe = trains.task, trains.recipe or Recipe()
        try:
            net, _ = learned_strides(
                task,
                trains.model,
                trains.splits,
                recipe=recipe,
                epochs=study.budget.epochs,
                checkpoint=store.folder / "learned.ckpt",
            )
        except PlanError as error:
            raise PlanError(f"--propose learned: {error}") from error
        text = net.plan().to_toml()
        store.keep_note(_NOTE, text)
    plan = Plan.from_toml(text)
    added = candidate(graph, plan, "learned", "learned")
    fits = keeps_limits(added, found.front.limits) and not trains.refusal(plan)
    if not plan or not fits or any(plan == other.plan for other in found.chosen):
        return found
    return replace(found, chosen=(*found.chosen, added))
