"""The curve of change against the shift: known where a network is a pure step, or says maps that move along."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stridewise.errors import UsageError
from stridewise.measure.curve import change_curve

SIZE, FAR = (24, 20), 8


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 24, 20 + FAR, generator=draw), torch.rand(4, 3, *SIZE, generator=draw)


def curve(predict, pictures):
    return change_curve(predict, *pictures, SIZE, 1)


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


def test_boxes_are_refused_and_so_is_a_network_that_says_one_thing(pictures):
    with pytest.raises(UsageError, match="says boxes"):
        curve(lambda x: [{"boxes": x}], pictures)
    with pytest.raises(UsageError, match="the same of every picture"):
        curve(lambda x: torch.ones(len(x), 3), pictures)
