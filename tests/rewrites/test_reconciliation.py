"""End padding where a changed window falls short of a parallel path: when it is given, how much, and when it is not."""

import pytest
import torch
from torch import nn

from stridewise.axis import Slice, Window
from stridewise.errors import PlanError
from stridewise.plans import Plan, Setting
from stridewise.rewrites.reconciliation import keeps_size, paddable_windows, shortfall
from stridewise.rewrites.restride import restride
from stridewise.surgery.apply import apply_to_model
from stridewise.tracing.trace import trace


class Two(nn.Module):
    """A stem and two paths that are added."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), left, right

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.left(x) + self.right(x)


def one(was: int, now: int) -> Setting:
    return Setting(stride=(now, now), was=(was, was))


@pytest.mark.parametrize("swapped", [False, True])
def test_an_average_at_step_one_gets_the_row_it_lacks(swapped: bool) -> None:
    paths = [nn.Conv2d(4, 4, 3, 2, 1), nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(4, 4, 1))]
    model = Two(*(paths[::-1] if swapped else paths))
    conv, pool = ("right", "left.0") if swapped else ("left", "right.0")
    graph = trace(model, (3, 12, 16))
    found = restride(graph, Plan(sites={conv: one(2, 1), pool: one(2, 1)}))
    assert found.pads == ((pool, 0, 1), (pool, 1, 1))
    done = apply_to_model(model, Plan(sites={conv: one(2, 1), pool: one(2, 1)}), input=(3, 12, 16))
    assert model(torch.zeros(1, 3, 12, 16)).shape[-2:] == (12, 16)
    done.undo()


def test_only_what_the_window_itself_lacks_is_given() -> None:
    """A 3x3 without padding gives two positions too few; a convolution that keeps its size gives none too few."""
    model = Two(nn.Conv2d(4, 4, 3, 2, 0), nn.Sequential(nn.Conv2d(4, 4, 1), nn.MaxPool2d(3, 2)))
    graph = trace(model, (3, 13, 13))
    # Left steps in its own window (13 -> 6), right before it (13 -> 7 -> 5): one position is missing, two may be given.
    found = restride(graph, Plan(sites={"right.0": one(1, 2), "right.1": one(2, 1)}))
    assert found.pads == (("right.1", 0, 1), ("right.1", 1, 1))


def test_a_window_that_does_not_fall_short_is_not_padded() -> None:
    """At step 1 a 4x4 window padded by 2 gives one position too many; its neighbour gives its due and is not padded."""
    graph = trace(Two(nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 4, 2, 2)), (3, 13, 13))
    with pytest.raises(PlanError, match="sizes on axis 0 differ: 13 from left, 14 from right"):
        restride(graph, Plan(sites={"left": one(2, 1), "right": one(2, 1)}))


def test_a_window_before_the_fork_is_not_to_blame() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 2, 2), Two(nn.Conv2d(4, 4, 3, 1, 0), nn.Conv2d(4, 4, 3, 1, 0)))
    graph = trace(model, (3, 16, 16))
    join = next(g.index for g in graph.grids if g.kind == "join")
    stem = next(n.grid for n in graph.nodes if n.key == "0")
    chains = paddable_windows(graph, 0)[join]
    assert [len(c) for c in chains] == [1, 1]
    assert stem not in [w for c in chains for w in c]


def test_how_much_a_window_falls_short() -> None:
    assert shortfall(Window(kernel=2, stride=1), 8) == 1
    assert shortfall(Window(kernel=2, stride=2), 8) == 0
    assert shortfall(Window(kernel=2, stride=2), 7) == 1
    assert shortfall(Window(kernel=3, stride=2, pad_begin=1, pad_end=1), 7) == 0
    assert shortfall(Window(kernel=7, stride=1), 20) == 6
    assert keeps_size(Window(kernel=3, pad_begin=1, pad_end=1))
    assert not keeps_size(Window(kernel=3, pad_begin=1))
    assert keeps_size(Slice())
