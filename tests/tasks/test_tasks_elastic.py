"""One set of weights trained under several plans: repeatable, taken up after a stop, kept whole in a run folder."""

import copy
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from task_nets import Small, gratings
from task_scenes import Stages, scenes

import stridewise as sw
from stridewise.cli import cli
from stridewise.cli.train import parse_elastic
from stridewise.errors import PlanError, UsageError
from stridewise.plans import Plan, Setting
from stridewise.tasks.checkpoint import Average
from stridewise.tasks.classify import Classify
from stridewise.tasks.elastic import elastic_network, plan_scores, taught, turns
from stridewise.tasks.segment import Segment
from stridewise.tasks.trained import load_trained
from stridewise.tasks.training import task_of

PLANS = {
    "as it is": Plan(),
    "fine": Plan(sites={"second": Setting(stride=(1, 1), was=(2, 2))}),
    "finest": Plan(sites={name: Setting(stride=(1, 1), was=(2, 2)) for name in ("first", "second")}),
}
FINER = {"as it is": Plan(), "fine": Plan(sites={"stages.2.0": Setting(stride=(1, 1), was=(2, 2))})}
SETTINGS = {"data": gratings(96, 32), "epochs": 2, "batch": 32, "rate": 2e-2, "elastic": PLANS}


class StoppedError(Exception):
    pass


def test_it_learns_and_goes_on_after_a_stop_to_the_same_weights(tmp_path):
    whole = sw.train("classify", Small, **SETTINGS, run=tmp_path / "whole")
    assert whole.score > 0.4  # chance is 0.25
    assert list(whole.figures) == ["at as it is", "at fine", "at finest"]
    assert whole.score == pytest.approx(sum(whole.figures.values()) / 3)

    def stop(done, total):
        if done == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        sw.train("classify", Small, **SETTINGS, run=tmp_path / "cut", progress=stop)
    again = sw.train("classify", Small, **SETTINGS, run=tmp_path / "cut", resume=True)
    assert again.curve == whole.curve
    one, other = (load_trained(tmp_path / name, Small) for name in ("whole", "cut"))
    states = one.elastic.state_dict(), other.elastic.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert one.elastic.active == "finest"
    assert one.plan == PLANS["finest"]


def test_a_run_folder_gives_every_plan_back(tmp_path):
    folder = tmp_path / "run"
    record = sw.train("classify", Small, **SETTINGS, run=folder)
    assert {p.name for p in folder.glob("plan-*.toml")} == {f"plan-{name}.toml" for name in PLANS}
    found = load_trained(folder, Small)
    splits = found.task.read(SETTINGS["data"], None).under(found.standard)
    scores = plan_scores(found.task, found.elastic, splits.held_out, rounds=10)
    assert {f"at {row.name}": row.found.score for row in scores.rows} == record.figures
    assert [row.cost for row in scores.rows] == sorted(found.elastic.costs.values())
    assert len(scores.cascade) > 0
    assert "fine" in str(scores)
    weights = sw.train("classify", Small, **{**SETTINGS, "epochs": 0}, weights=folder / "model.safetensors")
    assert weights.score == pytest.approx(record.score)  # this network has no norms to measure


@pytest.mark.parametrize(("task", "head"), [("segment", "atrous"), ("segment", "decoder"), ("detect", None)])
def test_dense_tasks_train_under_every_plan(task, head, tmp_path):
    options = {"head": head} if head else {}
    settings = {"data": scenes(task, 16, 8), "epochs": 1, "batch": 8, "width": 8, "elastic": FINER, **options}
    record = sw.train(task, Stages, **settings, run=tmp_path / "r")
    found = load_trained(tmp_path / "r", Stages)
    splits = found.task.read(settings["data"], None).under(found.standard)
    rows = {n: found.task.evaluate(found.elastic.use(n).model, splits.held_out, "cpu").score for n in FINER}
    assert {f"at {name}": score for name, score in rows.items()} == pytest.approx(record.figures)


def test_a_head_follows_the_plan_as_one_that_is_built_for_it():
    for task in ("detect", "segment"):
        splits = scenes(task, 16, 8)
        chosen = Segment(head="atrous", width=8) if task == "segment" else task_of(task, width=8)
        data = chosen.read(splits, None)
        torch.manual_seed(0)
        net = elastic_network(chosen, Stages, FINER, data)
        net.use("fine")
        if task == "detect":
            assert net.model.steps == [(4, 4), (4, 4), (8, 8)]
            assert net.use("as it is").model.steps == [(4, 4), (8, 8), (16, 16)]
        else:
            alone = chosen.network(Stages, FINER["fine"], data)
            alone.load_state_dict(net.model.state_dict())
            x = data.held_out.x[:2]
            assert torch.equal(net.model.eval()(x), alone(x))


def test_a_step_takes_the_dearest_first_and_the_cheapest_last():
    net = elastic_network(Classify(), Small, PLANS, Classify().read(gratings(64, 32)))
    generator = torch.Generator().manual_seed(0)
    assert turns(net, generator) == ("finest", "fine", "as it is")
    assert turns(net.model, generator) == ()


def test_a_cheaper_plan_learns_from_the_dearest_and_not_from_the_truth():
    out, teacher = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    value = taught(Classify(), out, teacher, torch.tensor([0, 1, 2]), torch.nn.Identity())
    wanted = torch.nn.functional.cross_entropy(out, teacher.detach().softmax(1))
    assert torch.allclose(value, wanted)
    value.backward()
    assert teacher.grad is None


def test_an_average_moves_what_two_names_share_once():
    net = elastic_network(Classify(), Small, PLANS, Classify().read(gratings(64, 32)))
    net.model.bn = torch.nn.BatchNorm2d(2)
    net.register_buffer("other", net.model.bn.running_mean)
    average = Average(net, 0.9)
    moved = copy.deepcopy(average.model.state_dict())
    net.model.bn.running_mean.fill_(1.0)
    average.update(0)
    once = average.model.model.bn.running_mean
    assert torch.allclose(once, moved["model.bn.running_mean"] + 0.9)


def test_the_command_trains_and_evaluates_by_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gratings_file(tmp_path)
    sw.Plan().write(tmp_path / "same.toml")
    sw.plan(sw.trace(sw.load("builtin:resnet20-narrow"), (3, 16, 16)), {"+layers.2": 2}).write(tmp_path / "coarse.toml")
    words = "train classify builtin:resnet20-narrow --data g.npz --elastic same.toml,coarse.toml --epochs 1 --batch 16"
    done = CliRunner().invoke(cli, [*words.split(), "--run", "r", "--json"])
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.stdout)["figures"]) == ["at same", "at coarse"]
    done = CliRunner().invoke(cli, ["evaluate", "r", "--data", "g.npz", "--json"])
    assert done.exit_code == 0, done.output
    same, coarse = json.loads(done.stdout)["plans"]
    assert (same["name"], same["cost"], coarse["name"]) == ("same", 1, "coarse")
    assert coarse["cost"] < 0.7
    assert same["time"]["median"] > 0
    assert json.loads(done.stdout)["cascade"]
    done = CliRunner().invoke(cli, [*"measure r --what latency,accuracy --data g.npz --rounds 10 --json".split()])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["plans"]
    assert [row["plan"] for row in rows] == ["r at same", "r at coarse"]
    assert [row["accuracy"]["value"] for row in rows] == [same["score"], coarse["score"]]
    done = CliRunner().invoke(cli, [*"fit --data g.npz --model r --json".split()])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["plans"]
    assert {name: row["model_strides"] for name, row in found.items()} == {
        "r at same": [[4, 4]],
        "r at coarse": [[8, 8]],
    }


def test_costs_are_read_from_words():
    assert parse_elastic("0.25x, 1x,2") == [0.25, 1.0, 2.0]
    with pytest.raises(UsageError, match="or plan files"):
        parse_elastic("half")


def gratings_file(folder):
    arrays = {}
    for split, (x, y) in {s: gratings(32, 16).arrays(s) for s in ("train", "val")}.items():
        arrays |= {f"x_{split}": x, f"y_{split}": y}
    np.savez(folder / "g.npz", **arrays)


def test_what_does_not_go_together_is_said():
    with pytest.raises(UsageError, match="leave one of both out"):
        sw.train("classify", Small, data=gratings(64, 32), plan=PLANS["fine"], elastic=PLANS)
    with pytest.raises(PlanError, match="2 to 8 plans are wanted, not 1"):
        sw.train("classify", Small, data=gratings(64, 32), elastic={"a": Plan()})
