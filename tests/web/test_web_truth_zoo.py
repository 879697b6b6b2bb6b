"""The page's numbers against torch itself: eight networks, three plans each, fields at twenty drawn positions."""

import importlib.util
import random
from typing import Any

import pytest
import torch
from browsing import fields_by, rebuilt
from test_web_honest import seen_by, shown
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import stridewise as sw
from stridewise.errors import PlanError
from stridewise.web.workbench import Workbench

pytestmark = pytest.mark.zoo
SIDE = 64
NETWORKS = (
    "torchvision:mnasnet0_5",
    "torchvision:resnet18",
    "torchvision:squeezenet1_1",
    "torchvision:googlenet",
    "torchvision:mobilenet_v2",
    "torchvision:shufflenet_v2_x0_5",
    "timm:regnetx_002",
    "timm:hrnet_w18_small",
)
SMOOTH = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Dropout)


def gradual(model: nn.Module) -> nn.Module:
    """The same geometry where every value that is read moves the output: means for maxima, no rectifier, weights that
    neither cancel nor grow."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, ceil_mode=child.ceil_mode)
                setattr(parent, name, pool)
            elif isinstance(child, SMOOTH):
                setattr(parent, name, nn.Identity())
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((torch.rand_like(p) + 0.5) / max(p[0].numel() if p.dim() > 1 else 1, 1))
    return model.double().eval()


def sizes_by_hook(model: nn.Module) -> tuple[dict[str, tuple[int, ...]], int, set[str]]:
    """(output sizes by module that runs once, multiply-adds by torch's own counter, modules that run more often)."""
    made: dict[str, list[tuple[int, ...]]] = {}
    handles = [
        module.register_forward_hook(lambda m, i, o, name=name: made.setdefault(name, []).append(tuple(o.shape[2:])))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | nn.ConvTranspose2d)
    ]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.rand(1, 3, SIDE, SIDE))
    for handle in handles:
        handle.remove()
    often = {name for name, sizes in made.items() if len(sizes) > 1}
    return {name: sizes[0] for name, sizes in made.items()}, counter.get_total_flops() // 2, often


def requests_of(data: dict[str, Any], draw: random.Random) -> list[dict[str, str]]:
    """The network as it is, then single wishes at sites, in a drawn order."""
    sites = [group["sites"][0] for group in data["groups"] if group["free"]]
    steps = ["1", "2", "2x1"]
    return [{}, *({site: step} for site in draw.sample(sites, len(sites)) for step in draw.sample(steps, 2))]


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_and_fields_of_eight_networks_under_three_plans(name: str):
    if importlib.util.find_spec(name.split(":", maxsplit=1)[0]) is None:
        pytest.skip("the library is not installed")
    torch.manual_seed(0)
    draw = random.Random(name)
    studied = Workbench([name], input=(3, SIDE, SIDE)).opened[0].wait()
    tried = 0
    for changes in requests_of(studied.original, draw):
        try:
            plan = sw.plan(studied.graph, changes)
            answer = studied.what_if({"changes": changes})
        except PlanError:
            continue
        if tried and not plan:
            continue
        model = sw.load(name)
        if plan:
            sw.apply(model, plan)
        rows = {row["key"]: row for row in rebuilt(studied.original["layers"], answer["layers"])}
        sizes, macs, often = sizes_by_hook(model)
        assert answer["totals"]["macs"] == macs, changes
        for key, size in sizes.items():
            if key in rows and key not in often:
                assert tuple(rows[key]["out_size"]) == size, (key, changes)
        smooth = gradual(model)
        fields = fields_by(answer["fields"])
        known = [row for key, row in rows.items() if key in sizes and key not in often and not row["global"]]
        known = [row for row in known if not fields.get(row["key"], {}).get("approximate")]
        for row in draw.choices(known, k=20):
            at = tuple(draw.randrange(n) for n in row["out_size"])
            seen = seen_by(smooth, row["key"], at, SIDE)
            for axis, (first, last) in enumerate(seen):
                low, high = shown(row, fields, axis, at[axis])
                where = (row["key"], at, changes)
                if low >= 0 and high < SIDE:
                    assert (low, high) == (first, last), where
                else:  # beyond the border a layer's own border lets in less than the box, never more
                    assert low <= first <= last <= high, where
        tried += 1
        if tried == 3:
            break
    assert tried == 3
