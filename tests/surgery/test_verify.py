"""`sw.verify` can fail: its yardstick is what two pictures differ by, and a wrong plan, phase or map is seen."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import stridewise as sw
from stridewise.surgery import verify as room


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
    ).eval()


class Constant(nn.Module):
    """Says nearly the same of every picture."""

    def __init__(self):
        super().__init__()
        self.a = net()

    def forward(self, x):
        return 1 + 1e-12 * torch.tanh(self.a(x))


def plan_of(model, **asked):
    return sw.plan(sw.trace(model, (3, 40, 42)), keep_weights=True, **(asked or {"output_stride": 1}))


def test_a_plan_that_keeps_its_word_holds_at_sizes_with_remainders():
    model = net()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    found = sw.verify(model, plan_of(model))
    assert found.holds
    assert {row.input for row in found.rows} == {"3x40x42", "3x41x44", "3x43x47"}
    assert all(row.difference <= 1e-12 < 1e-3 < row.control for row in found.rows)
    assert str(found).endswith("every size is the promised one")
    assert found.to_json()["holds"] is True
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert {r.input for r in sw.verify(model, plan_of(model), sizes=[(33, 35)]).rows} == {"3x40x42", "3x33x35"}


def test_an_answer_that_hardly_depends_on_the_picture_cannot_be_verified():
    model = Constant().eval()
    found = sw.verify(model, plan_of(model))
    assert found.holds is None
    assert "not verifiable here" in str(found)


def test_a_change_that_is_not_what_the_certificate_says_is_seen(monkeypatch):
    model, kept = net(), plan_of(net())
    apply = room.apply_to_model

    def broken(twin, plan, **more):
        done = apply(twin, plan, **more)
        twin[4].dilation = (1, 1)
        twin[4].padding = (1, 1)
        return done

    monkeypatch.setattr(room, "apply_to_model", broken)
    found = sw.verify(model, kept)
    assert found.holds is False
    assert "NOT verified" in str(found)


def test_batch_norms_are_set_by_the_pictures_first():
    model = net()
    model[1].running_mean += 1e4  # every activation is dead
    twin = net().double()
    room.calibrate(twin, {"": torch.randn(2, 3, 40, 42, dtype=torch.double)})
    assert twin[1].momentum == model[1].momentum
    assert not twin[1].training
    assert sw.verify(model, plan_of(model)).holds


def test_the_library_mirrors_the_command(tmp_path):
    model = net()
    graph = sw.trace(model, (3, 40, 42))
    plan = sw.plan(graph, {"0": 1})
    seen = sw.preview(graph, plan)
    assert seen.graph.tensors[seen.graph.outputs[0]].shape == (1, 8, 20, 21)
    assert sw.show(seen.graph).to_json()["totals"]["output_stride"] == [2, 2]
    assert 'at("0").stride = (1, 1)' in sw.code(model, plan)
    model.train()
    assert sw.export(model, tmp_path / "m.onnx", plan=plan) < 1e-4
    assert model.training
    assert model[0].stride == (2, 2)
    assert sw.verify(
        tmp_path / "m.onnx", sw.plan(sw.read_onnx(tmp_path / "m.onnx"), output_stride=1, keep_weights=True)
    ).holds
    assert isinstance(graph, sw.Graph)
    assert isinstance(sw.apply(model, plan), sw.Done)
    assert dir(sw) == sorted([*sw.__all__, "__version__"])


@pytest.mark.parametrize("ask", ["verify", "preview", "code"])
def test_something_else_than_a_plan_is_refused(ask):
    with pytest.raises(sw.PlanError, match=f"{ask}: a Plan is wanted"):
        getattr(sw, ask)(sw.trace(net(), (3, 40, 42)) if ask == "preview" else net(), {"0": 1})


def test_another_pad_in_the_forward_does_not_hide_behind_the_yardstick():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 5, 3, 2), nn.Conv2d(4, 4, 5)

        def forward(self, x):
            return self.b(F.pad(self.a(x), (2, 2, 2, 2)))

    model = Padded().eval()
    assert sw.verify(model, sw.plan(sw.trace(model, (3, 72, 72)), output_stride=1, keep_weights=True)).holds
