"""However a training or its coordinator ends: what was finished is kept, and one line says why."""

import json
import multiprocessing
import os
import posix
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import optuna
import pytest
from study_nets import drawn, graph, plans

import stridewise as sw
from stridewise.errors import LoadError, TraceError, staying
from stridewise.plans import Plan
from stridewise.study.jobs import Job, Outcome, carry_out, ended
from stridewise.study.runners import Pool
from stridewise.study.store import Store


def ending(module, name, plan, budget, seed):
    """A score whose second plan ends its process."""
    if plan == plans()[1]:
        getattr(module, name)(3)
    return drawn(plan, budget, seed)


def straight(plan, budget, seed):
    """The same, past everything that could hold it."""
    return ending(posix, "_exit", plan, budget, seed)


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [(sys, "exit", "it called sys.exit(3)"), (os, "_exit", "it called os._exit(3), which would end the whole program")],
)
def test_a_score_that_ends_the_program_is_a_failed_plan(module, name, said):
    result = sw.search(graph(), score=partial(ending, module, name), plans=plans(), budget=1, seeds=1)
    (failed,) = [row for row in result.rows if row.error]
    assert failed.candidate.name == "plan 2"
    assert failed.error.startswith(f"RuntimeError: {said} ({__file__}, line ")


def test_a_score_that_ends_a_worker_is_a_failed_plan(tmp_path):
    with Pool(straight, {0: plans()[1]}, count=1, threads=1, checkpoints=tmp_path) as workers:
        ((_, outcome),) = workers.run([Job(0, 1, 1)], lambda *_: None)
    assert outcome == Outcome(error="its code ended its process (exit code 3)")


def test_leaving_the_program_stays_possible_elsewhere():
    ends, before = [], os._exit
    try:
        os._exit = ends.append
        with staying():
            other = threading.Thread(target=lambda: os._exit(1))
            other.start()
            other.join()
            with pytest.raises(RuntimeError, match=r"os\._exit\(2\)"):
                os._exit(2)
        os._exit(4)
    finally:
        os._exit = before
    assert ends == [1, 4]


@pytest.mark.parametrize("call", ["sys.exit(0)", "os._exit(0)"])
def test_a_model_that_ends_the_program_is_one_line(tmp_path, call):
    file = tmp_path / "net.py"
    file.write_text(
        f"import os, sys\nfrom torch import nn\ndef broken():\n    {call}\n"
        f"class Net(nn.Module):\n    def forward(self, x):\n        {call}\n"
    )
    with pytest.raises(LoadError, match=rf"it called {re.escape(call)}.* \(net.py, line 4\)"):
        sw.load(f"{file}:broken")
    with pytest.raises(TraceError, match="it called"):
        sw.trace(sw.load(f"{file}:Net"), (3, 8, 8))


def died(folder, jobs):
    """A coordinator that took up jobs and died before it recorded anything."""
    store = Store.open(folder)
    store.enqueue(jobs, lambda job: {"name": "plan 1"})
    asked = [store.asked() for _ in jobs]
    store.close()
    return asked


def test_what_a_training_left_is_recorded_and_not_trained_again(tmp_path):
    done, lost, bad = jobs = [Job(1, 4, 1), Job(2, 4, 1), Job(3, 4, 1)]
    assert died(tmp_path, jobs) == jobs
    (tmp_path / "checkpoints").mkdir()
    store = Store.open(tmp_path)
    paths = [store.checkpoint(job) for job in jobs]
    store.close()
    study = optuna.load_study(study_name="stridewise", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert {t.state.name for t in study.trials} == {"FAIL"}  # nothing was left: all are lost
    study._storage.remove_session()

    assert died(tmp_path, jobs) == jobs
    scores = {0: 0.7, 2: None}
    outcomes = {i: carry_out(lambda p, b, s, v=v: v, Plan(), jobs[i], checkpoint=paths[i]) for i, v in scores.items()}
    store = Store.open(tmp_path)
    assert store.outcomes.keys() == {done, bad}
    assert store.outcomes[done].value == outcomes[0].value == 0.7
    assert store.outcomes[bad].error.startswith("TypeError")
    assert (tmp_path / "errors" / "plan-1-4-1.txt").read_text() == outcomes[2].trace
    assert not list((tmp_path / "checkpoints").iterdir())
    store.close()
    again = Store.open(tmp_path)
    assert again.outcomes == {done: outcomes[0], bad: outcomes[2]}
    again.enqueue(jobs)
    assert again.waiting() == {lost}
    again.close()


def test_a_record_without_its_state_is_finished(tmp_path, monkeypatch):
    """The coordinator died between the two writes that record an outcome."""
    store = Store.open(tmp_path)
    job = Job(1, 4, 1)
    store.enqueue([job])
    store.asked()
    with monkeypatch.context() as broken:
        broken.setattr(store._study, "tell", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.told(job, Outcome(value=0.5))
    store.close()
    again = Store.open(tmp_path)
    assert again.outcomes == {job: Outcome(value=0.5)}
    again.close()


def test_an_end_half_written_is_none(tmp_path):
    (tmp_path / "plan1-4-1.ended").write_text('{"value": 0.5, "lo')
    assert ended(str(tmp_path / "plan1-4-1.ckpt")) is None


def judged(plan, budget, seed):
    """A score that gives more than a number, in a time of its own."""
    time.sleep(0.002 * (seed + len(plan.sites)) if plan else 0)
    return drawn(plan, budget, seed)


def stopped(after, plan, budget, seed):
    """The same, ended by a kill after so many."""
    after[0] -= 1
    if after[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return judged(plan, budget, seed)


def written(folder):
    """The result without its times."""
    found = json.loads((folder / "result.json").read_text())
    assert found.pop("times")["seconds"] > 0
    return json.dumps(found)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_the_same_study_writes_the_same_result_on_any_workers_and_after_a_kill(tmp_path):
    same = {"plans": plans(), "budget": 2, "seeds": 3}
    for workers in (0, 1, 2):
        sw.search(graph(), score=judged, run=tmp_path / str(workers), on=sw.Workers(workers), **same)
    ends = partial(sw.search, graph(), score=partial(stopped, [6]), run=tmp_path / "killed", **same)
    process = multiprocessing.get_context("fork").Process(target=ends)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(sw.StudyError, match="score"):  # another score is another study
        sw.search(graph(), score=judged, run=tmp_path / "killed", **same)
    sw.search(graph(), score=partial(stopped, [99]), run=tmp_path / "killed", **same)
    first = written(tmp_path / "0")
    assert written(tmp_path / "1") == first
    assert written(tmp_path / "2") == first
    assert written(tmp_path / "killed").replace("<partial>", "<judged>") == first


SLEEPS = """
import time
from pathlib import Path
from stridewise.plans import Plan
from stridewise.study.jobs import Job
from stridewise.study.runners import Pool

def score(plan, budget, seed):
    Path({folder!r}, f"begun {{seed}}").touch()
    time.sleep(600)

if __name__ == "__main__":
    with Pool(score, {{0: Plan()}}, count=2, threads=1, checkpoints=Path({folder!r})) as workers:
        list(workers.run([Job(0, 1, 1), Job(0, 1, 2)], lambda *_: None))
"""


def test_workers_end_with_a_killed_coordinator(tmp_path):
    path = tmp_path / "sleeps.py"
    path.write_text(SLEEPS.format(folder=str(tmp_path)))
    process = subprocess.Popen([sys.executable, str(path)], start_new_session=True)
    while len(list(tmp_path.glob("begun *"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    limit = time.monotonic() + 30
    while alive(process.pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not alive(process.pid)


def alive(session):
    """The processes of a session that still run."""
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.splitlines() if "Z" not in line.split()[1]]
