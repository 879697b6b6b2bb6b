"""The coordinator of a study: rungs, then seeds. The store keeps every outcome; the same call goes on where it was."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stridewise.study.candidates import Candidate
from stridewise.study.jobs import Job, Outcome, Rival, Schedule, Target, ended, work
from stridewise.study.procedure import finalists, selection
from stridewise.study.racing import FIRST, Contender, next_pair
from stridewise.study.runners import Run
from stridewise.study.store import Store

RIVALS = 10**6
"""The number of the first rival: a study that is lengthened gets more plans before it."""
_KNOWN = 0.05  # of the work is done before its pace is known
_RISE, _SPARE = 1.2, 0.25  # how far the time left may ever rise; what is added to it at first, so that it rarely does
_FIXED = 0.5  # of a training of the network as it is, beside what grows with multiply-adds (measured: 0.4 to 0.7)
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
    join it there, numbered from `RIVALS` on. costs: by which plans are compared; line: the difference above which a
    plan is good enough for the aim. Its state is how far it is."""

    store: Store
    candidates: dict[int, Candidate]
    targets: dict[int, Target]
    schedule: Schedule
    tell: Callable[[Standing], None]
    aim: str = "curve"
    line: float = 0.0
    costs: Mapping[int, float] = field(default_factory=dict)
    rivals: Callable[[Sequence[Candidate]], Sequence[tuple[Rival, Candidate]]] = _none
    _partly: dict[Job, float] = field(default_factory=dict)
    _spent: float = 0.0
    _begin: float = field(default_factory=time.monotonic)
    _ahead: list[int] = field(default_factory=list)
    _left: list[Job] = field(default_factory=list)
    _finished: int = 0
    _least: float = math.inf  # time left that was told
    _among: list[int] = field(default_factory=list)  # the plans of later trainings, once they are known

    def carry_out(self, run: Run) -> None:
        """The selection and the finals. Interrupts pass through; everything told by then is kept."""
        plans = dict(self.candidates)
        steps = selection(self.schedule, [c.place for c in plans.values()], [self.cost(plan) for plan in plans])
        later = self.schedule.trainings(len(plans))
        try:
            jobs = next(steps)
            while True:
                self._ahead = later = later[len(jobs) :]
                jobs = steps.send(self._scores(run, jobs))
        except StopIteration as end:
            ranked: list[int] = end.value
        self._ahead = []
        chosen = finalists(
            ranked,
            {plan: self.cost(plan) for plan in plans},
            frozenset(plan for plan, c in plans.items() if c.within),
            aim=self.aim,
            count=self.schedule.finalists,
            today=self.cost(0),
        )
        self.store.keep_note("finalists", chosen)
        # A plan beyond the limits tells the surrogate something, but cannot be the answer (but for the default).
        ranked.sort(key=lambda plan: plan != 0 and not plans[plan].within)
        self._race(run, [*chosen, *self._joined(self.rivals([plans[plan] for plan in ranked]))])

    def cost(self, plan: int) -> float:
        """What plans are compared by: that which was asked for, else multiply-adds."""
        return self.costs.get(plan, float(self.candidates[plan].macs))

    def _joined(self, rivals: Sequence[tuple[Rival, Candidate]]) -> list[int]:
        """The rivals among the candidates, each by the number that the study knows its name by."""
        names: list[str] = self.store.note("rivals") or []
        for rival, chosen in rivals:
            if chosen.name not in names:
                names.append(chosen.name)
                self.store.keep_note("rivals", names)
            number = RIVALS + names.index(chosen.name)
            self.candidates[number], self.targets[number] = chosen, rival
        return [RIVALS + names.index(chosen.name) for _, chosen in rivals]

    def _race(self, run: Run, chosen: Sequence[int]) -> None:
        """Two fresh seeds for each, then as many as decide. None has seed 0, with which plans were selected: the
        luckiest would win."""
        seeds = range(1, min(FIRST, self.schedule.seeds) + 1)
        most = self.schedule.seeds * len(chosen)
        self._among = list(chosen)
        first = [Job(plan, self.schedule.budget, seed) for seed in seeds for plan in chosen]
        self._ahead = [self.schedule.budget] * (most - len(first))
        self._do(run, first)
        alive = [plan for plan in chosen if not any(self.store.outcomes[j].failed for j in first if j.plan == plan)]
        while self.schedule.seeds > FIRST and 0 in alive:
            pair = next_pair([self.contender(plan) for plan in alive], most, line=self.line, aim=self.aim)
            jobs = [Job(alive[i], self.schedule.budget, len(self.full(alive[i])) + 1) for i in pair]
            if not jobs:
                break
            self._ahead = self._ahead[len(jobs) :]
            done = self._do(run, jobs)
            alive = [plan for plan in alive if not any(o.failed for job, o in done.items() if job.plan == plan)]
        self._ahead = []
        self._watch(None, 0.0)

    def _scores(self, run: Run, jobs: Sequence[Job]) -> dict[Job, float | None]:
        numbers = list(self.candidates)
        own = {Job(numbers[job.plan], job.budget, job.seed): job for job in jobs}
        done = self._do(run, list(own)).items()
        return {own[job]: None if o.failed else o.value for job, o in done}

    def full(self, plan: int) -> tuple[Outcome, ...]:
        """The outcomes of a plan's full trainings with fresh seeds, those that did not fail, in the order of seeds."""
        budget, outcomes = self.schedule.budget, self.store.outcomes
        found = (outcomes[job] for job in sorted(outcomes) if (job.plan, job.budget) == (plan, budget) and job.seed)
        return tuple(o for o in found if not o.failed)

    def contender(self, plan: int) -> Contender:
        """A finalist as the answer compares it."""
        chosen = self.candidates[plan]
        return Contender(
            name=chosen.name,
            cost=self.cost(plan),
            outcomes=self.full(plan),
            within=chosen.within,
            rival=chosen.rival,
        )

    def finalists(self) -> list[int]:
        """The plans that have fresh full trainings, two or more where the study gives as many, and none that failed."""
        least = min(FIRST, self.schedule.seeds)
        failed = {
            job.plan
            for job, o in self.store.outcomes.items()
            if o.failed and job.budget == self.schedule.budget and job.seed
        }
        return [plan for plan in self.candidates if len(self.full(plan)) >= least and plan not in failed]

    def _do(self, run: Run, jobs: Sequence[Job]) -> dict[Job, Outcome]:
        self.store.enqueue(list(jobs), self._facts)
        ready = [job for job in jobs if job in self.store.outcomes]
        self._finished += len(ready)
        self._left = [job for job in jobs if job not in self.store.outcomes]
        deaths: Counter[Job] = Counter()
        while self._waiting(jobs):
            for job, outcome in run(self._asked(jobs), lambda job, done, total: self._watch(job, done / total)):
                if outcome is None:  # its worker died, maybe after the training's end
                    deaths[job] += 1
                    outcome = ended(self.store.checkpoint(job))
                    if outcome is None and deaths[job] < _DEATHS:
                        self.store.dropped(job)
                        self.store.enqueue([job], self._facts)
                        continue
                    outcome = outcome or Outcome(error=f"its worker process died {_DEATHS} times: out of memory?")
                self.store.told(job, outcome)
                self._partly.pop(job, None)
                self._spent += self._work(job)
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

    def _facts(self, job: Job) -> dict[str, Any]:
        chosen = self.candidates[job.plan]
        return {"name": chosen.name, "steps": chosen.steps, "macs": chosen.macs}

    def _work(self, job: Job) -> float:
        return self._takes(job.budget, self.candidates[job.plan].macs)

    def _takes(self, budget: int, macs: float) -> float:
        """About how long a training takes, in epochs times multiply-adds."""
        return work(budget, macs + _FIXED * self.candidates[0].macs)

    def _watch(self, job: Job | None, share: float) -> None:
        """Work out how far the study is; what later rungs keep is not known yet, and races may end before their last
        training. The time left is that of the work at the pace so far, and never rises by more than a fifth."""
        if share and job is not None:
            self._partly[job] = share
        spent = self._spent + sum(self._work(j) * s for j, s in self._partly.items())
        among = self._among or list(self.candidates)
        mean = sum(self.candidates[plan].macs for plan in among) / len(among)
        ahead = sum(self._work(j) * (1 - self._partly.get(j, 0.0)) for j in self._left)
        ahead += sum(self._takes(budget, mean) for budget in self._ahead)
        share = spent / (spent + ahead) if spent + ahead else 1.0
        left = None
        if spent and share >= _KNOWN:
            elapsed = time.monotonic() - self._begin
            left = min(elapsed * ahead / spent * (1 + _SPARE * (1 - share)), _RISE * self._least)
            self._least = min(self._least, left)
        names = dict.fromkeys(self.candidates[j.plan].name for j in self._partly)
        self.tell(
            Standing(
                done=self._finished,
                total=self._finished + len(self._left) + len(self._ahead),
                share=share,
                seconds_left=left,
                doing=", ".join(names),
            )
        )
