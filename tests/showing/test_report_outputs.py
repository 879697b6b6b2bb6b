"""A network that hands out several maps: the headline names them all, and is about the coarsest."""

import itertools

import pytest
import torch
from torch import nn

import stridewise as sw


class Pyramid(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(a, 8, 3, 2, 1) for a in (3, 8, 8))
        self.order = order

    def forward(self, x):
        maps = []
        for step in self.steps:
            x = step(x)
            maps.append(x)
        maps.append(maps[-1].mean((2, 3)))
        return {at: maps[at] for at in self.order}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_the_order_of_outputs_changes_no_headline(order):
    graph = sw.trace(Pyramid(order), (3, 64, 64))
    report = sw.show(graph)
    found = report.to_json()["totals"]
    assert found["output_stride"] == [8, 8]
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    Pyramid(order)(x)[2][0, :, 4, 4].sum().backward()
    seen = (x.grad[0].abs().sum(0) > 0).any(0)
    assert found["receptive_field"][0] == int(seen.sum())
    assert "output stride 8 (2, 4, 8 go out)   last map 8×8" in str(report)
    coarser = sw.show(graph, [sw.plan(graph, output_stride=4)]).views[1].totals
    assert coarser.output_stride == (4, 4)
