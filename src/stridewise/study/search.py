"""`search`: from a network to a recommended plan: exact front, shortlist, short trainings, seeds, measured latency."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stridewise.data import Dataset
from stridewise.errors import StudyError, UsageError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.study.candidates import Candidate, CostFront, given, shortlisted
from stridewise.study.cluster import Cluster
from stridewise.study.folder import write_files
from stridewise.study.interval import difference, estimate
from stridewise.study.jobs import Job, Outcome, Rival, Schedule, Score, Target
from stridewise.study.kept import keeping
from stridewise.study.limits import check_latency, fast_enough, measured
from stridewise.study.own import NamedScore
from stridewise.study.result import Row, SearchResult
from stridewise.study.rivals import named, rivals_at
from stridewise.study.run import Coordinator, Standing
from stridewise.study.runners import Run, Workers, here
from stridewise.study.store import CHECKPOINTS, DATABASE, Store
from stridewise.study.training import TrainScore
from stridewise.study.verdict import Contender, verdict

if TYPE_CHECKING:
    from stridewise.measure.latency import Latency

LIMITS = (
    *("max_macs", "max_activations", "max_peak_bytes", "max_latency", "output_stride", "pyramid", "min_field"),
    "smallest_map",
)


def search(
    model: Any,
    *,
    score: Score | str | None = None,
    task: str = "classify",
    data: str | Path | Dataset | None = None,
    input: Sequence[int] | None = None,
    size: tuple[int, int] | None = None,
    max_macs: str | int | None = None,
    max_activations: str | int | None = None,
    max_peak_bytes: str | int | None = None,
    max_latency: str | None = None,
    output_stride: int | Sequence[int] | None = None,
    pyramid: Sequence[int] = (),
    min_field: int = 0,
    smallest_map: int = 1,
    slots: bool | None = None,
    sites: Sequence[str] | None = None,
    plans: Sequence[Plan] | None = None,
    trials: int = 12,
    budget: int = 9,
    cost: float = 5.0,
    seeds: int = 3,
    finalists: int = 3,
    rivals: Sequence[str] | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    run: str | Path | None = None,
    storage: str | None = None,
    workers: int = 0,
    ray: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
    tell: Callable[[Standing], None] | None = None,
    **recipe: Any,
) -> SearchResult:
    """The stride plan to take for a task, with what speaks for it.

    model: a name as for `load` (or a function that makes a module), with `data` to train it on; or, with `score`, a
    graph or a name and its `input`. score: the user's own training code, `score(plan, budget, seed) -> float`, larger
    is better, or its name "py:file.py:function". max_macs and the other budgets: "0.8x" or a whole number; max_latency:
    "0.8x" or "12ms", measured; output_stride, pyramid, min_field, smallest_map, slots, sites: as for `front`; plans:
    this shortlist instead of the front's. trials: plans in the shortlist; budget: epochs of a full training; cost: full
    trainings that the selection may cost; then `seeds` of each of the finalists and rivals. rivals: networks to compare
    with; None: a smaller input and a narrower network at the best plan's cost, () for none. weights: a file to begin
    with (trust: also one that can run code): plans keep what they mean where dilation can, and the first rung judges
    them all without training. run: the folder that keeps
    the study; the same call on it goes on where it stopped. storage: a database's URL instead of a file in the folder.
    workers: processes, 0 for this one; ray: a cluster's address, cpus and gpus: what a training takes there. tell:
    called with how far the study is. recipe: batch, rate, augment and so on, and the task's options, as for `train`.
    Raises: StudyError, UsageError, PlanError, DataError, LoadError, one line each. An interrupt leaves usable files.
    """
    if max_latency is not None:
        check_latency(max_latency)
    chooser = _scored(model, score, task, data, size, recipe, weights, trust)
    graph = _graph(model, chooser, input)
    limits = {
        "max_macs": max_macs,
        "max_activations": max_activations,
        "max_peak_bytes": max_peak_bytes,
        "output_stride": output_stride,
        "pyramid": list(pyramid),
        "min_field": min_field,
        "smallest_map": smallest_map,
        "slots": slots,
        "sites": sites,
    }
    chosen, front = shortlisted(graph, count=trials, **limits) if plans is None else (given(graph, plans), CostFront())
    own = isinstance(chooser, TrainScore)
    untrained = False
    if isinstance(chooser, TrainScore) and weights is not None:
        untrained = chooser.judges_untrained()
        if plans is None:
            chosen = keeping(graph, chosen, front.limits, chooser.builds)
    if not own and (max_latency is not None or rivals):
        raise UsageError("search: max_latency and rivals want a network that Stridewise trains: they go without score=")
    settings = {
        "model": graph.model,
        "input": graph.tensors[graph.inputs[0][1]].shape[1:],
        "task": task if own else "score",
        "data": _named(data) if own else _named(chooser),
        "size": size,
        **limits,
        "max_latency": max_latency,
        "rivals": None if rivals is None else list(rivals),
        "trials": trials,
        "budget": budget,
        "cost": cost,
        "seeds": seeds,
        "finalists": finalists,
        "recipe": recipe,
        "weights": None if weights is None else str(weights),
        "contents": None if weights is None else sha256(Path(weights).read_bytes()).hexdigest(),
        "trust": trust or None,
        "shortlist": [c.plan.to_toml() for c in chosen],
    }
    with ExitStack() as stack:
        folder = Path(run) if run is not None else Path(stack.enter_context(TemporaryDirectory()))
        store = Store.open(folder, storage)
        stack.callback(store.close)
        store.begin(settings)
        checkpoints = _subfolder(folder, CHECKPOINTS)
        if isinstance(chooser, TrainScore) and max_latency is not None:
            chosen = _fast(chooser, chosen, store, max_latency, graph.model)
        study = Coordinator(
            store=store,
            candidates=list(chosen),
            targets=[c.plan for c in chosen],
            schedule=Schedule.within(
                len(chosen), budget=budget, cost=cost, seeds=seeds, finalists=finalists, untrained=untrained
            ),
            tell=tell or _silent,
            rivals=partial(_rivals, chooser, rivals) if isinstance(chooser, TrainScore) else _no_rivals,
            checkpoints=checkpoints,
        )
        metric = chooser.task.metric if isinstance(chooser, TrainScore) else "score"
        answer = partial(_result, graph, settings, study, front, str(run or ""), metric)
        places = (
            Cluster(chooser, study.targets, address=ray, cpus=cpus, gpus=gpus, checkpoints=checkpoints)
            if ray is not None
            else _places(chooser, study.targets, workers, checkpoints)
        )
        try:
            with places as carry_out:
                study.carry_out(carry_out)
            result = answer(_latencies(chooser, study), "finished")
        except KeyboardInterrupt:
            if run is not None:
                with _unbroken():
                    write_files(answer({}, "interrupted"), folder)
            raise
        if run is not None:
            write_files(result, folder)
        if all(row.accuracy is None for row in result.rows):
            first = next((row.error for row in result.rows if row.error), "nothing was trained")
            raise StudyError(f"{graph.model}: every plan failed, the first with: {first}")
        return result


def stored_call(folder: str | Path, storage: str | None = None) -> dict[str, Any]:
    """The arguments of `search` that the study in a run folder was begun with. Raises: StudyError."""
    if storage is None and not (Path(folder) / DATABASE).is_file():
        raise StudyError(f"{folder}: no study to resume ({DATABASE} is not there): give the folder of an earlier --run")
    store = Store.open(Path(folder), storage)
    try:
        settings = store.settings()
    finally:
        store.close()
    if settings is None or (settings["task"] == "score" and not settings["data"].startswith("py:")):
        raise StudyError(f"{folder}: was begun from Python or not at all: call search() on it again with its score")
    recipe, size = settings.pop("recipe"), settings.pop("size")
    del settings["shortlist"]
    settings.pop("contents", None)
    if settings["task"] == "score":
        del settings["task"]
        settings["score"] = settings.pop("data")
    else:
        del settings["input"]
    return {**settings, **recipe, "size": tuple(size) if size else None, "run": folder, "storage": storage}


def _scored(
    model: Any,
    score: Score | str | None,
    task: str,
    data: Any,
    size: Any,
    settings: dict[str, Any],
    weights: str | Path | None,
    trust: bool,
) -> Score:
    """What judges plans: a person's own score, or a training of the task."""
    if score is not None:
        if settings or weights is not None:
            names = ", ".join([*settings, *(["weights"] if weights is not None else [])])
            raise UsageError(f"search: {names}: a score of your own trains as it wants")
        if isinstance(score, str):
            named = NamedScore(score)
            _ = named.function  # a wrong name is said now, not by every worker
            return named
        return score
    if data is None:
        raise UsageError("search: give data to train on, or your own score=function")
    from stridewise.tasks.recipe import told_apart

    recipe, options = told_apart(settings)
    return TrainScore(task, model, data, size=size, recipe=recipe, options=options, weights=weights, trust=trust)


def _graph(model: Any, score: Score, input: Sequence[int] | None) -> Graph:
    if isinstance(model, Graph):
        return model
    if isinstance(score, TrainScore):
        return score.graph()
    if not isinstance(model, str) or input is None:
        raise UsageError("search: a score of your own wants the network as a graph: sw.trace(model, (3, 224, 224))")
    from stridewise.frontends.load import load
    from stridewise.frontends.torch import trace

    return trace(load(model), tuple(input), name=model)


def _fast(
    score: TrainScore, chosen: Sequence[Candidate], store: Store, limit: str, model: str
) -> tuple[Candidate, ...]:
    """The shortlist without the plans that were measured to take too long; measured once a study."""
    times = store.note("shortlist latency")
    if times is None:
        times = measured(score, chosen)
        store.keep_note("shortlist latency", times)
    kept = fast_enough(chosen, times, limit, model)
    return tuple(
        replace(c, within=c.within and c.name in kept)
        for c in chosen
        if c.name in kept or c.origin == "default"  # the network as it is is always compared with
    )


def _rivals(
    score: TrainScore, wanted: Sequence[str] | None, ranked: Sequence[Candidate]
) -> list[tuple[Rival, Candidate]]:
    if wanted is not None:
        return named(score, wanted)
    default = next((c for c in ranked if c.origin == "default"), None)
    best = next((c for c in ranked if c is not default), None)
    return rivals_at(score, default, best.macs) if default and best else []


def _no_rivals(ranked: Sequence[Candidate]) -> list[tuple[Rival, Candidate]]:
    return []


def _silent(standing: Standing) -> None:
    pass


@contextmanager
def _places(score: Score, targets: Sequence[Target], workers: int, checkpoints: Path) -> Iterator[Run]:
    """Where jobs run: worker processes that share the cores, or this process."""
    if workers < 1:
        yield partial(here, score, targets, checkpoints)
        return
    if isinstance(score, TrainScore):
        _ = score.splits  # made and cached once, not by every worker
    threads = max(1, cores() // workers)
    with Workers(score, targets, count=workers, threads=threads, checkpoints=checkpoints) as pool:
        yield pool.run


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _latencies(score: Score, study: Coordinator) -> dict[str, Latency]:
    """Measured latency of the finalists, once a study: kept with its records."""
    from stridewise.measure.latency import Latency

    chosen = {study.candidates[i].name: study.targets[i] for i in study.finalists()}
    if not isinstance(score, TrainScore) or study.candidates[0].name not in chosen:
        return {}
    kept = study.store.note("latency")
    if kept is None:
        kept = [asdict(record) for record in score.latency(chosen)]
        study.store.keep_note("latency", kept)
    return {record["name"]: Latency(**record) for record in kept}


def _result(
    graph: Graph,
    settings: dict[str, Any],
    study: Coordinator,
    front: CostFront,
    folder: str,
    metric: str,
    latencies: dict[str, Latency],
    state: str,
) -> SearchResult:
    outcomes, final = study.store.outcomes, study.finalists()

    def full(plan: int) -> tuple[Outcome, ...]:
        found = (outcomes.get(Job(plan, study.schedule.budget, seed)) for seed in range(1, study.schedule.seeds + 1))
        return tuple(o for o in found if o is not None and not o.failed)

    contenders = {
        i: Contender(name=c.name, macs=c.macs, outcomes=full(i), within=c.within)
        for i, c in enumerate(study.candidates)
        if i in final
    }
    rows = []
    for number, chosen in enumerate(study.candidates):
        trained = tuple((job, outcomes[job]) for job in sorted(outcomes) if job.plan == number)
        good = [(job, o) for job, o in trained if not o.failed]
        top = max((job.budget for job, _ in good), default=0)
        at_top = list(full(number)) or [o for job, o in good if job.budget == top]
        compared = number and number in contenders and 0 in contenders
        rows.append(
            Row(
                candidate=chosen,
                trainings=trained,
                budget=top,
                accuracy=estimate(at_top) if at_top else None,
                final=number in contenders,
                against=difference(contenders[number].outcomes, contenders[0].outcomes) if compared else None,
                latency=latencies.get(chosen.name),
                error=next((o.error for _, o in trained if o.failed), ""),
            )
        )
    return SearchResult(
        model=graph.model,
        task=settings["task"],
        data=settings["data"],
        input=tuple(settings["input"]),
        limits={key: settings[key] for key in LIMITS if settings[key] not in (None, [], 0)},
        schedule=study.schedule,
        rows=tuple(rows),
        front=front.points,
        known=front.known,
        weights=settings["weights"] or "",
        verdict=verdict(
            contenders.get(0),
            [c for i, c in contenders.items() if i and not study.candidates[i].rival],
            rivals=[c for i, c in contenders.items() if study.candidates[i].rival],
        ),
        state=state,
        seconds=sum(o.seconds for o in outcomes.values()),
        folder=folder,
        metric=metric,
    )


def _named(thing: Any) -> str:
    if isinstance(thing, Dataset):
        return thing.name
    if isinstance(thing, str | Path):
        return str(thing)
    if isinstance(thing, NamedScore):
        return thing.name
    return str(getattr(thing, "__qualname__", type(thing).__name__))


def _subfolder(folder: Path, name: str) -> Path:
    try:
        (folder / name).mkdir(exist_ok=True)
    except OSError as error:
        raise StudyError(f"{folder / name}: cannot be made ({error.strerror}): choose another --run") from error
    return folder / name


@contextmanager
def _unbroken() -> Iterator[None]:
    """A second Ctrl-C waits until the files are whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
