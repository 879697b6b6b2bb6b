"""A search that begins with trained weights: kept by dilation, judged before any training, then fine-tuned."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from study_nets import graph

import stridewise as sw
from stridewise.data.builtin import digits
from stridewise.errors import LoadError, UsageError
from stridewise.study.candidates import candidate, given
from stridewise.study.jobs import Job, Rung, Schedule
from stridewise.study.pool import keeping
from stridewise.study.procedure import selection
from stridewise.study.rivals import named, rivals_at
from stridewise.study.surrogate import beliefs
from stridewise.study.training import TrainScore

NET = """
from torch import nn
def net(num_classes=10, width=8):
    def part(a, b, step):
        return [nn.Conv2d(a, b, 3, step, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    body = [*part(3, width, 2), *part(width, width, 2), *part(width, 2 * width, 1), *part(2 * width, 2 * width, 2)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, num_classes))
"""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A folder with a small network, some of the digits, and weights that were trained on them."""
    folder = tmp_path_factory.mktemp("pretrained")
    (folder / "net.py").write_text(NET)
    data = digits(size=16, train=600, val=200)
    arrays = {f"{x}_{split}": a for split in ("train", "val") for x, a in zip("xy", data.arrays(split), strict=True)}
    np.savez(folder / "digits.npz", **{name.replace("val", "test"): a for name, a in arrays.items()})
    sw.train(
        "classify",
        f"{folder}/net.py:net",
        data=folder / "digits.npz",
        epochs=6,
        batch=32,
        run=folder / "pre",
    )
    return folder


def test_the_command_judges_kept_weights_first_then_tunes_them_and_resumes(pretrained, monkeypatch, called):
    monkeypatch.chdir(pretrained)
    common = ("search", "net.py:net", "--data", "digits.npz", "--weights", "pre/model.safetensors", "--workers", "0")
    settings = ("--trials", "5", "--budget", "2", "--cost", "1", "--seeds", "1", "--finalists", "2", "--batch", "32")
    code, out, err = called(*common, *settings, "--max-macs", "4x", "--moves", "strides", "--run", "run", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["weights"] == "pre/model.safetensors"
    plans = {row["name"]: row for row in found["plans"] if row["origin"] != "rival"}
    assert found["schedule"]["rungs"][0] == {"budget": 0, "plans": len(plans)}
    assert not any(row["error"] for row in plans.values())
    untrained = {name: next(t["accuracy"] for t in row["trainings"] if t["budget"] == 0) for name, row in plans.items()}
    # The default is judged as the weights were left, but for batch norms measured anew.
    before = json.loads((pretrained / "pre" / "result.json").read_text())["score"]
    assert untrained["default"] == pytest.approx(before, abs=0.06)
    kept = [name for name, row in plans.items() if "keep_weights = true" in row["plan"]]
    assert kept
    assert all(untrained[name] > 0.5 * before for name in kept)  # guessing is right in a tenth
    # The same weights, the same plan, by hand.
    plan = sw.Plan.from_toml(plans[kept[0]]["plan"])
    record = sw.train(
        "classify",
        f"{pretrained}/net.py:net",
        data=pretrained / "digits.npz",
        plan=plan,
        weights=pretrained / "pre" / "model.safetensors",
        epochs=0,
    )
    assert record.score == untrained[kept[0]]
    assert any("judged with the weights they begin with" in line for line in found["method"])
    assert any("batch norms measured anew" in line and kept[0] in line for line in found["method"])
    code, out, err = called("search", "--resume", "run", "--json", "--workers", "0")
    assert code == 0, err
    assert json.loads(out)["plans"] == found["plans"]
    # Another set of weights under the same name is another study.
    other = {key: value + 1 for key, value in load_file(pretrained / "pre" / "model.safetensors").items()}
    kept_file = (pretrained / "pre" / "model.safetensors").read_bytes()
    save_file(other, pretrained / "pre" / "model.safetensors")
    code, _, err = called("search", "--resume", "run")
    (pretrained / "pre" / "model.safetensors").write_bytes(kept_file)
    assert code == 1
    assert "holds another study (contents" in err


@pytest.mark.parametrize(
    ("weights", "code", "said"),
    [("missing.safetensors", 1, "no such file"), ("other.safetensors", 1, "does not fit the network")],
)
def test_weights_that_are_none_are_one_line(pretrained, monkeypatch, refused, weights, code, said):
    monkeypatch.chdir(pretrained)
    save_file({"w": torch.zeros(3)}, pretrained / "other.safetensors")
    found, line = refused("search", "net.py:net", "--data", "digits.npz", "--weights", weights, "--run", "bad")
    assert (found, said in line, line.count("\n")) == (code, True, 1), line
    assert not (pretrained / "bad").exists()


def test_weights_want_a_network_that_is_trained_here():
    with pytest.raises(UsageError, match="leave weights out: with score= your own code does the training"):
        sw.search(graph(), score=lambda plan, budget, seed: 0.0, weights="w.safetensors")


def test_plans_keep_weights_where_dilation_and_limits_allow_it():
    found = graph()
    finer, coarser = sw.plan(found, {"1": 1}), sw.plan(found, {"1": 4})
    chosen = [*given(found, []), *(candidate(found, p, n, "front") for p, n in ((finer, "A"), (coarser, "B")))]
    default, a, b = keeping(found, chosen, {}, lambda plan: True)
    assert (default, b) == (chosen[0], chosen[2])
    assert a.plan.keep_weights
    assert dict(a.plan.sites) == dict(finer.sites)
    assert a.macs >= chosen[1].macs
    assert keeping(found, chosen, {"max_macs": a.macs - 1}, lambda plan: True)[1] == chosen[1]
    assert keeping(found, chosen, {}, lambda plan: False)[1] == chosen[1]


def test_a_first_rung_without_training_judges_every_plan_and_costs_nothing():
    schedule = Schedule.within(12, budget=9, cost=5, untrained=True)
    assert schedule.rungs[0] == Rung(budget=0, plans=12)
    assert schedule.rungs[1:] == Schedule.within(12, budget=9, cost=5).rungs
    assert Schedule.within(2, budget=9, untrained=True).trainings(2) == [0, 0, *[9] * 6]
    places, macs = [(float(i), float(i)) for i in range(12)], list(range(1, 13))
    steps = selection(schedule, places, macs)
    jobs = next(steps)
    assert {(job.plan, job.budget) for job in jobs} == {(plan, 0) for plan in range(12)}
    # Plan 7 and those like it are far better as they are: the next training is of one of them.
    jobs = steps.send({job: -abs(job.plan - 7) for job in jobs})
    assert abs(jobs[0].plan - 7) <= 1


def test_weights_judged_untrained_say_no_more_than_the_shortest_training():
    places = [(float(i), float(i)) for i in range(8)]
    scores = {Job(plan, 27, 0): plan / 10 for plan in range(4)}
    short = ({Job(plan, b, 0): plan / 10 for plan in range(8)} for b in (0, 3))
    ways = [beliefs(places, range(1, 9), {**scores, **some}, 27).mean for some in short]
    assert ways[0] == pytest.approx(ways[1], abs=1e-6)


def test_rivals_begin_with_the_weights_where_these_fit(pretrained):
    weights = pretrained / "pre" / "model.safetensors"
    model = f"{pretrained}/net.py:net"
    score = TrainScore("classify", model, pretrained / "digits.npz", weights=weights)
    assert score.judges_untrained()
    default = given(score.graph(), [])[0]
    assert [rival.name.split()[0] for rival, _ in rivals_at(score, default, int(0.6 * default.macs))] == ["input"]
    assert len(rivals_at(TrainScore("classify", model, score.data), default, int(0.6 * default.macs))) == 2
    ((same, _), (other, _)) = named(score, [model, "builtin:resnet20-narrow"])
    assert (same.weights, other.weights, other.name) == (True, False, "builtin:resnet20-narrow (random weights)")
    assert (score.of(same).weights, score.of(other).weights) == (weights, None)


def test_a_new_layer_of_classes_is_not_judged_untrained(pretrained):
    weights = pretrained / "pre" / "model.safetensors"
    score = TrainScore("classify", f"{pretrained}/net.py:net", pretrained / "digits.npz", weights=weights)
    few = TrainScore("classify", score.model, score.data, weights=weights)
    few._splits = SimpleNamespace(classes=("a", "b"), shape=score.splits.shape, name="two")
    assert not few.judges_untrained()
    assert not TrainScore("classify", score.model, score.data).judges_untrained()
    save_file({"0.weight": torch.zeros(4, 3, 3, 3)}, pretrained / "short.safetensors")
    with pytest.raises(LoadError, match="does not fit the network"):
        TrainScore("classify", score.model, score.data, weights=pretrained / "short.safetensors").judges_untrained()
