"""Processes of a study die at random moments; every training is recorded once and the answer is the same.

`make zoo` kills fifty.
"""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from functools import partial

import optuna
import pytest
from study_nets import drawn, graph, plans

import stridewise as sw

SETTINGS = {"budget": 4, "seeds": 12}
TRAININGS = 5 + 3 + 2 + 3 * 12  # nothing can be settled: every plan draws from the same scores


def logged(log, names, plan, budget, seed):
    """A quick score that notes each call it begins and ends."""
    with log.open("a") as file:
        print("begin", names[plan.to_toml()], budget, seed, file=file, flush=True)
        time.sleep(0.005)
        found = drawn(plan, budget, seed)
        print("end", names[plan.to_toml()], budget, seed, file=file, flush=True)
    return found


def names():
    return {plan.to_toml(): number for number, plan in enumerate([sw.Plan(), *plans()])}


def records(folder):
    """How often each training is in the database with a value."""
    study = optuna.load_study(study_name="stridewise", storage=f"sqlite:///{folder / 'study.db'}")
    found = Counter(
        tuple(t.params[k] for k in ("plan", "budget", "seed")) for t in study.trials if t.state.name == "COMPLETE"
    )
    study._storage.remove_session()
    return found


def answers(result):
    return [[(job, o.value) for job, o in row.trainings] for row in result.rows]


@pytest.fixture(scope="module")
def undisturbed():
    """What the study gives when nobody is killed."""
    return answers(sw.search(graph(), score=drawn, plans=plans(), **SETTINGS))


@pytest.mark.parametrize("times", [16, pytest.param(44, marks=pytest.mark.zoo)])
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_killed_coordinators_lose_and_repeat_nothing(tmp_path, undisturbed, times):
    network, chance, log = graph(), random.Random(0), tmp_path / "log"
    score = partial(logged, log, names())
    study = partial(sw.search, network, score=score, plans=plans(), run=tmp_path / "run", **SETTINGS)
    kills = 0
    for _ in range(times):
        process = multiprocessing.get_context("fork").Process(target=study)
        process.start()
        process.join(chance.uniform(0.02, 0.4))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    assert kills >= 8, "the study was over before it could be killed"
    result = study()
    found = records(tmp_path / "run")
    assert len(found) == TRAININGS
    assert set(found.values()) == {1}
    ended = Counter(line[4:] for line in log.read_text().splitlines() if line.startswith("end "))
    assert len(ended) == TRAININGS
    # What was finished is not trained again, but where a kill falls between the note here and what a training leaves.
    assert sum(ended.values()) <= TRAININGS + 2
    assert answers(result) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("times", [3, pytest.param(6, marks=pytest.mark.zoo)])
def test_killed_workers_lose_and_repeat_nothing(tmp_path, undisturbed, times):
    chance, killed, log = random.Random(1), [], tmp_path / "log"

    def tell(standing):
        mine = multiprocessing.active_children()
        if len(killed) < times and mine and chance.random() < 0.5:
            victim = chance.choice(mine)
            killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    score = partial(logged, log, names())
    result = sw.search(
        graph(), score=score, plans=plans(), run=tmp_path / "run", on=sw.Workers(2), tell=tell, **SETTINGS
    )
    assert len(killed) == times
    found = records(tmp_path / "run")
    assert len(found) == TRAININGS
    assert set(found.values()) == {1}
    assert not any(row.error for row in result.rows)
    ended = Counter(line[4:] for line in log.read_text().splitlines() if line.startswith("end "))
    assert sum(ended.values()) <= TRAININGS + 2
    assert answers(result) == undisturbed
