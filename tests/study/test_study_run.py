"""A study goes through its rungs, keeps what it did, goes on after any end, and refuses what is not its own."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import mean

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_nets import drawn, graph, impossible, plans, script, started

import stridewise as sw
from stridewise.errors import StudyError, UsageError
from stridewise.plans import Plan
from stridewise.study.jobs import Rung, Schedule
from stridewise.study.store import Store
from stridewise.study.value import Budget

TRAININGS = 25  # of six plans at a budget of 4: 5 + 3 + 2, then 3 finalists with 5 seeds on average: none is settled
FILES = ("plan.toml", "result.json", "front.png", "report.html", "study.db")


def counted():
    """A score and the list of its calls."""
    calls = []

    def score(plan, budget, seed):
        calls.append((plan.to_toml(), budget, seed))
        return drawn(plan, budget, seed)

    return score, calls


def test_rungs_lengthen_within_the_cost():
    found = Schedule.within(36, budget=27, cost=5)
    assert found.rungs == tuple(Rung(budget=b, plans=p) for b, p in ((3, 12), (9, 5), (27, 2)))
    assert sum(found.trainings(36)) == 27 * (5 + 3 * 3)
    assert Schedule.within(3, budget=4).rungs == ()
    assert Schedule.within(5, budget=27, cost=5).rungs == (Rung(budget=27, plans=5),)
    assert Schedule.within(2, budget=4).trainings(2) == [4] * 6
    with pytest.raises(UsageError, match="from 1"):
        Budget(epochs=0)
    with pytest.raises(UsageError, match="from 1"):
        Budget(cost=float("nan"))


@given(st.integers(1, 40), st.integers(1, 100), st.floats(1, 50))
def test_a_selection_never_costs_more_than_it_may(plans, budget, cost):
    rungs = Schedule.within(plans, budget=budget, cost=cost).rungs
    assert sum(r.budget * r.plans for r in rungs) <= cost * budget * 1.001
    assert all(a.budget < b.budget for a, b in pairwise(rungs))
    assert all(1 <= r.plans <= plans for r in rungs)


def test_a_study_trains_what_its_schedule_says_and_its_finalists_anew(tmp_path):
    score, calls = counted()
    seen = []
    result = sw.search(graph(), score=score, plans=plans(), budget=4, run=tmp_path / "run", tell=seen.append)
    counts = Counter((budget, seed) for _, budget, seed in calls)
    assert {key: counts[key] for key in ((1, 0), (2, 0), (4, 0), (4, 1), (4, 2))} == {
        (1, 0): 5,
        (2, 0): 3,
        (4, 0): 2,
        (4, 1): 3,
        (4, 2): 3,
    }
    assert all(counts[4, seed] <= 2 for seed in range(3, 10))  # the pair on which the answer hangs
    assert len(calls) == len(set(calls)) == TRAININGS
    final = [row for row in result.rows if row.final]
    assert len(final) == 3
    assert final[0] is result.default
    assert sorted(len([j for j, _ in row.trainings if j.seed]) for row in final)[0] == 2
    # The seed that selected a plan does not speak for it.
    assert all(row.accuracy.mean == pytest.approx(mean(o.value for j, o in row.trainings if j.seed)) for row in final)
    assert (seen[-1].done, seen[-1].total, seen[-1].share) == (TRAININGS, TRAININGS, 1.0)
    assert {s.total for s in seen} == {TRAININGS}


def test_the_default_reaches_the_finals_even_when_it_is_worst():
    result = sw.search(graph(), score=lambda plan, budget, seed: 1.0 if plan else 0.0, plans=plans(), budget=2)
    assert result.default.final
    assert result.default.candidate.plan == Plan()


def test_a_finished_study_is_not_trained_again(tmp_path):
    score, calls = counted()
    first = sw.search(graph(), score=score, plans=plans(), budget=4, run=tmp_path)
    done = len(calls)
    again = sw.search(graph(), score=score, plans=plans(), budget=4, run=tmp_path)
    assert len(calls) == done
    assert again.to_json()["plans"] == first.to_json()["plans"]


@pytest.mark.parametrize(
    ("workers", "kills"), [pytest.param(0, 2, marks=pytest.mark.zoo), (2, 1)]
)  # 0: test_study_kills
def test_a_killed_study_goes_on_and_trains_nothing_twice(tmp_path, kills, workers):
    command = script(tmp_path, pause=0.1, workers=workers)
    log = tmp_path / "log"
    for kill in range(kills):
        process = started(command)
        wanted = 4 * (kill + 1)
        limit = time.monotonic() + 60
        while time.monotonic() < limit and process.poll() is None:
            if log.exists() and log.read_text().count("end") >= wanted:
                break
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    out, error = started(command).communicate(timeout=60)
    assert "finished" in out, error
    lines = [line.split() for line in log.read_text().splitlines()]
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["state"] == "finished"
    trained = Counter(tuple(rest) for what, *rest in lines if what == "end")
    assert len(trained) == TRAININGS
    # A kill costs at most the trainings that were running, and none that was finished.
    assert sum(trained.values()) <= TRAININGS + 1
    study = optuna.load_study(study_name="stridewise", storage=f"sqlite:///{tmp_path / 'run' / 'study.db'}")
    complete = [t for t in study.trials if t.state.name == "COMPLETE"]
    assert len(complete) == len({tuple(t.params.values()) for t in complete}) == TRAININGS
    study._storage.remove_session()


def test_a_second_coordinator_is_refused(tmp_path):
    store = Store.open(tmp_path)
    try:
        with pytest.raises(StudyError, match=r"another search works in this run folder: wait for it, or choose"):
            sw.search(graph(), score=drawn, plans=plans(), run=tmp_path)
    finally:
        store.close()
    sw.search(graph(), score=drawn, plans=plans(), budget=1, run=tmp_path)


def test_a_failing_plan_is_recorded_and_the_study_goes_on(tmp_path):
    def score(plan, budget, seed):
        if plan == plans()[1]:
            raise ValueError("no memory left\nfor this one")
        return drawn(plan, budget, seed)

    result = sw.search(graph(), score=score, plans=plans(), budget=4, cost=10, run=tmp_path)
    failed = [row for row in result.rows if row.error]
    assert [row.candidate.name for row in failed] == ["plan 2"]
    assert failed[0].error.startswith(f"ValueError: no memory left ({__file__}, line ")
    assert "plan 2 failed: ValueError: no memory left" in str(result)
    (kept,) = (tmp_path / "errors").iterdir()
    assert "for this one" in kept.read_text()
    assert "Traceback" in kept.read_text()
    assert sum(row.final for row in result.rows) == 3
    kept = json.loads((tmp_path / "result.json").read_text())
    assert kept["plans"][2]["error"] == failed[0].error


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "many"])
def test_a_score_that_is_no_number_fails_its_plan_alone(value):
    result = sw.search(
        graph(), score=lambda plan, b, s: value if plan == plans()[0] else drawn(plan, b, s), plans=plans(), budget=1
    )
    assert [bool(row.error) for row in result.rows] == [False, True, False, False, False, False]


def test_when_every_plan_fails_the_first_reason_is_said(tmp_path):
    def score(plan, budget, seed):
        raise RuntimeError("no pictures")

    with pytest.raises(StudyError, match="every plan failed, the first with: RuntimeError: no pictures"):
        sw.search(graph(), score=score, plans=plans(), budget=1, run=tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["recommended"]["kind"] == "none"


@pytest.mark.parametrize(("flat", "said"), [((1,), "length 1:"), ((1, 2), "length 1 and 2:"), ((), "")])
def test_short_trainings_that_tell_nothing_are_named(tmp_path, flat, said):
    def score(plan, budget, seed):
        return 0.1 if budget in flat else drawn(plan, budget, seed)

    reasons = sw.search(graph(), score=score, plans=plans(), budget=4, run=tmp_path).verdict.reasons
    told = [reason for reason in reasons if "told nothing" in reason]
    assert len(told) == bool(flat)
    assert all(said in reason for reason in told)


def test_a_plan_of_another_network_is_refused_before_anything_runs():
    score, calls = counted()
    with pytest.raises(sw.PlanError, match="no such site"):
        sw.search(graph(), score=score, plans=[impossible()])
    assert not calls


@pytest.mark.parametrize("after", [0, 4, 8])
def test_an_interrupt_leaves_the_files_and_the_study_goes_on(tmp_path, after):
    calls, stopping = [], [after]

    def score(plan, budget, seed):
        if stopping == [len(calls)]:
            stopping.clear()
            raise KeyboardInterrupt
        calls.append((plan.to_toml(), budget, seed))
        return drawn(plan, budget, seed)

    with pytest.raises(KeyboardInterrupt):
        sw.search(graph(), score=score, plans=plans(), budget=4, run=tmp_path)
    assert all((tmp_path / name).stat().st_size for name in FILES)
    assert json.loads((tmp_path / "result.json").read_text())["state"] == "interrupted"
    assert Plan.read(tmp_path / "plan.toml") == Plan()
    result = sw.search(graph(), score=score, plans=plans(), budget=4, run=tmp_path)
    assert result.state == "finished"
    assert len(calls) == len(set(calls)) == TRAININGS


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_system_that_ends_the_command_leaves_what_ctrl_c_leaves(tmp_path, workers):
    (tmp_path / "mine.py").write_text(
        "import time, pathlib\ndef score(plan, budget, seed):\n    pathlib.Path('begun').touch()\n    time.sleep(60)\n"
    )
    command = ("search", "builtin:resnet20-narrow", "--score", "mine.py:score", "--run", "run", "--workers", workers)
    process = subprocess.Popen(
        [sys.executable, "-m", "stridewise", *map(str, command)], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("interrupted: what is known by now is in run; the same command")
    assert all((tmp_path / "run" / name).stat().st_size for name in FILES)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["state"] == "interrupted"


def test_the_folder_of_another_study_is_refused_naming_what_differs(tmp_path):
    sw.search(graph(), score=drawn, plans=plans(), budget=1, run=tmp_path)
    with pytest.raises(StudyError, match=r"holds another study \(budget.epochs 1, not 2\): choose another --run"):
        sw.search(graph(), score=drawn, plans=plans(), budget=2, run=tmp_path)
    with pytest.raises(StudyError, match=r"holds another study \(moves.plans"):
        sw.search(graph(), score=drawn, plans=plans()[:3], budget=1, run=tmp_path)


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="run folder cannot be written") as error:
        sw.search(graph(), score=drawn, plans=plans(), run=tmp_path / "file" / "run")
    assert "\n" not in str(error.value)
    (tmp_path / "study.db").write_text("not a database, but long enough to look at " * 40)
    with pytest.raises(StudyError, match="cannot be opened as a study"):
        sw.search(graph(), score=drawn, plans=plans(), run=tmp_path)


def test_a_worker_that_dies_costs_its_plan_and_not_the_study(tmp_path):
    result = sw.search(graph(), score=deadly, plans=plans()[:2], budget=1, seeds=1, run=tmp_path, on=sw.Workers(1))
    assert [row.error for row in result.rows] == ["", "its worker process died 3 times: out of memory?", ""]


def deadly(plan, budget, seed):
    """The first plan kills its process."""
    if plan == plans()[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return drawn(plan, budget, seed)


def test_records_carry_names_and_costs_for_other_tools(tmp_path):
    sw.search(graph(), score=drawn, plans=plans()[:1], budget=1, seeds=1, run=tmp_path)
    with sqlite3.connect(tmp_path / "study.db") as database:
        rows = dict(database.execute("select key, value_json from trial_user_attributes where trial_id = 1"))
    assert json.loads(rows["name"]) == "default"
    assert json.loads(rows["macs"]) > 0
    assert Path(tmp_path / "checkpoints").is_dir()
