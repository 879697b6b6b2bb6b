"""Downsampling kinds on torchvision's and timm's networks: the promised graph is the one a trace of the model finds."""

import copy

import pytest
import torch

import stridewise as sw
from stridewise.rewrites.restride import restride

NAMES = [
    "torchvision:resnet18",
    "torchvision:resnet50",
    "torchvision:mobilenet_v2",
    "torchvision:convnext_tiny",
    "torchvision:densenet121",
    "torchvision:googlenet",
    "torchvision:shufflenet_v2_x0_5",
    "torchvision:r3d_18",
    "timm:inception_v3",
    "timm:resnet26d",
    "timm:regnety_002",
    "timm:ghostnet_100",
    "timm:tf_efficientnet_lite0",
]
KINDS = ["blur:3", "blur:4:zero", "polyphase", "mean", "max", "space-to-depth"]
FEW = NAMES[:1]


def check(name: str, kind: str) -> None:
    model = sw.load(name).eval()
    shape = (3, 16, 112, 112) if name.endswith("r3d_18") else (3, 299, 299) if "inception" in name else (3, 224, 224)
    graph = sw.trace(model, shape, name=name)
    sites = [n.key for n in graph.sites if any(getattr(w, "stride", 1) > 1 for w in n.attrs["maps"])]
    if kind == "space-to-depth":
        sites = [key for key in sites if graph.node_named(key).op == "conv"]
        if "tf_" in name:
            with pytest.raises(sw.errors.PlanError, match="SAME"):
                sw.plan(graph, dict.fromkeys(sites, kind))
            return
    plan = sw.plan(graph, dict.fromkeys(sites, kind))
    keys = list(model.state_dict())
    x = torch.randn(1, *shape)
    with torch.no_grad():
        before = model(x)
    done = sw.apply(model, plan, input=shape)
    promised, found = (sw.show(g) for g in (restride(graph, plan).graph, sw.trace(model, shape, name=name)))
    # Padding that a module adds by itself is an op of its own in a trace of the model.
    own_padding = kind == "space-to-depth" or "tf_" in name
    hidden = {"padding", "in_size"} if own_padding else set()
    for a, b in zip(promised.to_json()["layers"], found.to_json()["layers"], strict=True):
        assert {k: v for k, v in a.items() if k not in hidden} == {k: v for k, v in b.items() if k not in hidden}
    if not own_padding:
        assert promised.totals == found.totals
        assert promised.findings == found.findings
    assert list(model.state_dict()) == keys
    with torch.no_grad():
        after = copy.deepcopy(model)(x)
        assert after.shape == before.shape
        if kind == "space-to-depth":
            assert torch.allclose(after, before, rtol=1e-3, atol=1e-4)
        done.undo()
        assert torch.equal(model(x), before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FEW)
def test_a_library_network_is_what_was_promised(name, kind):
    check(name, kind)


@pytest.mark.zoo
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in FEW])
def test_library_networks_are_what_was_promised(name, kind):
    check(name, kind)
