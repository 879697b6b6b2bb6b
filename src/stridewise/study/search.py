"""`search`: from a network to a recommended plan: exact front, shortlist, short trainings, seeds, measured latency."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stridewise.data import Dataset
from stridewise.errors import StudyError, UsageError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.study.candidates import given, shortlisted
from stridewise.study.folder import CHECKPOINTS, write_files
from stridewise.study.interval import difference, estimate
from stridewise.study.jobs import Job, Outcome, Schedule, Score
from stridewise.study.result import Row, SearchResult
from stridewise.study.run import Coordinator, Run, Standing
from stridewise.study.runners import Workers, here
from stridewise.study.store import DATABASE, Store
from stridewise.study.training import TrainScore
from stridewise.study.verdict import Contender, verdict

if TYPE_CHECKING:
    from stridewise.measure.latency import Latency


def search(
    model: Any,
    *,
    score: Score | None = None,
    task: str = "classify",
    data: str | Path | Dataset | None = None,
    size: tuple[int, int] | None = None,
    max_macs: str | int | None = None,
    output_stride: int | Sequence[int] | None = None,
    slots: bool | None = None,
    sites: Sequence[str] | None = None,
    plans: Sequence[Plan] | None = None,
    trials: int = 12,
    budget: int = 9,
    cost: float = 5.0,
    seeds: int = 3,
    finalists: int = 3,
    run: str | Path | None = None,
    workers: int = 0,
    tell: Callable[[Standing], None] | None = None,
    **recipe: Any,
) -> SearchResult:
    """The stride plan to take for a task, with what speaks for it.

    model: a graph, with `score` the user's own training code, `score(plan, budget, seed) -> float`, larger is better;
    or a name as for `load` (or a function that makes a module), with `data` to train it on. max_macs: "0.8x" or a
    whole number; output_stride, slots, sites: as for `front`; plans: this shortlist instead of the front's. trials:
    plans in the shortlist; budget: epochs of a full training; cost: full trainings that the selection may cost; then
    seeds of each of the finalists. run: the folder that
    keeps the study; the same call on it goes on where it stopped. workers: processes, 0 for this one. tell: called
    with how far the study is. recipe: batch, rate, augment and so on, as for `train`.
    Raises: StudyError, UsageError, PlanError, DataError, LoadError, one line each. An interrupt leaves usable files.
    """
    if score is None:
        if data is None:
            raise UsageError("search: give data to train on, or your own score=function")
        from stridewise.tasks.recipe import Recipe

        score = TrainScore(task, model, data, size=size, recipe=Recipe(**recipe))
    graph = model if isinstance(model, Graph) else score.graph() if isinstance(score, TrainScore) else None
    if graph is None:
        raise UsageError("search: a score of your own wants the network as a graph: sw.trace(model, (3, 224, 224))")
    chosen, points = (
        shortlisted(graph, max_macs=max_macs, output_stride=output_stride, slots=slots, sites=sites, count=trials)
        if plans is None
        else (given(graph, plans), ())
    )
    schedule = Schedule.within(len(chosen), budget=budget, cost=cost, seeds=seeds, finalists=finalists)
    settings = {
        "model": graph.model,
        "input": graph.tensors[graph.inputs[0][1]].shape[1:],
        "task": task if isinstance(score, TrainScore) else "score",
        "data": _named(data) if isinstance(score, TrainScore) else _named(score),
        "size": size,
        "max_macs": max_macs,
        "output_stride": output_stride,
        "slots": slots,
        "sites": sites,
        "trials": trials,
        "budget": budget,
        "cost": cost,
        "seeds": seeds,
        "finalists": finalists,
        "recipe": recipe,
        "shortlist": [c.plan.to_toml() for c in chosen],
    }
    with ExitStack() as stack:
        folder = Path(run) if run is not None else Path(stack.enter_context(TemporaryDirectory()))
        store = Store.open(folder)
        stack.callback(store.close)
        store.begin(settings)
        checkpoints = _subfolder(folder, CHECKPOINTS)
        study = Coordinator(
            store=store, candidates=chosen, schedule=schedule, tell=tell or _silent, checkpoints=checkpoints
        )
        answer = partial(_result, graph, settings, study, points, str(run or ""))
        try:
            with _places(score, [c.plan for c in chosen], workers, checkpoints) as carry_out:
                study.carry_out(carry_out)
            result = answer(_latencies(score, study), "finished")
        except KeyboardInterrupt:
            if run is not None:
                with _unbroken():
                    write_files(answer({}, "interrupted"), folder)
            raise
        if run is not None:
            write_files(result, folder)
        if all(row.accuracy is None for row in result.rows):
            raise StudyError(f"{graph.model}: every plan failed, the first with: {result.rows[0].error}")
        return result


def stored_call(folder: str | Path) -> dict[str, Any]:
    """The arguments of `search` that the study in a run folder was begun with. Raises: StudyError."""
    if not (Path(folder) / DATABASE).is_file():
        raise StudyError(f"{folder}: no study to resume ({DATABASE} is not there): give the folder of an earlier --run")
    store = Store.open(Path(folder))
    try:
        settings = store.settings()
    finally:
        store.close()
    if settings is None or settings["task"] == "score":
        raise StudyError(f"{folder}: was begun from Python or not at all: call search() on it again with its score")
    recipe = settings.pop("recipe")
    for derived in ("input", "shortlist"):
        settings.pop(derived)
    return {**settings, **recipe, "size": tuple(settings["size"]) if settings["size"] else None, "run": folder}


def _silent(standing: Standing) -> None:
    pass


@contextmanager
def _places(score: Score, plans: Sequence[Plan], workers: int, checkpoints: Path) -> Iterator[Run]:
    """Where jobs run: worker processes that share the cores, or this process."""
    if workers < 1:
        yield partial(here, score, plans, checkpoints)
        return
    if isinstance(score, TrainScore):
        _ = score.splits  # made and cached once, not by every worker
    threads = max(1, cores() // workers)
    with Workers(score, plans, count=workers, threads=threads, checkpoints=checkpoints) as pool:
        yield pool.run


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _latencies(score: Score, study: Coordinator) -> dict[str, Latency]:
    """Measured latency of the finalists, once a study: kept with its records."""
    from stridewise.measure.latency import Latency

    chosen = {study.candidates[i].name: study.candidates[i].plan for i in study.finalists()}
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
    points: Sequence[tuple[int, int, int]],
    folder: str,
    latencies: dict[str, Latency],
    state: str,
) -> SearchResult:
    outcomes, final = study.store.outcomes, study.finalists()

    def full(plan: int) -> tuple[Outcome, ...]:
        found = (outcomes.get(Job(plan, study.schedule.budget, seed)) for seed in range(1, study.schedule.seeds + 1))
        return tuple(o for o in found if o is not None and not o.failed)

    contenders = {
        i: Contender(name=study.candidates[i].name, macs=study.candidates[i].macs, outcomes=full(i)) for i in final
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
        limits={key: settings[key] for key in ("max_macs", "output_stride")},
        schedule=study.schedule,
        rows=tuple(rows),
        front=tuple(points),
        verdict=verdict(contenders.get(0), [c for i, c in contenders.items() if i]),
        state=state,
        seconds=sum(o.seconds for o in outcomes.values()),
        folder=folder,
    )


def _named(thing: Any) -> str:
    if isinstance(thing, Dataset):
        return thing.name
    if isinstance(thing, str | Path):
        return str(thing)
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
