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
FOUR_STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
HEADS = {"num_attention_heads": [1, 1, 2, 2]}
HUGGING = {
    **{name: {} for name in ("ResNet", "RegNet", "MobileNetV1", "MobileNetV2", "ConvNext")},
    "ConvNextV2": FOUR_STAGES,
    "PoolFormer": FOUR_STAGES,
    "Segformer": {**FOUR_STAGES, **HEADS},
    "PvtV2": {**FOUR_STAGES, **HEADS},
    "Bit": {"embedding_size": 8, "hidden_sizes": [32, 32, 64, 64], "depths": [1, 1, 1, 1], "num_groups": 4},
    "Swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 4},
    "FocalNet": {"embed_dim": 8, "depths": [1, 1, 1, 1]},
    "Levit": {
        "hidden_sizes": [16, 24, 32],
        "num_attention_heads": [1, 1, 1],
        "depths": [1, 1, 1],
        "key_dim": [8, 8, 8],
    },
}
SEGMENTING = ("Unet", "UnetPlusPlus", "Linknet", "MAnet", "FPN", "PSPNet", "UPerNet", "DeepLabV3", "DeepLabV3Plus")
STEPS = {"channels": (8, 16, 32), "strides": (2, 2)}
DYNAMIC = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [8, 16, 32]}
MEDICAL = {  # with what each steps in all
    "UNet": (4, STEPS),
    "AttentionUnet": (4, STEPS),
    "DynUNet": (4, DYNAMIC),
    "SegResNet": (8, {"init_filters": 8}),
    "BasicUNet": (16, {"features": (8, 8, 16, 16, 32, 8)}),
    "DenseNet": (32, {"init_features": 8, "growth_rate": 4, "block_config": (1, 1, 1)}),
}
LESS = {"Swin": (4, 2), "PSPNet": (4, 2), "DeepLabV3": (4, 2), "DeepLabV3Plus": (8, 4)}  # caps of those below 32
# By name what makes it, and two caps below what it steps in all.
NETWORKS = {
    **{f"transformers {n}": (lambda n=n, c=c: hugging(n, **c), LESS.get(n, (16, 8))) for n, c in HUGGING.items()},
    **{f"smp {n}": (lambda n=n: segmenting(n), LESS.get(n, (16, 8))) for n in SEGMENTING},
    "smp Unet of MobileNetV2": (lambda: segmenting("Unet", "mobilenet_v2"), (16, 8)),
    **{f"monai {n}": (lambda n=n, c=c: medical(n, **TWO, **c), (s // 2, s // 4)) for n, (s, c) in MEDICAL.items()},
}


@pytest.fixture(autouse=True, scope="module")
def ops():
    zoo.declare_missing_ops()


@pytest.mark.parametrize(("name", "cap"), [(name, cap) for name, (_, caps) in NETWORKS.items() for cap in caps])
def test_what_is_planned_is_carried_out_and_certified_truly(name, cap):
    torch.manual_seed(0)
    model = NETWORKS[name][0]().eval()
    graph = sw.trace(model, (3, SIZE, SIZE))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    try:
        plan = sw.plan(graph, output_stride=cap, keep_weights=True)
    except sw.PlanError as error:
        assert "\n" not in str(error)
        assert "the network's is" not in str(error), "the cap asks for nothing"
        assert error.__cause__ is None or isinstance(error.__cause__, sw.StridewiseError)
        return
    found = sw.verify(model, plan, input=(3, SIZE, SIZE), sizes=[(SIZE + 1, SIZE + 2), (SIZE + 32, SIZE + 64)])
    assert found.holds is not False, str(found)
    if found.done.certificate.exact and plan:
        assert found.holds, str(found)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
