"""Shift consistency of maps and of boxes: exact where nothing is lost, counted by hand where something is."""

import numpy as np
import pytest
import torch
from torch import nn

from stridewise.errors import DataError, UsageError
from stridewise.measuring.box_shift import box_shift
from stridewise.measuring.dense_shift import dense_shift
from stridewise.measuring.matching import Found, agreement, average_precision, matches
from stridewise.measuring.shift import Network

from .measure_nets import windows

FOUR = ((1, 1), (2, 2), (4, 4))


def boxes(*rows: tuple[float, ...]) -> Found:
    """Rows of x0, y0, x1, y1, class, score."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Found(corners=table[:, :4], classes=table[:, 4].astype(np.int64), scores=table[:, 5])


@pytest.mark.parametrize("mode", ["crop", "roll", "pad"])
def test_a_map_of_every_pixel_is_wholly_consistent(mode: str) -> None:
    net = Network(predict=lambda x: torch.cat([x, -x], dim=1), ladder=FOUR)
    (found,) = dense_shift({"net": net}, windows(3, 24 if mode == "crop" else 20), (20, 20), mode=mode)
    assert (found.agreement.value, found.miou.value, found.unchanged.value) == (1, 1, 1)
    assert found.offsets == 16


def test_a_coarse_map_is_consistent_at_multiples_of_its_stride_alone() -> None:
    """A step of two, enlarged again: views moved by two agree on every pixel, others do not."""

    def coarse(x: torch.Tensor) -> torch.Tensor:
        small = x[..., ::2, ::2]
        return torch.cat([small, -small], dim=1).repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)

    x = windows(3, 24)
    (fine,) = dense_shift({"net": Network(predict=coarse, ladder=((1, 1), (2, 2)))}, x, (20, 20))
    assert 0.3 < fine.agreement.value < 1
    even = Network(predict=lambda x: coarse(x[..., ::2, ::2]), ladder=((1, 1), (2, 2)))
    plain, same = dense_shift({"a": Network(predict=coarse, ladder=FOUR), "b": even}, x, (20, 20))
    assert plain.agreement.value != same.agreement.value
    assert same.versus.low <= same.versus.value <= same.versus.high


def test_agreement_and_miou_equal_their_definitions() -> None:
    from stridewise.measuring.dense_shift import _picture

    labels = np.array([[[0, 0], [1, 1]], [[0, 1], [1, 1]], [[0, 0], [1, 2]]])
    agreed, miou, never = _picture(labels)
    assert agreed == pytest.approx((3 + 1 + 3 + 1) / 12)
    assert miou == pytest.approx(np.mean([(1 / 2 + 2 / 3) / 2, (1 / 2 + 1 / 3 + 0) / 3, (1 + 1 / 2 + 0) / 3]))
    assert never == 0.5


def test_maps_are_wanted_and_pixels_must_be_shared() -> None:
    flat = Network(predict=lambda x: x.mean(dim=(2, 3)), ladder=FOUR)
    with pytest.raises(UsageError, match="a map of scores a picture is wanted"):
        dense_shift({"net": flat}, windows(2, 24), (20, 20))
    with pytest.raises(DataError, match="share no pixel"):
        dense_shift({"net": Network(predict=lambda x: x, ladder=FOUR)}, windows(1, 6), (3, 3))


def test_matches_take_the_best_free_box_of_their_class() -> None:
    truth = boxes((0, 0, 10, 10, 1, 1), (20, 0, 30, 10, 1, 1))
    found = boxes((0, 0, 10, 9, 1, 0.6), (1, 0, 11, 10, 1, 0.9), (20, 0, 30, 10, 2, 0.9), (20, 0, 30, 10, 1, 0.2))
    assert matches(found, truth).tolist() == [False, True, False, True]
    assert agreement(truth, truth) == (4.0, 4.0)
    # best first: a hit of 0.9, a miss of 0.6, a hit of 0.2, of two: 1/2 * 1 + 1/2 * 2/3
    assert average_precision([found], [truth]) == pytest.approx(0.5 + 1 / 3)
    assert average_precision([], []) is None


class Corners(nn.Module):
    """Finds the one white square of a view, on a grid of `step` pixels."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        out = []
        for view in x:
            rows, columns = (torch.nonzero(view[0].amax(dim=d) > 0.5).flatten() for d in (1, 0))
            if not len(rows):
                out.append({"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)})
                continue
            edges = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            box = (edges // self.step * self.step).float()
            out.append({"boxes": box[None], "labels": torch.ones(1), "scores": torch.tensor([0.9])})
        return out


@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_boxes_that_follow_the_picture_agree_and_coarse_ones_do_not(mode: str) -> None:
    size = 28 if mode == "crop" else 24
    x = torch.zeros(2, 3, size, size)
    x[0, :, 10:14, 9:14] = 1
    x[1, :, 8:16, 12:17] = 1
    truth = [boxes((9, 10, 14, 14, 1, 1)), boxes((12, 8, 17, 16, 1, 1))]
    nets = {f"step {n}": Network(predict=Corners(n), ladder=FOUR) for n in (1, 4)}
    fine, coarse = box_shift(nets, x, (24, 24), truth=truth, mode=mode)
    assert (fine.agreement.value, fine.ap, fine.ap_best, fine.ap_worst) == (1, 1, 1, 1)
    assert coarse.agreement.value < 1
    assert coarse.ap_worst < coarse.ap < coarse.ap_best
    assert coarse.versus.value == pytest.approx(coarse.agreement.value - 1)


def test_boxes_are_not_rolled() -> None:
    with pytest.raises(UsageError, match="use crop or pad"):
        box_shift({"net": Network(predict=Corners(1), ladder=FOUR)}, windows(1, 24), (24, 24), mode="roll")
