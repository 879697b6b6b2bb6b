"""Latencies are measured in turn, on fixed threads, as ratios to the first."""

import json
import time

import pytest
import torch

from stridewise.errors import UsageError
from stridewise.measuring.latency import latency


def sleeper(seconds, calls):
    def call(x):
        calls.append(seconds)
        time.sleep(seconds)

    return call


def test_ratios_are_to_the_first_and_rounds_are_interleaved():
    calls = []
    slow, fast = latency({"slow": sleeper(0.02, calls), "fast": sleeper(0.005, calls)}, torch.zeros(2, 3), rounds=10)
    assert slow.ratio == 1
    assert 0.2 < fast.ratio < 0.7
    assert fast.ratio_low <= fast.ratio <= fast.ratio_high
    assert fast.low <= fast.median <= fast.high
    assert fast.median >= 0.005
    measured = calls[6:]  # three warm-up calls each
    assert all(set(measured[i : i + 2]) == {0.02, 0.005} for i in range(0, 20, 2))
    assert measured[0] != measured[2]  # the order turns
    assert (fast.rounds, fast.batch, fast.threads) == (10, 2, 1)
    assert str(fast).startswith("fast: 0.")


def test_threads_are_set_while_measuring_and_put_back():
    before = torch.get_num_threads()
    seen = []
    latency({"a": lambda x: seen.append(torch.get_num_threads())}, torch.zeros(1), rounds=10, threads=2)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


def test_memory_is_what_a_call_gains():
    def greedy(x):
        kept = torch.ones(2**24)  # 64 MiB
        time.sleep(0.02)
        return kept.sum()

    (found,) = latency({"a": greedy}, torch.zeros(1), rounds=10, memory=True)
    assert found.peak_bytes is None or found.peak_bytes > 2**25
    json.dumps(found.to_json())


@pytest.mark.parametrize("arguments", [{"rounds": 9}, {"rounds": 10, "models": {}}])
def test_too_few_rounds_are_refused(arguments):
    with pytest.raises(UsageError, match="measure one or more, 10 rounds"):
        latency(arguments.get("models", {"a": lambda x: x}), torch.zeros(1), rounds=arguments["rounds"])


def test_a_ratio_whose_quartiles_hold_one_shows_no_difference() -> None:
    from dataclasses import replace

    (one,) = latency({"a": lambda x: x}, torch.zeros(1), rounds=10)
    assert not one.differs
    near = replace(one, ratio=0.98, ratio_low=0.95, ratio_high=1.02)
    assert not near.differs
    assert "no difference shown" in str(near)
    assert replace(near, ratio_high=0.99).differs
    assert replace(near, ratio_high=0.99).to_json()["differs_from_first"]
    with pytest.raises(UsageError, match="up to 10,000"):
        latency({"a": lambda x: x}, torch.zeros(1), rounds=10_001)
