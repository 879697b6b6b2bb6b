"""Networks for segmentation and detection: decoders, pyramids and heads keep their values."""

import pytest
import torch
from torch import nn

import stridewise as sw
from stridewise.models.zoo import declare_missing_ops
from stridewise.surgery.verify import compare

from .yolo import Yolo

pytestmark = pytest.mark.filterwarnings("ignore")
declare_missing_ops()
pytest.importorskip("torchvision")
EXACT = 1e-12
SIZES = [(64, 96), (64, 64)]


def check_exact(model: nn.Module, cap, sizes=SIZES, **options) -> sw.Plan:
    """The model under a plan for this output stride equals the one before, wherever it is certified to."""
    plan = sw.plan(sw.trace(model, (3, 96, 96)), output_stride=cap, keep_weights=True, means="grid", **options)
    for size in sizes:
        found = compare(model, plan, input=(3, *size))
        assert found.done.certificate.exact
        assert found.outputs <= EXACT, (cap, size, found)
    return plan


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_torchvision_segmentation(name):
    plan = check_exact(sw.load(f"torchvision:{name}"), 4, [(65, 81)])
    assert plan.sites


@pytest.mark.parametrize(
    ("name", "encoder", "cap"),
    [
        ("Unet", "resnet18", 8),
        ("Unet", "resnet18", 16),
        ("Unet", "timm-efficientnet-b0", 8),
        ("FPN", "resnet18", 8),
        ("FPN", "resnet18", 16),
        ("DeepLabV3", "resnet18", 4),
        ("DeepLabV3Plus", "mobilenet_v2", 8),
        ("DeepLabV3Plus", "mobilenet_v2", 4),
        ("UnetPlusPlus", "resnet18", 8),
        ("Linknet", "resnet18", 8),
    ],
)
def test_segmentation_models_pytorch(name, encoder, cap):
    smp = pytest.importorskip("segmentation_models_pytorch")
    plan = check_exact(getattr(smp, name)(encoder_name=encoder, encoder_weights=None).eval(), cap, [(64, 96)])
    assert plan.sites


@pytest.mark.parametrize("cap", [16, 8, (16, 8)])
def test_a_detector_with_three_heads(cap):
    torch.manual_seed(0)
    plan = check_exact(Yolo().eval(), cap)
    assert any(key.startswith("stages.3") for key in plan.sites)


def test_declared_strides_of_a_detector_follow_the_plan_and_come_back():
    model = Yolo().eval()
    declared = [f for f in sw.check(sw.trace(model, (3, 96, 96))) if f.rule == "SW201"]
    assert not declared, "8, 16 and 32 are right before"
    plan = sw.plan(sw.trace(model, (3, 96, 96)), output_stride=16, keep_weights=True)
    done = sw.apply(model, plan, input=(3, 96, 96))
    assert [float(s) for s in model.heads.stride] == [8, 16, 16]
    assert not [f for f in sw.check(sw.trace(model, (3, 96, 96))) if f.rule == "SW201"]
    done.undo()
    assert [float(s) for s in model.heads.stride] == [8, 16, 32]


def test_a_stride_declared_for_two_levels_and_had_by_one_is_found():
    model = Yolo().eval()
    model.heads.stride = torch.tensor([8.0, 16.0, 16.0])
    (found,) = [f for f in sw.check(sw.trace(model, (3, 96, 96))) if f.rule == "SW201"]
    assert found.message.startswith(
        "heads.stride: declared strides 8, 16, 16, the maps that go out have 8, 16, 32. Correct the declaration"
    )


def test_feature_info_follows_and_comes_back():
    model = sw.load("timm:resnet18")
    before = [dict(row) for row in model.feature_info]
    done = sw.apply(model, sw.plan(sw.trace(model, (3, 64, 64)), output_stride=8, keep_weights=True), input=(3, 64, 64))
    assert [row["reduction"] for row in model.feature_info] == [2, 4, 8, 8, 8]
    assert any("feature_info layer4: reduction 32 -> 8" in line for line in done.changes)
    assert not [f for f in sw.check(sw.trace(model, (3, 64, 64))) if f.rule == "SW201"]
    done.undo()
    assert [dict(row) for row in model.feature_info] == before
