"""Heads that put the predictions of several maps end to end: a list, and no map any more."""

import pytest
import torch
from torch import nn

import stridewise as sw
from stridewise.errors import PlanError


class Head(nn.Module):
    """Two levels, their predictions in one list; `after`: what is done with the list."""

    def __init__(self, after: nn.Module | None = None) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.say = nn.ModuleList(nn.Conv2d(8, 6, 1) for _ in range(2))
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.fine(x)
        maps = [say(level) for say, level in zip(self.say, (fine, self.coarse(fine)), strict=True)]
        listed = torch.cat([m.view(m.shape[0], 6, -1) for m in maps], 2)
        return listed.sigmoid() if self.after is None else self.after(listed)


class Written(nn.Module):
    """Part of the list weighed by a convolution of one position, part written over, as heads for poses do."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(3, 1, 1, bias=False)

    def forward(self, listed: torch.Tensor) -> torch.Tensor:
        weighed = self.weigh(listed.view(listed.shape[0], 3, 2, -1).softmax(1)).squeeze(1)
        out = listed.clone()
        out[:, :2] = out[:, :2].sigmoid()
        out[:, 2:4] = weighed
        return out


@pytest.mark.parametrize("after", [None, nn.Conv1d(6, 2, 1)])
def test_a_list_of_predictions_is_told_and_its_maps_are_known(after):
    report = sw.show(sw.trace(Head(after), (3, 64, 64)))
    found = report.to_json()
    assert found["totals"]["output_stride"] == [8, 8]
    assert found["unknown"] == []
    (note,) = found["notes"]
    assert note.startswith("output: the positions of several maps are put end to end, a list of predictions")


def test_a_window_over_the_list_is_unknown():
    graph = sw.trace(Head(nn.Conv1d(6, 2, 3)), (3, 64, 64))
    assert graph.last is None
    assert graph.unknown[0].message.endswith("is not followed: the positions of several maps are put end to end")
    with pytest.raises(PlanError, match="output stride: what follows is not known"):
        sw.plan(graph, output_stride=4)


@pytest.mark.parametrize("after", [None, Written()])
def test_the_maps_behind_a_list_keep_their_values(after):
    torch.manual_seed(0)
    model, x = Head(after).double(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    coarse: list[torch.Tensor] = []
    model.say[1].register_forward_hook(lambda _m, _i, out: coarse.append(out.detach()))
    model(x)
    plan = sw.plan(sw.trace(model, (3, 64, 64)), output_stride=4, keep_weights=True)
    done = sw.apply(model, plan)
    assert done.certificate.exact
    assert model(x).shape == (1, 6, 512)
    assert float((coarse[-1][..., ::2, ::2] - coarse[0]).abs().max()) <= 1e-12
