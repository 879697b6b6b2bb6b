"""`search`: from a network to a recommended plan: exact front, shortlist, short trainings, seeds where they decide."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stridewise.errors import StudyError, UsageError
from stridewise.study.answer import Asked, answer
from stridewise.study.candidates import Candidate, CostFront, check_latency, fast_enough, measured
from stridewise.study.executors import Executor, Here
from stridewise.study.jobs import Rival, Schedule
from stridewise.study.judge import graph_of, own_score, training
from stridewise.study.pool import Pool, pool, with_proposals
from stridewise.study.result import SearchResult, write_files
from stridewise.study.rivals import named, rivals_at
from stridewise.study.run import Coordinator, Standing
from stridewise.study.settings import check_libraries
from stridewise.study.store import CHECKPOINTS, Store
from stridewise.study.training import TrainScore
from stridewise.study.value import Study

if TYPE_CHECKING:
    from stridewise.measuring.latency import Latency

_MOVED = {"workers": "on=sw.Workers(4)", "ray": 'on=sw.Ray("auto")', "cpus": "on=sw.Ray(...)", "gpus": "on=sw.Ray(...)"}


def search(
    study: Any,
    *,
    on: Executor | None = None,
    run: str | Path | None = None,
    storage: str | None = None,
    tell: Callable[[Standing], None] | None = None,
    **fields: Any,
) -> SearchResult:
    """The stride plan to take for a task, with what speaks for it.

    study: a `Study`, or its model, whose other fields are then given by name: those of `Study`, `Limits`, `Moves` and
    `Budget`, and of a training's recipe. on: where trainings run: `Here()`, `Workers(4)`, `Ray("auto")`. run: the
    folder that keeps the study; the same call on it goes on where it stopped, one with more trials, cost, finalists or
    seeds makes it longer. storage: the URL of a database to use instead of a file in the folder. tell: called with how
    far the study is.
    Raises: StudyError, UsageError, PlanError, DataError, LoadError, one line each. An interrupt leaves usable files.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> def score(plan, budget, seed):  # your own training; larger is better
    ...     return float(len(plan.insert))
    >>> found = sw.search(graph, score=score, trials=2, epochs=1, seeds=1, max_macs="1x")
    >>> found.to_json()["schema"]
    'stridewise.search/1'
    """
    for name in fields:
        if name in _MOVED:
            raise UsageError(f"search: {name}= is now {_MOVED[name]}: where trainings run is one value")
    if not isinstance(study, Study):
        study = Study.of(study, **fields)
    elif fields:
        raise UsageError(f"search: the study says all: leave {', '.join(fields)} out, or change the study")
    return _searched(study, on or Here(), run, storage, tell or _silent)


def _searched(
    study: Study, on: Executor, run: str | Path | None, storage: str | None, tell: Callable[[Standing], None]
) -> SearchResult:
    check_libraries(trains=study.score is None)
    if study.limits.max_latency is not None:
        check_latency(study.limits.max_latency)
    judge = (
        own_score(study.score)
        if study.score is not None
        else training(
            study.task,
            study.model,
            study.data,
            study.recipe,
            size=study.size,
            weights=study.weights,
            trust=study.trust,
        )
    )
    trains = judge if isinstance(judge, TrainScore) else None
    measures = study.limits.max_latency is not None or study.per == "latency" or bool(study.rivals)
    if trains is None and measures:
        raise UsageError("search: latency and rivals want a network that Stridewise trains: they go without score=")
    if trains is not None:
        trains.check()
    untrained = trains is not None and study.weights is not None and trains.judges_untrained()
    graph = graph_of(study.model, judge, study.input)
    found = pool(graph, study, trains)
    front = found.front
    _check_finalists(study, len(found.chosen))
    with ExitStack() as stack:
        folder = Path(run) if run is not None else Path(stack.enter_context(TemporaryDirectory()))
        store = Store.open(folder, storage)
        stack.callback(store.close)
        store.begin(_kept(study, trains))
        chosen = _in_order(store, with_proposals(found, graph, study, trains, store))
        if trains and study.limits.max_latency is not None:
            chosen = _fast(trains, chosen, store, study.limits.max_latency, graph.model)
        _subfolder(folder, CHECKPOINTS)
        metric, times, unit = _score_in_words(study, trains)
        coordinator = Coordinator(
            store=store,
            candidates=dict(enumerate(chosen)),
            targets={number: c.target for number, c in enumerate(chosen)},
            schedule=Schedule.within(
                len(chosen),
                budget=study.budget.epochs,
                cost=study.budget.cost,
                seeds=study.budget.seeds,
                finalists=study.budget.finalists,
                untrained=untrained,
            ),
            tell=tell,
            aim=study.aim,
            line=-study.within / times if study.aim == "cheapest" else 0.0,
            costs=_costs(study, trains, chosen, store),
            rivals=partial(_rivals, trains, study) if trains else _no_rivals,
        )
        asked = Asked(
            study=study,
            model=graph.model,
            input=graph.tensors[graph.inputs[0][1]].shape[1:],
            front=front,
            folder=str(run or ""),
            metric=metric,
            times=times,
            unit=unit,
            most=_most(study, front, chosen[0]),
        )
        return _carried_out(asked, coordinator, on, judge)


def _kept(study: Study, trains: TrainScore | None) -> dict[str, Any]:
    """The study as its folder keeps it: with what its weights hold, which a name does not say."""
    plain = study.to_json()
    if study.weights is not None and trains is not None:
        plain["contents"] = sha256(Path(study.weights).read_bytes()).hexdigest()
    return plain


def _check_finalists(study: Study, plans: int) -> None:
    """Raises: UsageError before anything is trained where more finalists are asked for than there are plans."""
    if study.budget.finalists > max(plans, 3):
        raise UsageError(
            f"search: {study.budget.finalists} finalists, but {plans} plans to choose from: ask for {plans} or fewer, "
            "or for more --trials"
        )


def _in_order(store: Store, found: Pool) -> tuple[Candidate, ...]:
    """The candidates by the numbers that the study knows them by: those of before first, new ones behind.

    Raises: StudyError where one of before is missing.
    """
    by_key = {_key(c): c for c in (*found.rest, *found.chosen)}
    keys = [_key(c) for c in found.chosen]
    before: list[str] = store.note("plans") or []
    missing = [key for key in before if key not in by_key]
    if missing:
        raise StudyError(
            f"{store.folder}: holds another study (its shortlist has {missing[0].splitlines()[0]}, which is not there "
            "now): choose another --run"
        )
    order = [*before, *(key for key in keys if key not in before)]
    if order != before:
        store.keep_note("plans", order)
    return tuple(by_key[key] for key in order)


def _key(chosen: Candidate) -> str:
    network = "" if chosen.variant is None else chosen.variant.name
    return f"{network}{chosen.plan.to_toml()}"


def _costs(study: Study, trains: TrainScore | None, chosen: Sequence[Candidate], store: Store) -> Mapping[int, float]:
    """What plans are compared by, by number; empty for multiply-adds, which every candidate knows."""
    if study.per == "memory":
        return {number: float(c.peak_bytes) for number, c in enumerate(chosen)}
    if study.per == "latency" and trains is not None:
        times = store.note("shortlist latency")
        if times is None or any(c.name not in times for c in chosen):
            times = measured(trains, chosen)
            store.keep_note("shortlist latency", times)
        return {number: times[c.name][1] for number, c in enumerate(chosen)}
    return {}


def _most(study: Study, front: CostFront, default: Candidate) -> float | None:
    """The limit on the cost that the answer speaks of, as a share of today's; None where there is none."""
    name, today = {"macs": ("max_macs", default.macs), "memory": ("max_peak_bytes", default.peak_bytes)}.get(
        study.per, ("", 1)
    )
    limit = front.limits.get(name)
    return None if limit is None else limit / today


def _score_in_words(study: Study, trains: TrainScore | None) -> tuple[str, float, str]:
    """(what the score is, times what it is written, its unit)."""
    if trains is not None:
        return trains.task.metric, 100.0, "points"
    return ("score", 1.0, study.unit) if study.unit else ("score", 100.0, "points")


def _carried_out(asked: Asked, study: Coordinator, on: Executor, judge: Any) -> SearchResult:
    """Run the study to its end and write its files, those of an interrupted one too. Raises: StudyError."""
    folder, trains = Path(asked.folder) if asked.folder else None, judge if isinstance(judge, TrainScore) else None
    checkpoints = study.store.folder / CHECKPOINTS
    place = on.open(judge, study.targets, checkpoints=checkpoints, timeout=asked.study.budget.timeout)
    try:
        with place as run:
            study.carry_out(run)
        result = answer(asked, study, _latencies(trains, study) if trains else {}, "finished")
    except KeyboardInterrupt:
        if folder is not None:
            with _unbroken():
                write_files(answer(asked, study, {}, "interrupted"), folder)
        raise
    if folder is not None:
        write_files(result, folder)
    if all(row.accuracy is None for row in result.rows):
        first = next((row.error for row in result.rows if row.error), "nothing was trained")
        raise StudyError(f"{asked.model}: every plan failed, the first with: {first}")
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


def _rivals(score: TrainScore, study: Study, ranked: Sequence[Candidate]) -> list[tuple[Rival, Candidate]]:
    """The networks a person named; where neither scale nor width may move, a smaller input and a narrower network at
    the best plan's cost."""
    if study.rivals is not None:
        return named(score, study.rivals)
    default = next((c for c in ranked if c.origin == "default"), None)
    best = next((c for c in ranked if c is not default), None)
    if {"scale", "width"} & set(study.moves.kinds) or default is None or best is None:
        return []
    return rivals_at(score, default, best.macs)


def _no_rivals(ranked: Sequence[Candidate]) -> list[tuple[Rival, Candidate]]:
    return []


def _silent(standing: Standing) -> None:
    pass


def _latencies(score: TrainScore, study: Coordinator) -> dict[str, Latency]:
    """Measured latency of the finalists, once for each set of them: kept with the study's records."""
    from stridewise.measuring.latency import Latency

    chosen = {study.candidates[i].name: study.targets[i] for i in study.finalists()}
    if study.candidates[0].name not in chosen:
        return {}
    kept = study.store.note("latency")
    if kept is None or {record["name"] for record in kept} != set(chosen):
        kept = [asdict(record) for record in score.latency(chosen)]
        study.store.keep_note("latency", kept)
    return {record["name"]: Latency(**record) for record in kept}


def _subfolder(folder: Path, name: str) -> None:
    try:
        (folder / name).mkdir(exist_ok=True)
    except OSError as error:
        raise StudyError(f"{folder / name}: cannot be made ({error.strerror}): choose another --run") from error


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
