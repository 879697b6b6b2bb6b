"""A study trains every task through the same three names: read, network, run."""

import pickle

import pytest
from task_scenes import Stages, scenes

import stridewise as sw
from stridewise.errors import UsageError
from stridewise.study.training import TrainScore
from stridewise.tasks.recipe import Recipe


@pytest.mark.parametrize(
    ("task", "options", "metric"),
    [("segment", {"width": 8, "head": "atrous"}, "mean IoU"), ("detect", {"width": 8, "levels": (8,)}, "mAP")],
)
def test_a_score_of_any_task_is_a_training_under_the_plan(task, options, metric):
    score = TrainScore(task, Stages, scenes(task, 16, 4), recipe=Recipe(batch=8), options=options)
    plan = sw.plan(score.graph(), {"stages.3.0": 1})
    record = score(plan, 1, 3)
    assert (record.task, record.metric, record.plan, record.seed) == (task, metric, plan, 3)
    assert float(record) == record.score
    away = pickle.loads(pickle.dumps(score))  # as it is sent to a worker
    assert away.task == score.task
    assert away._splits is None


def test_a_search_passes_options_to_its_task():
    with pytest.raises(UsageError, match="no head 'hydra'"):
        sw.search(Stages, task="segment", data=scenes("segment", 16, 4), head="hydra")
    with pytest.raises(UsageError, match="no task 'sing'"):
        sw.search(Stages, task="sing", data=scenes("segment", 16, 4))
