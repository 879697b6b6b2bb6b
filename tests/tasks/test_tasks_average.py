"""The running average of the weights: as it is written down, judged, kept, and resumed to the same end."""

import copy

import pytest
import torch
from task_nets import Small, gratings
from torch import nn

import stridewise as sw
from stridewise.errors import UsageError
from stridewise.tasks.checkpoint import Average
from stridewise.tasks.loop import share_of_rate
from stridewise.tasks.recipe import Recipe

DATA = gratings(96, 32)
COMMON = {"data": DATA, "epochs": 3, "batch": 16, "rate": 1e-2, "ema": 0.9}


def test_the_average_is_the_written_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average, by_hand = Average(model, 0.9), copy.deepcopy(model[0].weight.detach())
    for step in range(200):
        with torch.no_grad():
            model[0].weight.add_(torch.randn(2, 3))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        by_hand = decay * by_hand + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(average.model[0].weight, by_hand)
    assert not average.model.training


def test_a_training_with_an_average_resumes_to_the_same_end(tmp_path):
    whole = sw.train("classify", Small, **COMMON, run=tmp_path / "a")
    sw.train("classify", Small, **COMMON, run=tmp_path / "b", stop_after=1)
    cut = sw.train("classify", Small, **COMMON, run=tmp_path / "b", resume=True)
    assert cut.curve == whole.curve
    assert cut.score == whole.score > 0.8
    one, other = (sw.load_trained(tmp_path / name, Small).model.state_dict() for name in "ab")
    assert all(torch.equal(one[key], other[key]) for key in one)
    plain = sw.train("classify", Small, **{**COMMON, "ema": 0.0})
    assert plain.curve[0].loss == whole.curve[0].loss  # the same steps are taken
    assert plain.curve[0].score != whole.curve[0].score or plain.score != whole.score or plain.correct != whole.correct


def test_the_rate_rises_as_long_as_it_is_told():
    assert [share_of_rate(step, 100, 0.5) for step in (0, 24, 49, 99)] == pytest.approx([0.02, 0.5, 1, 0], abs=2e-3)
    assert share_of_rate(0, 100, 0.0) == 1
    for wrong in ({"ema": 1.0}, {"warmup": -0.1}):
        with pytest.raises(UsageError, match="shares from 0 and below 1"):
            Recipe(**wrong)
