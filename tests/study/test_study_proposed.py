"""A plan that gradient descent proposes: one candidate more, learned once."""

from dataclasses import replace

import pytest

import stridewise as sw
from stridewise.errors import UsageError
from stridewise.study.training import TrainScore
from stridewise.tasks.recipe import Recipe
from stridewise.tasks.training import learned_strides


def asked(**fields: object) -> sw.Study:
    moves = sw.Moves(kinds=("strides",), propose=("learned",))
    budget = sw.Budget(trials=2, epochs=2, cost=1, finalists=1, seeds=1)
    given = {"model": "builtin:resnet20-narrow", "data": "builtin:digits", "task": "classify", "size": (16, 16)}
    return sw.Study(**{**given, "moves": moves, "budget": budget, **fields})


def test_a_learned_plan_is_one_candidate_more_and_learned_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 16, 16))
    plan = sw.plan(graph, {"+layers.3": 4})
    learnt = []

    class Rounded:
        def plan(self) -> sw.Plan:
            return plan

    def learned_strides(*of: object, **how: object) -> tuple[Rounded, float]:
        learnt.append(how["checkpoint"])
        return Rounded(), 0.5

    monkeypatch.setattr("stridewise.tasks.training.learned_strides", learned_strides)
    monkeypatch.setattr(TrainScore, "__call__", lambda self, plan, budget, seed, **more: 0.5 + len(plan.insert) / 10)
    monkeypatch.setattr(TrainScore, "latency", lambda self, plans: [])
    for _ in range(2):  # the second time the folder says what was learned
        found = sw.search(asked(), run=tmp_path / "run")
        assert [row.candidate.origin for row in found.rows].count("learned") == 1
    assert len(learnt) == 1


def test_a_learned_plan_beyond_a_limit_is_left_out(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 16, 16))
    dear = sw.plan(graph, {"+layers.3": 1})  # about twice the multiply-adds: beyond the 1x that holds without a limit

    class Rounded:
        def plan(self) -> sw.Plan:
            return dear

    monkeypatch.setattr("stridewise.tasks.training.learned_strides", lambda *of, **how: (Rounded(), 0.5))
    monkeypatch.setattr(TrainScore, "__call__", lambda self, plan, budget, seed, **more: 0.5)
    monkeypatch.setattr(TrainScore, "latency", lambda self, plans: [])
    found = sw.search(asked(), run=tmp_path / "run")
    assert "learned" not in [row.candidate.origin for row in found.rows]
    with pytest.raises(UsageError, match="keeps to no --output-stride"):
        sw.search(asked(limits=sw.Limits(output_stride=4)), run=tmp_path / "other")


def test_strides_are_learned_to_a_consistent_plan(tmp_path) -> None:
    study = asked()
    trains = TrainScore("classify", study.model, study.data, size=study.size, recipe=study.recipe)
    whole = trains.splits
    few = replace(whole.train, pixels=whole.train.pixels[:512], y=whole.train.y[:512])
    trains._splits = replace(whole, train=few, held_out=few)
    net, _ = learned_strides(  # all that counts is the price
        trains.task,
        study.model,
        trains.splits,
        recipe=Recipe(),
        epochs=2,
        checkpoint=tmp_path / "checkpoint",
        price=1e2,
    )
    cheap = net.plan()
    assert all(s.stride > s.was for s in cheap.insert.values())
    assert set(cheap.insert) == {"layers.3", "layers.6"}
    assert not list(tmp_path.iterdir())


def test_what_is_no_classifier_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="for classifiers"):
        sw.search(asked(task="segment", data="builtin:digit-scenes", size=(32, 32)), run=tmp_path / "run")
    with pytest.raises(UsageError, match="no propose 'guessed': choose learned"):
        asked(moves=sw.Moves(propose=("guessed",)))
