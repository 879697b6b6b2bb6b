"""The curve of change against the shift: known where a network is a pure step, or says maps that move along."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stridewise.errors import UsageError
from stridewise.measuring.curve import change_curve

SIZE, FAR = (24, 20), 8


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 24, 20 + FAR, generator=draw), torch.rand(4, 3, *SIZE, generator=draw)


def curve(predict, pictures):
    return change_curve(predict, *pictures, SIZE, 1).values


def test_scores_are_compared_as_they_are(pictures):
    draw = torch.Generator().manual_seed(1)
    weights = torch.randn(3 * 24 * 20, 5, generator=draw)
    picture, others = pictures
    found = curve(lambda x: x.flatten(1) @ weights, pictures)
    still = picture[..., :20].flatten(1) @ weights
    scale = ((others.flatten(1) @ weights - still) ** 2).sum(1).mean()
    expected = [(((picture[..., d : d + 20].flatten(1) @ weights - still) ** 2).sum() / scale).sqrt() for d in range(9)]
    assert np.allclose(found, expected, rtol=1e-5)
    assert found[0] == 0


def test_a_map_at_full_size_moves_with_the_picture(pictures):
    assert curve(nn.Conv2d(3, 4, 1), pictures).max() < 1e-6


def test_a_map_with_a_step_of_two_is_the_same_at_even_shifts(pictures):
    for back in (lambda x: x, lambda x: functional.interpolate(x, scale_factor=2)):
        found = curve(lambda x, back=back: back(functional.avg_pool2d(x, 2)), pictures)
        assert found[::2].max() < 1e-6
        assert found[1::2].min() > 0.05


def spots(step):
    """A detector: a box around the brightest cell of a map of that step, and around another of which it is not sure."""

    def predict(x):
        found = []
        for view in functional.avg_pool2d(x.sum(1, keepdim=True), step):
            at = view.flatten().topk(2).indices
            y, x = at // view.shape[2] * float(step), at % view.shape[2] * float(step)
            boxes = torch.stack([x, y, x + step, y + step], 1)
            found.append({"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.9, 0.2])})
        return found

    return predict


@pytest.mark.parametrize("step", [1, 2, 4])
def test_boxes_are_found_again_where_the_shift_is_a_multiple_of_the_step(step):
    picture = torch.zeros(1, 3, 24, 20 + FAR)
    picture[..., 8, 12] = 1
    found = change_curve(spots(step), picture, picture[..., :20], SIZE, 1)
    assert found.of == "boxes"
    # Squares of one size overlap by less than half once they lie more than a third of it apart.
    assert found.values.tolist() == [float(-by % step > step / 3) for by in range(FAR + 1)]


def test_what_cannot_be_compared_is_one_line(pictures):
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
    with pytest.raises(UsageError, match=r"no box in this picture scores 0\.3 or more: load weights"):
        curve(lambda x: [none], pictures)
    with pytest.raises(UsageError, match="one mapping of boxes, labels, scores a picture"):
        curve(lambda x: [{"boxes": x}], pictures)
    with pytest.raises(UsageError, match="gives out SimpleNamespace, which no curve compares: wrap it"):
        curve(lambda x: SimpleNamespace(scores=x), pictures)
    with pytest.raises(UsageError, match="the same of every picture"):
        curve(lambda x: torch.ones(len(x), 3), pictures)
