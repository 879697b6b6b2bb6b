"""A front's numbers are those of the changed live model, traced anew: nothing is estimated on the way."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from stridewise.analyses import cost
from stridewise.errors import PlanError
from stridewise.fronts.front import front
from stridewise.models.builtin import build
from stridewise.models.load import load
from stridewise.models.zoo import declare_missing_ops
from stridewise.rewrites.restride import restride
from stridewise.surgery.apply import apply_to_model
from stridewise.tracing.trace import trace


class UNet(nn.Module):
    """Two levels down by pools, up by a fixed factor and by a transposed convolution, with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.in1, self.in2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.pool1, self.down1 = nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1)
        self.pool2, self.down2 = nn.MaxPool2d(2), nn.Conv2d(12, 16, 3, padding=1)
        self.up2, self.mix2 = nn.ConvTranspose2d(16, 12, 2, 2), nn.Conv2d(24, 12, 3, padding=1)
        self.up1, self.mix1 = nn.Upsample(scale_factor=2), nn.Conv2d(20, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = functional.relu(self.in2(functional.relu(self.in1(x))))
        b = functional.relu(self.down1(self.pool1(a)))
        c = functional.relu(self.down2(self.pool2(b)))
        b = functional.relu(self.mix2(torch.cat([self.up2(c), b], 1)))
        return self.head(functional.relu(self.mix1(torch.cat([self.up1(b), a], 1))))


class Pyramid(nn.Module):
    """A ResNet-18 trunk, narrow, with lateral and output convolutions at each level and sizes that follow."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.levels = nn.ModuleList(nn.Conv2d(8, 8, 3, 2, 1) for _ in range(3))
        self.laterals = nn.ModuleList(nn.Conv2d(8, 4, 1) for _ in range(3))
        self.outs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x, maps = self.stem(x), []
        for level in self.levels:
            x = functional.relu(level(x))
            maps.append(x)
        above, found = None, []
        for lateral, out, at in zip(reversed(self.laterals), reversed(self.outs), reversed(maps), strict=True):
            here = lateral(at)
            if above is not None:
                here = here + functional.interpolate(above, size=here.shape[-2:])
            above = here
            found.append(out(here))
        return found


def densenet() -> nn.Module:
    declare_missing_ops()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchvision.models.densenet import DenseNet
    return DenseNet(growth_rate=4, block_config=(2, 2, 2), num_init_features=8, num_classes=5)


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "resnet18": (lambda: load("torchvision:resnet18", device="meta"), (3, 64, 64)),
    "mobilenet_v2": (lambda: load("torchvision:mobilenet_v2", device="meta"), (3, 64, 48)),
    "resnet20": (lambda: build("resnet20-narrow"), (3, 32, 32)),
    "densenet": (densenet, (3, 64, 64)),
    "squeezenet1_1": (lambda: load("torchvision:squeezenet1_1", device="meta"), (3, 64, 64)),
    "convnext_atto": (lambda: load("timm:convnext_atto", device="meta"), (3, 64, 64)),
    "resnet10t": (lambda: load("timm:resnet10t", device="meta"), (3, 64, 64)),
    "mobilenetv3_small": (lambda: load("timm:mobilenetv3_small_050", device="meta"), (3, 64, 64)),
    "unet": (UNet, (3, 32, 32)),
    "pyramid": (Pyramid, (3, 48, 64)),
}


@pytest.mark.parametrize("name", MODELS)
def test_numbers_equal_the_changed_model(name: str) -> None:
    make, shape = MODELS[name]
    model = make()
    graph = trace(model, shape)
    points = front(graph, slots=True if name == "resnet20" else None).points
    checked = 0
    for point in random.Random(0).sample(points, min(20, len(points))):
        plan = point.plan
        pads = restride(graph, plan).pads
        try:
            done = apply_to_model(model, plan, input=shape)
        except PlanError as error:
            assert "this version" in str(error)
            continue
        again = trace(model, shape)
        done.undo()
        sizes = [g.sizes for g in again.grids]
        assert cost.macs(again, sizes) == point.macs
        assert cost.activations(again, sizes) == point.activations
        # The padding is an op of its own in the live model, and holds a padded copy for a moment.
        peak = cost.peak_bytes(again, sizes)
        assert peak == point.peak_bytes or (pads and peak > point.peak_bytes)
        checked += 1
        if checked == 12:
            break
    assert checked >= min(6, len(points))
