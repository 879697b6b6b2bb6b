"""SW107: stacks of dilated windows whose neighbouring outputs share no position of the stack's input."""

import pytest
from analysis_nets import Fn, chain, found, reach
from torch import nn


def stack(*dilations: int, kernel: int = 3) -> nn.Sequential:
    return chain(*(nn.Conv2d(1, 1, kernel, padding="same", dilation=d, bias=False) for d in dilations))


@pytest.mark.parametrize(
    "dilations", [(2, 2), (2, 4), (3, 3, 3), (4, 6), (2, 3), (2, 5), (1, 2, 3), (6, 10, 15), (2, 2, 1), (4, 2, 3)]
)
def test_it_fires_exactly_where_neighbours_share_nothing(dilations):
    size = 2 * sum(dilations) + 7
    middle = size // 2
    beside = [reach(stack(*dilations), (1, size, size), (middle, middle + i)) for i in range(2)]
    assert bool(found(stack(*dilations), "SW107", (1, 32, 32))) == (not beside[0] & beside[1])


def test_one_dilated_window_is_no_stack():
    assert not found(chain(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=2, dilation=2)), "SW107")


def test_what_comes_before_does_not_help_and_what_comes_after_does():
    dilated = [nn.Conv2d(4, 4, 3, padding=2, dilation=2) for _ in range(3)]
    (finding,) = found(chain(nn.Conv2d(3, 4, 3, padding=1), *dilated, nn.Conv2d(4, 2, 1)), "SW107")
    assert finding.key == "3"
    assert "3 dilated windows from 1 on reach only every 2nd position, so" in finding.message
    assert not found(chain(nn.Conv2d(3, 4, 3, padding=1), *dilated, nn.Conv2d(4, 2, 3, padding=1)), "SW107")


def test_residual_blocks_stay_in_the_lattice_and_a_shifted_branch_leaves_it():
    def blocks(net, x):
        x = x + net.a(x)
        return x + net.b(x)

    def shifted(net, x):
        x = x + net.a(x).roll(1, 3)
        return x + net.b(x)

    parts = {name: nn.Conv2d(4, 4, 3, padding=2, dilation=2) for name in "ab"}
    assert [f.key for f in found(Fn(blocks, **parts), "SW107", (4, 16, 16))] == ["b"]
    (finding,) = found(Fn(shifted, **parts), "SW107", (4, 16, 16))
    assert "along height" in finding.message


def test_a_stride_as_long_as_the_gap_ends_it():
    dilated = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
    assert found(chain(dilated, nn.Conv2d(4, 4, 3, 1, 2, 2)), "SW107")
    assert not found(chain(dilated, nn.Conv2d(4, 4, 3, 2, 2, 2)), "SW107")
