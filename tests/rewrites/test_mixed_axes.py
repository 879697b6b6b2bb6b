"""An op that mixes along one axis is exact under kept weights where no position is added along that axis."""

import pytest
import torch
from torch import nn

import stridewise as sw

ALONG = {
    "logcumsumexp": lambda x: x.logcumsumexp(2),
    "cumsum": lambda x: x.cumsum(2),
    "softmax": lambda x: x.softmax(2),
    "sort": lambda x: x.sort(2)[0],
    "less its mean": lambda x: x - x.mean(2, keepdim=True),
    "over its maximum": lambda x: x / (1 + x.abs().amax(2, keepdim=True)),
}


def verified(function, request):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)

        def forward(self, x):
            return self.b(function(self.a(x)))

    torch.manual_seed(0)
    model = Net().eval()
    plan = sw.plan(sw.trace(model, (3, 17, 18)), request, keep_weights=True)
    return sw.verify(model, plan, input=(3, 17, 18))


@pytest.mark.parametrize("name", ALONG)
def test_finer_positions_on_the_other_axis_leave_it_exact(name):
    found = verified(ALONG[name], {"a": (2, 1)})
    assert found.done.certificate.exact
    assert found.holds


@pytest.mark.parametrize("name", ALONG)
def test_finer_positions_on_its_own_axis_do_not(name):
    assert not verified(ALONG[name], {"a": (1, 2)}).done.certificate.exact
