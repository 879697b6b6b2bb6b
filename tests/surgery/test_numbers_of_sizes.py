"""Numbers that a forward works out from sizes of maps (`x / x.shape[2]`): under kept weights they are other numbers."""

import pytest
import torch
from torch import nn

import stridewise as sw


class Net(nn.Module):
    def __init__(self, between):
        super().__init__()
        self.between = between
        self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x):
        return self.b(self.between(self.a(x), x))


def squared(y):
    return y.shape[2] * y.shape[3]


FOLLOWS = {
    "divided": lambda y, x: y / y.shape[2],
    "scaled": lambda y, x: y * squared(y) ** -0.5,
    "in a tensor": lambda y, x: y * torch.tensor(float(y.shape[3])),
    "bounded": lambda y, x: y.clamp(max=1 / y.shape[2]),
    "filled": lambda y, x: y.masked_fill(y > 0, 1 / y.shape[3]),
    "own mean": lambda y, x: y - y.sum((2, 3), keepdim=True) / squared(y),
}
STAYS = {
    "a constant": lambda y, x: y / 4,
    "of the input": lambda y, x: y / x.shape[2],
    "of channels": lambda y, x: y * y.shape[1] ** -0.5,
    "a ratio": lambda y, x: y * (squared(y) // squared(y)),
}


def found(between, means="dense"):
    torch.manual_seed(0)
    model = Net(between).eval()
    plan = sw.plan(sw.trace(model, (3, 16, 18)), output_stride=1, keep_weights=True, means=means)
    return sw.verify(model, plan, input=(3, 16, 18))


@pytest.mark.parametrize("name", FOLLOWS)
@pytest.mark.parametrize("means", ["dense", "grid"])
def test_a_number_worked_out_from_a_size_that_changes_is_not_certified_as_exact(name, means):
    done = found(FOLLOWS[name], means).done
    assert not done.certificate.exact
    assert "a number worked out from the size of a map" in str(done.certificate)


@pytest.mark.parametrize("name", STAYS)
def test_a_number_that_stays_leaves_the_certificate_exact_and_true(name):
    seen = found(STAYS[name])
    assert seen.done.certificate.exact
    assert seen.holds


def centred(y, small):
    begin = [(n - m) // 2 for n, m in zip(y.shape[2:], small.shape[2:], strict=True)]
    return small + y[(..., *(slice(b, b + m) for b, m in zip(begin, small.shape[2:], strict=True)))]


CUTS = {
    "to another's size": lambda y: y[..., 3:, 2:] + y[..., : y.shape[2] - 3, : y.shape[3] - 2],
    "in the middle": lambda y: centred(y, nn.functional.avg_pool2d(y, (4, 3), 1)),
    "half": lambda y: y[..., : y.shape[3] // 2],
    "from a third on": lambda y: y[:, :, y.shape[2] // 3 :],
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_cut_worked_out_from_sizes_is_worked_out_from_the_old_ones(cut):
    torch.manual_seed(0)
    model = Net(lambda y, x: cut(y)).eval()
    plan = sw.plan(sw.trace(model, (3, 15, 18)), output_stride=1, keep_weights=True)
    for size in ((15, 18), (18, 19), (25, 17)):
        seen = sw.verify(model, plan, input=(3, *size))
        assert seen.done.certificate.exact
        assert seen.holds


def test_a_mean_of_flattened_positions_is_none_of_the_coarse_grid():
    class Gate(Net):
        def __init__(self):
            super().__init__(None)
            self.a, self.b = nn.Conv2d(3, 1, 3, 2, 1), nn.Conv2d(1, 4, 3, 1, 1)
            self.between = lambda y, x: y * y.flatten(2).mean(2)[..., None, None]

    with pytest.raises(sw.PlanError, match="reduce"):
        sw.plan(sw.trace(Gate(), (3, 16, 18)), output_stride=1, keep_weights=True, means="grid")


def test_a_padding_worked_out_from_a_size_that_changes_is_refused():
    def filled(y, x):
        down, right = (x.shape[a] // 2 + 2 - y.shape[a] for a in (2, 3))
        return nn.functional.pad(y, [right // 2, right - right // 2, down // 2, down - down // 2])

    with pytest.raises(sw.PlanError, match="pad"):
        sw.plan(sw.trace(Net(filled), (3, 16, 18)), output_stride=1, keep_weights=True)
