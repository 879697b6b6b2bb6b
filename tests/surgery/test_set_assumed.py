"""Numbers in a model that still assume the strides it had before a plan."""

import pytest
import torch
from torch import nn

import stridewise as sw


class Detector(nn.Module):
    """Two maps at strides 8 and 16, with what a detector writes down about them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.first = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.strides = [8, 16]
        self.anchor_stride = torch.tensor([8.0, 16.0])
        self.feat_size = (4, 4)
        self.kernel_size = (4, 4)
        self.register_buffer("priors", torch.zeros(1, 2, 4, 4))
        self.table = nn.Parameter(torch.zeros(1, 65, 8))
        self.levels = 16
        self.steps = [8, 16]
        self.pool_scales = [0.125, 0.0625]
        self.scales = [0.5, 0.75]  # of a picture, and no stride

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        fine = self.first(self.stem(x))
        return [fine, self.second(fine)]


@pytest.mark.parametrize("keep", [False, True])
def test_what_was_made_for_the_old_strides_is_named(keep: bool) -> None:
    model = Detector()
    plan = sw.plan(sw.trace(model, (3, 64, 64)), {"first": 1, "second": 1}, keep_weights=keep)
    done = sw.apply(model, plan, input=(3, 64, 64))
    assert {(f.rule, f.key) for f in done.findings} == {
        ("SW201", "strides"),
        ("SW201", "anchor_stride"),
        ("SW201", "steps"),
        ("SW201", "pool_scales"),
        ("SW202", "feat_size"),
        ("SW202", "priors"),
        ("SW202", "table"),
    }
    assert "still says stride 8, 16" in str(done)
    done.undo()
    assert model.strides == [8, 16]


def test_what_still_fits_is_not_named() -> None:
    model = Detector()
    plan = sw.plan(sw.trace(model, (3, 64, 64)), {"second": 1})
    found = sw.apply(model, plan, input=(3, 64, 64)).findings
    assert {f.key for f in found} == {"strides", "anchor_stride", "steps", "pool_scales", "feat_size", "priors"}
    assert all("16" in f.message for f in found if f.rule == "SW201")  # the table has the 64 positions of stride 8


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v2", "timm:resnet26d", "torchvision:densenet121"])
def test_classifiers_hold_no_such_number(name: str) -> None:
    model = sw.load(name)
    plan = sw.plan(sw.trace(model, (3, 64, 64)), output_stride=8)
    assert not sw.apply(model, plan, input=(3, 64, 64)).findings


class Resizing(Detector):
    """Strides that count from what the picture is resized to."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return super().forward(nn.functional.interpolate(x, (64, 64)))


def test_strides_count_from_what_the_picture_is_resized_to() -> None:
    model = Resizing()
    plan = sw.plan(sw.trace(model, (3, 50, 40)), {"second": 1})
    found = sw.apply(model, plan, input=(3, 50, 40)).findings
    assert {f.key for f in found if f.rule == "SW201"} == {"strides", "anchor_stride", "steps", "pool_scales"}
