"""Worker processes: Ctrl-C, which reaches them with their coordinator; their threads."""

import os
import signal

import pytest
import torch

import stridewise as sw
from stridewise.study.jobs import Job
from stridewise.study.runners import Pool


def process_of(plan, budget, seed):
    return float(os.getpid())


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no signal masks")
def test_an_interrupt_while_a_worker_begins_says_nothing_and_stops_nothing(capfd, tmp_path):
    target = sw.Plan(model="none", input=(3, 8, 8))
    with Pool(process_of, {0: target}, count=1, threads=1, checkpoints=tmp_path) as workers:
        (worker,) = workers._workers
        os.kill(worker.process.pid, signal.SIGINT)
        ((_, outcome),) = workers.run([Job(plan=0, budget=1, seed=0)], lambda *_: None)
        assert outcome is not None
        assert outcome.value == worker.process.pid
    assert "KeyboardInterrupt" not in capfd.readouterr().err


def threads_of(plan, budget, seed):
    return float(torch.get_num_threads())


def test_a_worker_takes_no_more_threads_than_the_environment_allows(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    target = sw.Plan(model="none", input=(3, 8, 8))
    with Pool(threads_of, {0: target}, count=1, threads=2, checkpoints=tmp_path) as workers:
        ((_, outcome),) = workers.run([Job(plan=0, budget=1, seed=0)], lambda *_: None)
    assert outcome is not None
    assert outcome.value == 1
