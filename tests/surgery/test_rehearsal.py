"""Plans are tried on the structure of a model before they are given out: what cannot be carried out is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import stridewise as sw
from stridewise.errors import PlanError


class Net(nn.Module):
    """Two steps, what a test puts between or behind them, and one more layer."""

    def __init__(self, between, first=2, second=2):
        super().__init__()
        self.between = between
        self.a, self.b = nn.Conv2d(3, 4, 3, first, 1), nn.Conv2d(4, 4, 3, second, 1)
        self.c = nn.Conv2d(4, 4, 5)

    def forward(self, x):
        return self.c(self.between(self.b(self.a(x))))


class PadsForItself(nn.Module):
    """TensorFlow's SAME, worked out by the parent from its child's attributes."""

    def __init__(self, stride):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, stride)

    def forward(self, x):
        step, dilation = self.conv.stride[0], self.conv.dilation[0]
        total = [max((-(-n // step) - 1) * step + 2 * dilation + 1 - n, 0) for n in (x.shape[3], x.shape[2])]
        return self.conv(F.pad(x, [side for t in total for side in (t // 2, t - t // 2)]))


def equal_at(model, plan, sizes, m):
    """Whether the changed model says at every m-th position what the old one says, at each of these sizes."""
    before = {
        size: model(torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1)).double()) for size in sizes
    }
    done = sw.apply(model, plan)
    assert done.certificate.exact
    for size, want in before.items():
        got = model(torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1)).double())
        assert torch.allclose(got[..., ::m, ::m], want, rtol=0, atol=1e-12)
    done.undo()


SIZES = ((44, 48), (45, 42), (47, 43), (61, 67))
BETWEEN = {
    "pad": lambda y: F.pad(y, (2, 2, 2, 2)),
    "shift": lambda y: F.pad(y[:, :, :, 1:], (0, 1)),
    "part shift": lambda y: torch.cat([F.pad(y[:, :2, :, 1:], (0, 1)), y[:, 2:]], 1),
    "shift down": lambda y: F.pad(y, (0, 0, 1, 0))[:, :, :-1],
}


@pytest.mark.parametrize("between", BETWEEN)
@torch.no_grad()
def test_calls_of_the_forward_that_runs_the_stepping_layer_are_kept_apart_from_ours(between):
    torch.manual_seed(0)
    model = Net(BETWEEN[between]).double().eval()
    plan = sw.plan(sw.trace(model, (3, 44, 48)), output_stride=2, keep_weights=True)
    equal_at(model, plan, SIZES, 2)


@torch.no_grad()
def test_a_pad_that_follows_the_childs_dilation_is_not_widened_twice():
    torch.manual_seed(0)
    model = nn.Sequential(PadsForItself(2), PadsForItself(2), PadsForItself(1)).double().eval()
    plan = sw.plan(sw.trace(model, (3, 64, 64)), output_stride=2, keep_weights=True)
    equal_at(model, plan, SIZES, 2)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.h = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(1024, 10)

    def forward(self, x):
        return self.h(self.a(x).flatten(1))


def test_a_flattened_head_is_refused_by_the_plan_and_named():
    graph = sw.trace(Head(), (3, 32, 32))
    with pytest.raises(PlanError, match=r"^h: positions are flattened .* the plan would make that map 32x32"):
        sw.plan(graph, {"a": 1})


def test_a_forward_that_does_not_take_the_new_size_is_refused_by_the_plan():
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, x):
            y = self.a(x)
            return y if y.shape[-1] <= 16 else y.view(1, 3, -1)

    model = Split()
    graph = sw.trace(model, (3, 32, 32))
    with pytest.raises(PlanError, match="the model's own forward does not allow this plan"):
        sw.plan(graph, {"a": 1})


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")
@pytest.mark.parametrize("kernel", [3, 4, (2, 5)])
@torch.no_grad()
def test_padding_same_becomes_numbers_where_the_layer_steps(kernel):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, kernel, padding="same"), nn.Conv2d(8, 8, 3, 2, 1)).eval()
    x = torch.randn(1, 3, 32, 31)
    whole = model[0](x)
    done = sw.apply(model, sw.plan(sw.trace(model, (3, 32, 31)), {"0": 2}))
    assert torch.allclose(model[0](x), whole[..., ::2, ::2], atol=1e-6)
    done.undo()
    assert model[0].padding == "same"
    assert torch.equal(model[0](x), whole)


class ToOne(nn.Module):
    def __init__(self):
        super().__init__()
        self.m1 = nn.Conv2d(3, 6, (3, 1), padding=(1, 0))

    def forward(self, x):
        return self.m1(F.interpolate(x, size=(2, 1), mode="area"))


def test_a_step_along_an_axis_of_one_position_is_refused():
    graph = sw.trace(ToOne(), (3, 3, 3))
    assert not sw.plan(graph, {"m1": 1})
    with pytest.raises(PlanError, match="m1: has one position along axis 1: nothing to step over"):
        sw.plan(graph, {"m1": 2})


@torch.no_grad()
def test_a_mean_along_one_axis_alone_is_taken_on_the_coarse_grid_of_that_axis():
    torch.manual_seed(0)
    model = Net(lambda y: y + y.mean(2, keepdim=True)).double().eval()
    plan = sw.plan(sw.trace(model, (3, 44, 48)), output_stride=2, keep_weights=True, means="grid")
    equal_at(model, plan, SIZES, 2)


def test_what_is_not_followed_is_refused_and_no_error_of_ours():
    model = nn.Sequential(nn.AvgPool2d((2, 1), ceil_mode=True), nn.Upsample(scale_factor=(0.5, 1.5), mode="area"))
    graph = sw.trace(model, (3, 3, 3))
    with pytest.raises(PlanError, match=r"^1: .* is not followed"):
        sw.plan(graph, {"0": 1}, keep_weights=True, means="grid")


def test_a_graph_copied_or_pickled_knows_no_structure():
    import copy
    import pickle

    graph = sw.trace(Head(), (3, 32, 32))
    assert copy.deepcopy(graph).source is None
    assert pickle.loads(pickle.dumps(graph)).source is None


def test_a_structure_holds_no_weight():
    model = Net(lambda y: y)
    held = sw.trace(model, (3, 44, 48)).source.model
    assert all(p.device.type == "meta" for m in held.modules() for p in m._parameters.values() if p is not None)
