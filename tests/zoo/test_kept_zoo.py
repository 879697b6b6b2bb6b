"""Networks of transformers, segmentation_models_pytorch and MONAI: what is planned is carried out, and kept is kept.

Each plan goes two ways only: refused in one line by `sw.plan`, or carried out, with a certificate that float64 says
nothing against at sizes with remainders. Weights are random: none is fetched.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

import stridewise as sw
from stridewise.models import zoo

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("ignore")]
SIZE = 96


def hugging(name, size=SIZE, **more):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{name}Config")(image_size=size, **more)
    return getattr(transformers, f"{name}Model")(config)


def segmenting(name, encoder="resnet18"):
    smp = pytest.importorskip("segmentation_models_pytorch")
    return getattr(smp, name)(encoder_name=encoder, encoder_weights=None, in_channels=3, classes=2)


def medical(name, **arguments):
    nets = pytest.importorskip("monai.networks.nets")
    return getattr(nets, name)(**arguments)


TWO = {"spatial_dims": 2, "in_channels": 3, "out_channels": 2}
NETWORKS = {
    **{
        f"transformers {name}": lambda name=name: hugging(name)
        for name in ("ResNet", "RegNet", "MobileNetV1", "MobileNetV2", "ConvNext")
    },
    **{
        f"smp {name}": lambda name=name: segmenting(name)
        for name in ("Unet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus")
    },
    "monai UNet": lambda: medical("UNet", **TWO, channels=(8, 16, 32), strides=(2, 2)),
    "monai SegResNet": lambda: medical("SegResNet", **TWO, init_filters=8),
    "monai DynUNet": lambda: medical(
        "DynUNet", **TWO, kernel_size=[3, 3, 3], strides=[1, 2, 2], upsample_kernel_size=[2, 2], filters=[8, 16, 32]
    ),
}


@pytest.fixture(autouse=True, scope="module")
def ops():
    zoo.declare_missing_ops()


@pytest.mark.parametrize("cap", [16, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_planned_is_carried_out_and_certified_truly(name, cap):
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    graph = sw.trace(model, (3, SIZE, SIZE))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    try:
        plan = sw.plan(graph, output_stride=cap, keep_weights=True)
    except sw.PlanError as error:
        assert "\n" not in str(error)
        assert error.__cause__ is None or isinstance(error.__cause__, sw.StridewiseError)
        return
    found = sw.verify(model, plan, input=(3, SIZE, SIZE), sizes=[(SIZE + 1, SIZE + 2), (SIZE + 32, SIZE + 64)])
    assert found.holds is not False, str(found)
    if found.done.certificate.exact and plan:
        assert found.holds, str(found)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
