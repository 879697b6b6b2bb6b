"""Maps of networks that fold, turn or skip them: (N, channels, *sizes) all the same, or one line."""

import itertools

import pytest
import torch
from torch import nn

import stridewise as sw
from stridewise.errors import PlanError


class Folded(nn.Module):
    """Each step's map, mixed in groups that lie in the batch for a while."""

    def __init__(self):
        super().__init__()
        c = (3, 8, 16)
        self.steps = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(c))
        self.mix = nn.ModuleList(nn.Conv2d(b // 4, b // 4, 3, 1, 1) for b in c[1:])

    def forward(self, x):
        for step, mix in zip(self.steps, self.mix, strict=True):
            x = step(x)
            n, c, h, w = x.shape
            x = x + mix(x.reshape(n * 4, c // 4, h, w)).reshape(n, c, h, w)
        return x


class Skips(nn.Module):
    """Runs its second layer on large pictures alone."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, x):
        y = self.a(x)
        return self.b(y) if x.shape[-1] > 100 else y


class Last(nn.Module):
    """Channels behind the positions, as in Swin."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.head = nn.Conv2d(8, 4, 3, 2, 1)

    def forward(self, x):
        y = self.norm(self.embed(x).permute(0, 2, 3, 1))
        return self.head(y.permute(0, 3, 1, 2))


def test_no_map_has_another_batch_than_the_input():
    found = sw.features(Folded().eval(), strides=(2, 4), input=(3, 64, 64))(torch.rand(2, 3, 64, 64))
    assert [tuple(y.shape) for y in found] == [(2, 8, 32, 32), (2, 16, 16, 16)]


def test_a_layer_that_does_not_run_at_this_size_is_named():
    maps = sw.features(Skips(), strides=(2, 4))
    assert len(maps(torch.rand(1, 3, 224, 224))) == 2
    with pytest.raises(PlanError, match="features: b did not run at input 3x64x64"):
        maps(torch.rand(1, 3, 64, 64))


def test_channels_come_first_wherever_the_network_holds_them():
    model = Last().eval()
    maps = sw.features(model, strides=(4, 8), input=(3, 64, 48))
    assert maps.names[0] == "norm"
    x = torch.rand(1, 3, 64, 48)
    assert torch.equal(maps(x)[0], model.norm(model.embed(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def test_strides_of_feature_info_follow_on_each_axis():
    class Info(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
            self.feature_info = [{"module": "a", "reduction": 2}, {"module": "b", "reduction": 4}]

        def forward(self, x):
            return self.b(self.a(x))

    model = Info().eval()
    done = sw.apply(model, sw.plan(sw.trace(model, (3, 64, 64)), output_stride=(2, 4)))
    assert model.feature_info[1]["reduction"] == (2, 4)
    assert not [f for f in sw.check(sw.trace(model, (3, 64, 64))) if f.rule == "SW201"]
    done.undo()
    assert model.feature_info[1]["reduction"] == 4
