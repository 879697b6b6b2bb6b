"""Graphs whose windows are dilated: what unknown ops forbid, slices, slots that have a step already."""

import pytest
import torch
from torch import nn

import stridewise as sw
from stridewise.analyses.sizes import grid_sizes
from stridewise.axis import Slice
from stridewise.plans import Setting
from stridewise.rewrites.dilate import dilated_graph, dilation


@torch.library.custom_op("swdilated::strange", mutates_args=())
def strange(x: torch.Tensor) -> torch.Tensor:
    return x.flip(2)


@strange.register_fake
def _(x):
    return torch.empty_like(x)


class Strange(nn.Module):
    """An op without a rule between two steps."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x):
        return self.second(strange(self.first(x)))


def test_an_op_without_a_rule_forbids_kept_weights_where_it_would_meet_more_positions():
    graph = sw.trace(Strange(), (3, 32, 32))
    assert graph.unknown
    plan = sw.Plan(sites={"first": Setting(stride=(1, 1), was=(2, 2))}, model=graph.model, keep_weights=True)
    with pytest.raises(sw.PlanError, match="keeping the weights needs a rule for what comes here"):
        dilation(graph, plan)


def test_an_op_without_a_rule_that_meets_no_more_positions_forbids_nothing():
    graph = sw.trace(Strange(), (3, 32, 32))
    plan = sw.Plan(sites={}, model=graph.model, keep_weights=True)
    assert not dilation(graph, plan).actions


class Cut(nn.Module):
    """A slice that leaves rows out at both ends, between two steps."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x):
        return self.second(self.first(x)[:, :, 1:-2, 2::2])


def test_a_slice_keeps_its_rows_at_m_times_the_positions():
    graph = sw.trace(Cut(), (3, 32, 32))
    plan = sw.plan(graph, {"first": 1}, keep_weights=True)
    after = dilated_graph(dilation(graph, plan))
    cut = [m for grid in after.grids for m in grid.maps if isinstance(m, Slice)]
    assert cut[0] == Slice(start=2, stop=-4)
    assert cut[1].start == 4
    assert cut[1].stop is None
    model = Cut().eval()
    sw.apply(model, plan, input=(3, 32, 32))
    with torch.no_grad():
        assert grid_sizes(after)[-1] == tuple(model(torch.zeros(1, 3, 32, 32)).shape[2:])


def test_what_a_slot_is_asked_for_and_has_already():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1))
    graph = sw.trace(model, (3, 32, 32))
    slot = graph.slots[0].key
    done = sw.apply(model, sw.plan(graph, {f"+{slot}": 2}))
    again = sw.trace(model, (3, 32, 32))
    assert [(s.key, s.kind, s.stride) for s in again.slots if s.key == slot] == [(slot, "max", (2, 2))]
    # The same step is nothing new, another kind or another step is, and "max" by name means the one that is there.
    assert not sw.plan(again, {f"+{slot}": 2}).insert
    assert not sw.plan(again, {f"+{slot}": "2:max"}).insert
    other = sw.plan(again, {f"+{slot}": "2:mean"}).insert[slot]
    assert (other.downsample, other.stride, other.was) == ("mean", (2, 2), (2, 2))
    wider = sw.plan(again, {f"+{slot}": 3}).insert[slot]
    assert (wider.downsample, wider.stride, wider.was) == ("max", (3, 3), (2, 2))
    gone = sw.plan(again, {f"+{slot}": 1}).insert[slot]
    assert (gone.stride, gone.was) == ((1, 1), (2, 2))
    # A whole network brought to a finer stride takes the slot's step away too, as a step of the slot.
    capped = sw.plan(again, output_stride=1)
    assert capped.insert[slot] == Setting(stride=(1, 1), was=(2, 2), downsample="max")
    done.undo()
