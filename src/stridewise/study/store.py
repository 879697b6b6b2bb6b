"""A study's records in an Optuna study (SQLite in the run folder), written by the one coordinator that holds its lock.

A trial is one training. It is enqueued before it is asked for, so the order is fixed; a finished one, good or bad, is
never run again. One that was running when its coordinator died has what the training left at its end; where that is
nothing it fails without an error of its own and is enqueued anew.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stridewise.errors import MissingExtraError, StudyError
from stridewise.files import write_text
from stridewise.study.jobs import Job, Outcome, checkpoint_of, ended, forget
from stridewise.study.value import differences, hinders

DATABASE, CHECKPOINTS, ERRORS = "study.db", "checkpoints", "errors"
_NAME = "stridewise"
_SINCE = "first trial"  # of the study: those before failed one and all


class Store:
    """The records of one run folder. Held from `open` to `close`; a second one on the same folder is refused."""

    def __init__(self, folder: Path, study: Any, storage: Any, lock: Any, held: Any = None) -> None:
        self.folder = folder
        self._held = held
        self._study = study
        self._storage = storage
        self._lock = lock
        self._running: dict[Job, Any] = {}
        self._queue: set[Job] = set()
        self.outcomes: dict[Job, Outcome] = {}
        self.refresh()

    @staticmethod
    def open(folder: Path, url: str | None = None) -> Store:
        """The store in a run folder, made where there is none. url: of a database (postgresql://...) that keeps the
        records instead of a file there; the study has the folder's name. Raises: StudyError, MissingExtraError."""
        if url is None and (folder / CHECKPOINTS).is_dir() and not (folder / DATABASE).exists():
            raise StudyError(
                f"{folder}: holds a study whose {DATABASE} is missing: put it back, or choose another --run"
            )
        lock = _locked(folder)
        where, name = (str(folder / DATABASE), _NAME) if url is None else (_bare(url), folder.resolve().name)
        storage = held = None
        try:
            with _quiet():
                import optuna

                # A server's own errors come in many lines, of which the first is printed below.
                storage = optuna.storages.RDBStorage(_for_sqlalchemy(url or f"sqlite:///{folder / DATABASE}"))
                held = _only_one(storage.engine, name) if url is not None else None
                study = optuna.create_study(
                    storage=storage,
                    study_name=name,
                    direction="maximize",
                    sampler=optuna.samplers.RandomSampler(seed=0),
                    load_if_exists=True,
                )
            return Store(folder, study, storage, lock, held)
        except StudyError:
            _let_go(storage, held, lock)
            raise
        except ModuleNotFoundError as error:
            _let_go(storage, held, lock)
            extra = "cluster" if error.name and error.name.startswith("psycopg") else "study"
            raise MissingExtraError(error.name or "optuna", extra, "a search") from error
        except Exception as error:
            _let_go(storage, held, lock)
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            todo = "choose another --run, or delete the file" if url is None else "see that the server runs"
            raise StudyError(f"{where}: cannot be opened as a study ({first}): {todo}") from error

    def close(self) -> None:
        """Let go of the folder."""
        _let_go(self._storage, self._held, self._lock)

    def settings(self) -> dict[str, Any] | None:
        """The study in this folder as plain values, None for a new one."""
        found: dict[str, Any] | None = self.note("settings")
        return found

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write down what the study is, or check that it is the same one, or more of it. One in which no training went
        well holds nothing back: it is begun anew. Raises: StudyError naming the field that differs."""
        before = self.settings()
        wanted = json.loads(json.dumps(settings))
        if before is not None and self.outcomes and all(o.failed for o in self.outcomes.values()):
            self.outcomes.clear()
            before = None
            with self._talking():
                self.keep_note(_SINCE, len(self._study.get_trials(deepcopy=False)))
            for note in ("plans", "rivals"):
                self.keep_note(note, None)
        found = hinders(differences(before, wanted)) if before is not None else None
        if found is not None:
            key, old, new = found
            raise StudyError(
                f"{self.folder}: holds another study ({key} {_short(old)}, not {_short(new)}): choose another --run, "
                f"or continue it with --resume {self.folder}"
            )
        if before != wanted:
            self.keep_note("settings", wanted)

    def note(self, name: str) -> Any:
        """What was kept under a name, None where there is nothing."""
        with self._talking():
            found = self._study.user_attrs
        return json.loads(found[name]) if name in found else None

    def keep_note(self, name: str, value: Any) -> None:
        """Keep plain values under a name."""
        with self._talking():
            self._study.set_user_attr(name, json.dumps(value))

    def refresh(self) -> None:
        """Read the finished trials and the queue; those that were running when their coordinator died are finished
        where their training was, and lost where not."""
        import optuna

        states = optuna.trial.TrialState
        self._queue.clear()
        with self._talking():
            trials = self._study.get_trials(deepcopy=False)
        orphans = []
        for trial in trials[self.note(_SINCE) or 0 :]:
            if trial.state == states.RUNNING:
                orphans.append(trial)
            elif trial.state == states.COMPLETE or (trial.state == states.FAIL and _recorded(trial) is not None):
                self.outcomes[_job(trial.params)] = _recorded(trial) or Outcome(error="no record")
            elif trial.state == states.WAITING:
                self._queue.add(_job(trial.system_attrs["fixed_params"]))
        for job in self.outcomes:  # its coordinator died before it could
            forget(self.checkpoint(job))
        for trial in orphans:
            self._adopted(trial)

    def _adopted(self, trial: Any) -> None:
        """Finish a trial whose coordinator died, with what it had recorded or its training left."""
        job = _job(trial.params) if len(trial.params) == len(_PARAMETERS) else None
        outcome = None if job is None else _recorded(trial) or ended(self.checkpoint(job))
        if job is None or outcome is None or job in self.outcomes:
            self._lost(trial)
        else:
            self._record(job, trial, outcome)

    def checkpoint(self, job: Job) -> str:
        """The file that a job's training may write to go on after a stop."""
        return checkpoint_of(self.folder / CHECKPOINTS, job)

    def enqueue(self, jobs: list[Job], facts: Callable[[Job], Mapping[str, Any]] = lambda job: {}) -> None:
        """Put the jobs that have neither an outcome nor a place in the queue at its end, in this order. facts: plain
        values to show beside one (the plan's name, its cost)."""
        for job in jobs:
            if job not in self.outcomes and job not in self._queue and job not in self._running:
                with self._talking():
                    self._study.enqueue_trial(dict(zip(_PARAMETERS, _values(job), strict=True)), dict(facts(job)))
                self._queue.add(job)

    def waiting(self) -> frozenset[Job]:
        """The jobs in the queue; no one else puts any there or takes any away."""
        return frozenset(self._queue)

    def asked(self) -> Job:
        """The next job of the queue, from now on running."""
        with self._talking():
            trial = self._study.ask()
            job = Job(*(trial.suggest_int(name, 0, _TOP) for name in _PARAMETERS))
        self._running[job] = trial
        self._queue.discard(job)
        return job

    def told(self, job: Job, outcome: Outcome) -> None:
        """Keep what a running job gave."""
        self._record(job, self._running[job], outcome)
        del self._running[job]

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """The database is asked within, in silence. Raises: StudyError, one line, where it has gone away."""
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with _quiet():
                yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            first = (str(getattr(error, "orig", None) or error.__cause__ or error).strip() or "no message").splitlines()
            raise StudyError(
                f"{self.folder}: the study's database went away ({first[0]}): nothing that it holds is lost; see that "
                "it runs, and give the same command again"
            ) from error

    def dropped(self, job: Job) -> None:
        """A running job that ended without an outcome (its worker died): lost, to be enqueued again."""
        self._lost(self._running.pop(job))

    def _lost(self, trial: Any) -> None:
        import optuna

        with self._talking():
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def _record(self, job: Job, trial: Any, outcome: Outcome) -> None:
        """Finish a trial, and delete what its training left."""
        import optuna

        number, keep = trial._trial_id, self._storage
        with self._talking():
            keep.set_trial_user_attr(number, _RECORD, json.dumps(outcome.to_json()))  # nothing is trained again now
            for step, epoch in enumerate(outcome.detail.get("curve", ()), 1):
                keep.set_trial_intermediate_value(number, step, epoch["score"])
            if outcome.failed:
                keep.set_trial_user_attr(number, "error", outcome.error)
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial.number, outcome.value)
        self.outcomes[job] = outcome
        if outcome.trace:
            (self.folder / ERRORS).mkdir(exist_ok=True)
            name = str(trial.user_attrs.get("name", f"plan {job.plan}")).replace(" ", "-").replace("/", "-")
            file = self.folder / ERRORS / f"{name}-{job.budget}-{job.seed}.txt"
            write_text(file, outcome.trace, error=StudyError)
        forget(self.checkpoint(job))


_TOP = 10**9  # Optuna wants a range; the values come from the queue alone
_PARAMETERS, _RECORD = ("plan", "budget", "seed"), "record"


def _values(job: Job) -> tuple[int, int, int]:
    return job.plan, job.budget, job.seed


def _job(params: Mapping[str, Any]) -> Job:
    return Job(*(int(params[name]) for name in _PARAMETERS))


def _recorded(trial: Any) -> Outcome | None:
    """What a trial was told, None where it was told nothing."""
    attrs = trial.user_attrs
    if _RECORD in attrs:
        return Outcome.from_json({"value": trial.value, **json.loads(attrs[_RECORD])})  # 0.2.0 kept it there alone
    return Outcome(error=attrs["error"], seconds=attrs.get("seconds", 0.0)) if "error" in attrs else None


def _locked(folder: Path) -> Any:
    """The run folder, made where it is missing, under a lock that ends with this process."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StudyError(
            f"{folder}: another search works in this run folder: wait for it, or choose another --run"
        ) from error
    except OSError as error:
        raise StudyError(
            f"{folder}: the run folder cannot be written ({error.strerror}): choose another --run"
        ) from error
    return lock


def _let_go(storage: Any, held: Any, lock: Any) -> None:
    """End the connections to the database, with the lock that one of them holds, and the folder's."""
    try:
        if held is not None:
            held.close()
        if storage is not None:
            with _quiet():
                storage.remove_session()
                storage.engine.dispose()
    except Exception as error:  # noqa: BLE001  a database that went away cannot be left politely either
        del error
    finally:
        lock.release()


def _for_sqlalchemy(url: str) -> str:
    """The URL with psycopg 3 as PostgreSQL's driver; braces of a path are doubled, for Optuna formats it."""
    scheme, colon, rest = url.partition("://")
    if scheme in ("postgresql", "postgres"):
        scheme = "postgresql+psycopg"
    return f"{scheme}{colon}{rest}".replace("{", "{{").replace("}", "}}")


def _bare(url: str) -> str:
    """The URL without its password, for a message."""
    return re.sub(r"(://[^:/@]+):[^@]*@", r"\1@", url)


def _only_one(engine: Any, name: str) -> Any:
    """A connection whose advisory lock keeps other coordinators away from the study, on any machine, as long as this
    process lives; None where the database has no such locks."""
    if engine.dialect.name != "postgresql":
        return None
    from sqlalchemy import text

    held = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if not held.execute(text("select pg_try_advisory_lock(hashtext(:name))"), {"name": f"stridewise {name}"}).scalar():
        held.close()
        raise StudyError(f"{name}: another search works on this study: wait for it, or choose another --run")
    return held


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line for every trial and its notes on experimental parts."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
