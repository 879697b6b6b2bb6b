"""Weights to begin with, batch norms measured anew, early stop, memory, several processes."""

import pytest
import torch
from safetensors.torch import save_file
from task_nets import Small, gratings
from task_scenes import Stages, scenes
from torch import nn

import stridewise as sw
from stridewise.errors import LoadError, StridewiseError, UsageError
from stridewise.tasks.backbone import fill, recalibrate
from stridewise.tasks.classify import Classify
from stridewise.tasks.loop import Pieces, out_of_memory
from stridewise.tasks.trained import load_trained


class Normed(nn.Module):
    """Two stepping convolutions with batch norms."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16)
        )
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.fc(torch.relu(self.body(x)).mean((2, 3)))


def test_weights_under_a_plan_that_keeps_them_begin_where_they_were(tmp_path):
    data = gratings()
    first = sw.train("classify", Normed, data=data, epochs=6, batch=32, rate=2e-2, run=tmp_path / "first")
    assert first.accuracy > 0.85
    graph = sw.trace(Normed(), (3, 16, 16))
    plan = sw.plan(graph, {"body.3": 1}, keep_weights=True)
    weights = tmp_path / "first" / "model.safetensors"
    kept = sw.train("classify", Normed, data=data, plan=plan, epochs=0, weights=weights)
    assert kept.accuracy > 0.7  # chance is 0.25
    assert "as it is (not trained here) on" in str(kept)
    assert "epoch" not in str(kept)
    assert any("2 batch norms were measured anew" in note for note in kept.notes)
    tuned = sw.train("classify", Normed, data=data, plan=plan, epochs=2, batch=32, rate=2e-3, weights=weights)
    assert tuned.accuracy >= kept.accuracy - 0.05
    assert any("before training: accuracy" in note for note in tuned.notes)


def test_only_the_layer_of_the_classes_may_differ(tmp_path):
    path = tmp_path / "w.safetensors"
    source = Small(7)
    save_file(source.state_dict(), path)
    target = Small(4)
    assert fill(target, path) == "fc does not fit and stays random"
    assert torch.equal(target.first.weight, source.first.weight)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    save_file({k: v for k, v in source.state_dict().items() if not k.startswith("second")}, path)
    with pytest.raises(
        LoadError, match=r"4 of 6 entries are missing or of another shape \(fc.bias, fc.weight, second.bias"
    ):
        fill(target, path)
    assert all(torch.equal(before[k], v) for k, v in target.state_dict().items())


def test_a_segmenter_takes_the_backbone_of_another(tmp_path):
    data = scenes("segment", 16, 4)
    run = tmp_path / "r"
    sw.train("segment", Stages, data=data, epochs=1, batch=8, width=8, run=run)
    record = sw.train("segment", Stages, data=data, epochs=1, batch=8, width=8, weights=run / "model.safetensors")
    assert any("batch norms were measured anew" in note for note in record.notes)
    again = load_trained(run, Stages)
    assert again.data.classes == ("ground", "red", "green")
    with pytest.raises(LoadError, match="is of network Stages, not of Small"):
        load_trained(run, Small)


def test_norms_measured_anew_are_those_of_the_data():
    pictures = Classify().read(gratings(128, 16), None).train
    net = Normed().eval()
    with torch.no_grad():
        net.body[1].running_mean += 100
    assert recalibrate(net, pictures, batch=128) == 2
    with torch.no_grad():
        seen = net.body[0](pictures.x)
    assert torch.allclose(net.body[1].running_mean, seen.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(net.body[1].running_var, seen.var((0, 2, 3)), rtol=1e-3)
    assert net.body[1].momentum == 0.1
    assert not net.training


def test_no_epochs_want_weights():
    with pytest.raises(UsageError, match="0 epochs"):
        sw.train("classify", Small, data=gratings(64, 16), epochs=0)


def test_training_ends_when_nothing_gets_better_and_keeps_the_best(tmp_path):
    settings = {"data": gratings(128, 64), "epochs": 40, "batch": 32, "rate": 5e-2, "patience": 2}
    record = sw.train("classify", Small, **settings)
    scores = [e.score for e in record.curve]
    best = max(range(len(scores)), key=lambda i: (scores[i], -i))
    assert len(scores) == best + 3 < 40
    assert record.score == scores[best]
    assert f"those of epoch {best + 1}" in record.notes[-1]
    cut = sw.train("classify", Small, **settings, checkpoint=tmp_path / "c.ckpt", stop_after=best + 1)
    assert not cut.finished
    rest = sw.train("classify", Small, **settings, checkpoint=tmp_path / "c.ckpt")
    assert rest.curve == record.curve
    assert rest.correct == record.correct


class Hungry(Small):
    """Runs out of memory with more than eight pictures at once."""

    def forward(self, x):
        if self.training and len(x) > 8:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you tried"
            )
        return super().forward(x)


class Starving(Small):
    def forward(self, x):
        if self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB.")
        return super().forward(x)


def test_a_batch_that_does_not_fit_is_halved_and_said():
    settings = {"data": gratings(128, 32), "epochs": 2, "batch": 32}
    record = sw.train("classify", Hungry, **settings)
    assert record.notes == ("out of memory: the batch was halved to 8 pictures at a time, 4 to a step",)
    whole = sw.train("classify", Small, **settings)  # without batch norms a step in pieces is the same step
    assert [e.loss for e in record.curve] == pytest.approx([e.loss for e in whole.curve], rel=1e-4)
    with pytest.raises(StridewiseError, match="out of memory with 2 pictures: lower --size") as error:
        sw.train("classify", Starving, **settings)
    assert "\n" not in str(error.value)


def test_each_epoch_and_seed_takes_the_pictures_in_another_order(monkeypatch):
    orders, drawn = [], torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *a, **k: orders.append(drawn(*a, **k)) or orders[-1])
    for seed in (0, 0, 1):
        sw.train("classify", Small, data=gratings(64, 16), epochs=2, batch=32, seed=seed)
    first, second, third = ([tuple(order.tolist()) for order in orders[i : i + 2]] for i in (0, 2, 4))
    assert first == second
    assert len({*first, *third}) == 4


def test_a_call_that_may_go_on_longer_than_the_training_ends_with_it():
    record = sw.train("classify", Small, data=gratings(64, 16), epochs=2, batch=32, stop_after=5)
    assert (record.finished, len(record.curve)) == (True, 2)


def test_only_memory_is_taken_for_memory():
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shapes do not match"))
    pieces = Pieces(1, 8)
    pieces.halve("x", 8)
    assert pieces.count == 2


def test_accumulated_batches_are_one_step():
    settings = {"data": gratings(128, 32), "epochs": 2}
    one = sw.train("classify", Small, batch=32, **settings)
    two = sw.train("classify", Small, batch=16, accumulate=2, **settings)
    assert one.steps == two.steps == 8
    assert [e.loss for e in two.curve] == pytest.approx([e.loss for e in one.curve], rel=1e-4)


@pytest.mark.parametrize("settings", [{"accumulate": 0}, {"devices": 0}, {"patience": 0}, {"precision": "8-bit"}])
def test_wrong_recipes_are_refused(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        sw.train("classify", Small, data=gratings(64, 16), **settings)
