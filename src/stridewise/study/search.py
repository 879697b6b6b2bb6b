"""`search`: from a network to a recommended plan: exact front, shortlist, short trainings, seeds, measured latency."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
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
from stridewise.study.answer import Question, answer
from stridewise.study.candidates import Candidate, CostFront, given, shortlisted
from stridewise.study.cluster import Cluster
from stridewise.study.folder import write_files
from stridewise.study.jobs import Rival, Schedule, Score
from stridewise.study.judge import graph_of, own_score, training
from stridewise.study.kept import keeping
from stridewise.study.limits import check_latency, fast_enough, measured
from stridewise.study.places import local
from stridewise.study.result import SearchResult
from stridewise.study.rivals import named, rivals_at
from stridewise.study.run import Coordinator, Standing
from stridewise.study.runners import Run
from stridewise.study.settings import name_of
from stridewise.study.store import CHECKPOINTS, Store
from stridewise.study.training import TrainScore

if TYPE_CHECKING:
    from stridewise.measuring.latency import Latency


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

    model: a name as for `load`, or a function that makes a module, with `data` to train it on; with `score` a graph, or
    a name and its `input`.
    score: the user's own training code, `score(plan, budget, seed) -> float`, larger is better, or its name
    "py:file.py:function".
    max_macs, max_activations, max_peak_bytes: "0.8x" of the network as it is, or a whole number; max_latency: "0.8x" or
    "12ms", measured. output_stride, pyramid, min_field, smallest_map, slots, sites: as for `front`.
    plans: train these instead of a choice from the front. trials: how many plans to choose from it.
    budget: epochs of a full training; cost: full trainings that the selection may cost; then each of the `finalists`
    and rivals gets `seeds` full trainings.
    rivals: networks to compare with; None: a smaller input and a narrower network at the best plan's cost; (): none.
    weights: a file that every training begins with. Plans keep what they mean where dilation can, and the first rung
    judges all plans without training. trust: also read a file that can run code.
    run: the folder that keeps the study; the same call on it goes on where it stopped. storage: the URL of a database
    to use instead of a file in the folder.
    workers: processes, 0 for this one. ray: a cluster's address; cpus, gpus: what one training takes there.
    tell: called with how far the study is. recipe: batch, rate, augment and so on, and the task's options, as for
    `train`.
    Raises: StudyError, UsageError, PlanError, DataError, LoadError, one line each. An interrupt leaves usable files.
    """
    if max_latency is not None:
        check_latency(max_latency)
    judge = (
        own_score(score, recipe, weights)
        if score is not None
        else training(task, model, data, recipe, size=size, weights=weights, trust=trust)
    )
    trains = judge if isinstance(judge, TrainScore) else None
    if trains is None and (max_latency is not None or rivals):
        raise UsageError("search: max_latency and rivals want a network that Stridewise trains: they go without score=")
    keeps = trains if weights is not None else None
    graph = graph_of(model, judge, input)
    untrained = keeps is not None and keeps.judges_untrained()
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
    chosen, front = _shortlist(graph, trains, limits, plans, trials)
    settings = {
        "model": graph.model,
        "input": graph.tensors[graph.inputs[0][1]].shape[1:],
        "task": task if trains else "score",
        "data": name_of(data if trains else judge),
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
        if trains and max_latency is not None:
            chosen = _fast(trains, chosen, store, max_latency, graph.model)
        study = Coordinator(
            store=store,
            candidates=list(chosen),
            targets=[c.plan for c in chosen],
            schedule=Schedule.within(
                len(chosen), budget=budget, cost=cost, seeds=seeds, finalists=finalists, untrained=untrained
            ),
            tell=tell or _silent,
            rivals=partial(_rivals, trains, rivals) if trains else _no_rivals,
            checkpoints=checkpoints,
        )
        metric = trains.task.metric if trains else "score"
        question = Question(model=graph.model, settings=settings, front=front, folder=str(run or ""), metric=metric)
        place = (
            local(judge, study.targets, workers, checkpoints)
            if ray is None
            else Cluster(judge, study.targets, address=ray, cpus=cpus, gpus=gpus, checkpoints=checkpoints)
        )
        return _carried_out(question, study, place, trains)


def _shortlist(
    graph: Graph, trains: TrainScore | None, limits: Mapping[str, Any], plans: Sequence[Plan] | None, trials: int
) -> tuple[tuple[Candidate, ...], CostFront]:
    """(the plans to train, the front they are from): the given plans, or a choice from the front's.

    trains: the training they are for; where it begins with weights, the chosen plans keep them where they can.
    Raises: PlanError where nothing is free to choose, or no plan meets the limits or serves the training.
    """
    if plans is not None:
        return given(graph, plans), CostFront()
    if trains is None:
        return shortlisted(graph, count=trials, **limits)
    chosen, front = shortlisted(graph, count=trials, refusal=trains.refusal, **limits)
    if trains.weights is not None:
        chosen = keeping(graph, chosen, front.limits, trains.builds)
    return chosen, front


def _carried_out(
    question: Question, study: Coordinator, place: AbstractContextManager[Run], trains: TrainScore | None
) -> SearchResult:
    """Run the study to its end and write its files, those of an interrupted one too. Raises: StudyError."""
    folder = Path(question.folder) if question.folder else None
    try:
        with place as run:
            study.carry_out(run)
        result = answer(question, study, _latencies(trains, study) if trains else {}, "finished")
    except KeyboardInterrupt:
        if folder is not None:
            with _unbroken():
                write_files(answer(question, study, {}, "interrupted"), folder)
        raise
    if folder is not None:
        write_files(result, folder)
    if all(row.accuracy is None for row in result.rows):
        first = next((row.error for row in result.rows if row.error), "nothing was trained")
        raise StudyError(f"{question.model}: every plan failed, the first with: {first}")
    return result


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


def _latencies(score: TrainScore, study: Coordinator) -> dict[str, Latency]:
    """Measured latency of the finalists, once a study: kept with its records."""
    from stridewise.measuring.latency import Latency

    chosen = {study.candidates[i].name: study.targets[i] for i in study.finalists()}
    if study.candidates[0].name not in chosen:
        return {}
    kept = study.store.note("latency")
    if kept is None:
        kept = [asdict(record) for record in score.latency(chosen)]
        study.store.keep_note("latency", kept)
    return {record["name"]: Latency(**record) for record in kept}


def _subfolder(folder: Path, name: str) -> Path:
    try:
        (folder / name).mkdir(exist_ok=True)
    except OSError as error:
        raise StudyError(f"{folder / name}: cannot be made ({error.strerror}): choose another --run") from error
    return folder / name


@contextmanager
def _unbroken() -> Iterator[None]:
    """A second Ctrl-C or SIGTERM is not heard until the files are whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
