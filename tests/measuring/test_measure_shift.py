"""Shift consistency: what must be exactly 0 or 1, the published ordering, and what is refused."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from stridewise.errors import DataError, UsageError
from stridewise.measuring.agreement import levels, never_changed, pair_agreement, stays_right
from stridewise.measuring.offsets import coarsest, grid_offsets, made_by, pair_offsets, steps, views, with_margin
from stridewise.measuring.shift import Network, reach_of, run_views, shift
from stridewise.tracing.trace import trace

from .measure_nets import Largest, toy, whole_numbers, windows

EIGHT = ((1, 1), (2, 2), (4, 4), (8, 8))


def test_polyphase_on_circular_maps_does_not_change_at_all_when_rolled() -> None:
    x = (8 * windows(4, 32)).round().double()
    nets = {
        k: Network(predict=whole_numbers(toy(k, circular=True, mean=False)), ladder=EIGHT)
        for k in ("polyphase", "plain")
    }
    polyphase, plain = shift(nets, x, (32, 32), mode="roll")
    assert polyphase.offsets == 64
    assert polyphase.change.value == 0
    assert polyphase.agreement.value == polyphase.unchanged.value == 1
    assert plain.change.value > 0.01


def test_a_roll_by_the_stride_changes_nothing_with_circular_padding() -> None:
    x = (8 * windows(3, 32)).round().double()
    net = whole_numbers(toy("plain", circular=True, mean=False))
    offsets = np.array([[[0, 0], [8, 0], [16, 24], [4, 0]]] * 3)
    out = run_views(net, x, offsets, (32, 32), mode="roll")
    assert (out[:, 1:3] == out[:, :1]).all()
    assert not np.allclose(out[:, 3], out[:, 0])


def test_what_never_looks_at_places_is_wholly_consistent() -> None:
    net = nn.Sequential(Largest(), nn.Linear(3, 5))
    (found,) = shift({"net": Network(predict=net, ladder=((1, 1), (2, 2)))}, windows(4, 16), (16, 16), mode="roll")
    assert (found.agreement.value, found.unchanged.value, found.change.value) == (1, 1, 0)
    assert found.guilty is None


@pytest.mark.parametrize("seed", [0, 1])
def test_roll_crowns_polyphase_and_real_crops_prefer_blur(seed: int) -> None:
    kinds = ("plain", "blur", "polyphase")
    found = {}
    for mode, size in (("roll", 32), ("crop", 40)):
        nets = {k: Network(predict=toy(k, circular=mode == "roll", seed=seed), ladder=EIGHT) for k in kinds}
        for result in shift(nets, windows(10, size), (32, 32), mode=mode):
            found[mode, result.name] = result.change.value
    assert found["roll", "polyphase"] < found["roll", "blur"] < found["roll", "plain"]
    assert found["crop", "blur"] < found["crop", "plain"]
    assert found["crop", "blur"] < found["crop", "polyphase"]


def test_the_breakdown_names_the_step_that_breaks_it() -> None:
    """Position by parity after the second of three steps decides the class: pairs apart by 4 agree, others do not."""

    def predict(x: torch.Tensor) -> torch.Tensor:
        phase = x[:, 0, 0, 0].long() % 4 // 2  # the ramp's value is the offset itself
        return nn.functional.one_hot(phase, 2).float()

    ramp = torch.arange(24.0).expand(6, 1, 24, 24).transpose(2, 3).contiguous()
    net = Network(predict=predict, ladder=EIGHT, sites={(4, 4): ("second",)})
    (found,) = shift({"net": net}, ramp, (16, 16))
    assert found.sites == ("second",)
    assert found.levels[0].pairs == 6 * 64 * 48 // 2
    assert found.levels[1].disagree.value == pytest.approx(2 / 3)  # moved by 2: of (0,2), (2,0), (2,2) two are
    assert found.levels[2].disagree.value == 0


def test_figures_equal_their_definitions_on_drawn_predictions() -> None:
    rng = np.random.default_rng(0)
    predicted, labels = rng.integers(3, size=(20, 6)), rng.integers(3, size=20)
    pairs = list(itertools.permutations(range(6), 2))
    above, below = pair_agreement(predicted)
    expected = np.mean([[row[i] == row[j] for i, j in pairs] for row in predicted])
    assert above.sum() / below.sum() == pytest.approx(expected)
    right = [(row[i] == y, row[j] == y) for row, y in zip(predicted, labels, strict=True) for i, j in pairs]
    above, below = stays_right(predicted, labels)
    assert above.sum() / below.sum() == pytest.approx(np.mean([j for i, j in right if i]))
    assert never_changed(predicted)[0].mean() == np.mean([len(set(row)) == 1 for row in predicted.tolist()])


def test_every_pair_has_one_level() -> None:
    offsets = grid_offsets(4, (8, 4), seed=1)
    predicted = np.zeros(offsets.shape[:2], np.int64)
    apart, other = np.zeros((4, 32, 32)), np.ones(4)
    found = levels(predicted, apart, other, offsets, ((1, 1), (2, 1), (4, 2), (8, 4)))
    assert sum(level.pairs for level in found) == 4 * 32 * 31 // 2
    assert found[-1].pairs == 0


def test_twice_the_same_view_is_no_pair() -> None:
    offsets = np.array([[[3, 5], [3, 5]], [[0, 0], [8, 0]]])
    apart, other = np.zeros((2, 2, 2)), np.ones(2)
    assert [level.pairs for level in levels(np.zeros((2, 2), np.int64), apart, other, offsets, EIGHT)] == [0, 0, 0, 1]


def test_views_are_the_moved_picture_in_every_mode() -> None:
    x = torch.rand(2, 3, 6, 7)
    for mode in ("roll", "pad"):
        moved = views(with_margin(x, (3, 4), mode), [[(2, 3)], [(0, 4)]], (6, 7))
        rolled = torch.roll(x[0], (-2, -3), (1, 2))
        if mode == "pad":
            rolled[:, 4:], rolled[:, :, 4:] = 0, 0
        assert torch.equal(moved[0], rolled)
    assert torch.equal(views(x, [[(1, 2)], [(0, 0)]], (5, 5))[0], x[0, :, 1:6, 2:7])


def test_offsets_are_all_of_a_small_grid_and_a_draw_of_a_large_one() -> None:
    assert sorted(map(tuple, grid_offsets(2, (8, 8))[1].tolist())) == list(np.ndindex(8, 8))
    drawn = grid_offsets(50, (32, 16), seed=3)
    assert drawn.shape == (50, 16, 2)
    assert (drawn.max(axis=(0, 1)) == [31, 15]).all()
    assert all(len({tuple(o) for o in row.tolist()}) == 16 for row in drawn)
    assert (drawn == grid_offsets(50, (32, 16), seed=3)).all()
    assert pair_offsets(9, (32, 32)).shape == (9, 2, 2)


def test_the_grid_is_the_coarsest_step_and_each_step_has_its_sites() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=(2, 1), padding=1), nn.MaxPool2d(2), nn.Upsample(scale_factor=4))
    graph = trace(net, (3, 32, 32))
    assert coarsest(graph) == (4, 2)
    assert (2, 1) in steps(graph)
    assert made_by(graph, (2, 1), (4, 2)) == ("1",)


def test_zhang_2019_is_one_pair_of_thirty_two_offsets() -> None:
    net = Network(predict=toy("plain", circular=False, stages=1, width=2), ladder=((1, 1), (2, 2)))
    assert reach_of({"net": net}, "zhang2019") == (32, 32)
    (found,) = shift({"net": net}, windows(3, 64), (32, 32), preset="zhang2019", labels=[0, 1, 2])
    assert (found.offsets, found.preset, found.reach) == (2, "zhang2019", (32, 32))
    assert found.accuracy is not None


def test_plans_meet_the_same_views_and_differences_are_paired() -> None:
    net = Network(predict=toy("plain", circular=False), ladder=EIGHT)
    first, second = shift({"a": net, "b": net}, windows(4, 40), (32, 32))
    assert first.versus is None
    assert (second.versus.value, second.versus.low, second.versus.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("size", "settings", "error", "text"),
    [
        (35, {}, DataError, "leave no margin for crops of 32x32 moved by up to 7x7: 39x39 are needed"),
        (40, {"mode": "roll"}, DataError, "mode roll moves pictures of the input's size 32x32"),
        (40, {"mode": "slide"}, UsageError, "none of crop, roll, pad"),
        (40, {"preset": "azulay"}, UsageError, "none of zhang2019"),
        (40, {"labels": [1]}, UsageError, "one class index a picture"),
    ],
)
def test_refuses_in_one_line(size: int, settings: dict, error: type[Exception], text: str) -> None:
    net = Network(predict=toy("plain", circular=False, width=2), ladder=EIGHT)
    with pytest.raises(error, match=text) as caught:
        shift({"net": net}, windows(3, size), (32, 32), **settings)
    assert "\n" not in str(caught.value)


def test_refuses_no_pictures_and_a_network_that_never_steps() -> None:
    net = Network(predict=toy("plain", circular=False), ladder=EIGHT)
    with pytest.raises(DataError, match="no pictures"):
        shift({"net": net}, torch.zeros(0, 3, 32, 32), (32, 32))
    with pytest.raises(UsageError, match="never steps"):
        shift({"net": Network(predict=net.predict, ladder=((1, 1),))}, windows(2, 40), (32, 32))
