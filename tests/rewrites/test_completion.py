"""From a request to a consistent plan: what follows, what is refused, and what a retrace says of the result."""

import pytest
import torch
from torch import nn

from stridewise.analyses import cost
from stridewise.analyses.sizes import grid_sizes
from stridewise.analyses.strides import components, groups
from stridewise.errors import PlanError
from stridewise.models.builtin import ResNet20
from stridewise.rewrites.completion import make_plan
from stridewise.rewrites.restride import restride
from stridewise.surgery.apply import apply_to_model
from stridewise.tracing.trace import trace


class Bottleneck(nn.Module):
    def __init__(self, channels: int, out: int, stride: int, pooled: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1)
        self.conv3 = nn.Conv2d(channels, out, 1)
        down: nn.Module = nn.Conv2d(channels, out, 1, stride)
        if pooled:
            down = nn.Sequential(nn.AvgPool2d(2, stride, ceil_mode=True), nn.Conv2d(channels, out, 1))
        self.down = down if stride > 1 or channels != out else nn.Identity()

    def forward(self, x):
        return torch.relu(self.conv3(torch.relu(self.conv2(self.conv1(x)))) + self.down(x))


def small(pooled: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        Bottleneck(8, 16, 2, pooled),
        Bottleneck(16, 16, 1),
        Bottleneck(16, 24, 2, pooled),
        Bottleneck(24, 24, 1),
    )


@pytest.fixture(scope="module")
def graph():
    return trace(small(), (3, 32, 32), name="small")


def changes(plan):
    return {k: s.stride[0] if len(set(s.stride)) == 1 else s.stride for k, s in plan.sites.items()}


def test_shortcut_follows_the_main_path(graph):
    assert changes(make_plan(graph, {"3.conv2": 1})) == {"3.conv2": 1, "3.down": 1}


def test_main_path_follows_the_shortcut_at_the_site_that_steps_today(graph):
    assert changes(make_plan(graph, {"3.down": 4})) == {"3.conv2": 4, "3.down": 4}


def test_axes_are_independent(graph):
    assert changes(make_plan(graph, {"1.conv2": (1, 2)})) == {"1.conv2": (1, 2), "1.down": (1, 2)}
    assert changes(make_plan(graph, {"1.conv2": "1x2"})) == {"1.conv2": (1, 2), "1.down": (1, 2)}


def test_step_moves_within_a_path_when_asked(graph):
    assert changes(make_plan(graph, {"3.conv2": 1, "3.conv3": 2})) == {"3.conv2": 1, "3.conv3": 2}


def test_step_moves_between_blocks(graph):
    plan = make_plan(graph, {"1.conv2": 1, "3.conv2": 4})
    assert changes(plan) == {"1.conv2": 1, "1.down": 1, "3.conv2": 4, "3.down": 4}
    assert restride(graph, plan).graph.grids[-1].sizes == graph.grids[-1].sizes


@pytest.mark.parametrize(("stride", "size"), [(2, 16), (4, 8), ((2, 8), None)])
def test_output_stride_caps_what_lies_behind(graph, stride, size):
    plan = make_plan(graph, output_stride=stride)
    expected = (size, size) if size else (16, 4)
    assert restride(graph, plan).graph.grids[-1].sizes == expected


def test_a_module_name_stands_for_the_step_through_it(graph):
    assert changes(make_plan(graph, {"3": 1})) == {"3.conv2": 1, "3.down": 1}
    assert changes(make_plan(graph, {"1": 3})) == {"1.conv2": 3, "1.down": 3}


@pytest.mark.parametrize(
    ("today", "wanted", "steps"),
    [
        ((2, 2), 8, (2, 4)),
        ((2, 2), 3, (1, 3)),  # what the first one's step does not divide goes to the last
        ((3, 2), 6, (3, 2)),
        ((3, 2), 2, (1, 2)),
        ((1, 1), 2, (1, 2)),  # the wider kernel steps where none does today
    ],
)
def test_a_module_shares_its_step_out_in_order(today, wanted, steps):
    parts = nn.Sequential(nn.Conv2d(3, 4, 1, today[0]), nn.Conv2d(4, 4, 3, today[1], 1))
    graph = trace(nn.Sequential(nn.Conv2d(3, 3, 1), parts), (3, 36, 36))
    found = {"1.0": today[0], "1.1": today[1]} | changes(make_plan(graph, {"1": wanted}))
    assert (found["1.0"], found["1.1"]) == steps


@pytest.mark.parametrize("wide", [0, 1])
def test_a_parallel_path_steps_where_its_window_covers_the_step(wide):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kernels = (3, 1) if wide == 0 else (1, 3)
            self.main = nn.Conv2d(3, 4, 3, 1, 1)
            self.side = nn.Sequential(*(nn.Conv2d(c, 4, k, 1, k // 2) for c, k in zip((3, 4), kernels, strict=True)))

        def forward(self, x):
            return self.main(x) + self.side(x)

    found = changes(make_plan(trace(Two(), (3, 16, 16)), {"main": 2}))
    assert found == {"main": 2, f"side.{wide}": 2}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"4.conv2": 2}, "joined with its own input"),
        ({"nowhere": 2}, "no site of that name"),
        ({"0": 0}, "whole number from 1"),
        ({"0": 1.5}, "whole number from 1"),
        ({"0": 64}, "larger than the map"),
        ({"+nowhere": 2}, "no slot of that name"),
        ({"3.conv1": 1, "3.conv2": 1, "3.conv3": 1, "3.down": 2}, "contradicts"),
        ({"0": (1, 2, 3)}, "3 entries for 2 axes"),
        ({"0": "two"}, "is no stride"),
    ],
)
def test_refusals_are_one_line_and_say_why(graph, request_, words):
    with pytest.raises(PlanError) as error:
        make_plan(graph, request_)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("cap", "words"), [(16, "the network's is 8"), (3, "would step by")])
def test_impossible_output_strides(graph, cap, words):
    with pytest.raises(PlanError, match=words):
        make_plan(graph, output_stride=cap)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 8, 3, 2, 1)
        self.up = nn.Upsample(scale_factor=2)
        self.out = nn.Conv2d(12, 2, 3, padding=1)

    def forward(self, x):
        a = self.one(x)
        return self.out(torch.cat([a, self.up(self.two(a))], 1))


def test_a_fixed_factor_forbids_and_is_named():
    graph = trace(UNet(), (3, 32, 32), name="unet")
    with pytest.raises(PlanError, match="two=1: the path back through up has a fixed factor of 2"):
        make_plan(graph, {"two": 1})
    assert changes(make_plan(graph, {"one": 2})) == {"one": 2}


REQUESTS = [
    {"0": 1},
    {"0": 4},
    {"1.conv2": 1},
    {"3.down": 1},
    {"3.conv2": 3},
    {"1.conv2": "1x2", "3.conv2": "2x1"},
    {"1": 1, "3": 4},
    {"+1": 2},
    {"+2": "2:mean", "3": 1},
]


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("size", [32, 37])
def test_numbers_under_a_plan_equal_a_retrace(request_, pooled, size):
    model = small(pooled)
    graph = trace(model, (3, size, size), name="small")
    plan = make_plan(graph, request_)
    promised = restride(graph, plan).graph
    before = {k: v.clone() for k, v in model.state_dict().items()}
    done = apply_to_model(model, plan)
    found = trace(model, (3, size, size))
    said, real = grid_sizes(promised), grid_sizes(found)
    assert cost.macs(promised, said) == cost.macs(found, real)
    assert cost.activations(promised, said) == cost.activations(found, real)
    sizes = {n.key: real[n.grid] for n in found.nodes if n.site}
    for node in promised.nodes:
        if node.site and not node.key.startswith("+"):
            assert said[node.grid] == sizes[node.key]
    out = model(torch.randn(2, 3, size, size))
    assert out.shape[2:] == promised.grids[promised.tensors[promised.outputs[0]].grid].sizes
    assert list(model.state_dict()) == list(before)
    done.undo()
    again = trace(model, (3, size, size))
    assert [g.sizes for g in again.grids] == [g.sizes for g in graph.grids]
    assert [g.maps for g in again.grids] == [g.maps for g in graph.grids]


def test_apply_twice_and_to_another_network_are_refused():
    model = small()
    plan = make_plan(trace(model, (3, 32, 32), name="small"), {"3.conv2": 1})
    apply_to_model(model, plan)
    with pytest.raises(PlanError, match="changed already"):
        apply_to_model(model, plan)
    with pytest.raises(PlanError, match="no such site"):
        apply_to_model(ResNet20(), plan, input=(3, 32, 32))


def test_free_components_of_a_residual_network(graph):
    # stem; per stepping block conv1 out, conv2 out and the joined class
    assert components(graph).free == 1 + 3 + 3
    found = {g.sites: g for g in groups(graph)}
    assert found["3.conv1", "3.conv2", "3.conv3", "3.down"].stride == (2, 2)
    assert found["3.conv1", "3.conv2", "3.conv3", "3.down"].free
    assert not found["4.conv1", "4.conv2", "4.conv3"].free
