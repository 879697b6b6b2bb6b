"""Time of the exact front over all plans of a network, with default steps, and that the front's numbers are real.

    python benchmarks/front.py            one JSON line a network, and the table benchmarks/results/front.md

Each front is found five times, those of the larger networks once; median and spread. Ten points of each are carried
out on the graph and their multiply-adds, activations and peak bytes compared. Processor time stands beside wall time,
which other work on the machine stretches.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import stridewise as sw
from stridewise.analyses import cost
from stridewise.fronts.front import Front
from stridewise.fronts.space import space
from stridewise.models.zoo import declare_missing_ops
from stridewise.rewrites.restride import restride

RESULTS = Path(__file__).parent / "results" / "front.md"
ROUNDS = 5
BOUND = 1.0

declare_missing_ops()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchvision.models import resnet34, resnet50
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.ops import FeaturePyramidNetwork


class Up(nn.Module):
    """Twice the size, the skip beside it, two convolutions."""

    def __init__(self, channels: int, skip: int, out: int) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(channels + skip, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(True))
        self.two = nn.Sequential(nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(True))

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        x = functional.interpolate(x, scale_factor=2)
        return self.two(self.one(x if skip is None else torch.cat([x, skip], 1)))


class UNet(nn.Module):
    """An encoder-decoder on ResNet-34, as segmentation libraries build it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = resnet34()
        sizes = ((512, 256, 256), (256, 128, 128), (128, 64, 64), (64, 64, 32), (32, 0, 16))
        self.ups = nn.ModuleList(Up(*s) for s in sizes)
        self.head = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        body = self.body
        maps = [body.relu(body.bn1(body.conv1(x)))]
        x = body.maxpool(maps[0])
        for layer in (body.layer1, body.layer2, body.layer3, body.layer4):
            x = layer(x)
            maps.append(x)
        for up, skip in zip(self.ups, (*reversed(maps[:-1]), None), strict=True):
            x = up(x, skip)
        return self.head(x)


class Pyramid(nn.Module):
    """torchvision's feature pyramid on ResNet-50."""

    def __init__(self) -> None:
        super().__init__()
        self.body = IntermediateLayerGetter(resnet50(), {f"layer{i}": str(i) for i in (1, 2, 3, 4)})
        self.fpn = FeaturePyramidNetwork([256, 512, 1024, 2048], 256)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.fpn(self.body(x))


def zoo(name: str) -> Callable[[], nn.Module]:
    """A loader without weights."""
    return lambda: sw.load(name, device="meta")


CASES: dict[str, Callable[[], nn.Module]] = {
    "ResNet-50": zoo("torchvision:resnet50"),
    "MobileNetV2": zoo("torchvision:mobilenet_v2"),
    "DenseNet-121": zoo("torchvision:densenet121"),
    "U-Net on ResNet-34": UNet,
    "FPN on ResNet-50": Pyramid,
    "HRNet-W18": zoo("timm:hrnet_w18"),
}


# Beyond the bound's list: the input size of each. Their fronts are found once.
LARGE: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "GoogLeNet": (zoo("torchvision:googlenet"), 224),
    "inception_v3": (zoo("torchvision:inception_v3"), 299),
    "NASNet-A": (zoo("timm:nasnetalarge"), 331),
}


def real(front: Front, count: int = 10) -> bool:
    """Whether the numbers of some points are those of their plans carried out on the graph."""
    for point in random.Random(0).sample(front.points, min(count, len(front.points))):
        after = restride(front.graph, point.plan).graph
        sizes = [g.sizes for g in after.grids]
        if point.cost != (cost.macs(after, sizes), cost.peak_bytes(after, sizes), cost.activations(after, sizes)):
            return False
    return True


def one(name: str, make: Callable[[], nn.Module], size: int = 224, rounds: int = ROUNDS) -> dict[str, object]:
    """Times and sizes of one network's front."""
    with torch.device("meta"):
        model = make()
    graph = sw.trace(model, (3, size, size), name=name)
    if rounds > 1:
        sw.front(graph)
    wall, busy = [], []
    for _ in range(rounds):
        began, worked = time.perf_counter(), time.process_time()
        found = sw.front(graph)
        wall.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    return {
        "network": name,
        "sites": space(graph).free,
        "points": len(found.points),
        "output_strides": len(found.points.strides),
        "known": found.known,
        "current_on_front": found.holds_current,
        "seconds": round(statistics.median(wall), 3),
        "spread": [round(min(wall), 3), round(max(wall), 3)],
        "processor_seconds": round(statistics.median(busy), 3),
        "bound": BOUND if name in CASES else None,
        "numbers_real": real(found),
        "n": rounds,
    }


def table(rows: list[dict[str, object]], machine: str) -> str:
    """The rows as Markdown."""
    lines = [
        "# The exact front over all plans of a network",
        "",
        f"Default steps (1, 2 and today's), input 3x224x224 (inception_v3 3x299x299, NASNet-A 3x331x331), median of "
        f"{ROUNDS} runs (1 of {', '.join(LARGE)}); {machine}.",
        f"Load while it ran: {os.getloadavg()[0]:.0f}; the bound of {BOUND:.0f} s, for the first {len(CASES)}, is held "
        "against processor seconds.",
        "A front that is too large to be exact is within the share named: each plan left out has one on the front that",
        "takes at most so much more multiply-adds and peak memory and keeps at most so much fewer activations.",
        "Written by `python benchmarks/front.py`.",
        "",
        "| network | free sites | plans on the front | known | output strides | today's on it | seconds (spread) | "
        "processor |",
        "| --- | ---: | ---: | --- | ---: | --- | ---: | ---: |",
    ]
    for row in rows:
        low, high = row["spread"]  # type: ignore[misc]
        lines.append(
            f"| {row['network']} | {row['sites']} | {row['points']:,} | {row['known']} | {row['output_strides']} | "
            f"{'yes' if row['current_on_front'] else 'no'} | {row['seconds']:.2f} ({low:.2f} to {high:.2f}) | "
            f"{row['processor_seconds']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    machine = f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
    rows = []
    for name, (make, size, rounds) in {
        **{name: (make, 224, ROUNDS) for name, make in CASES.items()},
        **{name: (make, size, 1) for name, (make, size) in LARGE.items()},
    }.items():
        rows.append(one(name, make, size, rounds))
        print(json.dumps({**rows[-1], "machine": machine}), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(table(rows, machine), encoding="utf-8")


if __name__ == "__main__":
    main()
