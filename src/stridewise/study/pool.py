"""What a study may train: plans of the exact front, smaller pictures, narrower networks, and steps moved off a 1x1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from stridewise.analyses.sites import skipping
from stridewise.analyses.targets import Target, target_of
from stridewise.errors import PlanError, StridewiseError, UsageError
from stridewise.fronts.chip import broken_by
from stridewise.fronts.shortlist import farthest
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.rewrites.completion import make_plan
from stridewise.study.candidates import Candidate, CostFront, candidate, given, keeps_limits, shortlisted
from stridewise.study.jobs import Rival
from stridewise.study.rivals import narrower, smaller
from stridewise.study.store import Store
from stridewise.study.training import TrainScore
from stridewise.study.value import Limits, Study
from stridewise.tasks.recipe import Recipe

_OTHERS = 1 / 3  # of the trials go to smaller pictures and narrower networks, where there are any
_EACH = 4  # plans of each such network to choose from
_LEAST = 0.2  # of today's multiply-adds: cheaper ones answer another question, as in the shortlist of a front
_NO_LIMIT = "1x"
_NOTE = "learned plan"
_SHAPES = ("output_stride", "pyramid", "min_field", "smallest_map", "target")  # limits that a price does not know


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """chosen: what may be trained, the network as it is first; rest: what was looked at and left out, which a study
    that is lengthened may have had before; front: the cost front of the network's plans."""

    chosen: tuple[Candidate, ...]
    rest: tuple[Candidate, ...] = ()
    front: CostFront = field(default_factory=CostFront)


def pool(graph: Graph, study: Study, trains: TrainScore | None) -> Pool:
    """What a study chooses from.

    Plans beyond the limits are left out, but for the network as it is; without a limit of a cost, those dearer than it.
    trains: the training they are for; where it begins with weights, plans keep them where they can.
    Raises: PlanError where nothing is free to choose, or no plan meets the limits or serves the training.
    """
    chip = None if study.limits.target is None else target_of(study.limits.target)
    refusal = _refusal(graph, trains, chip)
    if study.moves.plans is not None:
        chosen = _given(graph, study.moves.plans, refusal)
        return Pool(chosen=(replace(chosen[0], within=not broken_by(graph, Plan(), chip)), *chosen[1:]))
    limits = _limits(study)
    strides = "strides" in study.moves.kinds
    chosen, front = shortlisted(graph, count=study.budget.trials, refusal=refusal, **limits)
    chosen = tuple(c for c in chosen if c.origin == "default" or (c.within and strides))
    if "block" in study.moves.kinds:
        chosen += tuple(c for c in _blocks(graph, refusal) if keeps_limits(c, front.limits) and _new(c, chosen))
    if trains is not None and trains.weights is not None:
        chosen = keeping(
            graph, chosen, front.limits, lambda plan: trains.builds(plan) and not broken_by(graph, plan, chip)
        )
    looked = list(chosen)
    others = [] if trains is None else list(_others(graph, study, trains, front))
    if others:
        room = max(1, round(study.budget.trials * _OTHERS)) if strides else study.budget.trials - 1
        every = [c.place for c in (*chosen, *others)]
        kept = set(farthest(every, range(len(chosen)), room))
        if strides:  # plans of the network itself make room, the last of the front first
            chosen = _thinned(chosen, study.budget.trials - min(room, len(kept)))
        chosen = (*chosen, *(c for i, c in enumerate(others, len(every) - len(others)) if i in kept))
    if len(chosen) < 2:
        raise PlanError(f"{graph.model}: nothing may change by --moves {','.join(study.moves.kinds)} within the limits")
    rest = tuple(c for c in (*looked, *others) if all(c is not one for one in chosen))
    return Pool(chosen=chosen, rest=rest, front=front)


def _refusal(graph: Graph, trains: TrainScore | None, chip: Target | None) -> Callable[[Plan], str]:
    """Why a plan does not serve: what the training says, or a limit of the chip that it breaks; "" where it does."""
    return lambda plan: broken_by(graph, plan, chip) or ("" if trains is None else trains.refusal(plan))


def _given(graph: Graph, plans: Sequence[Plan], refusal: Callable[[Plan], str]) -> tuple[Candidate, ...]:
    """The plans a person gave. Raises: PlanError for the first that cannot be trained."""
    chosen = given(graph, plans)
    for one in chosen[1:]:
        why = refusal(one.plan)
        if why:
            raise PlanError(f"{graph.model}: {one.name} cannot be trained: {why}: leave it out, or change it")
    return chosen


def _limits(study: Study) -> dict[str, Any]:
    """The limits as `front` takes them."""
    own = {f.name: getattr(study.limits, f.name) for f in fields(study.limits) if f.name != "max_latency"}
    if not study.limits.of_cost:
        own["max_macs"] = _NO_LIMIT
    return {**own, "slots": study.moves.slots, "sites": study.moves.sites}


def _thinned(chosen: Sequence[Candidate], count: int) -> tuple[Candidate, ...]:
    """So many of them, far from each other; the first stays."""
    kept = {0, *farthest([c.place for c in chosen], [0], max(1, count - 1))}
    return tuple(c for i, c in enumerate(chosen) if i in kept)


def _blocks(graph: Graph, refusal: Callable[[Plan], str]) -> Iterator[Candidate]:
    """Plans that move the step from a window that skips positions to the one beside it, each alone and all at once."""
    moves = [{node.key: (1,) * len(step), beside.key: step} for node, beside, step in skipping(graph)]
    wanted = [*moves, *([{key: step for move in moves for key, step in move.items()}] if len(moves) > 1 else [])]
    for number, request in enumerate(wanted, 1):
        try:
            plan = make_plan(graph, request)
            made = candidate(graph, plan, "moved" if len(wanted) == 1 else f"moved {number}", "block")
        except StridewiseError:  # another path forbids it
            continue
        if plan and not refusal(plan):
            yield made


def _new(one: Candidate, others: Sequence[Candidate]) -> bool:
    return all(one.plan != other.plan for other in others)


def _others(graph: Graph, study: Study, trains: TrainScore, front: CostFront) -> Iterator[Candidate]:
    """The same network on smaller pictures and narrower ones, as they are and under plans of their own fronts."""
    kinds = study.moves.kinds
    networks: list[tuple[str, Rival]] = []
    if "scale" in kinds:
        networks += [("scale", rival) for rival in smaller(trains)]
    if "width" in kinds:
        networks += [("width", rival) for rival in narrower(trains)]
    today = candidate(graph, Plan(), "default", "default").macs
    limits = _limits(study) | {
        name: front.limits.get(name) for name in ("max_macs", "max_activations", "max_peak_bytes")
    }
    chip = None if study.limits.target is None else target_of(study.limits.target)
    for origin, rival in networks:
        try:
            own = trains.of(rival)
            if not own.fitting(rival):
                continue
            under = own.graph()
            count = _EACH if "strides" in kinds else 1
            listed = _own(under, count, limits, own.refusal, chip)
        except (StridewiseError, RuntimeError):  # too small for the network, or an argument that it does not take
            continue
        for plan, name in listed:
            made = candidate(under, plan, f"{rival.name}{name}", origin, base=graph)
            if keeps_limits(made, front.limits) and made.macs >= _LEAST * today:
                yield replace(made, variant=rival)


def _own(
    graph: Graph, count: int, limits: dict[str, Any], refusal: Callable[[Plan], str], chip: Target | None
) -> list[tuple[Plan, str]]:
    """(plan, the end of its name) of a network: as it is, and so many of its front."""
    found = [] if broken_by(graph, Plan(), chip) else [(Plan(), "")]
    if count > 1:
        try:
            listed, _ = shortlisted(graph, count=count + 1, refusal=refusal, **limits)
        except PlanError:
            return found
        found += [(c.plan, f" {c.name}") for c in listed if c.origin == "front" and c.within]
    return found


def keeping(
    graph: Graph, chosen: Sequence[Candidate], limits: Mapping[str, Any], builds: Callable[[Plan], bool]
) -> tuple[Candidate, ...]:
    """The candidates, each with its weights kept by dilation where the geometry, the live network (`builds`) and the
    limits (whole numbers, as a front's) allow it, and costed anew; the others step as they did.

    A plan that steps further than the network does, or between its modules, cannot keep what the weights mean.
    """
    return tuple(_keeping(graph, c, limits, builds) for c in chosen)


def _keeping(graph: Graph, chosen: Candidate, limits: Mapping[str, Any], builds: Callable[[Plan], bool]) -> Candidate:
    plan = replace(chosen.plan, keep_weights=True)
    if not chosen.plan or chosen.plan.keep_weights:
        return chosen
    try:
        made = candidate(graph, plan, chosen.name, chosen.origin)
    except StridewiseError:
        return chosen
    if (chosen.within and not keeps_limits(made, limits)) or not builds(plan):
        return chosen
    return replace(made, within=chosen.within)


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
        from stridewise.tasks.training import learned_strides

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
