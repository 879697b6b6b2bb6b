"""A shared module named whole means all its calls; one call alone is `#2`, and said to share its weights."""

import pytest
import torch
from torch import nn

import stridewise as sw


class Siamese(nn.Module):
    """Two pictures through one branch; equal pictures give 0."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))

    def forward(self, a, b):
        return (self.net(a) - self.net(b)).abs().mean()


INPUT = {"a": (3, 32, 32), "b": (3, 32, 32)}


@pytest.mark.parametrize("keep", [False, True])
@torch.no_grad()
def test_a_shared_layer_changes_in_both_branches(keep):
    model = Siamese().eval()
    x, y = torch.rand(2, 1, 3, 32, 32)
    before = model(x, y)
    plan = sw.plan(sw.trace(model, INPUT), {"net.0": 1}, keep_weights=keep)
    assert {key: s.stride for key, s in plan.sites.items()} == {"net.0": (1, 1), "net.0#2": (1, 1)}
    assert not sw.preview(sw.trace(model, INPUT), plan).notes
    done = sw.apply(model, plan)
    assert model.net(x).shape == (1, 4, 16, 16)
    assert model(x, x) == 0
    done.undo()
    assert model(x, y) == before


def test_a_plan_that_names_the_module_alone_means_all_its_calls():
    model = Siamese().eval()
    plan = sw.Plan.from_toml('format = 1\n[sites."net.0"]\nstride = [1, 1]\nwas = [2, 2]\n')
    sw.apply(model, plan, input=INPUT)
    assert model.net[0].stride == (1, 1)


class Twice(nn.Module):
    """One layer, called at two depths."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 3, 2, 1)

    def forward(self, x):
        return self.again(self.again(self.first(x)))


@pytest.mark.parametrize(
    ("name", "keys", "sizes"),
    [
        ("again", ["again", "again#2"], (32, 32)),
        ("again#1", ["again#1"], (16, 16)),
        ("again#2", ["again#2"], (16, 16)),
    ],
)
@torch.no_grad()
def test_a_call_alone_is_named_by_its_number_and_said_to_share_weights(name, keys, sizes):
    model = Twice().eval()
    graph = sw.trace(model, (3, 32, 32))
    plan = sw.plan(graph, {name: 1})
    assert list(plan.sites) == keys
    seen = sw.preview(graph, plan)
    assert bool(seen.notes) == (len(keys) == 1)
    assert all("again: its calls share their weights and differ" in note for note in seen.notes)
    assert all(note in str(seen) for note in seen.notes)
    sw.apply(model, sw.Plan.from_toml(plan.to_toml()))
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 3, *sizes)
