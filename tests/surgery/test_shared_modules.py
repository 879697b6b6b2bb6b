"""A shared module named whole means all its calls; one call alone is `#2`, and said to share its weights."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional

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


class Levels(nn.Module):
    """One head on three levels, as detectors have it; `swapped` leaves the head's average to a replaced call."""

    def __init__(self, fixed=None):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.down = nn.ModuleList([nn.Conv2d(4, 4, 3, 2, 1) for _ in range(2)])
        self.head = nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(), nn.AvgPool2d(3, 1, 1), nn.Conv2d(4, 2, 3, 1, 1))
        self.fixed = fixed

    def forward(self, x):
        if self.fixed is not None:
            x = functional.interpolate(x, self.fixed, mode="bilinear")
        levels = [self.stem(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        return [self.head(level) for level in levels]


@pytest.mark.parametrize("size", [(32, 32), (45, 38)])
@pytest.mark.parametrize("fixed", [None, (32, 40), (45, 53)])
@pytest.mark.parametrize(("cap", "times"), [(4, (1, 1, 2)), (2, (1, 2, 4)), (1, (2, 4, 8))])
@torch.no_grad()
def test_a_head_shared_by_levels_reads_each_as_finely_as_it_comes(size, fixed, cap, times):
    torch.manual_seed(0)
    model = Levels(fixed).double().eval()
    plan = sw.plan(sw.trace(model, (3, 32, 32)), output_stride=cap, keep_weights=True)
    x = torch.rand(1, 3, *size, dtype=torch.double)
    before = model(x)
    done = sw.apply(model, plan)
    assert done.certificate.exact
    for m, old, new in zip(times, before, model(x), strict=True):
        assert new.shape[2:] == tuple(m * n for n in old.shape[2:])
        assert torch.allclose(new[..., ::m, ::m], old, atol=1e-12)
        assert m == 1 or not torch.allclose(new[..., 1::m, 1::m], old)
    done.undo()
    assert all(torch.equal(a, b) for a, b in zip(before, model(x), strict=True))


@pytest.mark.parametrize("site", ["again#2", "again#1", "pool#2", "pool#1"])
def test_calls_of_a_shared_layer_that_differ_keep_its_weights(site):
    torch.manual_seed(0)
    again, pool = nn.Conv2d(3, 3, 3, 2, 1), nn.AvgPool2d(3, 2, 1)
    model = nn.Sequential(OrderedDict(again=again, bend=nn.ReLU(), pool=pool))
    model.append(again)
    model.append(pool)
    graph = sw.trace(model, (3, 64, 64))
    verified = sw.verify(model, sw.plan(graph, {site: 1}, keep_weights=True))
    assert verified.holds


def test_strides_behind_a_resize_to_a_fixed_size_are_counted_from_there():
    graph = sw.trace(Levels((32, 40)), (3, 50, 50))
    assert sw.preview(graph, sw.Plan()).output_stride[0] == (8, 8)
    with pytest.raises(sw.errors.PlanError, match="output stride 16: the network's is 8"):
        sw.plan(graph, output_stride=16)
    deep = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.Upsample((16, 16)), nn.Conv2d(3, 3, 3, 2, 1))
    graph = sw.trace(deep, (3, 64, 64))  # which halves once more: 4, and no plan makes that less than 1 behind it
    assert {key: s.stride for key, s in sw.plan(graph, output_stride=4).sites.items()} == {"2": (1, 1)}
    with pytest.raises(sw.errors.PlanError, match="would step by 1/2"):
        sw.plan(graph, output_stride=2)
