"""The coordinator of a study: rungs, then seeds. The store keeps every outcome; the same call goes on where it was."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stridewise.study.candidates import Candidate
from stridewise.study.jobs import Job, Outcome, Rival, Schedule, Target, work
from stridewise.study.procedure import finals, selection
from stridewise.study.runners import Run, checkpoint_of
from stridewise.study.store import Store

_DEATHS = 3  # of a job's worker, before the job is taken to be the cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a study is. done, total: trainings; share: of all the work; seconds_left: None until it can be told."""

    done: int
    total: int
    share: float
    seconds_left: float | None
    doing: str


def _none(ranked: Sequence[Candidate]) -> Sequence[tuple[Rival, Candidate]]:
    return ()


@dataclass(slots=True)
class Coordinator:
    """One study being run. Plan 0 is the default and always among the finalists; `rivals`, given the plans best first,
    join it there, at the end of `candidates` and `targets`. Its state is how far it is."""

    store: Store
    candidates: list[Candidate]
    targets: list[Target]
    schedule: Schedule
    tell: Callable[[Standing], None]
    rivals: Callable[[Sequence[Candidate]], Sequence[tuple[Rival, Candidate]]] = _none
    checkpoints: Path | None = None
    _partly: dict[Job, float] = field(default_factory=dict)
    _spent: float = 0.0
    _begin: float = field(default_factory=time.monotonic)
    _ahead: list[int] = field(default_factory=list)
    _left: list[Job] = field(default_factory=list)
    _finished: int = 0

    def carry_out(self, run: Run) -> None:
        """The selection and the finals. Interrupts pass through; everything told by then is kept."""
        plans = tuple(self.candidates)
        steps = selection(self.schedule, [c.place for c in plans], [c.macs for c in plans])
        later = self.schedule.trainings(len(plans))
        try:
            jobs = next(steps)
            while True:
                self._ahead = later = later[len(jobs) :]
                jobs = steps.send(self._scores(run, jobs))
        except StopIteration as end:
            ranked: list[int] = end.value
        self._ahead = []
        # A plan beyond the limits tells the surrogate something, but cannot be the answer (but for the default).
        ranked.sort(key=lambda plan: plan != 0 and not plans[plan].within)
        for rival, chosen in self.rivals([plans[i] for i in ranked]):
            self.candidates.append(chosen)
            self.targets.append(rival)
        self._do(run, finals(self.schedule, ranked, range(len(plans), len(self.candidates))))

    def _scores(self, run: Run, jobs: Sequence[Job]) -> dict[Job, float | None]:
        return {job: None if o.failed else o.value for job, o in self._do(run, jobs).items()}

    def finalists(self) -> list[int]:
        """The plans that have all their full trainings."""
        return [
            plan
            for plan in range(len(self.candidates))
            if all(
                (o := self.store.outcomes.get(Job(plan, self.schedule.budget, seed))) is not None and not o.failed
                for seed in range(1, self.schedule.seeds + 1)
            )
        ]

    def _do(self, run: Run, jobs: Sequence[Job]) -> dict[Job, Outcome]:
        self.store.enqueue(list(jobs))
        ready = [job for job in jobs if job in self.store.outcomes]
        self._finished += len(ready)
        self._left = [job for job in jobs if job not in self.store.outcomes]
        deaths: Counter[Job] = Counter()
        while self._waiting(jobs):
            for job, outcome in run(self._asked(jobs), lambda job, done, total: self._watch(job, done / total)):
                if outcome is None:
                    deaths[job] += 1
                    if deaths[job] < _DEATHS:
                        self.store.dropped(job)
                        self.store.enqueue([job])
                        continue
                    outcome = Outcome(error=f"its worker process died {_DEATHS} times: out of memory?")
                self._keep(job, outcome)
                self._left.remove(job)
                self._finished += 1
                self._watch(job, 0.0)
        return {job: self.store.outcomes[job] for job in jobs}

    def _waiting(self, jobs: Sequence[Job]) -> bool:
        """Whether any of the jobs waits; those of a later rung may wait since before a stop."""
        return not self.store.waiting().isdisjoint(jobs)

    def _asked(self, jobs: Sequence[Job]) -> Iterator[Job]:
        while self._waiting(jobs):
            yield self.store.asked()

    def _keep(self, job: Job, outcome: Outcome) -> None:
        chosen = self.candidates[job.plan]
        self.store.told(job, outcome, {"name": chosen.name, "steps": chosen.steps, "macs": chosen.macs})
        self._partly.pop(job, None)
        self._spent += self._work(job)
        checkpoint = checkpoint_of(self.checkpoints, job)
        if checkpoint:
            Path(checkpoint).unlink(missing_ok=True)

    def _work(self, job: Job) -> float:
        return work(job.budget, self.candidates[job.plan].macs)

    def _watch(self, job: Job, share: float) -> None:
        """Work out how far the study is: work is epochs times multiply-adds; what later rungs keep is not known yet."""
        if share:
            self._partly[job] = share
        spent = self._spent + sum(self._work(j) * s for j, s in self._partly.items())
        mean = round(sum(c.macs for c in self.candidates) / len(self.candidates))
        ahead = sum(self._work(j) * (1 - self._partly.get(j, 0.0)) for j in self._left)
        ahead += sum(work(budget, mean) for budget in self._ahead)
        elapsed = time.monotonic() - self._begin
        names = dict.fromkeys(self.candidates[j.plan].name for j in self._partly)
        self.tell(
            Standing(
                done=self._finished,
                total=self._finished + len(self._left) + len(self._ahead),
                share=spent / (spent + ahead) if spent + ahead else 1.0,
                seconds_left=elapsed * ahead / spent if spent else None,
                doing=", ".join(names),
            )
        )
